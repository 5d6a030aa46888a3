"""What has no derivative says so, instead of passing for a constant."""

from typing import NoReturn, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import ShapedArray, Tracer
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Values = TypeVar("Values")

REMEDY = "differentiate the rate of rate_at, the distortion of distortion_at or the value of lagrangian"


def none_of(values: Values, arguments: tuple, remedy: str) -> Values:
    """`values` of a solver, whose derivative in `arguments` is an error, or NaN in forward mode, if it is asked for.

    Forward mode cannot know whether a tangent will be used; in reverse mode what is not used is never asked for.

    Examples
    --------
    >>> x = jnp.ones(2)
    >>> try:
    ...     jax.grad(lambda x: none_of(jax.lax.stop_gradient(x), (x,), "use g")[0])(x)
    ... except TypeError as error:
    ...     print(error)
    no derivative is defined here: use g
    """
    moved = _inexact(arguments)
    if not moved:
        return values

    @jax.custom_jvp
    def field(value: Array, moved: list) -> Array:
        return value

    @field.defjvp
    def _(primals, tangents):
        value, _ = primals
        unknown = no_derivative.bind(*tangents[1], shape=value.shape, dtype=value.dtype, remedy=remedy)
        return value, unknown

    return jax.tree.map(lambda leaf: field(leaf, moved) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf, values)


def once_only(values: Values, arguments: tuple, name: str) -> Values:
    """`values` of a first derivative, of which no other can be taken: the solution itself was held fixed.

    Examples
    --------
    >>> try:
    ...     jax.grad(lambda x: once_only(2 * x, (x,), "f"))(1.0)
    ... except TypeError as error:
    ...     print(error)
    f has first derivatives only
    """

    @jax.custom_jvp
    def same(values: Values, moved: list) -> Values:
        return values

    @same.defjvp
    def _(primals, tangents) -> NoReturn:
        raise TypeError(f"{name} has first derivatives only")

    return same(values, _inexact(arguments))


def _inexact(arguments: tuple) -> list:
    """What may have a tangent."""
    leaves = jax.tree.leaves(arguments)
    # Under vmap a tracer may hold an array of NumPy's, which rules do not take; what is computed from it is JAX's.
    return [1 * leaf for leaf in leaves if isinstance(leaf, Tracer) and jnp.issubdtype(leaf.dtype, jnp.inexact)]


no_derivative = Primitive("no_derivative")  # linear in tangents, NaN, and not to be transposed


@no_derivative.def_impl
def _value(*tangents, shape: tuple[int, ...], dtype, remedy: str) -> Array:
    return jnp.full(shape, jnp.nan, dtype)


@no_derivative.def_abstract_eval
def _shape(*tangents, shape: tuple[int, ...], dtype, remedy: str) -> ShapedArray:
    return ShapedArray(shape, dtype)


def _transposed(*_, remedy: str, **__) -> NoReturn:
    raise TypeError(f"no derivative is defined here: {remedy}")


def _batched(tangents, axes, *, shape: tuple[int, ...], dtype, remedy: str) -> tuple[Array, int]:
    size = next(x.shape[axis] for x, axis in zip(tangents, axes, strict=True) if axis is not None)
    return no_derivative.bind(*tangents, shape=(size, *shape), dtype=dtype, remedy=remedy), 0


def _differentiated(primals, tangents, **how) -> tuple[Array, Array]:
    return no_derivative.bind(*primals, **how), no_derivative.bind(*map(ad.instantiate_zeros, tangents), **how)


ad.primitive_transposes[no_derivative] = _transposed
ad.primitive_jvps[no_derivative] = _differentiated
batching.primitive_batchers[no_derivative] = _batched
mlir.register_lowering(no_derivative, mlir.lower_fun(_value, multiple_results=False))
