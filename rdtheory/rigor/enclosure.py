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


def decimal(enclosure: Enclosure, places: int = 10_000) -> str:
    """The proven digits of an enclosure.

    Writes the longest decimal that no number of the enclosure misses by more than one unit of its last digit.

    Parameters
    ----------
    enclosure : from `enclose`, `rate_at` or `continuous_rate_at`.
    places : decimals to write at most.

    Returns
    -------
    str
        like ``"0.412295"``; ``"inf"`` if there is no upper bound, ``"?"`` if not even the digits before the point are
        proved.

    Examples
    --------
    >>> from rdtheory.rigor import rate_at
    >>> decimal(rate_at(["7/10", "3/10"], [[0, 1], [1, 0]], "1/10"), places=20)
    '0.41229530564141139697'
    """
    lower, upper = (_fraction(end) for end in enclosure)
    if lower is None or upper is None:
        return "inf"
    if lower == upper == 0:
        return "0"
    found = "?"
    for place in range(places + 1):
        unit = Fraction(1, 10**place)
        nearest = round((lower + upper) / 2 / unit)
        if max(upper - nearest * unit, nearest * unit - lower) > unit:
            break
        whole, part = divmod(nearest, 10**place)
        found = f"{whole}.{part:0{place}d}" if place else str(whole)
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
