"""All compressed versions of a small set of weights: what an exhaustive optimality check chooses from."""

import itertools
import math

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _metric

__all__ = ["pruned", "quantized"]

LIMIT = 1_000_000
_projections = _compile.jit(jax.vmap(_metric.project, in_axes=(None, None, 0)))


def pruned(
    weights: Float[ArrayLike, "..."], keep: int, importance: Float[ArrayLike, "..."] | None = None
) -> Float[Array, "c ..."]:
    """Every way to keep `keep` of the k weights and set the others to zero.

    Parameters
    ----------
    weights : w, any shape, k entries.
    keep : number of weights kept, 0 to k.
    importance : without it the kept weights stay as they are (a mask); with it, full (k, k) or the diagonal in the
        shape of the weights, each support gets its projection in that metric, see `golden_rules.project`.

    Returns
    -------
    candidates : (binomial(k, keep), ...), in the shape and dtype of the weights each; supports in lexicographic order.

    Raises
    ------
    ValueError : `keep` out of range, or more than a million candidates.

    Examples
    --------
    >>> print(pruned(jnp.array([3.0, 2.0, 1.0]), 2))
    [[3. 2. 0.]
     [3. 0. 1.]
     [0. 2. 1.]]
    """
    w, ok = _checks.weights("weights", weights)
    k = w.size
    keep = _checks.count("keep", keep, 0, k)
    _limit(math.comb(k, min(keep, k - keep, 20)))  # with 20 it is above the limit
    supports = np.array(list(itertools.combinations(range(k), keep)), int).reshape(math.comb(k, keep), keep)
    if importance is None or keep == 0:
        masks = np.zeros((len(supports), k))
        masks[np.arange(len(supports))[:, None], supports] = 1.0
        return jax.device_put(masks.reshape(-1, *w.shape).astype(w.dtype) * _checks.look(w)[1][None])
    matrix, matrix_ok = _metric.checked(importance, w.shape)
    return _checks.poison(_projections(w, matrix, np.eye(k)[:, supports].transpose(1, 0, 2)), ok & matrix_ok)


def quantized(
    weights: Float[ArrayLike, "..."], levels: int, importance: Float[ArrayLike, "..."]
) -> Float[Array, "c ..."]:
    """Every way to share `levels` values among the k weights, each value the best for its cell.

    Parameters
    ----------
    weights : w, any shape, k entries.
    levels : number of cells the weights are divided into, 1 to k; every cell is used.
    importance : full (k, k), or the diagonal in the shape of the weights: then each value is the weighted mean of its
        cell.

    Returns
    -------
    candidates : (partitions of k weights into `levels` cells, ...), in the shape and dtype of the weights each.

    Raises
    ------
    ValueError : `levels` out of range, or more than a million partitions.

    Examples
    --------
    >>> print(quantized(jnp.array([3.0, 2.0, 1.0]), 2, jnp.ones(3)))
    [[2.5 2.5 1. ]
     [2.  2.  2. ]
     [3.  1.5 1.5]]
    """
    w, ok = _checks.weights("weights", weights)
    k = w.size
    levels = _checks.count("levels", levels, 1, k)
    _limit(_partitions(k, levels))
    # Label cells in order of first use: each partition once. Those are kept that can still come to use every cell.
    labels = np.zeros((1, 1), int)
    for left in range(k - 1, 0, -1):
        grown = [np.column_stack([labels, np.full(len(labels), cell)]) for cell in range(levels)]
        labels = np.concatenate([rows[rows[:, -1] <= rows[:, :-1].max(axis=1) + 1] for rows in grown])
        labels = labels[labels.max(axis=1) + left >= levels]
    labels = labels[np.lexsort(labels.T[::-1])]
    matrix, matrix_ok = _metric.checked(importance, w.shape)
    return _checks.poison(_projections(w, matrix, np.eye(levels)[labels]), ok & matrix_ok)


def _partitions(k: int, cells: int) -> int:
    """Stirling's number S(k, cells) if that is within the limit, and else a smaller number that is not, either.

    S(l + r, l) = Σ_{j ≤ l} j S(j + r - 1, j) grows with r.
    """
    counts = np.ones(cells)
    for _ in range(k - cells):
        counts = np.cumsum(np.arange(1, cells + 1) * counts)
        if counts[-1] > LIMIT:
            break
    return int(counts[-1])


def _limit(count: int) -> None:
    if count > LIMIT:
        raise ValueError(
            f"that makes at least {count:,} candidates, more than {LIMIT:,}: take fewer weights or an easier count"
        )
