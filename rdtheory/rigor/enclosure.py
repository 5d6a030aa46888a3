"""What a proof says: two numbers, and the decimal digits that they leave no doubt about."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from rdtheory.rigor._balls import flint


class Enclosure(NamedTuple):
    """lower <= R(D) <= upper, in bits: a theorem.

    Both are ``flint.arb`` of radius zero: binary numbers, not rounded to any precision. ``float(...)`` rounds to the
    nearest, which may be inside; `decimal` writes what is proved.
    """

    lower: flint.arb  #: bits per source symbol, exact
    upper: flint.arb  #: bits per source symbol, exact; infinite where nothing was proved


def decimal(enclosure: Enclosure) -> str:
    lower, upper = (_fraction(end) for end in enclosure)
    if upper is None:
        return f">= {enclosure.lower.str(6)}"
    if lower == upper == 0:
        return "0"
    places, found = 0, "no digits"
    while places < 10_000:
        unit = Fraction(1, 10**places)
        nearest = round((lower + upper) / 2 / unit)
        if max(upper - nearest * unit, nearest * unit - lower) > unit:
            break
        whole, part = divmod(nearest, 10**places)
        found = f"{whole}.{part:0{places}d}" if places else str(whole)
        places += 1
    return found


def width_within(enclosure: Enclosure, digits: int) -> bool:
    """Whether the enclosure is narrow enough for so many significant digits."""
    lower, upper = enclosure
    return bool(upper.is_finite() and (upper - lower) * flint.arb(10) ** digits <= upper)


def _fraction(end: flint.arb) -> Fraction | None:
    if not end.is_finite():
        return None
    mantissa, exponent = end.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
