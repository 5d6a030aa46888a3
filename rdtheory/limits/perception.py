"""Rate-distortion under a second demand: on the law of the reproduction, or on what a classifier makes of it.

For discrete sources both are convex constraints of a program, solved with a certificate. A coin and a Gaussian have
formulas; for the Gaussian one encoder serves every demand that its rate can meet (universality).
"""

import math
from typing import Literal

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import entr
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _progress
from rdtheory.limits._arguments import TOL
from rdtheory.limits.convex import demands
from rdtheory.results import ConstrainedRate, GaussianDemands

__all__ = ["bernoulli", "classification_rate_at", "gaussian", "gaussian_classification", "rate_at"]

LN2 = math.log(2)
MAX_STEPS = 100
PROGRAMS = {"total variation": demands.total_variation, "kullback-leibler": demands.divergence}


@_progress.doing("perception.rate_at")
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


@_progress.doing("classification_rate_at")
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

    So one encoder for both demands costs their sum here, where for a Gaussian it would cost the dearer one, 0.531.
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


def bernoulli(
    probability: Float[ArrayLike, ""], distortion: Float[ArrayLike, ""], perception: Float[ArrayLike, ""]
) -> Float[Array, ""]:
    r"""R(D, P) of a coin, probability of error, total variation.

    R(D) is attained by an X̂ with too few ones, r = (p - D) / (1 - 2D) < p <= ½. If that is further than P from p, both
    constraints hold with equality, which leaves one joint law of X and X̂: r = p - P, and the errors 0 to 1 and 1 to 0
    have the probabilities (D - P)/2 and (D + P)/2. So

    .. math:: R(D, P) = h(p) + h(p - P) - H\big(\tfrac{D-P}2, \tfrac{D+P}2, p - \tfrac{D+P}2, 1 - p - \tfrac{D-P}2\big)

    until X and X̂ are independent, at D = P + 2 (1 - p)(p - P), and 0 from there on.

    Parameters
    ----------
    probability : p in [0, 1].
    distortion : D >= 0, probability of error.
    perception : P >= 0, total variation distance.

    Returns
    -------
    R(D, P) in bits per symbol.

    Raises
    ------
    ValueError : p outside [0, 1], a negative D or P.

    References
    ----------
    Blau & Michaeli (2019); Zhang, Qian, Chen & Khisti (2021). Derived from the above.

    Examples
    --------
    >>> print(bernoulli(0.3, 0.1, 0.0).round(8), bernoulli(0.3, 0.1, 1.0).round(8))
    0.42642154 0.41229531
    """
    p, p_ok = _checks.nonnegative("probability", probability)
    p_ok &= _checks.holds(_checks.look(p)[1] <= 1, lambda: f"probability must be at most 1, got {float(p)}")
    D, D_ok = _checks.nonnegative("distortion", distortion)
    P, P_ok = _checks.nonnegative("perception", perception)
    return _checks.poison(_bernoulli(p, D, P), p_ok & D_ok & P_ok)


def gaussian(
    variance: Float[ArrayLike, ""], distortion: Float[ArrayLike, ""], perception: Float[ArrayLike, ""]
) -> GaussianDemands:
    r"""R(D, P) of a Gaussian under squared error and the squared Wasserstein-2 distance of the laws.

    .. math:: R(D, P) = \tfrac12\log\frac{1}{1-\kappa^2}, \qquad
        \kappa = \max\Big(\frac{\sigma^2 + \hat\sigma^2 - D}{2\sigma\hat\sigma}, 0\Big), \qquad \hat\sigma =
        \max\big(\sigma - \sqrt P, \sqrt{(\sigma^2 - D)^+}\big).

    With the moments of X and X̂ given, I(X;X̂) is least where they are jointly Gaussian, and W₂² is at least (σ - σ̂)².
    E (X - X̂)² <= D asks for a correlation κ of σ̂ and D as above, which has its least, √(1 - D/σ²), at σ̂² = σ² - D: that
    is R(D), and realistic enough while √P >= σ - σ̂. Else σ̂ is as near to it as P allows.

    **Universality.** What is sent may be anything jointly Gaussian with X of a correlation κ₀ >= κ, as Z of unit
    variance: the decoder makes

    .. math:: \hat X = \hat\sigma\big(\tfrac{\kappa}{\kappa_0} Z + \sqrt{1 - \kappa^2/\kappa_0^2}\,N\big).

    So one encoder of rate R serves all (D, P) with R(D, P) <= R. For discrete sources that is not so; see
    `classification_rate_at`.

    Parameters
    ----------
    variance : σ² >= 0.
    distortion : D >= 0.
    perception : P >= 0, squared Wasserstein-2 distance, in the units of D.

    Returns
    -------
    GaussianDemands
        ``rate`` in bits per symbol, ``deviation`` σ̂ and ``correlation`` κ. Differentiable where the rate is
        positive and finite, and D is not where P begins to matter.

    Raises
    ------
    ValueError : a negative argument.

    References
    ----------
    Zhang, Qian, Chen & Khisti (2021), Universal rate-distortion-perception representations for lossy compression.

    Examples
    --------
    Perfect realism at the distortion of half the variance:

    >>> found = gaussian(1.0, 0.5, 0.0)
    >>> print(f"{found.rate:.6f} instead of 0.5 bits, {found.deviation}, {found.correlation}")
    0.596323 instead of 0.5 bits, 1.0, 0.75
    """
    v, v_ok = _checks.nonnegative("variance", variance)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    P, P_ok = _checks.nonnegative("perception", perception)
    return _checks.poison(_gaussian(v, D, P), v_ok & D_ok & P_ok)


