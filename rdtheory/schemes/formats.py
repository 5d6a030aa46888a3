"""Formats in which networks are stored today: a few bits a weight, and a scale for each channel or group of weights.

A layer W (m inputs, k outputs) is cut into groups along the inputs of each output. What a group takes is its labels and
its scale; no entropy coder follows.
"""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from scipy import linalg

from rdtheory import _checks, _progress
from rdtheory.results import Stored

__all__ = ["NF4", "gptq", "half_zero", "integers", "normal_floats"]

SCALE_BITS = 16  # float16, as the usual files have it
ABSMAX_BITS = 32  # of a group of NF4, without "double quantization"
#: The sixteen values of NF4: quantiles of a Gaussian, 0 among them, from -1 to 1.
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


def integers(weights: Float[ArrayLike, "m k"], bits: int, group: int | None = None) -> Stored:
    """Each weight rounded to one of 2^bits multiples of the scale of its group, which is 2 max abs(w) / (2^bits - 1).

    Parameters
    ----------
    weights : W (m, k).
    bits : 2 to 16; labels go from -2^(bits-1) to 2^(bits-1) - 1.
    group : inputs of one output that share a scale, stored as float16; without it all of them, a scale per channel.

    Returns
    -------
    Stored : ``weights_hat`` in the dtype of the weights, and ``bits`` in all.

    Raises
    ------
    ValueError : weights that are not a finite matrix, or too large or small for a scale in float16.

    Examples
    --------
    >>> found = integers(jnp.array([[7.5, 1.0], [-3.2, 0.0]]), 4)
    >>> print(found.weights_hat, found.bits)
    [[ 7.          0.93310547]
     [-3.          0.        ]] 48
    """
    w, number = _checked(weights), _checks.count("bits", bits, 2, 16)
    size = len(w) if group is None else _checks.count("group", group, 1)
    w_hat = np.concatenate([_rounded(part, _scale(part, number), number) for part in _groups(w, size)])
    return _stored(weights, w_hat, number * w.size + SCALE_BITS * _count(w, size))


def normal_floats(weights: Float[ArrayLike, "m k"], group: int = 64) -> Stored:
    """Each weight rounded to the nearest of 16 quantiles of a Gaussian, times the largest magnitude of its group (NF4).

    Parameters
    ----------
    weights : W (m, k).
    group : inputs of one output that share a largest magnitude, stored as float32.

    References
    ----------
    Dettmers, Pagnoni, Holtzman & Zettlemoyer (2023), QLoRA.

    Examples
    --------
    >>> found = normal_floats(jnp.array([[-2.0], [0.4], [0.1]]))
    >>> print(found.weights_hat.ravel().round(3), found.bits)
    [-2.     0.322  0.159] 44
    """
    w, size = _checked(weights), _checks.count("group", group, 1)
    values = np.array(NF4)
    parts = []
    for part in _groups(w, size):
        largest = np.abs(part).max(axis=0).astype(np.float32).astype(float)
        labels = np.searchsorted((values[1:] + values[:-1]) / 2, part / np.where(largest > 0, largest, 1.0))
        parts.append(values[labels] * largest)
    return _stored(weights, np.concatenate(parts), 4 * w.size + ABSMAX_BITS * _count(w, size))


