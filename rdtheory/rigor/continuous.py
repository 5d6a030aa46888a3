"""Enclosures of R(D) of densities on the line under squared error."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from rdtheory import _progress
from rdtheory.rigor import exact, moments, points
from rdtheory.rigor._balls import flint
from rdtheory.rigor.densities import Density
from rdtheory.rigor.enclosure import Enclosure
from rdtheory.rigor.exact import Number
from rdtheory.rigor.moments import Law
from rdtheory.rigor.points import Points

MOST = 11  # digits that points in float64 are good for
GUARD = 60  # bits beyond the digits asked for


@_progress.doing("rigor.continuous_rate_at")
def continuous_rate_at(source: Density, distortion: Number, *, digits: int = 10) -> Enclosure:
    """R(D) of a density on the line under squared error, over all real reproductions, proved.

    Few points with masses q and a slope s give z(x) = Σ q_j 2^(-s (x - y_j)²), and both bounds:

    - no channel does better than -s D - ∫ f log z - log sup_y c(y), c(y) = ∫ f(x) / z(x) 2^(-s (x - y)²) dx, the
      supremum over the line by Taylor polynomials with a proven remainder and branch and bound;
    - the channel q_j 2^(-s (x - y_j)²) / z(x) does no worse than -s E d - ∫ f log z, and E d <= D is proved.

    Where the source is Gaussian noise of variance D added to something, Shannon's lower bound is R(D), and is enclosed.
    Beyond an end where next to nothing of the source is left, z is one below and y is drawn blindly above.

    Parameters
    ----------
    source : from `uniform`, `laplace` or `gaussian_mixture`.
    distortion : D > 0, a number or a string, taken exactly. From the variance on the rate is zero.
    digits : decimals; up to 11 where the optimum is on points, which are found in float64.

    Returns
    -------
    Enclosure
        ``lower <= R(D) <= upper`` in bits.

    Raises
    ------
    ValueError : D is not positive, or more than 11 digits of what is on points.
    ArithmeticError : no optimum on few points was found (as for Laplace at small D, where there are too many).
    RuntimeError : JAX is not in float64, which the solver that proposes needs.
    ImportError : python-flint is missing.

    References
    ----------
    Rose (1994), Fix (1978): the optimal reproduction is discrete. Johansson (2018) for the integrals, Trefethen (2008)
    for the error of Gauss and Legendre's rule.

    Examples
    --------
    >>> from rdtheory.rigor import decimal, uniform
    >>> print(decimal(continuous_rate_at(uniform(-1, 1), "1/12"), places=11))
    0.87804949141
    """
    if digits < 1:
        raise ValueError(f"digits must be at least 1, got {digits}")
    with flint.ctx.workprec(math.ceil(digits / math.log10(2)) + GUARD):
        D = exact.nonnegative("distortion", distortion)
        if D == 0:
            raise ValueError("distortion must be > 0: a source with a density has infinite rate at distortion zero")
        if source.variance <= D:
            return Enclosure(flint.arb(0), flint.arb(0))
        reach = _reach(source, D, digits + 3)
        if source.backward >= D:
            return _shannon(source, D, reach, digits)
        if digits > MOST:
            raise ValueError(f"digits must be at most {MOST} where the reproduction is on points, got {digits}")
        low, high = (
            end if edge is None else edge for edge, end in ((source.breaks[0], -reach), (source.breaks[-1], reach))
        )
        # The channel is made for a little less than D, so that rounding does not matter.
        spare = D * (1 - flint.fmpq(1, 10 ** min(digits + 2, 13)))
        cut = points.proposed(source, *(float(flint.arb(value)) for value in (spare, low, high)))
        if cut is None:
            raise ArithmeticError(
                f"no optimal reproduction on few points was found at distortion {distortion!r}, and only such ones are "
                "proved; rd.continuous.rate_at bounds others in float64"
            )
        if source.breaks[0] is None:
            low, high = (flint.fmpq(*float(end).as_integer_ratio()) for end in (cut.low, cut.high))
        return _enclosed(source, D, cut.points, low, high, digits)


def _enclosed(
    source: Density, D: flint.fmpq, found: Points, low: flint.fmpq, high: flint.fmpq, digits: int
) -> Enclosure:
    """Both bounds, from points that are not trusted, for a source that is looked at between two ends."""
    q = [flint.arb(float(mass)) for mass in found.masses]
    y = [flint.arb(float(place)) for place in found.places]
    slope, ln2 = flint.arb(float(found.slope)), flint.arb.const_log2()
    reach = min(-flint.arb(low), flint.arb(high))
    if not (slope > 0 and all(mass > 0 for mass in q)) or (source.breaks[0] is None and not reach > 0):
        return Enclosure(flint.arb(0), flint.arb("inf"))  # no law, or no line below R
    law = Law(y, q, slope * ln2)
    panels = moments.panels(source, law, low, high, digits + 8)
    lost, lost_power, _ = source.tail(reach)
    log_z = _mean_log(source, lambda x, analytic: moments.partition(law, x).log(analytic=analytic), low, high, digits)
    # Lower: λ = 1/z between the ends, and one beyond them.
    greatest = moments.supremum(panels, law, low, high, digits + 3) + lost
    lower = (-slope * flint.arb(D) - log_z - greatest.log() / ln2).lower()
    # Upper: y by q K / z between the ends, and drawn blindly from q beyond them.
    total = sum(q, flint.arb(0))
    mean, power = (sum((m * v**k for m, v in zip(q, y, strict=True)), flint.arb(0)) / total for k in (1, 2))
    blind = 2 * lost_power + (mean**2 + power) * lost  # E (x - y)² there, as 2 abs(x y) ≤ x² + y²
    spent = sum((m * moments.moments(panels, law, v, 3)[2] for m, v in zip(q, y, strict=True)), flint.arb(0))
    if not spent + blind <= flint.arb(D):
        return Enclosure(_at_least_zero(lower), flint.arb("inf"))
    inside = 1 - lost * flint.arb(0.5, 0.5)
    upper = (-slope * spent - log_z + inside * total.log() / ln2).upper()
    return Enclosure(_at_least_zero(lower), upper)


def _shannon(source: Density, D: flint.fmpq, reach: flint.fmpq, digits: int) -> Enclosure:
    """Shannon's lower bound where it is tight, h(X) - ½ log 2πe D."""
    found = flint.arb(0)
    for piece, a, b in moments.spans(source, -reach, reach):
        found -= _mean_log(source, lambda x, analytic, f=piece: f(x).log(analytic=analytic), a, b, digits)
    lost = source.tail(flint.arb(reach))[2] * flint.arb(0, 1)
    ln2 = flint.arb.const_log2()
    rate = found + lost / ln2 - (2 * flint.arb.pi() * flint.arb(D)).log() / ln2 / 2 - 1 / ln2 / 2
    return Enclosure(_at_least_zero(rate.lower()), rate.upper())


