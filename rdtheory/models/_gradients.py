"""Per-example gradients, streamed: what every weight importance is a sum of.

notation: an example with outputs f (k,) and J = ∂f/∂w contributes Jᵀ M J, where M = Σ_r c_r c_rᵀ depends on the kind
alone; so it contributes Σ_r g_r g_rᵀ with g_r = Jᵀ c_r, one backward pass for each direction c_r in output space.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from rdtheory import _checks, _compile, _tree_checks
from rdtheory.models import _examples

KINDS = ("jacobian", "fisher", "gradient", "ggn")
HELD = 2**23  # numbers: the gradients of a batch, 64 MiB in float64
# The second-order term of a KL divergence is half its Hessian, and a bit is ln 2 nats.
HALF_IN_BITS = 0.5 / math.log(2)


def arguments(apply, params, inputs, kind, labels, temperature, batch_size):
    """(w, inputs, labels, temperature), the batch size, and validity."""
    choice(apply, kind)
    w, ok = _tree_checks.tree("params", params, _checks.finite)
    x = _checks.native(inputs if hasattr(inputs, "dtype") else np.asarray(inputs))
    if x.ndim < 1 or len(x) == 0:
        raise ValueError(f"inputs must have shape (n, ...), one row for each example, got {x.shape}")
    if jnp.issubdtype(x.dtype, jnp.integer):  # tokens stay what they are
        x = jnp.asarray(x)
    else:
        x, x_ok = _checks.finite("inputs", x)
        ok &= x_ok
    T, T_ok = _checks.finite("temperature", temperature, 0)
    ok &= T_ok & _checks.holds(_checks.look(T)[1] > 0, lambda: f"temperature must be > 0, got {T}")
    outputs = _examples.shapes(apply, w, jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype))
    classes = outputs.shape[1] if getattr(outputs, "ndim", 0) == 2 else 1
    if getattr(outputs, "ndim", 0) not in (1, 2) or outputs.shape[0] != 1:
        raise ValueError(
            f"apply(params, inputs) must give (n,) or (n, k) from (n, ...); from one input it gave {outputs}"
        )
    if kind != "jacobian" and classes < 2:
        raise ValueError(f"kind {kind!r} needs the logits of at least two classes, but apply gave {outputs.shape}")
    y = np.zeros(len(x), int)
    if kind == "gradient":
        if labels is None:
            raise ValueError("kind 'gradient' needs labels, one class number for each input")
        y = _checks.stored(labels)
        if y.shape != x.shape[:1] or not jnp.issubdtype(y.dtype, jnp.integer):
            raise ValueError(f"labels must be {len(x)} class numbers, got shape {y.shape}, dtype {y.dtype}")
        _, known = _checks.look(y)
        ok &= _checks.holds(
            ((known >= 0) & (known < classes)).all(), lambda: f"labels must be class numbers from 0 to {classes - 1}"
        )
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(w))
    if batch_size is None:
        batch_size = 1 if _convolves(apply, w, x) else max(1, min(len(x), HELD // size))
    batch_size = min(_checks.count("batch_size", batch_size, 1), len(x))
    return (w, x, y, T), batch_size, ok


def _convolves(apply: Callable, w: PyTree, x: Array) -> bool:
    """Whether gradients of several examples would be a grouped convolution, which takes a CPU ten times as long."""
    one = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
    return jax.default_backend() == "cpu" and "conv_general_dilated" in str(jax.make_jaxpr(apply)(w, one))


def choice(apply: Callable, kind: str) -> None:
    """That the kind is known, and that the model can be hashed."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    try:
        hash(apply)
    except TypeError as error:
        raise TypeError(
            f"apply must be a function that can be hashed, got {type(apply).__name__}; wrap it: "
            "def apply(params, x): return model(params, x)"
        ) from error


def directions(kind: str, f: Array, label: Array, temperature: Array) -> Array:
    """c_r for one example, (r, k)."""
    if kind == "jacobian":
        return jnp.eye(len(f), dtype=f.dtype)
    p = jax.nn.softmax(f / temperature)
    scale = math.sqrt(HALF_IN_BITS) / temperature
    if kind == "gradient":
        return scale * (p - jax.nn.one_hot(label, len(f), dtype=f.dtype))[None, :]
    if kind == "fisher":
        return scale * jnp.sqrt(p)[:, None] * (jnp.eye(len(f), dtype=f.dtype) - p[None, :])
    # The Cholesky factor of diag(p) - p pᵀ in closed form (Tanabe & Sagae 1992): the class y against the mean of those
    # after it, k - 1 directions. The mass after y is summed from the end, so that a sure class costs no digits.
    from_y = jnp.cumsum(p[::-1])[::-1]
    mass, after = from_y[:-1], from_y[1:]
    given = (
        jnp.where(after > 0, 1 / jnp.where(after > 0, after, 1.0), 0.0)[:, None]
        * jnp.triu(jnp.broadcast_to(p[None, :], (len(p), len(p))), 1)[:-1]
    )
    pivot = jnp.where(mass > 0, p[:-1] * after / jnp.where(mass > 0, mass, 1.0), 0.0)
    return scale * jnp.sqrt(pivot)[:, None] * (jnp.eye(len(f), dtype=f.dtype)[:-1] - given)


