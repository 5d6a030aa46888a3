"""Rate-distortion under a second convex constraint: the law of the reproduction, or the error of its classifier."""

from typing import Literal

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks
from rdtheory.limits._arguments import TOL
from rdtheory.limits.convex import demands
from rdtheory.results import ConstrainedRate

__all__ = ["classification_rate_at", "rate_at"]

MAX_STEPS = 100
PROGRAMS = {"total variation": demands.total_variation, "kullback-leibler": demands.divergence}


def rate_at(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n n"],
    distortion: Float[ArrayLike, ""],
    perception: Float[ArrayLike, ""],
    *,
    divergence: Literal["total variation", "kullback-leibler"] = "total variation",
    tol: float | Array = TOL,
    max_steps: int | Array = MAX_STEPS,
) -> ConstrainedRate:
    r"""Rate-distortion-perception function R(D, P) under total variation or the Kullback-Leibler divergence, certified.

    Solves

    .. math:: \min_Q I(X;\hat X) \quad\text{subject to}\quad \mathbb E\,d \le D,\quad \Delta(p_{\hat X}, p_X) \le P,

    .. math:: \Delta(r, p) = \tfrac12 \sum_{\hat x} |r(\hat x) - p(\hat x)| \quad\text{or}\quad
        \sum_{\hat x} r(\hat x) \log_2 \frac{r(\hat x)}{p(\hat x)}.

    P = 0 is perfect realism, under either; from P = 1, or log2 of 1 / min p, on it is R(D) (with the reproductions of
    zero probability left out under Kullback-Leibler, where they are infinitely far). By duality each reproduction has
    a price: v between 0 and the multiplier of P, or the multiplier times log2 r/p. At P = 0 the feasible set has no
    interior, and below 1e-6 hardly any: for small D the gap can then stay above `tol` (1e-9 to 1e-3 bit seen).

    Parameters
    ----------
    source_pmf : (n,), sums to 1.
    distortion_matrix : (n, n), >= 0 and finite, zero on the diagonal: X itself is always a reproduction without fault.
    distortion : D >= 0.
    perception : P >= 0, a total variation distance, or a divergence in bits.
    divergence : Δ, static under ``jit``.
    tol : certified gap in bits at which to stop.
    max_steps : interior-point steps after which to stop anyway.

    Returns
    -------
    ConstrainedRate
        ``rate`` in bits with R(D, P) in [rate - gap, rate], ``slope`` and ``level_slope`` in bits per unit of D and
        of P, and a ``test_channel`` (n, n) that meets both, up to rounding of the marginal. No derivative is promised.

    Raises
    ------
    ValueError : a pmf that does not sum to 1, a matrix that is not square with a zero diagonal, a negative D or P, a
        divergence of another name.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Blau & Michaeli (2019), Rethinking lossy compression: the rate-distortion-perception tradeoff.

    Examples
    --------
    A biased coin, perfectly realistic: both kinds of error have probability D/2.

    >>> point = rate_at(jnp.array([0.7, 0.3]), 1 - jnp.eye(2), 0.1, 0.0)
    >>> print(point.rate.round(8), point.test_channel.round(6)[0])
    0.42642154 [0.928571 0.071429]

    Allowed a divergence of 0.001 bit, it shows the likelier side too often.

    >>> p = jnp.array([0.7, 0.3])
    >>> point = rate_at(p, 1 - jnp.eye(2), 0.1, 0.001, divergence="kullback-leibler")
    >>> print(f"{point.rate:.7f}", (p @ point.test_channel).round(4))
    0.4187519 [0.717 0.283]
    """
    _checks.require_x64("perception.rate_at")
    if divergence not in PROGRAMS:
        raise ValueError(f"divergence must be one of {', '.join(map(repr, PROGRAMS))}, got {divergence!r}")
    p, ok = _checks.pmf("source_pmf", source_pmf)
    d, d_ok = _checks.nonnegative("distortion_matrix", distortion_matrix, ndim=2)
    _checks.array("distortion_matrix", d, shape=(p.shape[0], p.shape[0]))
    _, values = _checks.look(d)
    d_ok &= _checks.no_flush("distortion_matrix", values)
    d_ok &= _checks.holds(
        (values.diagonal() == 0).all(), lambda: "distortion_matrix must be zero on its diagonal: X̂ = X costs nothing"
    )
    target, target_ok = _checks.nonnegative("distortion", distortion)
    level, level_ok = _checks.nonnegative("perception", perception)
    ok = ok & d_ok & target_ok & level_ok & _checks.stopping(tol, max_steps)
    program = PROGRAMS[divergence]
    return _checks.poison(program(p, d, target, level, tol, max_steps), ok)