def gaussian_classification(
    variance: Float[ArrayLike, ""],
    correlation: Float[ArrayLike, ""],
    distortion: Float[ArrayLike, ""],
    information: Float[ArrayLike, ""],
) -> GaussianDemands:
    r"""R(D, C) of a Gaussian X that must also tell of a Gaussian S: h(S | X̂) <= C, which is I(S;X̂) >= h(S) - C.

    .. math:: R(D, C) = \max\Big\{\tfrac12\log^+\frac{\sigma^2}{D},\;
        -\tfrac12\log\Big[1 - \frac{1 - 2^{-2(h(S) - C)}}{\rho^2}\Big]\Big\} .

    S is a multiple of X plus independent noise, so by the entropy power inequality, given X̂, an X̂ of rate I tells of S
    no more than :math:`-\tfrac12\log[1 - \rho^2(1 - 2^{-2I})]` bits: solved for I that is the second term, and a
    jointly Gaussian X̂ of the larger rate, scaled to E[X | Z], meets both demands. So one encoder serves all (D, C) with
    R(D, C) <= R, and two demands cost no more than the dearer of them. For discrete sources they can cost their sum:
    see `classification_rate_at`.

    Parameters
    ----------
    variance : σ² >= 0 of X.
    correlation : ρ of S and X, in [-1, 1].
    distortion : D >= 0, squared error.
    information : h(S) - C >= 0, bits of S that X̂ must tell; at most I(S;X) = -½ log(1 - ρ²), else the rate is infinite.

    Returns
    -------
    GaussianDemands
        ``rate`` in bits per symbol, ``deviation`` and ``correlation`` of an X̂ that meets both.

    Raises
    ------
    ValueError : a negative variance, distortion or information, a correlation outside [-1, 1].

    References
    ----------
    Nguyen, Nguyen & Bose (2025), for the result; derived from the above.

    Examples
    --------
    >>> print(f"{gaussian_classification(1.0, 0.8, 0.5, 0.4).rate:.6f}")
    0.789055
    """
    v, v_ok = _checks.nonnegative("variance", variance)
    rho, rho_ok = _checks.finite("correlation", correlation, 0)
    _, value = _checks.look(rho)
    rho_ok &= _checks.holds(abs(value) <= 1, lambda: f"correlation must be in [-1, 1], got {value}")
    D, D_ok = _checks.nonnegative("distortion", distortion)
    bits, bits_ok = _checks.nonnegative("information", information)
    return _checks.poison(_gaussian_classification(v, rho, D, bits), v_ok & rho_ok & D_ok & bits_ok)


@_compile.jit
def _bernoulli(p: Array, D: Array, P: Array) -> Array:
    p = jnp.minimum(p, 1 - p)
    fewest = jnp.where(D < p, (p - D) / jnp.where(D < p, 1 - 2 * D, 1.0), 0.0)  # ones of the X̂ that has R(D)
    free = fewest >= p - P
    d, level = jnp.where(free, jnp.minimum(D, p), D), jnp.where(free, p - fewest, P)
    independent = D >= P + 2 * (1 - p) * (p - P)
    joint = jnp.stack([(d - level) / 2, (d + level) / 2, p - (d + level) / 2, 1 - p - (d - level) / 2])
    marginals = jnp.stack([p, 1 - p, p - level, 1 - p + level])
    nats = jnp.sum(entr(jnp.maximum(marginals, 0.0))) - jnp.sum(entr(jnp.maximum(joint, 0.0)))
    return jnp.where(jnp.where(free, D >= p, independent), 0.0, jnp.maximum(nats, 0.0) / LN2)


@_compile.jit
def _gaussian(variance: Array, D: Array, P: Array) -> GaussianDemands:
    # In units of σ and σ², so that nothing overflows.
    unit = jnp.where(variance > 0, variance, 1.0)
    spent, described = D / unit, D < variance
    enough = jnp.sqrt(jnp.where(described, (variance - D) / unit, 1.0)) * described  # σ̂ of R(D)
    least = jnp.where(variance > 0, 1 - jnp.sqrt(P / unit), 0.0)
    deviation = jnp.maximum(least, enough)
    missing = (spent - (1 - deviation) ** 2) / (2 * deviation)  # 1 - κ, with its digits
    missing = jnp.where(deviation > 0, jnp.clip(missing, 0.0, 1.0), 1.0)
    correlation = 1 - missing
    # Of R(D) itself, whose 1 - κ² is D/σ².
    lost = jnp.where(least > enough, missing * (1 + correlation), jnp.where(described, spent, 1.0))
    return GaussianDemands(0.5 * jnp.log2(1 / lost), jnp.sqrt(variance) * deviation, correlation)


@_compile.jit
def _gaussian_classification(variance: Array, rho: Array, D: Array, bits: Array) -> GaussianDemands:
    kept = jnp.where(D < variance, D / jnp.where(D < variance, variance, 1.0), 1.0)  # 1 - κ² that D allows
    told = -jnp.expm1(-2 * LN2 * bits)
    square = rho**2
    possible = told <= square
    allowed = jnp.where(possible, 1 - told / jnp.where(square > 0, square, 1.0), 0.0)
    lost = jnp.minimum(kept, allowed)
    rate = jnp.where(possible, 0.5 * jnp.log2(1 / lost), jnp.inf)
    correlation = jnp.sqrt(1 - lost)
    return GaussianDemands(rate, jnp.sqrt(variance) * correlation, correlation)
