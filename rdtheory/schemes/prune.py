"""Pruning: which weights are set to zero, and what becomes of the others.

By magnitude; by the golden-rule objective in a diagonal importance, where removing weight i costs I_i w_i²; and in a
full importance, where the weights that are kept make up for those removed: the optimal brain surgeon.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.scipy.special import gammaln
from jax.typing import ArrayLike
from jaxtyping import Float, PyTree

from rdtheory import _checks, _compile, _metric, _progress, _tree_checks
from rdtheory.results import GoldenRules, Pruned
from rdtheory.schemes import _surgeon

__all__ = ["magnitude", "mask_bits", "obs", "weighted"]

LN2 = math.log(2)


def magnitude(weights: PyTree, keep: float, *, scope: str = "global") -> Pruned:
    """Keep the largest weights in absolute value.

    Parameters
    ----------
    weights : w, any pytree of floating arrays, whose dtypes are kept; what is computed of them is so in JAX's default.
    keep : share of all weights that is kept, in (0, 1]; static under jit. The count is the nearest whole number, at
        least one; of equal weights the first are kept.
    scope : ``"global"``, the largest of all, or ``"layer"``, the same share of each array of the tree.

    Returns
    -------
    Pruned
        ``objective`` is Σ (w - ŵ)², and the residuals of the golden rules are those of importance 1.

    Raises
    ------
    ValueError : `keep` out of range, an unknown scope, weights that are not finite.
    TypeError : a leaf that is not a floating array, as a counter or a flag.

    Examples
    --------
    >>> result = magnitude({"a": jnp.array([3.0, -1.0]), "b": jnp.array([2.0, 0.5])}, 0.5)
    >>> print(result.weights_hat["a"], result.weights_hat["b"], result.objective)
    [3. 0.] [2. 0.] 1.25
    """
    w, ok = _tree_checks.tree("weights", weights)
    return _checks.poison(_masked(w, jax.tree.map(jnp.ones_like, w), keep, scope), ok)


def weighted(weights: PyTree, importance: PyTree, keep: float, *, scope: str = "global") -> Pruned:
    r"""Keep the weights whose removal would cost most, by I_i w_i².

    .. math:: \min_{\hat w_i \in \{0, w_i\}} \sum_i I_i (w_i - \hat w_i)^2 \quad\text{with so many } \hat w_i \ne 0

    The first golden rule holds exactly.

    Parameters
    ----------
    weights : w, as for `magnitude`.
    importance : the diagonal of I_w >= 0, a pytree like `weights`, as of `importance.diagonal`.
    keep, scope : as for `magnitude`.

    Returns
    -------
    Pruned
        ``objective`` Σ I_i (w_i - ŵ_i)², in the units of the distortion; ``orthogonality`` 0.

    Raises
    ------
    ValueError : `keep` out of range, an unknown scope, a negative importance, structures or shapes that disagree.
    TypeError : as for `magnitude`.

    References
    ----------
    LeCun, Denker & Solla (1990) for the score; Gao, Liu, Wang & Oh (2019) for the objective.

    Examples
    --------
    >>> print(weighted(jnp.array([3.0, 2.0, 1.0]), jnp.array([1.0, 1.0, 10.0]), 0.67).weights_hat)
    [3. 0. 1.]
    """
    w, ok = _tree_checks.tree("weights", weights)
    diagonal, diagonal_ok = _tree_checks.beside("importance", importance, "weights", w)
    return _checks.poison(_masked(w, diagonal, keep, scope), ok & diagonal_ok)


@_progress.doing("prune.obs")
def obs(
    weights: PyTree,
    importance: Float[ArrayLike, "k k"],
    keep: float,
    *,
    rounds: int = 1,
    recompute: Callable[[PyTree], ArrayLike] | None = None,
    damping: Float[ArrayLike, ""] | float = 0.1,
) -> Pruned:
    r"""Optimal brain surgeon: remove weights one at a time, and let the others make up for it.

    Each step removes the weight of least cost w_q²/[I⁻¹]_qq and moves the rest to their best values. At the end the
    kept support S holds the projection, which without damping satisfies both golden rules,

    .. math:: \hat w_S = I_{SS}^{-1} I_{S:}\, w .

    The support is greedy, not the best of all.

    Parameters
    ----------
    weights : w, as for `magnitude`: a layer or a small model.
    importance : I_w, (k, k) symmetric positive semidefinite, in the order of ``ravel_pytree``, as of `importance.full`.
    keep : share of all weights that is kept, in (0, 1], as for `magnitude`.
    rounds : the count shrinks to `keep` in this many equal ratios; each starts from the weights and the importance that
        the one before left. I_w is a second-order term at w, and far from w it is another matrix.
    recompute : from weights_hat, a pytree, to the importance there, (k, k). Needed for more than one round.
    damping : >= 0; the metric is I_w + damping · diag(I_w). A network's importance has directions that it does not see
        to second order, along which the weights are moved far without it (digits, 64-32-10, a tenth kept in one round:
        of held-out data 11 % correct with 0, 83 and 86 % with 0.1, two seeds). A layer that is linear in its weights
        needs none: with inputs of correlations 0.9^|i-j| 0.1 loses 8 % more than 0.

    Returns
    -------
    Pruned
        objective and residuals in the `importance` given. With one round and no damping ``orthogonality`` is 0 up to
        rounding; otherwise it is what another metric leaves.

    Raises
    ------
    ValueError : `keep` out of range, an indefinite importance or one of the wrong shape, rounds without `recompute`,
        damping < 0.
    TypeError : as for `magnitude`.

    References
    ----------
    Hassibi & Stork (1993); Gao, Liu, Wang & Oh (2019).

    Examples
    --------
    >>> result = obs(jnp.array([1.0, 1.0]), jnp.array([[1.0, 0.5], [0.5, 2.0]]), 0.5, damping=0.0)
    >>> print(result.weights_hat, result.objective)
    [0.   1.25] 0.875
    """
    w, ok = _tree_checks.tree("weights", weights)
    k = sum(leaf.size for leaf in jax.tree.leaves(w))
    matrix, matrix_ok = _checks.covariance("importance", importance, size=k)
    ridge, ridge_ok = _checks.nonnegative("damping", damping)
    rounds = _checks.count("rounds", rounds, 1)
    keep = _checks.fraction("keep", keep)
    if recompute is None and rounds > 1:
        raise ValueError(f"rounds = {rounds} needs recompute, a function from weights_hat to its importance ({k}, {k})")
    kept, support, moved, here = k, jax.device_put(np.arange(k)), _raveled(w), matrix
    for share in np.arange(1, rounds + 1) / rounds:
        if recompute is not None and kept < k:
            here = _checks.array("recompute(weights_hat)", recompute(_like(w, moved)), shape=(k, k))
        kept = min(kept, _count(keep**share, k))
        support, moved = _surgeon.greedy(moved, here, support, kept, ridge)
    return _checks.poison(_supported(w, moved, support, matrix), ok & matrix_ok & ridge_ok)


def mask_bits(mask: PyTree) -> Float[Array, ""]:
    r"""Bits that say which weights are kept: for each array, how many, and which of the sets of that size.

    .. math:: \sum_{\text{arrays}} \log_2 (k + 1) + \log_2 \binom{k}{s}

    Enumerative coding attains this to within one bit for the whole; it is at most k h(s/k) + log2 (k + 1) an array.

    Parameters
    ----------
    mask : pytree of booleans, as of `Pruned`.

    Returns
    -------
    bits : total over the tree.

    Raises
    ------
    TypeError : a leaf that is not boolean.

    References
    ----------
    Cover (1973), Enumerative source encoding.

    Examples
    --------
    >>> print(mask_bits(jnp.array([True, False, True, False])).round(6))
    4.906891
    """
    total = jnp.zeros(())
    for path, leaf in jax.tree_util.tree_flatten_with_path(mask)[0]:
        x = jnp.asarray(leaf)
        if x.dtype != jnp.bool_:
            raise TypeError(f"mask{jax.tree_util.keystr(path)} must be boolean, got dtype {x.dtype}")
        k, s = x.size, jnp.sum(x)
        total += math.log2(k + 1) + (gammaln(k + 1.0) - gammaln(s + 1.0) - gammaln(k - s + 1.0)) / LN2
    return total


def _masked(w: PyTree, importance: PyTree, keep: float, scope: str) -> Pruned:
    keep = _checks.fraction("keep", keep)
    if scope not in ("global", "layer"):
        raise ValueError(f"scope must be 'global' or 'layer', got {scope!r}")
    sizes = [leaf.size for leaf in jax.tree.leaves(w)]
    counts = [_count(keep, size) for size in (sizes if scope == "layer" else [sum(sizes)])]
    return _largest(w, importance, counts)


@_compile.jit
def _largest(w: PyTree, importance: PyTree, counts: list[Array]) -> Pruned:
    """So many of each leaf, or of all together if there is one count."""
    # The root of the score orders the same, and neither overflows nor vanishes so soon.
    exact = jax.tree.map(lambda x: x.astype(float), w)
    score = jax.tree.map(lambda x, i: jnp.abs(x) * jnp.sqrt(i), exact, importance)
    leaves, tree = jax.tree.flatten(score)
    if len(counts) == len(leaves):
        mask = jax.tree.unflatten(
            tree, [_first(leaf.ravel(), n).reshape(leaf.shape) for leaf, n in zip(leaves, counts, strict=True)]
        )
    else:
        flat, unravel = ravel_pytree(score)
        mask = jax.tree.map(lambda leaf: leaf > 0, unravel(_first(flat, counts[0]).astype(flat.dtype)))
    weights_hat = jax.tree.map(lambda x, m: jnp.where(m, x, 0.0), w, mask)
    lost = jax.tree.map(lambda x, i, m: jnp.sum(jnp.where(m, 0.0, i * x * x)), exact, importance, mask)
    # ŵ_i (w_i - ŵ_i) is zero for each weight.
    zero = jnp.zeros(())
    return _result(weights_hat, mask, GoldenRules(zero, zero, sum(jax.tree.leaves(lost), zero)))


@functools.partial(_compile.jit, brief=True)
def _raveled(w: PyTree) -> Array:
    return _exact(w)[0]


@functools.partial(_compile.jit, brief=True)
def _like(w: PyTree, flat: Array) -> PyTree:
    """In the structure and the precisions of w."""
    return jax.tree.map(lambda x, leaf: leaf.astype(x.dtype), w, _exact(w)[1](flat))


@_compile.jit
def _supported(w: PyTree, moved: Array, support: Array, matrix: Array) -> Pruned:
    flat, unravel = _exact(w)
    mask = jax.tree.map(lambda leaf: leaf > 0, unravel(jnp.zeros_like(flat).at[support].set(1.0)))
    weights_hat = _like(w, moved)
    return _result(weights_hat, mask, _metric.residuals(flat, _exact(weights_hat)[0], matrix))


def _exact(w: PyTree) -> tuple[Array, Callable[[Array], PyTree]]:
    return ravel_pytree(jax.tree.map(lambda x: x.astype(float), w))


def _first(score: Array, count: Array) -> Array:
    order = jnp.argsort(-score, stable=True)
    return jnp.zeros(len(score), bool).at[order].set(jnp.arange(len(score)) < count)


def _count(keep: float, k: int) -> int:
    return max(1, math.floor(keep * k + 0.5))


def _result(weights_hat: PyTree, mask: PyTree, rules: GoldenRules) -> Pruned:
    kept = sum((jnp.sum(leaf) for leaf in jax.tree.leaves(mask)), jnp.zeros((), int))
    return Pruned(weights_hat, mask, kept, rules.objective, rules.orthogonality, rules.cosine)
