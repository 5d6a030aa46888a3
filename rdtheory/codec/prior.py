"""The prior that R(D) of a layer is for: independent Gaussian weights of row × column variances, and how it fits."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import stats

from rdtheory.limits import gaussian

ROUNDS, SETTLED = 50, 1e-4
FEWEST, MOST = 256, 2**17  # weights that the divergence is estimated from


class Prior(NamedTuple):
    """W_ij is N(0, r_i c_j)."""

    rows: np.ndarray  #: r, (m,)
    columns: np.ndarray  #: c, (k,), of mean 1
    kurtosis: float  #: of the weights over √(r_i c_j): 3 if they are Gaussian; NaN of few
    divergence: float  #: bits, KL of their law to a Gaussian, estimated; infinite where many are equal, NaN of few


class Components(NamedTuple):
    """Independent Gaussian components: each ν of an output in proportion to c."""

    spectrum: np.ndarray  #: ν, (m,)
    columns: np.ndarray  #: c, (k,)


def fit(weights: np.ndarray) -> Prior:
    """The likeliest variances: each row's is the mean square in units of the columns', and the other way round.

    Examples
    --------
    >>> found = fit(np.outer([1.0, 2.0], [3.0, -1.0]))
    >>> print(found.rows, found.columns)
    [ 5. 20.] [1.8 0.2]
    """
    unit = float(np.abs(weights).max(initial=0.0)) or 1.0
    squares = (weights / unit) ** 2
    rows, columns = np.mean(squares, axis=1), np.ones(weights.shape[1])
    for _ in range(ROUNDS):
        before = columns
        columns = np.mean(squares * _inverse(rows)[:, None], axis=0)
        columns *= len(columns) / max(columns.sum(), 1e-300)
        rows = np.mean(squares * _inverse(columns), axis=1)
        if np.all(np.abs(columns - before) <= SETTLED * columns):
            break
    scaled = (weights / unit) * np.sqrt(_inverse(rows)[:, None] * _inverse(columns))
    scaled = scaled[np.ix_(rows > 0, columns > 0)].ravel()
    if scaled.size < FEWEST:
        return Prior(unit**2 * rows, columns, math.nan, math.nan)
    power = float(np.mean(scaled**2))
    # Divided by variances of n weights themselves, Gaussian ones have 3n/(n + 2).
    kurtosis = float(np.mean(scaled**4)) / power**2 * math.prod(1 + 2 / n for n in weights.shape)
    some = scaled if scaled.size <= MOST else np.random.default_rng(0).choice(scaled, MOST, replace=False)
    with np.errstate(divide="ignore"):
        entropy = float(stats.differential_entropy(some)) / math.log(2)
    divergence = max(0.5 * math.log2(2 * math.pi * math.e * float(np.mean(some**2))) - entropy, 0.0)
    return Prior(unit**2 * rows, columns, kurtosis, divergence)


def components(prior: Prior, moments: np.ndarray) -> Components:
    """Eigenvalues of diag(r)^½ Σ diag(r)^½, those at rounding level as zero.

    Examples
    --------
    >>> prior = fit(np.array([[1.0, -1.0], [2.0, 2.0]]))
    >>> print(components(prior, np.diag([1.0, 3.0])).spectrum)
    [ 1. 12.]
    """
    roots = np.sqrt(prior.rows)
    spectrum = np.linalg.eigvalsh(roots[:, None] * moments * roots)
    least = len(spectrum) * np.finfo(float).eps * spectrum.max(initial=0.0)
    return Components(np.where(spectrum > least, spectrum, 0.0), prior.columns)


def rate(parts: Components, distortion: float) -> float:
    """R(D) in bits of a layer with these components, as `linear.layer_rate` has it.

    Examples
    --------
    >>> print(rate(Components(np.array([1.0, 4.0]), np.ones(2)), 4.0))
    2.0
    """
    power = np.outer(parts.columns, parts.spectrum).ravel()
    return float(gaussian.water_filling(jnp.asarray(power), distortion).rate)


def _inverse(variances: np.ndarray) -> np.ndarray:
    return np.where(variances > 0, 1 / np.where(variances > 0, variances, 1.0), 0.0)
