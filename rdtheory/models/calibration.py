r"""What inputs of a layer say about inputs never seen: moments that are shrunk, rows held out, and what those measure.

The distortion of a layer W is tr (W - Ŵ)ᵀ Σ (W - Ŵ), Σ = E xxᵀ, and Σ is known from n rows only. Quantized in the
moments S of these rows, and measured by them, a layer looks better than it is: for n < m there are errors that S does
not see at all. So S is shrunk before it is used (`moments`), and distortions are measured on other rows (`distortion`).
All is computed on the host, in float64.
"""

from collections.abc import Iterator

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from scipy import stats

from rdtheory import _checks
from rdtheory.results import HeldOut, ShrunkMoments, Split

__all__ = ["distortion", "moments", "shrunk", "split"]

BLOCK = 2**22  # numbers that are looked at together


def moments(inputs: Float[ArrayLike, "n m"], *, shrinkage: float | None = None) -> ShrunkMoments:
    r"""Second moments of a layer's inputs, shrunk toward inputs that have nothing to do with each other.

    With S the mean of xxᵀ and s the square roots of its diagonal,

    .. math:: \hat\Sigma = (1-\alpha)\,S + \alpha\,\mathrm{diag}(S), \quad
              \alpha = \frac{\min(b, d)}{d}, \quad d = \|C - I\|^2, \quad
              b = \frac{1}{n}\Big(\frac1n\sum_k \|x_k/s\|^4 - \|C\|^2\Big), \quad C_{ij} = S_{ij}/(s_i s_j).

    This is the estimator of Ledoit and Wolf for inputs in units of their own size: in other units it is the same.

    Parameters
    ----------
    inputs : x (n, m), one a row; not centered.
    shrinkage : α in [0, 1], if it is known better; 0 gives S itself.

    Returns
    -------
    ShrunkMoments : NumPy arrays in float64; inputs that are always zero stay so.

    Raises
    ------
    ValueError : no rows, inputs that are not finite, a shrinkage outside [0, 1].

    References
    ----------
    Ledoit & Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.

    Examples
    --------
    >>> found = moments(np.random.default_rng(0).normal(size=(20, 30)))
    >>> print(f"{found.shrinkage:.2f} {np.linalg.eigvalsh(found.moments).min():.2f}")
    0.95 0.40
    """
    x = _rows(inputs)
    plain = np.zeros((x.shape[1], x.shape[1]))
    for block in _blocks(x):
        plain += block.T @ block / len(x)
    if shrinkage is None:
        share = _ledoit_wolf(x, plain)
    elif 0 <= shrinkage <= 1:
        share = float(shrinkage)
    else:
        raise ValueError(f"shrinkage must lie in [0, 1], got {shrinkage}")
    return _drawn(plain, share, len(x))


def shrunk(moments: Float[ArrayLike, "m m"], count: float | int) -> ShrunkMoments:
    r"""Second moments shrunk as `moments` does, where no more is known of the inputs than how many there were.

    .. math:: \alpha = \min\Big(1, \frac{(1-2/m)\,\|C\|^2 + m^2}{(n+1-2/m)\,(\|C\|^2 - m)}\Big)

    is the share for Gaussian inputs, C as there. Heavy tails ask for more than that.

    Parameters
    ----------
    moments : S (m, m), the mean of xxᵀ, symmetric positive semidefinite.
    count : n > 0, inputs that they are of.

    Raises
    ------
    ValueError : an indefinite matrix, a count that is not positive.

    References
    ----------
    Chen, Wiesel, Eldar & Hero (2010), oracle approximating shrinkage.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 30))
    >>> print(f"{shrunk(x.T @ x / 20, 20).shrinkage:.2f}")
    1.00
    """
    plain = np.asarray(_checks.covariance("moments", moments)[0], float)
    if not count > 0:
        raise ValueError(f"count must be > 0, got {count}")
    correlations, m = _correlated(plain)
    apart = (count + 1 - 2 / max(m, 1)) * (correlations - m)
    share = min(((1 - 2 / m) * correlations + m**2) / apart, 1.0) if apart > 0 else 1.0
    return _drawn(plain, share, count)


