r"""Integrals of f(x) / z(x) · K(x - y) (x - y)^k in balls, and with them the supremum of c over the whole line.

Gauss and Legendre's rule on panels, with its error proved: with M a bound of an analytic integrand on the closed
ellipse with foci at the ends of a panel of length 2h and semi-axes h(ρ ± 1/ρ)/2, N nodes err by at most
h · 64/15 · M ρ^(-2N) / (1 - ρ^-2) (Chebyshev coefficients are at most 2 M ρ^-k, those below 2N are integrated exactly,
each other is missed by at most 2 + 2/15; Trefethen 2008). M comes from balls of complex numbers that cover the ellipse:
that z has no zero there is part of what they prove. FLINT's own quadrature is as rigorous, but must be called once for
each integral; here thousands share the values of f / z.

c(y) = ∫ f / z K(x - y) dx is entire, and |c(y + iv)| ≤ 2^(s v²) c(y). So by Cauchy's estimate its Taylor coefficients
are at most S e^(βρ²) / ρ^k, S = sup c, β = s ln 2, which bounds the remainder by a multiple of what is looked for.
"""

from __future__ import annotations

import functools
import math
from itertools import pairwise
from typing import NamedTuple

from rdtheory.rigor._balls import flint
from rdtheory.rigor.densities import Density

FOCUS = 3  # ρ
BOXES = (6, 2)  # that cover the upper half of an ellipse's rectangle
REACH = 0.35  # of a Taylor polynomial, in widths 1/√β
SHORTEST = 1e-6  # of a panel, in widths: if even that has a zero of z nearby, there is no proof


class Law(NamedTuple):
    """What is integrated against: points and their masses, exact, and β = s ln 2."""

    places: list[flint.arb]
    masses: list[flint.arb]
    beta: flint.arb


class Panel(NamedTuple):
    """f / z on an interval."""

    middle: flint.arb
    half: flint.arb
    nodes: list[flint.arb]
    values: list[flint.arb]  # f / z at the nodes, times the weights
    error: flint.arb  # of the rule, per bound of what f / z is multiplied with


def partition(law: Law, x: flint.acb) -> flint.acb:
    """Z(x) = Σ q_j K(x - y_j)."""
    found = flint.acb(0)
    for place, mass in zip(law.places, law.masses, strict=True):
        found += mass * (-law.beta * (x - place) ** 2).exp()
    return found


def panels(density: Density, law: Law, low: flint.fmpq, high: flint.fmpq, digits: int) -> list[Panel]:
    """Panels from `low` to `high`, each short enough for its error to be next to nothing."""
    width = 1 / float(law.beta) ** 0.5
    found = []
    for piece, a, b in spans(density, low, high):
        count = max(1, math.ceil(float(flint.arb(b - a)) / (0.7 * width)))
        edges = [a + (b - a) * i / count for i in range(count + 1)]
        left = list(pairwise(edges))[::-1]
        while left:
            start, end = left.pop()
            panel = _panel(piece, law, start, end, digits)
            if panel is not None:
                found.append(panel)
            elif float(flint.arb(end - start)) < SHORTEST * width:
                raise ArithmeticError("the reproduction law vanishes next to the source; nothing can be proved with it")
            else:
                left += [((start + end) / 2, end), (start, (start + end) / 2)]
    return found


def spans(density: Density, low: flint.fmpq, high: flint.fmpq) -> list[tuple]:
    """The entire functions that the density is, and from where to where between two ends."""
    ends = [low if edge is None else max(edge, low) for edge in density.breaks[:-1]]
    ends.append(high if density.breaks[-1] is None else min(density.breaks[-1], high))
    return [(piece, a, b) for piece, a, b in zip(density.pieces, ends[:-1], ends[1:], strict=True) if a < b]


