"""Answers to the second sheet: test channels, slopes, bounds, a neuron, rounding, costs, side information."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from rdtheory import distortion, sources
from rdtheory.exercises._answers import Verdict, check_numbers, rate_and_distortion
from rdtheory.limits import closed_form, continuous, discrete, linear, side_information
from rdtheory.models import relu

__all__ = [
    "best_scale",
    "coin_channel",
    "critical_slope",
    "linear_bounds",
    "quantizer_gap",
    "shannon_gap",
    "unequal_costs",
    "wyner_ziv",
]


def coin_channel(answer) -> Verdict:
    """The channel that attains R(0.1) of a coin with P(X = 1) = 0.3: [x, y] = P(y given x), (2, 2)."""
    law, d = jnp.array([0.7, 0.3]), distortion.hamming(2)
    point = discrete.rate_at(law, d, 0.1)
    reference = discrete.test_channel(point.reproduction_pmf, d, point.slope)
    hint = "backwards it is symmetric, P(x given y) = 0.1 for x ≠ y: find q(y) from p(x), then use Bayes"
    return check_numbers(answer, reference, hint)


def critical_slope(answer) -> Verdict:
    """The slope -dR/dD at which the code of that coin stops to use the rarer face: a number, bits per unit of D."""
    reference = -jax.grad(closed_form.bernoulli, argnums=1)(0.3, 0.3 * (1 - 1e-9))
    return check_numbers(
        answer, reference, "the face is given up where R(D) ends, at D = p: differentiate h there", bits=True
    )


def linear_bounds(answer) -> Verdict:
    """Two numbers, bits: the bound of Theorem 1 and R(D), for D = 0.5.

    Two Gaussian weights of variance 1 and correlation 0.9, two uncorrelated inputs of variance 1.
    """
    cov = jnp.array([[1.0, 0.9], [0.9, 1.0]])
    bound, exact = linear.lower_bound(cov, jnp.ones(2), 0.5), linear.rate(cov, jnp.eye(2), 0.5)
    hint = (
        "the bound fills weights, ½ log det Σ_W - Σ ½ log D_i; R(D) fills the eigenvalues 1.9 and 0.1, one under water"
    )
    return check_numbers(answer, [bound.rate, exact.rate], hint, bits=True)


def best_scale(answer) -> Verdict:
    """Two numbers for a ReLU neuron w = (1, 2, 2) pruned to (0, 2, 2), inputs N(0, I).

    The factor by which the pruned weights should be multiplied, and the distortion that this leaves.
    """
    found = relu.best_scale(jnp.array([1.0, 2.0, 2.0]), jnp.array([0.0, 2.0, 2.0]), jnp.eye(3))
    hint = "E f_u f_v = ‖u‖‖v‖ (sin θ + (π - θ) cos θ)/2π; the distortion is a quadratic function of the factor"
    return check_numbers(answer, [found.scale, found.distortion], hint)


def quantizer_gap(answer) -> Verdict:
    """Bits above R(D) of rounding N(0, 1) to whole numbers, with an entropy code; decoded as those: a number."""
    rate, D = rate_and_distortion(sources.gaussian(1.0), 10.0, np.round)
    hint = "entropy of the whole numbers' probabilities, less ½ log(1/D); D = E(X - round X)² is an integral, near 1/12"
    return check_numbers(answer, rate - float(closed_form.gaussian(1.0, D)), hint, bits=True)


def unequal_costs(answer) -> Verdict:
    """R(0.2) of a fair bit where a false one costs 1 and a false zero costs 2: a number, bits.

    Examples
    --------
    >>> print(unequal_costs(1.0).says)
    off by more than 100 %. Hint: write the dual: z_x = Σ_y q_y 2^(-s d), and c_y = 1 for both y
    """
    reference = discrete.rate_at(jnp.full(2, 0.5), jnp.array([[0.0, 1.0], [2.0, 0.0]]), 0.2).rate
    hint = "write the dual: z_x = Σ_y q_y 2^(-s d), and c_y = 1 for both y"
    return check_numbers(answer, reference, hint, bits=True)


def wyner_ziv(answer) -> Verdict:
    """Three numbers for a fair bit X at D = 0.05, beside a Y that differs from X with probability 1/4.

    The bits needed where the decoder alone has Y, those where both have it, and the distortion from which on the first
    function is a straight line.

    Examples
    --------
    >>> print(wyner_ziv([0.5, 0.5]).says.split(".")[0])
    the answer is numbers of shape (3,), got shape (2,)
    """
    joint, d = jnp.array([[0.375, 0.125], [0.125, 0.375]]), distortion.hamming(2)
    apart = side_information.wyner_ziv_rate_at(joint, d, 0.05).rate
    together = side_information.conditional_rate_at(joint, d, 0.05).rate

    def told(D: float) -> float:  # h(D * 1/4) - h(D), with D * 1/4 = D + 1/4 - D/2
        return float(closed_form.bernoulli(0.5, D) - closed_form.bernoulli(0.5, 0.25 + D / 2))

    def off(D: float) -> float:
        """By how much the tangent in D misses the point (1/4, 0)."""
        return told(D) + (0.25 - D) * (told(D + 1e-6) - told(D - 1e-6)) / 2e-6

    tangent = brentq(off, 0.01, 0.2, xtol=1e-9)
    hint = "h(D + 1/4 - D/2) - h(D) with a code, 0 at D = 1/4 without: share the time, along the tangent"
    return check_numbers(answer, [apart, together, tangent], hint)


def shannon_gap(answer) -> Verdict:
    """Four numbers, bits: R(D) and Shannon's lower bound under squared error, of two densities of variance one.

    Of the uniform one at D = 0.1, then of the Laplacian one at D = 0.5.

    Examples
    --------
    >>> print(shannon_gap(...).says)
    not answered yet
    """
    hint = "h(X) - ½ log 2πeD is the bound; `rd.continuous.rate_at` the rate"
    return check_numbers(answer, _shannon_gap(), hint, bits=True)


@functools.cache
def _shannon_gap() -> list[float]:
    """Takes a second: not again for another try."""
    found = []
    for source, D in ((sources.uniform(-(3**0.5), 3**0.5), 0.1), (sources.laplace(0.5**0.5), 0.5)):
        found += [float(continuous.rate_at(source, D).upper), float(continuous.shannon_lower_bound(source, D).rate)]
    return found
