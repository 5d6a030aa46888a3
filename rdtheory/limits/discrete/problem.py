"""What every solver of a discrete source works on: the problem in good units.

notation: p, q source and reproduction pmf; d distortion; s slope; A kernel; z = A q; c = Aᵀ(p/z). Rows are scaled,
A = 2^(-s (d - min_y d)): that leaves c as it is and keeps z from underflowing. The excess distortion is d - min_y d,
here in units of a power of two near its largest finite entry, so that squares of it neither overflow nor underflow; the
slope is in bits per that unit.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from rdtheory.limits.discrete.arithmetic import unit_of
from rdtheory.limits.discrete.kernels import Columns, Distortion, Shifted, Stored, Streamed


class Problem(NamedTuple):
    p: Array
    d: Distortion
    floor: Array  # min_y d, of each source letter; zero where it has no mass
    least: Array  # Σ p min_y d, in units of `unit`
    span: Array  # D_max - least, likewise; infinite if every letter is forbidden for some source letter
    best: Array  # the letter that attains D_max
    nearest: Array  # whether no other is nearer to any source letter
    unit: Array
    usable: Array  # reproduction letters that some source letter of positive mass may use
    most: Array  # bits that some channel of least distortion gets by with
    smallest: Array  # excess distortion above zero, in units of `unit`; infinite if there is none
    largest: Array  # likewise, of those that are finite
    threads: tuple[()] | None = None  # of LAPACK: see `_cholesky`
    kernel: Array | None = None  # of all letters, where only one slope is of interest and it is worth storing


class View(NamedTuple):
    """Some reproduction letters."""

    excess: Stored | Columns | Streamed | Shifted
    letters: Array  # (k,) which they are


def make(p: Array, d: Distortion, threads: tuple[()] | None = None) -> Problem:
    facts = d.facts(p)
    unit = unit_of(facts.largest)
    return Problem(
        p=p,
        d=d,
        floor=facts.floor,
        least=p @ facts.floor / unit,
        span=facts.spent / unit,
        best=facts.best,
        nearest=facts.nearest,
        unit=unit,
        usable=facts.usable,
        most=facts.most,
        smallest=facts.smallest / unit,
        largest=facts.largest / unit,
        threads=threads,
    )


def price(problem: Problem, s: Array, weights: Array) -> tuple[Array, Array]:
    """C of every letter, from p / z, and a bound on the error of a transform it was computed by."""
    if problem.kernel is not None:
        return weights @ problem.kernel, jnp.zeros_like(s)
    return problem.d.price(problem, s, weights)


def slope_range(problem: Problem) -> tuple[Array, Array, Array]:
    """A slope to begin with, one that acts like zero and one that acts like infinity."""
    some = problem.largest > 0
    # Every letter may be forbidden to some other.
    scale = jnp.where(jnp.isfinite(problem.span), problem.span, problem.largest)
    # Beyond ten bits for the smallest excess hardly any is left, however little D_max is.
    steepest = jnp.where(some, 10 / problem.smallest, jnp.inf)
    middle = jnp.minimum(1 / jnp.where(scale > 0, scale, 1.0), steepest)
    return middle, jnp.where(some, 1e-30 / problem.largest, 1e-30), jnp.where(some, 1e4 / problem.smallest, 1e4)
