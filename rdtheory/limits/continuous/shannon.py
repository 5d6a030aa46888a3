r"""Shannon's lower bound of a density, h(X) - max h(N) over noises N that spend D, and how far below R(D) it can be.

For ρ(u) = abs(u)^r the noise is a generalized Gaussian and its entropy a formula. For any other ρ every slope s gives a
bound, R(D) >= h(X) - s D - log ∫ 2^(-s ρ(u)) du, of which the best is looked for. What remains are one or two
integrals, on panels that resolve them.
"""

import math
from collections.abc import Callable

import jax
import numpy as np
import scipy
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, sources
from rdtheory.limits.continuous import crossing, refine
from rdtheory.limits.continuous.law import EPS, Law, in_units, law_of, units_of
from rdtheory.limits.continuous.nodes import LN2
from rdtheory.limits.continuous.panels import rule
from rdtheory.results import ShannonBound
from rdtheory.sources import Source

__all__ = ["shannon_gap", "shannon_lower_bound"]

# Units of rounding allowed to an entropy, of its terms. What is left holds the sums of a bound, too: they round by two
# units of the entropies of source and noise, and of the logarithm of a length, which is below 1100 bits.
ROUNDINGS = 1000
NEAR = 0.1  # nats about the slope that spends D, between which the best one is


def shannon_lower_bound(
    source: Source, distortion: Float[ArrayLike, "..."], *, difference: float | Callable = 2.0
) -> ShannonBound:
    r"""Shannon's lower bound on R(D) of a density under any distortion ρ(x - y).

    .. math:: R(D) \ge h(X) - \phi(D), \qquad \phi(D) = \max_{\mathbb E\,\rho(N)\le D} h(N)
        = \min_{s>0}\; s D + \log\int 2^{-s\rho(u)}\,du,

    since h(X | Y) = h(X - Y | Y) <= h(X - Y). For ρ(u) = abs(u)^r,

    .. math:: \phi(D) = \log\frac{2\,\Gamma(1/r)}{r} + \tfrac1r\log(r e D),

    ½ log 2πeD for squared and log 2eD for absolute error. It is R(D) where X is such a noise plus something independent
    (a Gaussian; a Laplacian under absolute error), and R(D) comes near it as D falls; see `shannon_gap`. From the
    distortion of a constant on it is below zero, and says nothing.

    Parameters
    ----------
    source : a density from `rdtheory.sources`; it need not be normalized.
    distortion : D > 0, in units of ρ; a number or an array of any shape.
    difference : r > 0 for ρ(u) = abs(u)^r, or a function ρ as for `rate_at`, which grows without bound on either side.

    Returns
    -------
    ShannonBound
        ``rate`` in bits per symbol, of the shape of `distortion`, not clipped; ``slope``, ``entropy`` h(X),
        ``noise_entropy`` φ(D), and ``error``, which is subtracted: what the last halving of all panels changed in an
        integral, what a far end may hold beyond them, and rounding. A driver on the host, as `rate_at` is.

    Raises
    ------
    ValueError : D is not positive, the density cannot be integrated, `difference` is no such function, or the source
        is one of samples.
    TypeError : the distortion is traced, or the source is no source.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Shannon (1959); Berger (1971), section 4.3; Linkov (1965) for small D.

    Examples
    --------
    >>> from rdtheory import sources
    >>> bound = shannon_lower_bound(sources.uniform(-1.0, 1.0), 0.1, difference=1.0)
    >>> print(f"{bound.rate:.6f} = {bound.entropy:.0f} - ({bound.noise_entropy:.6f})")
    1.879233 = 1 - (-0.879233)
    """
    _checks.require_x64("continuous.shannon_lower_bound")
    if isinstance(distortion, Tracer):
        raise TypeError("continuous.shannon_lower_bound integrates on the host: call it outside jit, vmap and grad")
    if not isinstance(source, Source):
        raise TypeError(
            f"source must be made by rdtheory.sources, got {type(source).__name__}; for probabilities of letters call "
            "discrete.shannon_lower_bound(source_pmf, distortion_matrix, distortion)"
        )
    if source.log_density is None:
        raise ValueError("source must have a density: samples are letters, for which call discrete.shannon_lower_bound")
    D, _ = _checks.finite("distortion", distortion)
    D = np.asarray(D)
    _checks.holds((D > 0).all(), lambda: f"distortion must be > 0, got {D}")
    difference = 1.0 if difference is abs else difference
    rho = None if difference == 2 else refine.measure(difference, source.scale)
    law, log_length = _resolved(source)
    h, h_error = entropy(law)
    h += log_length
    noises = [noise(difference, rho, float(one)) for one in D.ravel()]
    slope, phi, phi_error = np.reshape(noises, (*D.shape, 3)).transpose(-1, *range(D.ndim))
    error = h_error + phi_error
    values = (h - phi - error, D, slope, np.full(D.shape, h), phi, error)
    return ShannonBound(*jax.device_put([np.asarray(value) for value in values]))


