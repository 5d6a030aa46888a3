"""The best codebook of so many values for a Gaussian, from its density and not from samples."""

import math

import numpy as np
from scipy.linalg import solve_banded
from scipy.special import ndtr, ndtri

from rdtheory import _checks
from rdtheory.results import GaussianCodebook

__all__ = ["gaussian_codebook"]

LARGEST = 2**12
STEPS = 100  # at most; Newton's method takes about ten


def gaussian_codebook(levels: int) -> GaussianCodebook:
    r"""The scalar quantizer of least squared error for N(0, 1) with labels of equal length (Lloyd-Max).

    .. math:: c_k = E(X \mid t_{k-1} < X < t_k), \qquad t_k = \tfrac12(c_k + c_{k+1}),

    which for a Gaussian, whose density is log-concave, has one solution; Newton's method finds it. With b bits
    :math:`4^{-b}\le D\le\tfrac{\sqrt 3\pi}2\,4^{-b}`, nearer and nearer the upper end: at high rate equal lengths take
    ½ log(√3π/2) = 0.722 bit more than R(D). An entropy coder of the same labels takes their entropy.

    Parameters
    ----------
    levels : 1..4096; 2^b for b bits.

    Returns
    -------
    GaussianCodebook
        ``codebook`` and ``thresholds``, ascending; ``distortion`` of this codebook; ``entropy`` of its labels, in bits;
        ``residual``, how far at most a value is from the mean of its cell. NumPy's, in float64. For another variance σ²
        take σ times the values and σ² times the distortion.

    Raises
    ------
    ValueError : levels out of range.

    References
    ----------
    Max (1960); Lloyd (1957, 1982); Fleischer (1964) that there is one; Panter & Dite (1951) for the constant.

    Examples
    --------
    >>> found = gaussian_codebook(2)
    >>> print(found.codebook, f"{found.distortion:.6f}")  # ±√(2/π), 1 - 2/π
    [-0.79788456  0.79788456] 0.363380
    """
    L = _checks.count("levels", levels, 1, LARGEST)
    codebook = math.sqrt(3) * ndtri((np.arange(L) + 0.5) / L)  # of equal shares of the cube root of the density
    for _ in range(STEPS):
        _, masses, means, slopes = _cells(codebook)
        # Each threshold is the middle of its neighbors, so a mean moves by half of what its cell's ends move it.
        left, right = slopes / 2
        bands = np.stack([np.append(0.0, -right[:-1]), 1 - left - right, np.append(-left[1:], 0.0)])
        step = solve_banded((1, 1), bands, codebook - means)
        codebook = np.sort(codebook - step)
        if np.abs(step).max() <= 4 * np.finfo(float).eps * np.abs(codebook).max():
            break
    codebook = (codebook - codebook[::-1]) / 2
    thresholds, masses, means, _ = _cells(codebook)
    distortion = 1 + np.sum(masses * codebook * (codebook - 2 * means))
    entropy = -np.sum(masses * np.log2(masses))
    return GaussianCodebook(codebook, thresholds, distortion, entropy + 0.0, np.abs(codebook - means).max())


def _cells(codebook: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds; mass and mean of each cell; what the mean moves by when the left and the right end of the cell do."""
    thresholds = (codebook[1:] + codebook[:-1]) / 2
    ends = np.concatenate([[-np.inf], thresholds, [np.inf]])
    a, b = ends[:-1], ends[1:]
    masses = np.where(a > 0, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a))  # the tail that keeps its digits
    densities = np.exp(-0.5 * ends**2) / math.sqrt(2 * math.pi)
    means = (densities[:-1] - densities[1:]) / masses
    inner = np.where(np.isfinite(ends), ends, 0.0)  # where the density is 0
    slopes = np.stack([densities[:-1] * (means - inner[:-1]), densities[1:] * (inner[1:] - means)]) / masses
    return thresholds, masses, means, slopes
