"""Sources on the real line: densities, named or the user's own, and samples.

A source is data: the logarithm of its density with what a quadrature must know about it. Solvers, such as
`rdtheory.continuous.rate_at`, do the rest. All of this happens on the host, in NumPy.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _peak

__all__ = [
    "Source",
    "exponential",
    "from_log_density",
    "from_samples",
    "gaussian",
    "gaussian_mixture",
    "generalized_gaussian",
    "generalized_gaussian_fisher_information",
    "laplace",
    "student_t",
    "uniform",
]

LogDensity = Callable[[np.ndarray], np.ndarray]


class Source(NamedTuple):
    """A probability law on the real line: a density, or atoms."""

    log_density: LogDensity | None  #: natural logarithm, elementwise, perhaps up to a constant; None for atoms
    support: tuple[float, float]  #: outside of it the density is zero; may be infinite
    breaks: np.ndarray  #: (k,) inside the support, sorted: kinks, and where to look for the mass
    scale: float  #: length over which the density changes next to the outermost breaks
    atoms: np.ndarray  #: (n,) sorted distinct values; empty for a density
    masses: np.ndarray  #: (n,) their probabilities


def uniform(low: Float[ArrayLike, ""], high: Float[ArrayLike, ""]) -> Source:
    """Uniform on [low, high].

    Parameters
    ----------
    low, high : finite, low < high.

    Raises
    ------
    ValueError : the interval is empty or infinite.

    Examples
    --------
    >>> print(uniform(0.0, 1.0).support)
    (0.0, 1.0)
    """
    a, b = _real("low", low), _real("high", high)
    _checks.holds(a < b, lambda: f"high must be greater than low, got low = {a} and high = {b}")
    return _density(lambda x: np.full(np.shape(x), -math.log(b - a)), [(a + b) / 2], b - a, (a, b))


def gaussian(scale: Float[ArrayLike, ""]) -> Source:
    """Gaussian of mean zero and standard deviation `scale`.

    Parameters
    ----------
    scale : standard deviation > 0.

    Raises
    ------
    ValueError : the scale is not positive.

    Examples
    --------
    >>> print(gaussian(1.0).log_density(np.array([0.0])).round(6))
    [-0.918939]
    """
    s = _positive("scale", scale)
    return _density(lambda x: -0.5 * (x / s) ** 2 - math.log(s * math.sqrt(2 * math.pi)), [0.0], s)


def laplace(scale: Float[ArrayLike, ""]) -> Source:
    """Laplace density exp(-|x| / scale) / (2 scale).

    Parameters
    ----------
    scale : mean absolute value > 0; the variance is 2 scale².

    Raises
    ------
    ValueError : the scale is not positive.

    Examples
    --------
    >>> print(laplace(1.0).log_density(np.array([0.0])).round(6))
    [-0.693147]
    """
    b = _positive("scale", scale)
    return _density(lambda x: -np.abs(x) / b - math.log(2 * b), [0.0], b)


def exponential(scale: Float[ArrayLike, ""]) -> Source:
    """Exponential density exp(-x / scale) / scale on x >= 0.

    Parameters
    ----------
    scale : mean > 0.

    Raises
    ------
    ValueError : the scale is not positive.

    Examples
    --------
    >>> print(exponential(2.0).support)
    (0.0, inf)
    """
    b = _positive("scale", scale)
    return _density(lambda x: -x / b - math.log(b), [b], b, (0.0, math.inf))


def student_t(dof: Float[ArrayLike, ""], scale: Float[ArrayLike, ""] = 1.0) -> Source:
    """Student's t: density proportional to (1 + (x / scale)² / dof)^(-(dof + 1) / 2).

    Parameters
    ----------
    dof : degrees of freedom > 0. The variance is finite above 2.
    scale : > 0.

    Raises
    ------
    ValueError : a parameter is not positive.

    Examples
    --------
    >>> print(student_t(3.0).log_density(np.array([0.0])).round(6))
    [-1.000889]
    """
    v, s = _positive("dof", dof), _positive("scale", scale)
    constant = math.lgamma((v + 1) / 2) - math.lgamma(v / 2) - 0.5 * math.log(v * math.pi) - math.log(s)

    def log_density(x: np.ndarray) -> np.ndarray:
        u = np.abs(x) / (s * math.sqrt(v))
        # log(1 + u²) without the overflow of u²
        return constant - (v + 1) * np.log(np.hypot(1.0, u)) if v < 1e6 else constant - (v + 1) / 2 * np.log1p(u * u)

    return _density(log_density, [0.0], s)


def generalized_gaussian(shape: Float[ArrayLike, ""], scale: Float[ArrayLike, ""]) -> Source:
    """Generalized Gaussian: density proportional to exp(-|x / scale|^shape).

    Shape 1 is Laplace, shape 2 a Gaussian of standard deviation scale / √2, a large shape nearly uniform.

    Parameters
    ----------
    shape : > 0.
    scale : > 0.

    Raises
    ------
    ValueError : a parameter is not positive.

    Examples
    --------
    >>> print(generalized_gaussian(2.0, 1.0).log_density(np.array([0.0])).round(6))
    [-0.572365]
    """
    r, s = _positive("shape", shape), _positive("scale", scale)
    constant = math.log(r / (2 * s)) - math.lgamma(1 / r)
    return _density(lambda x: constant - np.abs(x / s) ** r, [0.0], s)


def generalized_gaussian_fisher_information(shape: Float[ArrayLike, ""], scale: Float[ArrayLike, ""]) -> float:
    r"""Fisher information J = E (f'/f)² of the place of a generalized Gaussian.

    With u = abs(x / scale)^r of the Gamma law of parameter 1/r, and f'/f = -(r / scale) u^(1 - 1/r) up to its sign,

    .. math:: J = \frac{r^2}{a^2} \frac{\Gamma(2 - 1/r)}{\Gamma(1/r)}, \qquad \sigma^2 = a^2
        \frac{\Gamma(3/r)}{\Gamma(1/r)},

    so that J σ² >= 1, with equality for the Gaussian, r = 2. Up to r = ½ it is infinite: the peak is too sharp.

    Parameters
    ----------
    shape : r > 0.
    scale : a > 0.

    Returns
    -------
    J in the units of 1 / scale².

    Raises
    ------
    ValueError : a parameter is not positive.

    References
    ----------
    Stam (1959) for the inequality.

    Examples
    --------
    >>> print(round(generalized_gaussian_fisher_information(2.0, 2**0.5), 12))  # unit variance
    1.0
    """
    r, a = _positive("shape", shape), _positive("scale", scale)
    return math.exp(math.lgamma(2 - 1 / r) - math.lgamma(1 / r)) * (r / a) ** 2 if r > 0.5 else math.inf


def gaussian_mixture(
    weights: Float[ArrayLike, " k"], means: Float[ArrayLike, " k"], scales: Float[ArrayLike, " k"]
) -> Source:
    """Mixture of Gaussians.

    Parameters
    ----------
    weights : (k,), sum to 1.
    means : (k,).
    scales : (k,), standard deviations > 0.

    Raises
    ------
    ValueError : shapes disagree, weights that do not sum to 1, a scale that is not positive.

    Examples
    --------
    >>> source = gaussian_mixture(jnp.array([0.5, 0.5]), jnp.array([-1.0, 1.0]), jnp.array([0.2, 0.2]))
    >>> print(source.log_density(np.array([0.0])).round(6))
    [-11.809501]
    """
    weights, _ = _checks.pmf("weights", weights)
    means, _ = _checks.finite("means", means, shape=weights.shape)
    scales, _ = _checks.finite("scales", scales, shape=weights.shape)
    p, m, s = (np.asarray(a) for a in (weights, means, scales))
    _checks.holds((s > 0).all(), lambda: f"scales must be > 0, got {s}")
    p, m, s = p[p > 0], m[p > 0], s[p > 0]
    constants = np.log(p / (s * math.sqrt(2 * math.pi)))

    def log_density(x: np.ndarray) -> np.ndarray:
        return np.logaddexp.reduce(constants - 0.5 * ((np.asarray(x)[..., None] - m) / s) ** 2, axis=-1)

    landmarks = np.concatenate([m + k * s for k in (-9, -3, 0, 3, 9)])
    return _density(log_density, landmarks, float(s.max()))


def from_log_density(log_density: Callable, support: tuple[float, float], breaks: Sequence[float] = ()) -> Source:
    """A density of one's own, from its natural logarithm; it need not be normalized.

    Parameters
    ----------
    log_density : maps an array of numbers to the array of log densities (NumPy or `jax.numpy`), -inf where it is zero.
    support : (low, high), perhaps infinite.
    breaks : points inside the support where the density or a derivative jumps. They need not be given, but help. Give
        a point near each very narrow peak or hole: one narrower than 1e-5 of a finite support, or than a thousandth of
        its distance from the highest peak, or one that changes the density by less than a tenth, can otherwise be
        missed. What is certified then holds without it; nothing tells, as a density that need not be normalized misses
        no mass. A solver that finds too many asks for breaks.

    Raises
    ------
    ValueError : the support is empty, or a break lies outside of it.

    Examples
    --------
    >>> triangle = from_log_density(lambda x: np.log1p(-np.abs(x)), (-1.0, 1.0), breaks=(0.0,))
    >>> print(triangle.support)
    (-1.0, 1.0)
    """
    if not callable(log_density):
        raise TypeError(f"log_density must be a function of an array, got {type(log_density).__name__}")
    low, high = (float(end) for end in support)
    if not low < high:
        raise ValueError(f"support must be (low, high) with low < high, got {support}")
    points = np.sort(np.asarray(breaks, float).ravel())
    if not ((points > low) & (points < high)).all():
        raise ValueError(f"breaks must lie inside the support {support}, got {breaks}")

    def on_host(x: np.ndarray) -> np.ndarray:
        flat = np.ravel(x)
        if not flat.size:
            return np.zeros(np.shape(x))
        # A JAX function compiles once per shape: let there be few.
        padded = np.full(max(1024, 1 << (flat.size - 1).bit_length()), flat[0])
        padded[: flat.size] = flat
        values = np.asarray(log_density(padded), float)
        if values.shape != padded.shape:
            raise ValueError(f"log_density must act elementwise, but turned shape {padded.shape} into {values.shape}")
        return values[: flat.size].reshape(np.shape(x))

    peak, width = _peak.find(on_host, low, high, points)
    return _density(on_host, np.append(points, peak), width, (low, high))


def from_samples(samples: Float[ArrayLike, " n"]) -> Source:
    """The empirical law of samples: a discrete source, each sample with mass 1/n.

    What is certified about it holds for the empirical law. The rate-distortion function of the law that the samples
    were drawn from differs by a sampling error that no certificate here speaks of.

    Parameters
    ----------
    samples : (n,), finite.

    Raises
    ------
    ValueError : NaN or infinity among the samples, or none at all.

    Examples
    --------
    >>> print(from_samples(jnp.array([1.0, 2.0, 2.0, 3.0])).masses)
    [0.25 0.5  0.25]
    """
    x, _ = _checks.finite("samples", samples, 1)
    atoms, counts = np.unique(np.asarray(x, float), return_counts=True)
    spread = float(atoms[-1] - atoms[0]) or 1.0
    return Source(None, (float(atoms[0]), float(atoms[-1])), np.empty(0), spread, atoms, counts / counts.sum())


def _real(name: str, value: ArrayLike) -> float:
    x, _ = _checks.finite(name, value, 0)
    return float(x)


def _positive(name: str, value: ArrayLike) -> float:
    x = _real(name, value)
    _checks.holds(x > 0, lambda: f"{name} must be > 0, got {x}")
    return x


def _density(
    log_density: LogDensity, breaks: Sequence[float] | np.ndarray, scale: float, support=(-math.inf, math.inf)
) -> Source:
    points = np.unique(np.asarray(breaks, float))
    return Source(log_density, support, points, float(scale), np.empty(0), np.empty(0))
