"""What the three sheets share: verdicts, how numbers are compared, and how a quantizer is measured."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rdtheory import information, sources

__all__ = ["NOT_YET", "Verdict", "check_function", "check_numbers", "density", "rate_and_distortion"]

TOLERANCE = 1e-3  # relative, of each number


class Verdict(NamedTuple):
    """What a check says."""

    right: bool
    says: str  #: "right", what is wrong with the answer and a hint, or that there is none yet


NOT_YET = Verdict(False, "not answered yet")


def check_numbers(answer, reference, hint: str, *, bits: bool = False) -> Verdict:
    """Are all numbers right, to a thousandth of each? Zeros to a thousandth of the largest."""
    if answer is None or answer is ...:
        return NOT_YET
    right = np.asarray(reference, float)
    try:
        given = np.asarray(answer, float)
    except (TypeError, ValueError):
        return Verdict(False, f"the answer is made of numbers, got {type(answer).__name__}")
    if given.shape != right.shape:
        wanted = "one number" if right.shape == () else f"numbers of shape {right.shape}"
        return Verdict(False, f"the answer is {wanted}, got shape {given.shape}. Hint: {hint}")
    if not np.isfinite(given).all():
        return Verdict(False, f"the answer is not finite. Hint: {hint}")

    largest = np.max(abs(right))
    unit = np.where(abs(right) < 1e-6 * largest, largest, abs(right))

    def error(values) -> float:
        return float(np.max(abs(values - right) / unit))

    if error(given) <= TOLERANCE:
        return Verdict(True, "right")
    if bits and error(given / math.log(2)) <= TOLERANCE:
        return Verdict(False, f"these are nats; the answer is in bits. Hint: {hint}")
    orders = [(0.01, "less than 1 %"), (0.1, "1 to 10 %"), (1.0, "10 to 100 %"), (math.inf, "more than 100 %")]
    order = next(name for limit, name in orders if error(given) <= limit * (1 + 1e-9))
    return Verdict(False, f"off by {order}. Hint: {hint}")


def check_function(answer, points: np.ndarray, reference, hint: str) -> Verdict:
    """Is a function, in bits, right at these points?"""
    if answer is None or answer is ...:
        return NOT_YET
    if not callable(answer):
        return Verdict(False, f"the answer is a function, got {type(answer).__name__}. Hint: {hint}")
    return check_numbers([answer(float(point)) for point in points], reference, hint, bits=True)


def rate_and_distortion(source: sources.Source, reach: float, quantize: Callable) -> tuple[float, float]:
    """Entropy in bits of the values of a quantizer, and its mean squared error, on a grid of step 1e-4."""
    h = 1e-4
    x = (np.arange(-round(reach / h), round(reach / h)) + 0.5) * h
    mass = density(source, x)
    mass /= mass.sum()
    x_hat = np.broadcast_to(np.asarray(quantize(x), float), x.shape)
    _, cells = np.unique(x_hat, return_inverse=True)
    return float(information.entropy(np.bincount(cells, mass))), float(np.sum(mass * (x - x_hat) ** 2))


def density(source: sources.Source, x: np.ndarray) -> np.ndarray:
    assert source.log_density is not None  # it is no source of atoms
    return np.exp(source.log_density(x))
