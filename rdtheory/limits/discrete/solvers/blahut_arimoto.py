"""Blahut-Arimoto, plain and accelerated: jitted, trusting their arguments. notation: see `problem`."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rdtheory import _compile
from rdtheory.limits.discrete import certificate
from rdtheory.limits.discrete.arithmetic import scaled_kernel
from rdtheory.limits.discrete.certificate import Point
from rdtheory.limits.discrete.kernels import Matrix
from rdtheory.limits.discrete.problem import Problem, View, make, price
from rdtheory.results import RateDistortion

PLAIN, ACCELERATED, INTERIOR_POINT, COLUMN_GENERATION, SQUARE = range(5)
MET = 0.9  # share of the tolerance: the certificate at the end also has what rounding makes of the distortion


class _Step(NamedTuple):
    q: Array
    c: Array
    gap: Array
    free_energy: Array


class _Cycle(NamedTuple):
    now: _Step
    best: _Step
    grown: Array  # log c of the first step of the cycle
    retreat: Array  # where plain steps would have led
    level: Array  # free energy that an extrapolation must not exceed
    reach: Array  # longest extrapolation allowed: a letter that dies out asks for more than the others bear
    second: Array  # whether the next step is the second of the cycle
    steps: Array


def start(problem: Problem, at_zero_rate: Array) -> Array:
    """Uniform q on what may be used; all mass on the best single letter where the rate is to be zero."""
    best = jax.nn.one_hot(problem.best, len(problem.usable), dtype=problem.p.dtype)
    uniform = problem.usable / jnp.sum(problem.usable)
    return jnp.where(at_zero_rate & jnp.isfinite(problem.span), best, uniform)


def result_of(problem: Problem, point: Point, tol: Array, steps: Array, method: int) -> RateDistortion:
    """A point in the caller's units."""
    distortion = point.distortion * problem.unit
    return RateDistortion(
        rate=point.rate,
        distortion=distortion,
        gap=point.gap,
        slope=point.s / problem.unit,
        converged=point.gap <= tol,
        steps=steps,
        reproduction_pmf=point.q,
        segment=jnp.stack([distortion, distortion]),
        method=jnp.asarray(method),
    )


@partial(_compile.jit, brief=True)
def at_slope(p: Array, d: Array, slope: Array, tol: Array, max_steps: Array) -> RateDistortion:
    """The point of R(D) with that slope, by steps q ← q c."""
    problem, every, evaluate, s = _fixed_kernel(p, d, slope)

    def go_on(state: tuple[_Step, Array]) -> Array:
        now, steps = state
        return (now.gap > MET * tol) & (steps < max_steps)

    def step(state: tuple[_Step, Array]) -> tuple[_Step, Array]:
        now, steps = state
        return evaluate(now.q * now.c), steps + 1

    now, steps = lax.while_loop(go_on, step, (_before(start(problem, slope == 0)), jnp.full((), -1)))
    point = certificate.at_slope(problem, every, now.q, s)
    return result_of(problem, point, tol, steps, PLAIN)._replace(slope=slope)


@partial(_compile.jit, brief=True)
def accelerated_at_slope(p: Array, d: Array, slope: Array, tol: Array, max_steps: Array) -> RateDistortion:
    """The same point by SQUAREM on log q: two steps, then a quadratic extrapolation, undone if it does not pay."""
    problem, every, evaluate, s = _fixed_kernel(p, d, slope)

    def go_on(state: _Cycle) -> Array:
        return (state.best.gap > MET * tol) & (state.steps < max_steps)

    def step(state: _Cycle) -> _Cycle:
        now = evaluate(state.now.q)
        best = jax.tree.map(lambda a, b: jnp.where(now.gap < state.best.gap, a, b), now, state.best)
        log_c = jnp.log(jnp.maximum(now.c, 1e-300))
        plain = now.q * now.c
        bend = log_c - state.grown
        length = jnp.sqrt(jnp.sum(now.q * state.grown**2) / jnp.maximum(jnp.sum(now.q * bend**2), 1e-300))
        length = jnp.clip(length, 1.0, state.reach)
        far = now.q * jnp.exp(jnp.clip((2 * length - 1) * state.grown + length**2 * bend, -300, 300))
        leap = state.second & jnp.isfinite(jnp.sum(far)) & (jnp.sum(far) > 0)
        failed = ~state.second & (now.free_energy > state.level)
        following = jnp.where(failed, state.retreat, jnp.where(leap, far / jnp.sum(far), plain))
        return _Cycle(
            now=now._replace(q=following),
            best=best,
            grown=log_c,
            retreat=plain,
            level=jnp.where(leap, now.free_energy, jnp.inf),
            reach=jnp.clip(jnp.where(failed, state.reach / 4, jnp.where(leap, 2 * state.reach, state.reach)), 1.0, 1e4),
            second=~state.second & ~failed,
            steps=state.steps + 1,
        )

    first = _before(start(problem, slope == 0))
    none = jnp.zeros_like(first.q)
    level, reach = jnp.full_like(s, jnp.inf), jnp.full_like(s, 4.0)
    state = _Cycle(first, first, none, none, level, reach, jnp.asarray(False), jnp.full((), -1))
    state = lax.while_loop(go_on, step, state)
    point = certificate.at_slope(problem, every, state.best.q, s)
    return result_of(problem, point, tol, state.steps, ACCELERATED)._replace(slope=slope)


def _fixed_kernel(p: Array, d: Array, slope: Array) -> tuple[Problem, View, Callable[[Array], _Step], Array]:
    matrix = Matrix(d)
    problem = make(p, matrix)
    s = slope * problem.unit
    whole = matrix.whole(problem)
    every, kernel = View(whole, jnp.arange(d.shape[1])), scaled_kernel(whole.excess, s)
    problem = problem._replace(kernel=kernel)

    def evaluate(q: Array) -> _Step:
        z = kernel @ q
        c, error = price(problem, s, p / z)
        near = certificate.bounds(problem, z, q, c, error, every.letters, s)
        # Rate and distortion wait for the end: they would cost a third pass over the kernel.
        gap = jnp.maximum(near.log_max - near.drift, 0) + 2 * near.rounding
        return _Step(q, c, gap, certificate.free_energy(p, z))

    return problem, every, evaluate, s


def _before(q: Array) -> _Step:
    """What the loops begin with: they make the first evaluation too, as step 0, so one copy of it is compiled."""
    return _Step(q, jnp.ones_like(q), jnp.asarray(jnp.inf, q.dtype), jnp.asarray(jnp.inf, q.dtype))
