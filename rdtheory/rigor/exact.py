"""Which problem is meant: every number as the exact rational that it is."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from rdtheory.rigor._balls import flint

Number = int | float | str | Fraction | Decimal | ArrayLike
Numbers = list | tuple | ArrayLike

TOLERANCE = Fraction(1, 10**6)  # by which the sum of the masses may miss one: more is no rounding


class Problem(NamedTuple):
    """A discrete source and its distortion, exactly; letters of mass zero are gone."""

    source: list[flint.fmpq]  # (n,), > 0, sums to 1
    excess: list[list[flint.fmpq | None]]  # (n, m), d(x, y) - min_y d(x, y) >= 0; None where y is forbidden
    least: flint.fmpq  # D_min = Σ p_x min_y d(x, y)
    free: flint.fmpq | None  # D_max - D_min, from which excess on the rate is zero; None if no single y serves all x
    letters: list[int]  # which rows of the matrix that was given these are


def rational(name: str, value: Number) -> flint.fmpq | None:
    """The value of a number, a decimal string or a fraction, unrounded; None for +infinity."""
    if isinstance(value, flint.fmpq):
        return value
    try:
        if isinstance(value, str):
            if value.strip().lower() in ("inf", "infinity", "+inf"):
                return None
            number = Fraction(value)
        elif isinstance(value, int | float | Fraction | Decimal):
            number = value
        else:
            number = np.asarray(value).item()
        if number == math.inf:
            return None
        return flint.fmpq(*number.as_integer_ratio())
    except (ValueError, TypeError, AttributeError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(
            f"{name} must be a real number: an int, a float, a Fraction, or a string like '0.1' or '1/3', got {value!r}"
        ) from error


def nonnegative(name: str, value: Number) -> flint.fmpq:
    """A finite number >= 0, unrounded."""
    found = rational(name, value)
    if found is None or found < 0:
        raise ValueError(f"{name} must be finite and >= 0, got {value!r}")
    return found


def problem(source_pmf: Numbers, distortion_matrix: Numbers) -> Problem:
    """The problem that these numbers are, the masses divided by their exact sum."""
    masses = [nonnegative("source_pmf", value) for value in items("source_pmf", source_pmf)]
    total = sum(masses, flint.fmpq(0))
    exactly = Fraction(int(total.p), int(total.q))
    if abs(exactly - 1) > TOLERANCE:
        raise ValueError(f"source_pmf must sum to 1, but sums to {float(exactly):.12g}; divide it by its sum")
    rows = [items("distortion_matrix", row) for row in items("distortion_matrix", distortion_matrix)]
    if len(rows) != len(masses) or len({len(row) for row in rows}) != 1:
        raise ValueError(
            f"distortion_matrix must have {len(masses)} rows of one length, as source_pmf has {len(masses)} letters"
        )
    letters = [x for x, mass in enumerate(masses) if mass > 0]
    source = [masses[x] / total for x in letters]
    excess, least = [], flint.fmpq(0)
    for mass, x in zip(source, letters, strict=True):
        row = [rational("distortion_matrix", value) for value in rows[x]]
        finite = [value for value in row if value is not None]
        if not finite or min(finite) < 0:
            raise ValueError(f"distortion_matrix must be >= 0 with a finite entry in row {x}, which has mass")
        floor = min(finite)
        least += mass * floor
        excess.append([None if value is None else value - floor for value in row])
    means = [
        sum((mass * value for mass, value in zip(source, column, strict=True)), flint.fmpq(0))
        for column in zip(*excess, strict=True)
        if None not in column
    ]
    return Problem(source, excess, least, min(means) if means else None, letters)


def items(name: str, value: Numbers) -> list:
    """A vector or a row as a list of numbers of Python."""
    if isinstance(value, np.ndarray | Array):
        value = np.asarray(value).tolist()  # exact, whatever the precision of the array
    if not isinstance(value, list | tuple) or hasattr(value, "_fields"):
        raise TypeError(f"{name} must be an array or nested lists of numbers, got {type(value).__name__}")
    found = list(value)
    if not found:
        raise ValueError(f"{name} must not be empty")
    return found
