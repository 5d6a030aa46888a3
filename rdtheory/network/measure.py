"""What compression does to a network on inputs that it was not made with: layer by layer, and at the outputs."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import PyTree

from rdtheory import _compile
from rdtheory.models import _moments, _uses

__all__ = ["fitting", "mean_and_error", "outputs", "powers", "ratio"]


def fitting(apply: Callable, params: PyTree, inputs: PyTree) -> int:
    """How many examples may be looked at together."""
    one = _moments.one_of(inputs)
    return _moments.fitting(_uses.find(_uses.trace(apply, params, one), params, one)[0], 0)


def powers(apply: Callable, params: PyTree, deltas: PyTree, inputs: PyTree, batch_size: int) -> list[np.ndarray]:
    """Σ_t ‖Δᵀ x_t‖² of each leaf at each example (n,), x the inputs that it meets in the network as it is.

    A leaf whose uses are not all found has zeros.
    """
    found = [jax.device_get(_powers(apply, params, deltas, part)) for part in _batches(inputs, batch_size)]
    return [np.concatenate(one).astype(float) for one in zip(*found, strict=True)]


@partial(_compile.jit, static_argnames=("apply",))
def _powers(apply: Callable, params: PyTree, deltas: PyTree, inputs: PyTree) -> list[Array]:
    program = _uses.trace(apply, params, _moments.one_of(inputs))
    uses, _ = _uses.find(program, params, _moments.one_of(inputs))

    def example(x: PyTree) -> list[Array]:
        trail = _uses.Trail([], [], {}, None)
        _uses.run(program, params, jax.tree.map(lambda leaf: leaf[None], x), trail)
        return trail.activations

    activations = jax.vmap(example)(inputs)
    leaves = jax.tree.leaves(deltas)
    totals = [jnp.zeros(len(jax.tree.leaves(inputs)[0])) for _ in leaves]
    for use, x in zip(uses, activations, strict=True):
        matrices, rows = jnp.asarray(leaves[use.leaf]).ravel()[use.layout], jax.vmap(use.inputs)(x)
        if use.kind == "embedding":
            lost = jnp.sum(matrices[0].at[rows].get(mode="fill", fill_value=0.0) ** 2, axis=(1, 2))
        else:
            results = jnp.einsum("bptm,pmk->bptk", rows, matrices, precision=lax.Precision.HIGHEST)
            lost = jnp.sum(results**2, axis=(1, 2, 3))
        totals[use.leaf] += lost
    return totals


def outputs(apply: Callable, params: PyTree, inputs: PyTree, batch_size: int) -> np.ndarray:
    """What the network makes of all inputs."""
    return np.concatenate([np.asarray(_apply(apply, params, part), float) for part in _batches(inputs, batch_size)])


@partial(_compile.jit, static_argnames=("apply",))
def _apply(apply: Callable, params: PyTree, inputs: PyTree) -> Array:
    return apply(params, inputs)


def _batches(inputs: PyTree, size: int) -> Sequence[PyTree]:
    n = len(jax.tree.leaves(inputs)[0])
    return [jax.tree.map(lambda x, start=start: x[start : start + size], inputs) for start in range(0, n, size)]


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """A mean over examples, and its standard error, which of one example is infinite.

    Examples
    --------
    >>> print(mean_and_error(np.array([1.0, 3.0])))
    (2.0, 1.0)
    """
    error = float(np.std(values, ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else np.inf
    return float(np.mean(values)), float(error)


def ratio(values: np.ndarray, powers: np.ndarray) -> tuple[float, float]:
    """Σ values / Σ powers over examples, 0 of zeros, and its standard error to first order.

    Examples
    --------
    >>> print(ratio(np.array([1.0, 3.0]), np.array([2.0, 6.0])))
    (0.5, 0.0)
    """
    if not powers.any():
        return 0.0, 0.0
    share = float(values.sum() / powers.sum())
    return share, mean_and_error(values - share * powers)[1] / float(powers.mean())