def shannon_gap(fisher_information: Float[ArrayLike, ""], distortion: Float[ArrayLike, ""]) -> Float[Array, ""]:
    r"""How far R(D) can be above Shannon's lower bound under squared error, from the Fisher information J = E (f'/f)².

    .. math:: R(D) - R_{SLB}(D) \le h(X + N) - h(X) \le \tfrac12\log(1 + D J), \qquad N \sim \mathcal N(0, D),

    as the channel Y = X + N has the rate h(X + N) - h(N); then, by de Bruijn, h(X + N) - h(X) is the integral of
    ½ J(X + √t Z) over t up to D, in nats, and J(X + √t Z) <= 1/(1/J + t) by Stam. It can be far too large: for the
    generalized Gaussian of shape 1.5 and D = .1 by a factor of more than ten thousand.

    Parameters
    ----------
    fisher_information : J >= 0; 1/σ² for a Gaussian, `sources.generalized_gaussian_fisher_information` for others.
    distortion : D >= 0, squared error.

    Returns
    -------
    Bits per symbol.

    Raises
    ------
    ValueError : a negative J or D.

    References
    ----------
    Stam (1959); Cover & Thomas, section 17.8.

    Examples
    --------
    >>> print(shannon_gap(1.0, 1.0))
    0.5
    """
    J, J_ok = _checks.nonnegative("fisher_information", fisher_information)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    xp, information, allowed = _checks.look(J, D)
    return _checks.poison(jax.device_put(xp.log1p(allowed * information) / (2 * LN2)), J_ok & D_ok)


def best(law: Law, difference: float | Callable, rho: refine.Measure | None, D: float) -> tuple[float, float]:
    """The bound in bits, all errors subtracted, in the units of a law, and its slope; -inf where there is none.

    Examples
    --------
    >>> from rdtheory import sources
    >>> print("{:.9f} {:.6f}".format(*best(law_of(sources.gaussian(1.0)), 2.0, None, 0.25)))
    1.000000000 2.885390
    """
    try:
        (h, h_error), (slope, phi, phi_error) = entropy(law), noise(difference, rho, D)
    except ValueError:  # of a bounded ρ every noise has more entropy than any
        return -math.inf, math.inf
    return h - phi - h_error - phi_error, slope


def entropy(law: Law) -> tuple[float, float]:
    """Differential entropy in bits, and by how much it may be off.

    h = log A - B/A of the density as given, A = ∫ g and B = ∫ g log g, with g at most one: an error of A moves h by its
    share of 1 + abs(B)/A, and one of B by its share of A.

    Examples
    --------
    >>> from rdtheory import sources
    >>> print(f"{entropy(law_of(sources.uniform(0.0, 2.0)))[0]:.9f}")
    1.000000000
    """
    panels = law.panels
    assert panels is not None
    x, w = rule(panels.left, panels.right)
    log_f = law.log_density(x)
    p = w * np.exp(log_f)
    h = -float(np.sum(np.where(p > 0, p * np.where(p > 0, log_f, 0.0), 0.0)))
    size = float(np.sum(np.where(p > 0, p * np.abs(np.where(p > 0, log_f, 0.0)), 0.0)))
    depth = h + float(np.max(log_f))  # -B/A, where the density is one at its greatest
    mass, nats = _beyond(law)
    error = (2 * panels.error + mass) * (2 + abs(depth)) + nats + ROUNDINGS * EPS * (1 + size)
    error += float(np.sum(p * law.jitter(x) * (2 + np.abs(np.where(p > 0, log_f, 0.0)))))
    return h / LN2, error / LN2


