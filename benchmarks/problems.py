"""The problems of the benchmark. Each has one or more slopes; a solver must answer at all of them.

Names are `family` or `family-n`. Random problems take the seed of the run, which is printed and stored.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SIZES = (256, 1024, 4096)


class Problem(NamedTuple):
    name: str
    p: np.ndarray  # (n,) source pmf
    d: np.ndarray  # (n, m) distortion
    slopes: np.ndarray  # (k,) bits per unit of distortion
    exact: np.ndarray | None = None  # (k,) least R + slope · D in bits, where a formula gives it


def family(name: str) -> str:
    """The name without its size."""
    head, _, tail = name.rpartition("-")
    return head if tail.isdigit() and int(tail) in SIZES else name


def _gaussian_slope(D):
    return 1 / (2 * np.log(2) * D)  # of ½ log(σ²/D)


def _coin(name: str, factor: float) -> Problem:
    """Bias 0.3: below the slope log(0.7/0.3) the rate is zero, and there Blahut-Arimoto is slowest."""
    bias = 0.3
    slope = factor * np.log2((1 - bias) / bias)
    D = 1 / (1 + 2**slope)

    def h(x):
        return -x * np.log2(x) - (1 - x) * np.log2(1 - x)

    exact = h(bias) - h(D) + slope * D if bias > D else slope * bias
    return Problem(name, np.array([1 - bias, bias]), 1 - np.eye(2), np.array([slope]), np.array([exact]))


def _line(name: str, density: Callable, low: float, high: float, n: int, power: int, slopes) -> Problem:
    """A density at n points between `low` and `high`, |x - y| to a power."""
    x = low + (high - low) * (np.arange(n) + 0.5) / n
    p = density(x)
    return Problem(name, p / p.sum(), np.abs(x[:, None] - x) ** power, np.atleast_1d(slopes))


def _normal(x, mean=0.0, scale=1.0):
    return np.exp(-(((x - mean) / scale) ** 2) / 2) / scale


def _ring(name: str, side: int) -> Problem:
    """A blurred circle on a square grid, squared error."""
    axis = np.linspace(-1.5, 1.5, side)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    p = _normal(np.linalg.norm(points, axis=1), 1.0, 0.1)
    d = np.sum((points[:, None] - points) ** 2, axis=-1)
    return Problem(name, p / p.sum(), d, np.array([1 / (np.log(2) * 0.05)]))


def _random(name: str, n: int, seed: int) -> Problem:
    rng = np.random.default_rng([seed, n])
    return Problem(name, rng.dirichlet(np.ones(n)), rng.random((n, n)), np.array([12.0]))


def _letters(name: str, seed: int) -> Problem:
    """Eight letters in a row, absolute error, 50 slopes: the size of an example in a textbook."""
    x = np.arange(8.0)
    p = np.random.default_rng([seed, 8]).dirichlet(np.full(8, 3.0))
    return Problem(name, p, np.abs(x[:, None] - x), np.geomspace(0.2, 10, 50))


def _makers(seed: int) -> dict[str, Callable[[], Problem]]:
    rates = np.linspace(0.25, 4, 50)
    makers = {
        "coin-critical": lambda: _coin("coin-critical", 1.0),
        "coin-near-critical": lambda: _coin("coin-near-critical", 1.001),
        "curve-8-letters": lambda: _letters("curve-8-letters", seed),
        "curve-512": lambda: _line("curve-512", _normal, -5, 5, 512, 2, _gaussian_slope(4.0**-rates)),
        # The same moved, so that it does not read the same backwards.
        "curve-512-moved": lambda: _line(
            "curve-512-moved", lambda x: _normal(x, 0.3), -5, 5, 512, 2, _gaussian_slope(4.0**-rates)
        ),
        "random-200": lambda: _random("random-200", 200, seed),
        "ring": lambda: _ring("ring", 32),
    }
    # Every slope below is that of two bits, exactly or by Shannon's lower bound.
    lines = {f"gaussian-{w}": (_normal, -w, w, 2, _gaussian_slope(1 / 16)) for w in (5, 8, 10)}
    lines["uniform"] = (np.ones_like, 0, 1, 2, 16 * np.pi * np.e / np.log(2))
    lines["laplace"] = (lambda x: np.exp(-abs(x)), -12, 12, 1, 4 / np.log(2))
    lines["mixture"] = (
        lambda x: 0.3 * _normal(x, -1.5, 0.4) + 0.7 * _normal(x, 1.0, 0.8),
        -6,
        6,
        2,
        _gaussian_slope(1 / 16),
    )
    for head, (density, low, high, power, slope) in lines.items():
        for n in SIZES:
            name = f"{head}-{n}"
            makers[name] = lambda a=(name, density, low, high, n, power, slope): _line(*a)
    makers["random-4096"] = lambda: _random("random-4096", 4096, seed)
    return makers


NAMES = tuple(_makers(0))
QUICK = ("coin-critical", "curve-8-letters", "random-200", "gaussian-8-256", "gaussian-8-1024", "uniform-256")


def make(name: str, seed: int) -> Problem:
    return _makers(seed)[name]()
