"""Answers to the first sheet: definitions, and closed forms that follow from them."""

import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq, minimize_scalar

from rdtheory import distortion, sources
from rdtheory.exercises._answers import Verdict, check_function, check_numbers, rate_and_distortion
from rdtheory.limits import channel as channels
from rdtheory.limits import closed_form, discrete, gaussian

__all__ = [
    "coin",
    "collapse",
    "die",
    "erasure",
    "gaussian_distortion",
    "one_bit",
    "two_components",
]


def coin(answer) -> Verdict:
    """R(0.05) of a coin that shows heads with probability 0.2, and probability of error: a number, bits per throw.

    Examples
    --------
    >>> print(coin(...).says)
    not answered yet
    >>> print(coin(0.4).says)
    off by 1 to 10 %. Hint: R(D) = h(p) - h(D), and h is an entropy in bits
    """
    reference = discrete.rate_at(jnp.array([0.8, 0.2]), distortion.hamming(2), 0.05).rate
    return check_numbers(answer, reference, "R(D) = h(p) - h(D), and h is an entropy in bits", bits=True)


def die(answer) -> Verdict:
    """R(D) of a fair die and probability of error: a function of D, in bits per throw, zero where nothing is needed."""
    points = np.array([0.05, 0.3, 0.6, 0.9])
    law, d = jnp.full(6, 1 / 6), distortion.hamming(6)
    hint = "what does a report leave open, if it may be any of five wrong faces? From which D on does a fixed one do?"
    return check_function(answer, points, [discrete.rate_at(law, d, D).rate for D in points], hint)


def erasure(answer) -> Verdict:
    """Two numbers, bits: R(0.3) of four equally likely letters, erased at cost 1 and never wrong; and the capacity.

    The capacity is that of the channel that erases each of its four inputs with probability 0.3.
    """
    rate = discrete.rate_at(jnp.full(4, 0.25), distortion.erasure(4), 0.3).rate
    capacity = channels.capacity(jnp.concatenate([0.7 * jnp.eye(4), jnp.full((4, 1), 0.3)], axis=1)).rate
    hint = "what is not erased is known exactly, and takes log 4 bits; source and channel are each other's mirror"
    return check_numbers(answer, [rate, capacity], hint, bits=True)


def gaussian_distortion(answer) -> Verdict:
    """Least mean squared error of a Gaussian of variance 4 at 1.5 bits per symbol: a number."""
    reference = brentq(lambda D: float(closed_form.gaussian(4.0, D)) - 1.5, 1e-3, 4.0, xtol=1e-12)
    return check_numbers(answer, reference, "each bit divides the squared error by four; begin with the variance")


def two_components(answer) -> Verdict:
    """Reverse water-filling of variances 4 and 0.25, squared errors summing to 0.75: rate in bits, and both errors."""
    found = gaussian.water_filling(jnp.array([4.0, 0.25]), 0.75)
    hint = (
        "one level for both would be 0.375, more than the second component has: it is under water, and the rest is left"
    )
    return check_numbers(answer, jnp.append(found.rate, found.distortions), hint)


def one_bit(answer) -> Verdict:
    """Two numbers: the value v of the best quantizer -v, v of a Gaussian of variance 1, and its mean squared error.

    Examples
    --------
    >>> print(one_bit([1.0, 0.4]).says)
    off by 10 to 100 %. Hint: v is the mean of the half that it stands for; what is left is E X² - v²
    """

    def error(value: float) -> float:
        return rate_and_distortion(sources.gaussian(1.0), 9.0, lambda x: value * np.sign(x))[1]

    best = minimize_scalar(error, bounds=(0.1, 3.0), method="bounded", options={"xatol": 1e-9})
    hint = "v is the mean of the half that it stands for; what is left is E X² - v²"
    return check_numbers(answer, [best.x, best.fun], hint)


def collapse(answer) -> Verdict:
    """R(0.1) of three readings of probability 0.5, 0.3, 0.2, of which the last two may be confused: a number, bits.

    Examples
    --------
    >>> print(collapse(...).says)
    not answered yet
    """
    d = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    reference = discrete.rate_at(jnp.array([0.5, 0.3, 0.2]), d, 0.1).rate
    return check_numbers(answer, reference, "two readings that cost the same everywhere are one letter", bits=True)
