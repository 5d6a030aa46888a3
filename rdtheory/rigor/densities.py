"""Densities whose parameters are exact, with what a proof must know of them.

Those of `rdtheory.sources` are functions of floats, about which nothing can be proved. These are entire functions on
pieces of the line, which balls of complex numbers can be put into, and far ends in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rdtheory import sources
from rdtheory.rigor import exact
from rdtheory.rigor._balls import flint
from rdtheory.rigor.exact import Number, Numbers
from rdtheory.sources import Source

__all__ = ["Density", "gaussian_mixture", "laplace", "uniform"]


class Density(NamedTuple):
    """A probability density on the line, exactly."""

    pieces: tuple[Callable, ...]  #: entire functions of an ``acb``, each the density between two breaks
    breaks: tuple  #: their ends, ``fmpq``, one more than pieces; None for an infinite end
    mean: flint.fmpq  #: exact
    variance: flint.fmpq  #: exact
    tail: Callable  #: T -> mass, second moment about zero and at least abs(∫ f ln f), of what is beyond -T and T
    backward: flint.fmpq  #: D up to which X = Y + N(0, D) with Y independent, so that Shannon's lower bound is tight
    source: Source  #: the same in float64, for the solver that proposes


def uniform(low: Number, high: Number) -> Density:
    """Uniform on [low, high].

    Parameters
    ----------
    low, high : numbers or strings, low < high.

    Raises
    ------
    ValueError : the interval is empty.

    Examples
    --------
    >>> print(uniform("-1/2", "1/2").variance)
    1/12
    """
    a, b = (_finite(name, value) for name, value in (("low", low), ("high", high)))
    if a >= b:
        raise ValueError(f"high must be greater than low, got low = {low!r} and high = {high!r}")

    def density(x: flint.acb) -> flint.acb:
        return flint.acb(flint.arb(1 / (b - a)))

    def tail(T: flint.arb) -> tuple[flint.arb, flint.arb, flint.arb]:
        return flint.arb(0), flint.arb(0), flint.arb(0)

    source = sources.uniform(_float(a), _float(b))
    return Density((density,), (a, b), (a + b) / 2, (b - a) ** 2 / 12, tail, flint.fmpq(0), source)


def laplace(scale: Number) -> Density:
    """Laplace density exp(-abs(x) / scale) / (2 scale).

    Parameters
    ----------
    scale : a number or a string > 0, the mean absolute value.

    Raises
    ------
    ValueError : the scale is not positive.

    Examples
    --------
    >>> print(laplace("0.5").variance)
    1/2
    """
    b = _positive("scale", scale)

    def left(x: flint.acb) -> flint.acb:
        return (x / flint.arb(b)).exp() / (2 * flint.arb(b))

    def right(x: flint.acb) -> flint.acb:
        return left(-x)

    def tail(T: flint.arb) -> tuple[flint.arb, flint.arb, flint.arb]:
        mass = (-T / flint.arb(b)).exp()
        scale = flint.arb(b)
        return mass, mass * (T**2 + 2 * scale * T + 2 * scale**2), mass * (T / scale + 1 + abs((2 * scale).log()))

    source = sources.laplace(_float(b))
    return Density((left, right), (None, flint.fmpq(0), None), flint.fmpq(0), 2 * b**2, tail, flint.fmpq(0), source)


def gaussian_mixture(weights: Numbers, means: Numbers, scales: Numbers) -> Density:
    """Mixture of Gaussians.

    Parameters
    ----------
    weights, means, scales : as many of each, numbers or strings; scales are standard deviations > 0. The weights are
        divided by their exact sum.

    Raises
    ------
    ValueError : as many they are not, a weight is negative, a scale not positive, or the sum of the weights not 1.

    Examples
    --------
    >>> print(gaussian_mixture(["1/2", "1/2"], [-1, 1], ["1/5", "1/5"]).variance)
    26/25
    """
    p = [exact.nonnegative("weights", value) for value in exact.items("weights", weights)]
    m = [_finite("means", value) for value in exact.items("means", means)]
    s = [_positive("scales", value) for value in exact.items("scales", scales)]
    if not len(p) == len(m) == len(s) > 0 or not sum(p) > 0:
        raise ValueError(f"weights, means and scales must be as many, got {len(p)}, {len(m)} and {len(s)}")
    total = sum(p, flint.fmpq(0))
    if abs(total - 1) > flint.fmpq(1, 10**6):
        raise ValueError(f"weights must sum to 1, got {weights!r}")
    parts = [(weight / total, mean, scale) for weight, mean, scale in zip(p, m, s, strict=True) if weight > 0]
    mean = sum((weight * center for weight, center, _ in parts), flint.fmpq(0))
    second = sum((weight * (center**2 + scale**2) for weight, center, scale in parts), flint.fmpq(0))

    least = min(scale for _, _, scale in parts) ** 2

    def density(x: flint.acb) -> flint.acb:
        found = flint.acb(0)
        for weight, center, scale in parts:
            factor = flint.arb(weight / scale) / (2 * flint.arb.pi()).sqrt()
            found += factor * (-(((x - flint.arb(center)) / flint.arb(scale)) ** 2) / 2).exp()
        return found

    def tail(T: flint.arb) -> tuple[flint.arb, flint.arb, flint.arb]:
        mass, moment = flint.arb(0), flint.arb(0)
        for weight, center, scale in parts:
            for sign in (1, -1):
                mu, sigma = sign * flint.arb(center), flint.arb(scale)
                t = (T - mu) / sigma
                beyond = (t / flint.arb(2).sqrt()).erfc() / 2
                height = (-(t**2) / 2).exp() / (2 * flint.arb.pi()).sqrt()
                mass += flint.arb(weight) * beyond
                moment += flint.arb(weight) * ((mu**2 + sigma**2) * beyond + sigma * (2 * mu + sigma * t) * height)
        # weight · φ ≤ f ≤ 1 / (least scale), for any one of the parts, here the first
        weight, center, scale = (flint.arb(value) for value in parts[0])
        root = (2 * flint.arb.pi()).sqrt()
        low = abs((weight / (scale * root)).log()) * mass + (moment + center**2 * mass) / scale**2
        return mass, moment, low + abs((root * flint.arb(least).sqrt()).log()) * mass

    source = sources.gaussian_mixture(*np.array([[_float(value) for value in part] for part in parts]).T)
    return Density((density,), (None, None), mean, second - mean**2, tail, least, source)


def _finite(name: str, value: Number) -> flint.fmpq:
    found = exact.rational(name, value)
    if found is None:
        raise ValueError(f"{name} must be finite, got {value!r}")
    return found


def _positive(name: str, value: Number) -> flint.fmpq:
    found = exact.nonnegative(name, value)
    if found == 0:
        raise ValueError(f"{name} must be > 0, got {value!r}")
    return found


def _float(value: flint.fmpq) -> float:
    return float(flint.arb(value))