def classification_rate_at(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"],
    error_matrix: Float[ArrayLike, "n m"],
    distortion: Float[ArrayLike, ""],
    error: Float[ArrayLike, ""],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = MAX_STEPS,
) -> ConstrainedRate:
    r"""Rate-distortion-classification function R(D, E) for a given classifier of the reproduction, certified.

    Solves

    .. math:: \min_Q I(X;\hat X) \quad\text{subject to}\quad \mathbb E\,d(X,\hat X) \le D,\quad
        \mathbb E\,e(X,\hat X) \le E,

    where e(x, x̂) is the probability that the classifier, shown x̂, errs about the label of x. Both constraints are
    linear, so the program is convex. (One on H(S|X̂), for the best classifier, is not convex and is not offered.)

    Parameters
    ----------
    source_pmf : (n,), sums to 1.
    distortion_matrix, error_matrix : (n, m), >= 0 and finite. Every source letter needs one reproduction that is best
        for both.
    distortion, error : D and E, at least their least means Σ_x p_x min_x̂.
    tol, max_steps : as for `rate_at`.

    Returns
    -------
    ConstrainedRate
        ``rate`` in bits with R(D, E) in [rate - gap, rate]; ``level`` is E; ``tilt`` is zero.

    Raises
    ------
    ValueError : as for `rate_at`; no reproduction of some letter is best for both; D or E below its least.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Liu, Zhang & Xiong (2019), On the classification-distortion-perception tradeoff; Zhang (2023), A rate-distortion-
    classification approach for lossy image compression.

    Examples
    --------
    Two fair bits: the first is to be reproduced, the second classified. R = 1 - h(0.1) + 1 - h(0.2).

    >>> first, second = jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 0, 1])
    >>> d, e = (1.0 * (bit[:, None] != bit[None, :]) for bit in (first, second))
    >>> print(classification_rate_at(jnp.full(4, 0.25), d, e, 0.1, 0.2).rate.round(8))
    0.80907631
    """
    _checks.require_x64("perception.classification_rate_at")
    p, ok = _checks.pmf("source_pmf", source_pmf)
    d, d_ok = _checks.distortion_matrix("distortion_matrix", distortion_matrix, p)
    e, e_ok = _checks.nonnegative("error_matrix", error_matrix, ndim=2)
    _checks.array("error_matrix", e, shape=d.shape)
    xp, d_values, e_values, mass = _checks.look(d, e, p)
    e_ok &= _checks.no_flush("error_matrix", e_values)
    d_ok &= _checks.holds(xp.isfinite(d_values).all(), lambda: "distortion_matrix must be finite")
    both = (d_values == d_values.min(axis=1, keepdims=True)) & (e_values == e_values.min(axis=1, keepdims=True))
    e_ok &= _checks.holds(
        (both.any(axis=1) | (mass == 0)).all(),
        lambda: "every source letter needs a reproduction of least distortion and least error at once",
    )
    target, target_ok = _checks.reachable("distortion", distortion, p, d)
    level, level_ok = _checks.reachable("error", error, p, e)
    ok = ok & d_ok & e_ok & target_ok & level_ok & _checks.stopping(tol, max_steps)
    return _checks.poison(demands.classification(p, d, target, e, level, tol, max_steps), ok)
