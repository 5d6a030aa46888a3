"""Answers to the problem sheets, checked: each function takes the answer to one problem and says whether it is right.

What an answer is compared with is computed here, by the solvers, and never written down. An answer that is wrong gets a
hint and the order of its error, which does not give the right one away; `...`, the answer of an unfilled sheet, is not
answered yet. Numbers must be right to a thousandth. Answers to research problems have no reference: they are measured.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from rdtheory import distortion, information, sources
from rdtheory.limits import channel as channels
from rdtheory.limits import closed_form, continuous, discrete, gaussian, linear
from rdtheory.models import candidates, relu
from rdtheory.schemes import bitstream

__all__ = [
    "Verdict",
    "best_scale",
    "bytes_on_disk",
    "coin",
    "coin_channel",
    "critical_slope",
    "die",
    "dual",
    "erasure",
    "gaussian_distortion",
    "laplace_quantizer",
    "layer",
    "linear_bounds",
    "lower_bound",
    "mixture",
    "pruning_mask",
    "quantizer_gap",
    "two_components",
    "weights",
]

TOLERANCE = 1e-3  # relative, of each number
FEASIBLE = 1e-6  # by how much c may exceed 1


class Verdict(NamedTuple):
    """What a check says."""

    right: bool
    says: str  #: "right", what is wrong with the answer and a hint, or that there is none yet


NOT_YET = Verdict(False, "not answered yet")


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
    return _numbers(answer, reference, "R(D) = h(p) - h(D), and h is an entropy in bits", bits=True)


def die(answer) -> Verdict:
    """R(D) of a fair die and probability of error: a function of D, in bits per throw, zero where nothing is needed."""
    points = np.array([0.05, 0.3, 0.6, 0.9])
    law, d = jnp.full(6, 1 / 6), distortion.hamming(6)
    hint = "a wrong face is one of five: log 6 - h(D) - D log 5, as long as that falls"
    return _function(answer, points, [discrete.rate_at(law, d, D).rate for D in points], hint)


def erasure(answer) -> Verdict:
    """Two numbers, bits: R(0.3) of four equally likely letters, erased at cost 1 and never wrong; and the capacity.

    The capacity is that of the channel that erases each of its four inputs with probability 0.3.
    """
    rate = discrete.rate_at(jnp.full(4, 0.25), distortion.erasure(4), 0.3).rate
    capacity = channels.capacity(jnp.concatenate([0.7 * jnp.eye(4), jnp.full((4, 1), 0.3)], axis=1)).rate
    hint = "what is not erased is known exactly, and takes log 4 bits; source and channel are each other's mirror"
    return _numbers(answer, [rate, capacity], hint, bits=True)


def gaussian_distortion(answer) -> Verdict:
    """Least mean squared error of a Gaussian of variance 4 at 1.5 bits per symbol: a number."""
    reference = brentq(lambda D: float(closed_form.gaussian(4.0, D)) - 1.5, 1e-3, 4.0, xtol=1e-12)
    return _numbers(answer, reference, "each bit divides the squared error by four; begin with the variance")


def two_components(answer) -> Verdict:
    """Reverse water-filling of variances 4 and 0.25, squared errors summing to 0.75: rate in bits, and both errors."""
    found = gaussian.water_filling(jnp.array([4.0, 0.25]), 0.75)
    hint = (
        "one level for both would be 0.375, more than the second component has: it is under water, and the rest is left"
    )
    return _numbers(answer, jnp.append(found.rate, found.distortions), hint)


def coin_channel(answer) -> Verdict:
    """The channel that attains R(0.1) of a coin with P(X = 1) = 0.3: [x, y] = P(y given x), (2, 2)."""
    law, d = jnp.array([0.7, 0.3]), distortion.hamming(2)
    point = discrete.rate_at(law, d, 0.1)
    reference = discrete.test_channel(point.reproduction_pmf, d, point.slope)
    hint = "backwards it is symmetric, P(x given y) = 0.1 for x ≠ y: find q(y) from p(x), then use Bayes"
    return _numbers(answer, reference, hint)


def critical_slope(answer) -> Verdict:
    """The slope -dR/dD at which the code of that coin stops to use the rarer face: a number, bits per unit of D."""
    reference = -jax.grad(closed_form.bernoulli, argnums=1)(0.3, 0.3 * (1 - 1e-9))
    return _numbers(answer, reference, "the face is given up where R(D) ends, at D = p: derive h there", bits=True)


def linear_bounds(answer) -> Verdict:
    """Two numbers, bits: the bound of Theorem 1 and R(D), for D = 0.5.

    Two Gaussian weights of variance 1 and correlation 0.9, two uncorrelated inputs of variance 1.
    """
    cov = jnp.array([[1.0, 0.9], [0.9, 1.0]])
    bound, exact = linear.lower_bound(cov, jnp.ones(2), 0.5), linear.rate(cov, jnp.eye(2), 0.5)
    hint = (
        "the bound fills weights, ½ log det Σ_W - Σ ½ log D_i; R(D) fills the eigenvalues 1.9 and 0.1, one under water"
    )
    return _numbers(answer, [bound.rate, exact.rate], hint, bits=True)


def best_scale(answer) -> Verdict:
    """Two numbers for a ReLU neuron w = (1, 2, 2) pruned to (0, 2, 2), inputs N(0, I).

    The factor by which the pruned weights should be multiplied, and the distortion that this leaves.
    """
    found = relu.best_scale(jnp.array([1.0, 2.0, 2.0]), jnp.array([0.0, 2.0, 2.0]), jnp.eye(3))
    hint = "E f_u f_v = ‖u‖‖v‖ (sin θ + (π - θ) cos θ)/2π; the distortion is a quadratic function of the factor"
    return _numbers(answer, [found.scale, found.distortion], hint)


def quantizer_gap(answer) -> Verdict:
    """Bits above R(D) of rounding N(0, 1) to whole numbers, with an entropy code; decoded as those: a number."""
    rate, D = _coded(sources.gaussian(1.0), 10.0, np.round)
    hint = "entropy of the whole numbers' probabilities, less ½ log(1/D); D = E(X - round X)² is an integral, near 1/12"
    return _numbers(answer, rate - float(closed_form.gaussian(1.0, D)), hint, bits=True)


def laplace_quantizer(answer) -> Verdict:
    """A function x -> x_hat on arrays, within 0.1 bit of R(D) at its own D in [0.01, 0.8], for the density e^-|x|/2.

    Its rate is the entropy of its values. Measured on a grid of step 1e-4.
    """
    if answer is None or answer is ...:
        return NOT_YET
    if not callable(answer):
        return Verdict(False, "the answer is a function of an array of numbers")
    source = sources.laplace(1.0)
    rate, D = _coded(source, 30.0, answer)
    if not 0.01 <= D <= 0.8:
        return Verdict(False, f"rate {rate:.3f} bits, D = {D:.3g}: D must be in [0.01, 0.8]")
    gap = rate - float(continuous.rate_at(source, D).upper)
    says = f"rate {rate:.3f} bits, D = {D:.3f}, {gap:.3f} bit above R(D)"
    if gap <= 0.1:
        return Verdict(True, f"right: {says}")
    return Verdict(False, f"{says}. Hint: decode a cell as its mean, and widen the cell of zero")


def layer() -> tuple[np.ndarray, np.ndarray]:
    """Weights (2, 5) of a layer of two ReLU neurons, and the covariance (5, 5) of its correlated inputs."""
    places = np.arange(5)
    return np.random.default_rng(2).normal(size=(2, 5)), 0.9 ** abs(places[:, None] - places)


def pruning_mask(answer) -> Verdict:
    """A mask of five of the ten weights of `layer` with less true distortion than what the diagonal objective keeps."""
    if answer is None or answer is ...:
        return NOT_YET
    w, cov = layer()
    mask = np.asarray(answer)
    if mask.shape != w.shape or not np.all((mask == 0) | (mask == 1)) or mask.sum() != 5:
        return Verdict(False, f"the answer is a mask of shape {w.shape} with five ones and five zeros")
    check = relu.optimality(w, candidates.pruned(w, 5), cov, np.ones(2))
    mine = float(relu.distortion(w, w * mask, cov, np.ones(2)))
    share = mine / float(check.diagonal.distortion)
    says = f"distortion {mine:.4f}, {share:.3f} times that of the diagonal objective"
    if share < 0.999:
        return Verdict(True, f"right: {says}; the least is {float(check.best_distortion) / mine:.3f} times yours")
    return Verdict(False, f"{says}. Hint: correlated weights can make up for each other; 252 masks are not many")


def mixture() -> sources.Source:
    """Half N(-1, 0.3²), half N(1, 0.3²)."""
    return sources.gaussian_mixture(jnp.full(2, 0.5), jnp.array([-1.0, 1.0]), jnp.full(2, 0.3))


def dual(slope: float, multiplier: Callable) -> tuple[float, float]:
    r"""Largest c and the lower bound of R(0.2) of `mixture` that a dual point gives, bits.

    .. math:: c(y) = \int f(x) \lambda(x)\, 2^{-s (x-y)^2} dx \le 1 \text{ for all } y \;\Rightarrow\;
              R(D) \ge -s D + \int f \log\lambda .

    Parameters
    ----------
    slope : s > 0, bits per unit of D.
    multiplier : λ > 0, on arrays, for abs(x) < 4. Beyond, where there is no mass to speak of, it is taken to be 1.

    Returns
    -------
    (largest c, bound), sums over a grid of step 1e-3, where the largest c includes what c can rise between two points.
    """
    h, D = 1e-3, 0.2
    x = np.arange(-3999.5, 4000) * h
    mass = h * _density(mixture(), x)
    values = np.broadcast_to(np.asarray(multiplier(x), float), x.shape)
    kernel = np.exp2(-slope * (np.arange(-3999, 4000) * h) ** 2)
    c = np.convolve(mass * values, kernel)[3999:-3999]
    # At a largest c between two points c'' >= -2 s ln 2 · c, as for each kernel; outside of the grid c only falls.
    between = 1 - 2 * slope * math.log(2) * h**2 / 8
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = -slope * D + float(np.sum(mass * np.log2(values)))
    return float(c.max()) / between, bound


def lower_bound(answer) -> Verdict:
    """A pair (slope, λ) whose dual bound on R(0.2) of `mixture` is feasible, c <= 1, and within 0.02 bit of R(0.2)."""
    if answer is None or answer is ...:
        return NOT_YET
    if not (isinstance(answer, (tuple, list)) and len(answer) == 2 and callable(answer[1])):
        return Verdict(False, "the answer is a pair: a slope, and a function λ of an array of numbers")
    slope = float(answer[0])
    top, bound = dual(slope, answer[1])
    if not (slope > 0 and np.isfinite(bound) and np.isfinite(top)):
        return Verdict(False, "the slope must be > 0, and λ > 0 and finite for abs(x) < 4")
    if top > 1 + FEASIBLE:
        return Verdict(False, f"not feasible: c rises to {top:.6f}. Hint: divide λ by that")
    missing = float(continuous.rate_at(mixture(), 0.2).lower) - bound
    if missing <= 0.02:
        return Verdict(
            True, f"right: R(0.2) >= {bound:.4f} bits, and no bound is more than {max(missing, 0):.4f} above"
        )
    hint = "λ = 1/f is Shannon's lower bound; λ = 1/z of a good reproduction, z = Σ q_j 2^(-s (x - y_j)²), is better"
    return Verdict(False, f"feasible, R(0.2) >= {bound:.4f} bits: more than 0.02 below R(0.2). Hint: {hint}")


def weights() -> np.ndarray:
    """Twenty thousand Gaussian weights, to be compressed."""
    return np.random.default_rng(6).normal(size=20_000)


def bytes_on_disk(answer) -> Verdict:
    """Bytes, as of `bitstream.encode`, that decode to `weights` within D <= 0.05, at most 0.12 bit above R(D)."""
    if answer is None or answer is ...:
        return NOT_YET
    if not isinstance(answer, bytes):
        return Verdict(False, f"the answer is bytes, got {type(answer).__name__}")
    w = weights()
    try:
        w_hat = np.asarray(bitstream.dequantize(bitstream.decode(answer)))
    except ValueError as error:
        return Verdict(False, f"the bytes cannot be decoded: {error}")
    if w_hat.shape != w.shape:
        return Verdict(False, f"the bytes decode to shape {w_hat.shape}, the weights have shape {w.shape}")
    D, rate = float(np.mean((w - w_hat) ** 2)), 8 * len(answer) / w.size
    gap = rate - float(closed_form.gaussian(np.mean(w**2), D))
    says = f"{rate:.3f} bits per weight, D = {D:.4f}, {gap:.3f} bit above R(D)"
    if D <= 0.05 and gap <= 0.12:
        return Verdict(True, f"right: {says}")
    return Verdict(False, f"{says}. Hint: rounding loses a quarter of a bit; a trellis code less than a tenth")


def _numbers(answer, reference, hint: str, *, bits: bool = False) -> Verdict:
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


def _function(answer, points: np.ndarray, reference, hint: str) -> Verdict:
    """Is a function, in bits, right at these points?"""
    if answer is None or answer is ...:
        return NOT_YET
    if not callable(answer):
        return Verdict(False, f"the answer is a function, got {type(answer).__name__}. Hint: {hint}")
    return _numbers([answer(float(point)) for point in points], reference, hint, bits=True)


def _coded(source: sources.Source, reach: float, quantize: Callable) -> tuple[float, float]:
    """Entropy in bits of the values of a quantizer, and its mean squared error, on a grid of step 1e-4."""
    h = 1e-4
    x = (np.arange(-round(reach / h), round(reach / h)) + 0.5) * h
    density = _density(source, x)
    mass = density / density.sum()
    x_hat = np.broadcast_to(np.asarray(quantize(x), float), x.shape)
    _, cells = np.unique(x_hat, return_inverse=True)
    return float(information.entropy(np.bincount(cells, mass))), float(np.sum(mass * (x - x_hat) ** 2))


def _density(source: sources.Source, x: np.ndarray) -> np.ndarray:
    assert source.log_density is not None  # it is no source of atoms
    return np.exp(source.log_density(x))
