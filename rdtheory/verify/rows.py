"""A line of evidence: what a theorem says, what the numbers say, and by how much they may differ."""

import functools
import math
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax import Array

from rdtheory import _compile

__all__ = ["SIGMAS", "Number", "Row", "agree", "at_most", "estimate", "generator", "host", "split"]

Result = TypeVar("Result")
Number = int | float | np.floating | np.ndarray | Array

SIGMAS = 5  # standard errors that a Monte Carlo estimate may be off: one false alarm in two million


class Row(NamedTuple):
    """One comparison of theory with numbers."""

    theorem: str
    computed: str  #: what was evaluated, and how
    theory: float
    numeric: float
    error: float  #: |numeric - theory|, or the amount by which an inequality is violated
    error_bar: float  #: the largest error that is consistent with the theorem
    holds: bool  #: error <= error_bar; never true of a NaN


def agree(theorem: str, computed: str, theory: Number, numeric: Number, error_bar: Number) -> Row:
    """Theory and number are equal, up to the error bar.

    Examples
    --------
    >>> agree("Pythagoras", "hypotenuse of 3 and 4", 5.0, 5.1, 0.01).holds
    False
    """
    expected, found = float(theory), float(numeric)
    error = 0.0 if expected == found else abs(found - expected)
    return _row(theorem, computed, expected, found, error, float(error_bar))


def at_most(theorem: str, computed: str, numeric: Number, bound: Number, error_bar: Number = 0.0) -> Row:
    """The number does not exceed the bound by more than the error bar.

    Examples
    --------
    >>> at_most("Markov", "P(X >= 2) for an exponential of mean 1", 0.135, 0.5).holds
    True
    """
    limit, found = float(bound), float(numeric)
    violation = 0.0 if found <= limit else found - limit
    return _row(theorem, computed, limit, found, violation, float(error_bar))


def estimate(samples: np.ndarray) -> tuple[float, float]:
    """Mean of independent samples, and `SIGMAS` times its standard error.

    Examples
    --------
    >>> mean, bar = estimate(np.array([0.0, 2.0, 0.0, 2.0]))
    >>> print(mean, round(bar, 3))
    1.0 2.887
    """
    return float(np.mean(samples)), float(SIGMAS * np.std(samples, ddof=1) / math.sqrt(samples.size))


def generator(key: Array) -> np.random.Generator:
    """NumPy's random numbers from a JAX key: the numeric side of a check shares no code with the theory.

    Examples
    --------
    >>> a, b = generator(jax.random.key(0)), generator(jax.random.key(0))
    >>> bool(a.normal() == b.normal())
    True
    """
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def host(result: Result) -> Result:
    """A result whose arrays are NumPy's: arithmetic with a few numbers need not be compiled.

    Examples
    --------
    >>> print(type(host(jax.numpy.ones(2))).__name__)
    ndarray
    """
    return jax.tree.map(np.asarray, result)


@functools.partial(_compile.jit, brief=True)
def split(key: Array) -> list[Array]:
    """The first three keys of `jax.random.split`: always as many, so that it is compiled once.

    Examples
    --------
    >>> first, second, _ = split(jax.random.key(0))
    >>> bool(first == second)
    False
    """
    return list(jax.random.split(key, 3))


def _row(theorem: str, computed: str, theory: float, numeric: float, error: float, error_bar: float) -> Row:
    return Row(theorem, computed, theory, numeric, error, error_bar, error <= error_bar)