def noise(difference: float | Callable, rho: refine.Measure | None, D: float) -> tuple[float, float, float]:
    """Slope, entropy φ(D) in bits and by how much more it may be.

    Examples
    --------
    >>> slope, phi, _ = noise(1.0, None, 0.5)
    >>> print(f"{slope:.6f} {phi:.6f}")
    2.885390 1.442695
    """
    if not callable(difference):
        r = float(difference)
        log_spread = math.log(r) + math.log(D)  # r D may be below the normal numbers, which keep fewer digits
        phi = math.log(2 / r) + math.lgamma(1 / r) + (log_spread + 1) / r
        terms = 1 + abs(math.lgamma(1 / r)) + (1 + abs(math.log(r)) + abs(math.log(D))) / r
        return 1 / r / D / LN2, phi / LN2, ROUNDINGS * EPS * terms / LN2
    assert rho is not None
    start = math.log(crossing.slope_of(lambda slope: refine.noise_distortion(rho, slope), 1 / (LN2 * D), D))

    def at(log_slope: float) -> tuple[float, float]:
        slope = math.exp(log_slope)
        kernel = sources.from_log_density(lambda u: -LN2 * slope * rho(u), (-math.inf, math.inf), (0.0,))
        try:
            law, _ = _resolved(kernel)
        except ValueError as error:
            raise ValueError(
                "difference must grow without bound on either side, or noise of any entropy spends next to nothing"
            ) from error
        assert law.panels is not None
        off = 2 * law.panels.error + _beyond(law)[0]
        terms = 1 + slope * D * LN2 + abs(law.panels.log_scale)
        return slope * D + law.panels.log_scale / LN2, (off + ROUNDINGS * EPS * terms) / LN2

    found = scipy.optimize.minimize_scalar(
        lambda t: at(t)[0], bounds=(start - NEAR, start + NEAR), method="bounded", options={"xatol": 1e-6}
    )
    return math.exp(found.x), *at(float(found.x))


def _resolved(source: Source) -> tuple[Law, float]:
    """The law in units of its own, and the logarithm of their length."""
    units = units_of(source)
    return law_of(in_units(source, units), units), math.log2(units.length)


def _beyond(law: Law) -> tuple[float, float]:
    """Mass beyond the panels of infinite ends, and its part of -∫ f log f in nats.

    As if r f(r) fell on as (log r)^-b from there on, r being the distance, with the b of its last doubling. A power of
    r, or whatever falls ever faster, has less; what flattens even more than 1 / (r (log r)^b) has more.
    """
    panels, source = law.panels, law.source
    assert panels is not None
    ends = (
        (panels.right[-1], source.breaks[-1], source.support[1]),
        (panels.left[0], source.breaks[0], source.support[0]),
    )
    mass = nats = 0.0
    for end, start, limit in ends:
        log_f, before = law.log_density(np.array([end, (end + start) / 2]))
        if not math.isinf(limit) or not np.isfinite(log_f):
            continue
        # notation: u = log r, g(u) = r f(r), of which ∫ g du is the mass and ∫ g (u - log g) du the part
        u = max(math.log(abs(end - start)), LN2)
        log_g = float(log_f) + u
        b = (float(before - log_f) / LN2 - 1) * (u - LN2 / 2)
        spread = math.exp(log_g) * u
        mass += spread / (b - 1) if b > 1 else math.inf
        nats += spread * (u / (b - 2) + abs(log_g) / (b - 1) + b / (b - 1) ** 2) if b > 2 else math.inf
    return 2 * mass, 2 * nats
