"""rdtheory's solvers, by their public names. One that does not exist yet is reported as such."""

import time
from collections.abc import Callable
from typing import NamedTuple

import checker
import jax
import numpy as np
from problems import Problem

import rdtheory as rd

NAMES = ("rd.curve", "rd.interior_point", "rd.blahut_arimoto")
HEADLINE = "rd.curve"  # the verb that chooses by itself: ratios are of it, or of the first that answers in this order


class Answers(NamedTuple):
    """One claim for each slope."""

    q: np.ndarray
    slope: np.ndarray
    distortion: np.ndarray
    rate: np.ndarray
    gap: np.ndarray
    steps: np.ndarray


def find(name: str) -> Callable | None:
    return getattr(rd, name.removeprefix("rd."), None)


def solve(name: str, problem: Problem, tol: float, limit: int | None = None) -> Answers:
    """Answers at all slopes; `limit` bounds the steps at each."""
    verb = find(name)
    options = {"tol": tol} | ({"max_steps": limit} if limit else {})
    if name == "rd.curve":
        points = [verb(problem.p, problem.d, problem.slopes, **options)]
    else:
        points = [
            jax.tree.map(lambda x: np.asarray(x)[None], verb(problem.p, problem.d, s, **options))
            for s in problem.slopes
        ]
    fields = ("reproduction_pmf", "slope", "distortion", "rate", "gap", "steps")
    return Answers(*(np.concatenate([np.asarray(getattr(point, field)) for point in points]) for field in fields))


def faults(problem: Problem, answer: Answers) -> list[str]:
    """What is wrong with the answers, by the independent checker."""
    wrong = []
    for i, slope in enumerate(problem.slopes):
        q, s, D, rate, gap = (np.asarray(field)[i] for field in answer[:5])
        if abs(s - slope) > 1e-9 * slope:
            wrong.append(f"asked for slope {slope:.6g}, answered at {s:.6g}")
        wrong += checker.faults(problem.p, problem.d, q, float(s), float(D), float(rate), float(gap))
    return wrong


def tighten(problem: Problem, bounds: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Bounds of the least R + slope · D, tightened by what the checker finds in our answers."""
    name = "rd.interior_point"
    if find(name) is None:
        return bounds
    answer = solve(name, problem, 1e-11, 1000)
    proved = [checker.dense(problem.p, problem.d, q, s) for q, s in zip(answer.q, problem.slopes, strict=True)]
    return [(max(b[0], c.lower), min(b[1], c.upper)) for b, c in zip(bounds, proved, strict=True)]


def continuous(D: float, tol: float):
    """Bounds of R(D) of the uniform source on [0, 1] under squared error; None if the verb is not there yet."""
    if not hasattr(rd, "continuous") or not hasattr(rd, "sources"):
        return None
    return jax.block_until_ready(rd.continuous.rate_at(rd.sources.uniform(0.0, 1.0), D, tol=tol))


def million(tol: float) -> float:
    """A Gaussian of two bits on 10⁶ grid points: warm seconds over those of one step's two convolutions by FFT."""
    x = np.linspace(-8, 8, 10**6)
    p, table = np.exp(-(x**2) / 2), (x - x[0]) ** 2
    p, slope = p / p.sum(), 8 / np.log(2)

    @jax.jit
    def step(q: jax.Array, kernel: jax.Array) -> jax.Array:
        size = 2 * q.size
        spectrum = jax.numpy.fft.rfft(jax.numpy.concatenate([kernel, jax.numpy.zeros(1), kernel[:0:-1]]), size)
        z = jax.numpy.fft.irfft(jax.numpy.fft.rfft(q, size) * spectrum, size)[: q.size]
        return jax.numpy.fft.irfft(jax.numpy.fft.rfft(p / z, size) * spectrum, size)[: q.size]

    def seconds(run: Callable) -> float:
        jax.block_until_ready(run())
        start = time.perf_counter()
        jax.block_until_ready(run())
        return time.perf_counter() - start

    d, kernel = rd.distortion.grid(table), np.exp2(-slope * table)
    found = rd.discrete.lagrangian(p, d, slope, tol=tol)
    if not found.converged:
        return float("inf")
    return seconds(lambda: rd.discrete.lagrangian(p, d, slope, tol=tol)) / seconds(lambda: step(p, kernel))
