"""Answers to the third sheet, which have no reference: what is handed in is measured."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from rdtheory import sources
from rdtheory.exercises._answers import NOT_YET, Verdict, density, rate_and_distortion
from rdtheory.limits import closed_form, continuous
from rdtheory.models import candidates, relu
from rdtheory.schemes import bitstream

__all__ = [
    "bytes_on_disk",
    "dual",
    "laplace_quantizer",
    "layer",
    "lower_bound",
    "mixture",
    "pruning_mask",
    "weights",
]

FEASIBLE = 1e-6  # by how much c may exceed 1


def laplace_quantizer(answer) -> Verdict:
    """A function x -> x_hat on arrays, within 0.1 bit of R(D) at its own D in [0.01, 0.8], for the density e^-|x|/2.

    Its rate is the entropy of its values. Measured on a grid of step 1e-4.
    """
    if answer is None or answer is ...:
        return NOT_YET
    if not callable(answer):
        return Verdict(False, "the answer is a function of an array of numbers")
    if np.shape(answer(np.linspace(-1.0, 1.0, 3))) not in ((), (3,)):
        return Verdict(False, "the answer is an array of the shape of x")
    source = sources.laplace(1.0)
    rate, D = rate_and_distortion(source, 30.0, answer)
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
    mass = h * density(mixture(), x)
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
