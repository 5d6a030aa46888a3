"""A prior for the weights of a layer, how well it fits, and what it says about a rate that was achieved."""

import math

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from scipy import stats

from rdtheory import _checks
from rdtheory.limits import gaussian
from rdtheory.results import LayerLimit, LayerPrior

__all__ = ["compared", "components", "limit", "prior"]

ROUNDS = 30
FEW = 16
MOST = 10**5  # weights that the entropy is estimated from
OFF = 5.0  # bits · √n by which that estimate may be off: bias up to 3 and a deviation up to 2 for Gaussian to t₅ laws


def prior(weights: Float[ArrayLike, "m k"]) -> LayerPrior:
    r"""Independent Gaussian weights :math:`W_{ij} \sim N(0, r_i c_j)` for a layer, and how far the layer is from them.

    The likelihood is largest where :math:`r_i` is the mean of :math:`w_{ij}^2/c_j` and :math:`c_j` that of
    :math:`w_{ij}^2/r_i`. Means of few squares spread by themselves: only what they spread beyond that is believed.
    What is left, :math:`z = w/\sqrt{r c}`, would be N(0, 1): kurtosis 3, and divergence
    :math:`\tfrac12\log(2\pi e) - h(z) = 0`, with h estimated from the spacings of z.

    Parameters
    ----------
    weights : W (m, k).

    Returns
    -------
    LayerPrior : computed on the host. At small distortion R(D) of weights of the true law, if they are independent, is
        lower than that of the prior by the divergence.

    Raises
    ------
    ValueError : weights that are not a finite matrix.

    References
    ----------
    Vasicek (1976), Ebrahimi, Pflughoeft & Soofi (1994) for the entropy.

    Examples
    --------
    >>> w = np.random.default_rng(0).normal(size=(100, 200)) * np.linspace(1, 3, 100)[:, None]
    >>> found = prior(w)
    >>> print(f"{found.kurtosis:.1f} {found.divergence:.2f} {found.row_variances[-1] / found.row_variances[0]:.1f}")
    3.0 0.00 8.7
    """
    w = np.asarray(_checks.weights("weights", weights, 2)[0], float)
    unit = np.abs(w).max()
    squares = (w / (unit or 1.0)) ** 2
    # A row without weights has variance zero, and teaches nothing about columns.
    rows, columns = squares.any(axis=1), squares.any(axis=0)
    r, c = np.zeros(len(squares)), np.zeros(len(squares.T))
    none = np.array(math.nan)
    if unit == 0:
        return LayerPrior(r, c, none, none, np.array(0.0), np.array(0.0))
    inner = squares[np.ix_(rows, columns)]
    fitted_c = np.ones(inner.shape[1])
    for _ in range(ROUNDS):
        fitted_r = np.mean(inner / fitted_c[None, :], axis=1)
        fitted_c = np.mean(inner / fitted_r[:, None], axis=0)
    r[rows], c[columns] = _believed(fitted_r, inner.shape[1]), _believed(fitted_c, inner.shape[0])
    z = (squares[np.ix_(rows, columns)] / np.outer(r[rows], c[columns])).ravel()
    power = float(np.mean(z))
    signed = np.sign(w[np.ix_(rows, columns)].ravel()) * np.sqrt(z / power)
    kept = signed[:: -(-signed.size // MOST)]
    return LayerPrior(
        r * power * unit**2,
        c,
        np.array(np.mean((z / power) ** 2)),
        np.array(math.sqrt(24 / z.size)),
        np.array(_divergence(kept)),
        np.array(OFF / math.sqrt(kept.size)),
    )


def limit(
    weights: Float[ArrayLike, "m k"],
    moments: Float[ArrayLike, "m m"],
    distortion: Float[ArrayLike, "*points"],
    rate: Float[ArrayLike, "*points"],
) -> LayerLimit:
    r"""A rate that a code achieved on a layer, beside R(D) of the `prior` fitted to it (`linear.layer_rate`).

    No code for weights of the prior takes less than R(D) on average. A rate below it is no code better than the theory,
    but evidence that these weights are not from the prior, and is reported as that.

    Parameters
    ----------
    weights : W (m, k).
    moments : Σ (m, m), symmetric positive semidefinite.
    distortion : D >= 0, tr (W - Ŵ)ᵀ Σ (W - Ŵ), one or several.
    rate : of the code at each of them, bits per weight.

    Returns
    -------
    LayerLimit : ``bound``, ``gap`` and ``evidence`` in bits per weight. Layers of zeros, and those whose inputs are,
        have the bound 0.

    Raises
    ------
    RuntimeError : JAX is not in float64.
    ValueError : shapes disagree, an indefinite matrix, D < 0.

    Examples
    --------
    >>> w = np.random.default_rng(0).normal(size=(30, 500))
    >>> found = limit(w, np.eye(30), np.array([15000 / 16, 15000 / 64]), np.array([2.5, 2.5]))
    >>> print(found.gap.round(1), found.evidence.round(1))
    [0.5 nan] [0.  0.5]
    """
    _checks.require_x64("network.limit")
    fitted = prior(weights)
    sigma = np.asarray(_checks.covariance("moments", moments, len(fitted.row_variances))[0])
    D = np.asarray(_checks.nonnegative("distortion", distortion, np.ndim(distortion))[0])
    bits = np.asarray(_checks.nonnegative("rate", rate, np.ndim(rate))[0])
    if D.shape != bits.shape:
        raise ValueError(f"rate must have the shape of distortion, {D.shape}, got {bits.shape}")
    variances = components(sigma, fitted)
    return compared(variances, D, bits, variances.size)


def components(moments: np.ndarray, fitted: LayerPrior) -> np.ndarray:
    """The variances c_j ν of the decorrelated outputs, (k · m,).

    Examples
    --------
    >>> print(components(np.diag([1.0, 4.0]), prior(np.ones((2, 2)))))
    [1. 4. 1. 4.]
    """
    roots = np.sqrt(fitted.row_variances)
    spectrum = np.maximum(np.linalg.eigvalsh(roots[:, None] * moments * roots[None, :]), 0.0)
    return np.multiply.outer(fitted.column_variances, spectrum).ravel()


def compared(variances: np.ndarray, distortion: np.ndarray, rate: np.ndarray, weights: int) -> LayerLimit:
    """R(D) of independent components beside rates per weight.

    Examples
    --------
    >>> print(compared(np.zeros(3), np.array(0.0), np.array(0.1), 3))
    LayerLimit(bound=array(0.), gap=array(0.1), evidence=array(0.))
    """
    D = np.asarray(distortion, float)
    known = jnp.asarray(variances)
    bound = np.array([gaussian.fill(known, jnp.asarray(at)).rate for at in D.ravel()]).reshape(D.shape) / weights
    over = rate - bound
    return LayerLimit(*map(np.asarray, (bound, np.where(over >= 0, over, np.nan), np.maximum(-over, 0.0))))


def _believed(means: np.ndarray, count: int) -> np.ndarray:
    """Means of `count` squares of Gaussians, drawn together by the share of their spread that is noise, 2/count.

    Few squares do not tell a variance of their own from a law with heavy tails.
    """
    center = means.mean()
    if count < FEW:
        return np.full_like(means, center)
    spread, noise = float(np.var(means / center)), 2 / count
    kept = max(spread - noise, 0.0) / (1 + noise) / max(spread, noise)
    return center + kept * (means - center)


def _divergence(z: np.ndarray) -> float:
    """Of z, with mean square 1, from a Gaussian, in bits; infinite where many are equal."""
    if z.size < 5:
        return math.nan
    with np.errstate(divide="ignore"):
        entropy = float(stats.differential_entropy(z, base=2))
    return max(0.5 * math.log2(2 * math.pi * math.e) - entropy, 0.0)
