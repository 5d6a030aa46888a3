"""Problems as one writes them in a line, for the command and the table of reference values."""

from __future__ import annotations

import csv
from collections.abc import Callable
from fractions import Fraction
from math import comb, factorial, inf
from pathlib import Path

from rdtheory.rigor import exact
from rdtheory.rigor.continuous import MOST, continuous_rate_at
from rdtheory.rigor.densities import Density, gaussian_mixture, laplace, uniform
from rdtheory.rigor.discrete import rate_at
from rdtheory.rigor.enclosure import Enclosure

LETTERS = 1000  # of a source, at most


def prove(source: str, distortion: str, D: str, digits: int) -> Enclosure:
    """R(D) of a problem in words: see `rdtheory prove --help`."""
    known = _source(source)
    if isinstance(known, Density):
        if distortion != "squared":
            raise ValueError(f"--distortion: a density takes 'squared', got {distortion!r}")
        on_points = known.backward < exact.nonnegative("--at", D)
        return continuous_rate_at(known, D, digits=min(digits, MOST) if on_points else digits)
    return rate_at(known, _matrix(distortion, len(known)), D, digits=digits)


def _source(text: str) -> list | Density:
    """Masses, or a density."""
    name, colon, rest = text.partition(":")
    if not colon:
        return _numbers("SOURCE", text)
    if name == "mixture":
        parts = [_numbers("SOURCE", part) for part in rest.split(";")]
        if any(len(part) != 3 for part in parts):
            raise ValueError(f"SOURCE: mixture takes weight,mean,scale;weight,mean,scale;... got {text!r}")
        return gaussian_mixture(*(list(column) for column in zip(*parts, strict=True)))
    if name not in SOURCES:
        raise ValueError(
            f"SOURCE: unknown name {name!r}; choose from {', '.join([*SOURCES, 'mixture'])}, or give masses"
        )
    count, make = SOURCES[name]
    values = _numbers("SOURCE", rest)
    if len(values) != count:
        raise ValueError(f"SOURCE: {name} takes {count} numbers, got {text!r}")
    return make(*values)


def _fair(letters: Fraction) -> list:
    return _normalized([Fraction(1)] * _count(letters))


def _binomial(trials: Fraction, success: Fraction) -> list:
    n = _count(trials)
    return _normalized([comb(n, k) * success**k * (1 - success) ** (n - k) for k in range(n + 1)])


def _geometric(ratio: Fraction, letters: Fraction) -> list:
    return _normalized([ratio**k for k in range(_count(letters))])


def _poisson(mean: Fraction, letters: Fraction) -> list:
    return _normalized([mean**k / factorial(k) for k in range(_count(letters))])


SOURCES: dict[str, tuple[int, Callable]] = {
    "fair": (1, _fair),
    "binomial": (2, _binomial),
    "geometric": (2, _geometric),
    "poisson": (2, _poisson),
    "uniform": (2, uniform),
    "laplace": (1, laplace),
    "gaussian": (1, lambda scale: gaussian_mixture([1], [0], [scale])),
}


def _matrix(text: str, n: int) -> list:
    letters = range(n)
    if text == "hamming":
        return [[int(x != y) for y in letters] for x in letters]
    if text == "erasure":
        return [[*(0 if x == y else inf for y in letters), 1] for x in letters]
    if text in ("absolute", "squared"):
        return [[abs(x - y) ** (1 if text == "absolute" else 2) for y in letters] for x in letters]
    if text.endswith(".csv"):
        if not Path(text).is_file():
            raise ValueError(f"--distortion: there is no file {text}")
        with Path(text).open(newline="", encoding="utf-8") as stream:
            return [row for row in csv.reader(stream) if row]
    if text[:1].isalpha():
        raise ValueError(
            f"--distortion: unknown name {text!r}; choose from hamming, erasure, absolute, squared, or give FILE.csv "
            "or rows like '0,1;1,0'"
        )
    return [_numbers("--distortion", row) for row in text.split(";")]


def _numbers(name: str, text: str) -> list:
    try:
        return [inf if part.strip() == "inf" else Fraction(part.strip()) for part in text.split(",")]
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{name}: numbers like 0.1 or 1/3, with commas between, got {text!r}") from error


def _count(value: Fraction) -> int:
    if value.denominator != 1 or not 1 <= value <= LETTERS:
        raise ValueError(f"SOURCE: the number of letters must be whole, and from 1 to {LETTERS}, got {value}")
    return int(value)


def _normalized(masses: list[Fraction]) -> list[Fraction]:
    if min(masses) < 0 or sum(masses) <= 0:
        raise ValueError("SOURCE: masses must be >= 0, which they are not for these parameters")
    total = sum(masses)
    return [mass / total for mass in masses]