def split(count: int, held_out: float = 0.2, *, seed: int = 0) -> Split:
    """Which of so many inputs are for calibration, and which are held out: by chance.

    Of layers with as many inputs the same ones are held out. Inputs are taken for independent: where they come in
    groups, as the words of a sentence, what is measured on those held out is surer than it should be.

    Parameters
    ----------
    count : n >= 1.
    held_out : share in [0, 1); the nearest whole number, at least one row if it is not 0, and never all.
    seed : of the choice.

    Returns
    -------
    Split : rows in ascending order.

    Raises
    ------
    ValueError : a share outside [0, 1), one row of which some is to be held out.

    Examples
    --------
    >>> print(split(10).held_out, len(split(10).calibration))
    [4 6] 8
    """
    n = _checks.count("count", count, 1)
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out must be a share in [0, 1), got {held_out}")
    if not held_out:
        return Split(np.arange(n), np.zeros(0, int))
    if n == 1:
        raise ValueError("of one input none can be held out: give more, or hold out nothing")
    out = min(max(round(held_out * n), 1), n - 1)
    order = np.random.default_rng(_checks.count("seed", seed, 0)).permutation(n)
    return Split(np.sort(order[out:]), np.sort(order[:out]))


def distortion(
    weights: Float[ArrayLike, "m k"], weights_hat: Float[ArrayLike, "m k"], inputs: Float[ArrayLike, "n m"]
) -> HeldOut:
    r"""Mean squared change of a layer's outputs on inputs that the compressor has not seen, with its standard error.

    .. math:: D = \frac1n \sum_k \|(W - \hat W)^\top x_k\|^2

    The spread of few inputs is uncertain itself, so that the error is widened as by Student: means further than three
    of it from the truth are as rare as those of many inputs, 1 in 370.

    Parameters
    ----------
    weights, weights_hat : W and Ŵ, (m, k).
    inputs : held out, (n, m).

    Returns
    -------
    HeldOut : NumPy arrays in float64; of one row the standard error is infinite.

    Raises
    ------
    ValueError : shapes disagree, numbers that are not finite.

    Examples
    --------
    >>> print(distortion(np.ones((2, 1)), np.array([[1.0], [0.5]]), np.array([[3.0, 2.0], [1.0, -4.0]])).distortion)
    2.5
    """
    x = _rows(inputs)
    w, w_hat = (
        _checks.weights(name, value, 2)[0] for name, value in (("weights", weights), ("weights_hat", weights_hat))
    )
    lost = np.asarray(w, float) - np.asarray(_checks.array("weights_hat", w_hat, shape=w.shape), float)
    if lost.shape[0] != x.shape[1]:
        raise ValueError(f"inputs must have {lost.shape[0]} columns, one for each row of the weights, got {x.shape[1]}")
    each = np.concatenate([np.sum((block @ lost) ** 2, axis=1) for block in _blocks(x, max(lost.shape))])
    n = len(each)
    error = each.std(ddof=1) / np.sqrt(n) * stats.t.isf(stats.norm.sf(3), n - 1) / 3 if n > 1 else np.inf
    return HeldOut(np.array(each.mean()), np.array(error), each)


def _drawn(plain: np.ndarray, share: float, count: float | int) -> ShrunkMoments:
    drawn = (1 - share) * plain
    np.fill_diagonal(drawn, np.diagonal(plain))
    return ShrunkMoments(drawn, np.array(share), np.array(count))


def _correlated(plain: np.ndarray) -> tuple[float, int]:
    """‖C‖², and the number of inputs that are not always zero."""
    power = np.diagonal(plain)
    inverse = np.where(power > 0, 1 / np.where(power > 0, power, 1.0), 0.0)
    return float(np.sum(inverse[:, None] * plain**2 * inverse)), int(np.count_nonzero(power))


def _rows(inputs: ArrayLike) -> np.ndarray:
    return np.asarray(_checks.finite("inputs", inputs, 2)[0])


def _blocks(x: np.ndarray, width: int | None = None) -> Iterator[np.ndarray]:
    """Some rows after the other, in float64."""
    size = max(BLOCK // max(width or 0, x.shape[1]), 1)
    for start in range(0, len(x), size):
        yield x[start : start + size].astype(float)


def _ledoit_wolf(x: np.ndarray, plain: np.ndarray) -> float:
    sizes = np.sqrt(np.diagonal(plain))
    heard = sizes > 0
    inverse = np.where(heard, 1 / np.where(heard, sizes, 1.0), 0.0)
    correlations, m = _correlated(plain)
    fourth = sum(float(np.sum(np.sum((block * inverse) ** 2, axis=1) ** 2)) for block in _blocks(x)) / len(x)
    apart, noise = correlations - m, max(fourth - correlations, 0.0) / len(x)
    return min(noise, apart) / apart if apart > 0 else 0.0