def _mean_log(source: Density, logarithm: Callable, low: flint.fmpq, high: flint.fmpq, digits: int) -> flint.arb:
    """∫ f(x) `logarithm`(x) dx between the ends, in bits for one in nats, by FLINT's quadrature."""
    length, found = flint.fmpq(*source.source.scale.as_integer_ratio()), flint.arb(0)
    for piece, a, b in moments.spans(source, low, high):
        count = max(1, math.ceil(float(flint.arb((b - a) / length))))

        edges = [flint.acb(flint.arb(a + (b - a) * flint.fmpq(i, count))) for i in range(count + 1)]
        integrand = _times(piece, logarithm)
        for start, end in pairwise(edges):
            found += flint.acb.integral(integrand, start, end, abs_tol=flint.arb(10) ** (-digits - 5)).real
    return found / flint.arb.const_log2()


def _times(piece: Callable, logarithm: Callable) -> Callable:
    return lambda x, analytic: piece(x) * logarithm(x, analytic)


def _reach(source: Density, D: flint.fmpq, digits: int) -> flint.fmpq:
    """Beyond which the source has next to no power."""
    T = flint.fmpq(1)
    while source.tail(flint.arb(T))[1] > flint.arb(D) * flint.arb(10) ** (-digits) or T < abs(source.mean):
        T *= flint.fmpq(21, 20)
    return T


def _at_least_zero(bound: flint.arb) -> flint.arb:
    return bound if bound > 0 else flint.arb(0)