def drawn(kind: str, f: Array, label: Array, temperature: Array, samples: int, key: Array) -> Array:
    """Random c (samples, ...) in the shape of f with E Σ c cᵀ that of all `directions`, which 0 samples are.

    Outputs f (1, ..., k) are classes along the last axis, each row of them on its own. With random signs s the
    direction Σ_r s_r c_r will do, in O(k); of a given label there is one direction, and nothing to draw.
    """
    rows = f.reshape((1, -1) if kind == "jacobian" else (-1, f.shape[-1]))
    if samples and kind != "gradient":
        signs = jax.random.rademacher(key, (samples, *rows.shape), f.dtype) / math.sqrt(samples)
        if kind == "jacobian":
            return signs.reshape(samples, *f.shape)
        p = jax.nn.softmax(rows / temperature)[None]
        turned = jnp.sqrt(p) * signs
        centered = turned - p * jnp.sum(turned, axis=2, keepdims=True)
        return (math.sqrt(HALF_IN_BITS) / temperature * centered).reshape(samples, *f.shape).astype(f.dtype)
    each = jax.vmap(directions, (None, 0, None, None))(kind, rows, label, temperature)
    apart = jnp.eye(len(rows), dtype=f.dtype)[:, None, :, None] * each[:, :, None, :]
    return apart.reshape(-1, *f.shape).astype(f.dtype)


def stream(
    add: Callable, total: PyTree, apply: Callable, kind: str, batch_size: int, data: tuple[PyTree, Array, Array, Array]
) -> PyTree:
    """`add(total, gradients, shares)` over batches and directions, the gradients with a leading axis of examples."""
    params, inputs, labels, temperature = data

    def example(x: Array, label: Array):
        f, pull = jax.vjp(lambda w: apply(w, x[None]).reshape(-1), params)
        return directions(kind, f, label, temperature), pull

    def batch(total: PyTree, place: tuple[Array, Array]):
        rows, shares = place
        each, pulls = jax.vmap(example)(inputs[rows], labels[rows])

        def direction(total: PyTree, c: Array):
            gradients = jax.vmap(lambda pull, c: pull(c)[0])(pulls, c)
            return add(total, gradients, shares), None

        return lax.scan(direction, total, jnp.moveaxis(each, 1, 0))

    return lax.scan(lambda total, place: (batch(total, place)[0], None), total, places(len(inputs), batch_size))[0]


def places(n: int, batch_size: int) -> tuple[Array, Array]:
    """The examples of each batch, and the share of each in the mean.

    The last batch is filled up with the last example, which then counts for nothing: any other filling might be an
    input at which the model is not finite.
    """
    index = jnp.arange(-(-n // batch_size) * batch_size).reshape(-1, batch_size)
    return jnp.minimum(index, n - 1), jnp.where(index < n, 1 / n, 0.0)


compiled = functools.partial(_compile.jit, static_argnames=("apply", "kind", "batch_size"))


@compiled
def diagonal(apply: Callable, kind: str, batch_size: int, data) -> PyTree:
    """E Σ_r g_r², in the structure of the weights."""

    def add(total: PyTree, gradients: PyTree, shares: Array) -> PyTree:
        def leaf(total: Array, g: Array) -> Array:
            g = g.reshape(batch_size, -1)
            return total + jnp.sum(shares[:, None] * g * g, axis=0).reshape(total.shape).astype(total.dtype)

        return jax.tree.map(leaf, total, gradients)

    return stream(add, jax.tree.map(jnp.zeros_like, data[0]), apply, kind, batch_size, data)


@compiled
def full(apply: Callable, kind: str, batch_size: int, data) -> Array:
    """E Σ_r g_r g_rᵀ, in the order of `ravel_pytree`."""

    def add(total: Array, gradients: PyTree, shares: Array) -> Array:
        g = jax.vmap(lambda tree: ravel_pytree(tree)[0])(gradients)
        return total + (shares[:, None] * g).T @ g

    size = sum(leaf.size for leaf in jax.tree.leaves(data[0]))
    total = stream(add, jnp.zeros((size, size)), apply, kind, batch_size, data)
    return (total + total.T) / 2


@functools.partial(_compile.jit, static_argnames=("apply", "kind", "batch_size", "samples"))
def sampled(apply: Callable, kind: str, batch_size: int, samples: int, key: Array, data) -> tuple[PyTree, PyTree]:
    """The mean over examples of Σ g² over directions drawn, and its standard error."""
    params, inputs, labels, temperature = data
    n = len(inputs)

    def example(x: Array, label: Array, key: Array):
        f, pull = jax.vjp(lambda w: apply(w, x[None]), params)
        return drawn(kind, f, label, temperature, samples, key), pull

    def batch(totals: tuple[PyTree, PyTree], place: tuple[Array, Array]):
        rows, shares = place
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
        each, pulls = jax.vmap(example)(inputs[rows], labels[rows], keys)

        def direction(squares: PyTree, c: Array):
            gradients = jax.vmap(lambda pull, c: pull(c)[0])(pulls, c)
            return jax.tree.map(lambda total, g: total + g * g, squares, gradients), None

        none = jax.tree.map(lambda w: jnp.zeros((batch_size, *w.shape), w.dtype), params)
        squares, _ = lax.scan(direction, none, jnp.moveaxis(each, 1, 0))
        found = [jax.tree.map(lambda v, p=p: jnp.tensordot(shares.astype(v.dtype), v**p, 1), squares) for p in (1, 2)]
        return jax.tree.map(jnp.add, totals, tuple(found)), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    (mean, second), _ = lax.scan(batch, (zeros, zeros), places(n, batch_size))

    def error(mean: Array, second: Array) -> Array:
        if n == 1:
            return jnp.full_like(mean, jnp.inf)
        return jnp.sqrt(jnp.maximum(second - mean**2, 0.0) / (n - 1))

    return mean, jax.tree.map(error, mean, second)