@_progress.doing("formats.gptq")
def gptq(
    weights: Float[ArrayLike, "m k"],
    moments: Float[ArrayLike, "m m"],
    bits: int = 4,
    group: int = 128,
    *,
    damping: float = 0.01,
) -> Stored:
    r"""`integers`, where each error is made up for by the inputs that follow, in the order in which they come.

    With :math:`\Sigma^{-1} = U^\top U`, U upper triangular, the error
    :math:`e_i = (w_i - \hat w_i)/U_{ii}` of input i moves the following ones by :math:`-U_{ij} e_i`. A group's scale is
    that of its weights when its turn comes.

    Parameters
    ----------
    weights : W (m, k).
    moments : Σ (m, m), symmetric positive semidefinite.
    bits, group : as for `integers`.
    damping : share of the mean diagonal of Σ that is added to it; an input that is always zero has weight zero.

    Raises
    ------
    ValueError : as for `integers`; moments of another size, indefinite, or singular after damping.

    References
    ----------
    Frantar, Ashkboos, Hoefler & Alistarh (2023).

    Examples
    --------
    With independent inputs nothing is made up for:

    >>> w = jnp.array([[7.5, 1.0], [-3.2, 0.0]])
    >>> print(np.array_equal(gptq(w, jnp.eye(2)).weights_hat, integers(w, 4).weights_hat))
    True
    """
    w, number, size = _checked(weights), _checks.count("bits", bits, 2, 16), _checks.count("group", group, 1)
    sigma = np.array(_checks.covariance("moments", moments, len(w))[0], float)
    dead = np.diagonal(sigma) == 0
    if not (np.isfinite(damping) and damping >= 0):
        raise ValueError(f"damping must be >= 0 and finite, got {damping}")
    sigma[np.diag_indices_from(sigma)] += np.where(dead, 1.0, damping * np.mean(np.diagonal(sigma)))
    w = np.where(dead[:, None], 0.0, w)
    try:
        upper = linalg.cholesky(linalg.inv(sigma))
    except linalg.LinAlgError as error:
        raise ValueError("moments are singular: a damping of 0.01 is usual") from error
    w_hat = np.zeros_like(w)
    for start in range(0, len(w), size):
        end = min(start + size, len(w))
        scale, errors = _scale(w[start:end], number), np.zeros((end - start, w.shape[1]))
        for i in range(start, end):
            w_hat[i] = _rounded(w[i], scale, number)
            errors[i - start] = (w[i] - w_hat[i]) / upper[i, i]
            w[i + 1 : end] -= np.outer(upper[i, i + 1 : end], errors[i - start])
        w[end:] -= upper[start:end, end:].T @ errors
    return _stored(weights, w_hat, number * w.size + SCALE_BITS * _count(w, size))


def half_zero(weights: Float[ArrayLike, "m k"]) -> Stored:
    """The smaller half of the weights set to zero, the others in 16 bits, and one bit for each to tell which they are.

    Examples
    --------
    >>> found = half_zero(jnp.array([[3.0, -1.0], [0.5, 2.0]]))
    >>> print(found.weights_hat, found.bits)
    [[3. 0.]
     [0. 2.]] 36
    """
    w = _checked(weights)
    kept = w.size - w.size // 2
    if np.abs(w).max() > np.finfo(np.float16).max:
        raise ValueError(
            "weights must be below 65,504 in magnitude to be kept as float16; measure them in another unit"
        )
    w_hat = np.zeros(w.size)
    places = np.argsort(-np.abs(w), axis=None, kind="stable")[:kept]
    w_hat[places] = w.ravel()[places].astype(np.float16)
    return _stored(weights, w_hat.reshape(w.shape), 16 * kept + w.size)


def _checked(weights: ArrayLike) -> np.ndarray:
    """On the host, in float64."""
    return np.array(_checks.weights("weights", weights, 2)[0], float)


def _groups(w: np.ndarray, size: int) -> list[np.ndarray]:
    return np.split(w, range(size, len(w), size))


def _count(w: np.ndarray, size: int) -> int:
    return -(-len(w) // size) * w.shape[1]


def _scale(part: np.ndarray, bits: int) -> np.ndarray:
    largest = np.abs(part).max(axis=0)
    with np.errstate(over="ignore"):
        scale = (2 * largest / (2**bits - 1)).astype(np.float16).astype(float)
    if not np.isfinite(scale).all() or (largest.max() > 0 and scale.max() == 0):
        raise ValueError(f"weights up to {largest.max():.3g} have no scale in float16; measure them in another unit")
    return scale


def _rounded(part: np.ndarray, scale: np.ndarray, bits: int) -> np.ndarray:
    half = 2 ** (bits - 1)
    return scale * np.clip(np.round(part / np.where(scale > 0, scale, 1.0)), -half, half - 1)


def _stored(weights: ArrayLike, w_hat: np.ndarray, bits: int) -> Stored:
    return Stored(w_hat.astype(_checks.weights("weights", weights)[0].dtype), np.array(bits))