def _panel(piece, law: Law, start: flint.fmpq, end: flint.fmpq, digits: int) -> Panel | None:
    """The ratio f / z on a panel; None if it is too long."""
    nodes, weights = _rule(2 * (digits // 2 + 4), flint.ctx.prec)
    middle, half = flint.arb((start + end) / 2), flint.arb((end - start) / 2)
    tall = half * (FOCUS - flint.arb(1) / FOCUS) / 2
    long = half * (FOCUS + flint.arb(1) / FOCUS) / 2
    bound = flint.arb(0)
    for i in range(BOXES[0]):
        for j in range(BOXES[1]):
            # f and z are real on the line, so that the lower half is the mirror image of the upper.
            box = flint.acb(
                middle + long * flint.arb((2 * i + 1) / BOXES[0] - 1, 1.001 / BOXES[0]),  # they overlap
                tall * flint.arb((2 * j + 1) / (2 * BOXES[1]), 1.001 / (2 * BOXES[1])),
            )
            ratio = piece(box) / partition(law, box)
            if not ratio.is_finite():
                return None
            bound = bound.max(ratio.abs_upper())
    power = flint.arb(FOCUS) ** (-2 * len(nodes))
    error = (half * flint.arb(64) / 15 * bound * power / (1 - flint.arb(FOCUS) ** -2)).upper()
    if not error < flint.arb(10) ** (-digits):
        return None
    places = [middle + half * node for node in nodes]
    values = [
        half * weight * (piece(flint.acb(x)) / partition(law, flint.acb(x))).real
        for x, weight in zip(places, weights, strict=True)
    ]
    return Panel(middle, half, places, values, error)


@functools.cache
def _rule(count: int, precision: int) -> tuple[list[flint.arb], list[flint.arb]]:
    """Nodes and weights on [-1, 1], in the precision that is set."""
    pairs = [flint.arb.legendre_p_root(count, i, weight=True) for i in range(count)]
    return [node for node, _ in pairs], [weight for _, weight in pairs]


def moments(found: list[Panel], law: Law, y: flint.arb, count: int) -> list[flint.arb]:
    """∫ f / z K(x - y) (x - y)^k for k < count."""
    sums = [flint.arb(0)] * count
    for panel in found:
        terms = [value * (-law.beta * (x - y) ** 2).exp() for x, value in zip(panel.nodes, panel.values, strict=True)]
        distances = [x - y for x in panel.nodes]
        tall = panel.half * (FOCUS - flint.arb(1) / FOCUS) / 2
        long = panel.half * (FOCUS + flint.arb(1) / FOCUS) / 2
        away = (abs(panel.middle - y) - long).lower()
        away = away if away > 0 else flint.arb(0)
        largest = (law.beta * (tall**2 - away**2)).exp() * panel.error
        reach = abs(panel.middle - y) + long
        for k in range(count):
            sums[k] += _around(sum(terms, flint.arb(0)), largest)
            terms = [term * distance for term, distance in zip(terms, distances, strict=True)]
            largest *= reach
    return sums


def supremum(found: list[Panel], law: Law, low: flint.fmpq, high: flint.fmpq, digits: int) -> flint.arb:
    """A number not below c(y) anywhere. Beyond the ends of the source c falls, as all of the source moves away."""
    width = float(law.beta) ** -0.5
    count = max(1, math.ceil(float(flint.arb(high - low)) / (2 * REACH * width)))
    reach = (flint.arb(high - low) / (2 * count)).upper()
    terms, remainder = _degree(law, reach, digits)
    greatest = flint.arb(0)
    for i in range(count):
        y = flint.arb(low + (high - low) * flint.fmpq(2 * i + 1, 2 * count)).mid()
        m = moments(found, law, y, terms)
        # 2^(-s (x - y - t)²) = K(x - y) e^(2β (x - y) t) e^(-β t²)
        growth = [m[k] * (2 * law.beta) ** k / flint.arb.fac_ui(k) for k in range(terms)]
        decay = [
            (-law.beta) ** (k // 2) / flint.arb.fac_ui(k // 2) if k % 2 == 0 else flint.arb(0) for k in range(terms)
        ]
        product = flint.arb_poly(growth) * flint.arb_poly(decay)
        scaled = flint.arb_poly([product[k] * reach**k for k in range(terms)])
        # The middle was rounded: the interval is a little longer than from -1 to 1.
        greatest = greatest.max(polynomial_maximum(scaled, flint.arb(10) ** (-digits)))
    return (greatest / (1 - remainder)).upper()


def _degree(law: Law, reach: flint.arb, digits: int) -> tuple[int, flint.arb]:
    """How many Taylor coefficients leave a remainder of 10^-digits of the supremum, and that remainder."""
    terms = 4
    while True:
        radius = (flint.arb(terms) / (2 * law.beta)).sqrt()
        ratio = reach * flint.arb(1.001) / radius
        remainder = ((law.beta * radius**2).exp() * ratio**terms / (1 - ratio)).upper()
        if ratio < 1 and remainder < flint.arb(10) ** (-digits):
            return terms, remainder
        terms += 2


def polynomial_maximum(polynomial: flint.arb_poly, tolerance: flint.arb) -> flint.arb:
    """A number at least the maximum over [-1, 1] (and 0.001 beyond), above it by little more than the tolerance."""
    first = polynomial.derivative()
    second = first.derivative()
    if not all(value.is_finite() for value in polynomial.coeffs()):
        return flint.arb("inf")
    seen, found = flint.arb(0), flint.arb(0)
    left = [(-1.001, 1.001)]
    while left:
        a, b = left.pop()
        middle, half = flint.arb((a + b) / 2), flint.arb((b - a) / 2) * flint.arb(1.000001)
        interval = _around(middle, half)
        bend = second(interval)
        at = middle
        if bend < 0:  # concave: any tangent is above, best that at the top
            for _ in range(3):
                step = (at - first(at) / second(at)).mid()
                at = step if abs(step - middle) < half else at
            upper = (polynomial(at) + abs(first(at)) * 2 * half).upper()
        else:
            upper = (polynomial(middle) + abs(first(middle)) * half + bend.abs_upper() * half**2 / 2).upper()
        value = polynomial(at)
        seen = seen.max(value.mid())
        if upper <= seen + tolerance + 4 * value.rad() or b - a < 1e-9:
            found = found.max(upper)
        else:
            left += [(a, (a + b) / 2), ((a + b) / 2, b)]
    return found.upper()


def _around(middle: flint.arb, radius: flint.arb) -> flint.arb:
    """The ball about `middle` that is wider by `radius` on either side."""
    return middle + radius * flint.arb(0, 1)
