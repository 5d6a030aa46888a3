r"""As many letters as source letters, nearly all of them in use: the kernel is factored once. notation: see `problem`.

Where A is invertible, the optimality conditions Aᵀν + y = 1, (A q) ν = p, q y = 0 leave only the slacks y unknown:

    ν = A⁻ᵀ(1 - y),   q = A⁻¹(p / ν),   y >= 0 of least -Σ p log ν,

of which q is the gradient. Letters in use have y = 0, so that this is Newton's method in as many unknowns as there are
letters out of use: none at steep slopes, and few under an absolute error, where an interior point would factor a matrix
of all letters at every step. What comes of it is certified as anything else is; where more letters than `size` turn out
to be out of use, or A cannot be inverted, that is no solution, and its gap says so.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import lu_factor, lu_solve

from rdtheory import _compile
from rdtheory.limits.discrete import matched_slope
from rdtheory.limits.discrete.arithmetic import LN2, scaled_kernel
from rdtheory.limits.discrete.kernels import Table
from rdtheory.limits.discrete.problem import View
from rdtheory.limits.discrete.solvers.blahut_arimoto import SQUARE, result_of
from rdtheory.limits.discrete.solvers.columns import Prepared, at_its_slope
from rdtheory.limits.discrete.solvers.interior_point import STEP, to_boundary
from rdtheory.results import RateDistortion

ROUNDS = 4  # choices of the letters that may be out of use
NEWTON = 40  # steps in each
SHARE = 0.01  # of the tolerance, up to which slacks are found


class _State(NamedTuple):
    slack: Array  # (size,)
    q: Array
    missed: Array  # Σ q y, and by how much q is not the gradient
    steps: Array


class _Round(NamedTuple):
    slack: Array  # (m,)
    q: Array
    best: Array  # q of the least bound of the gap so far
    bound: Array  # bits
    going: Array  # whether the last round was a help
    rounds: Array
    steps: Array


@partial(_compile.jit, static_argnames="size")
def solve(prepared: Prepared, tol: Array, max_steps: Array, *, size: int) -> RateDistortion:
    """The point at a slope, `size` letters out of use at most."""
    problem, aim = prepared
    p, s, m = problem.p, aim.fixed, len(problem.usable)
    excess = problem.d.whole(problem)
    kernel = scaled_kernel(excess.excess, s) if problem.kernel is None else problem.kernel
    factor = lu_factor(kernel)
    all_in_use = lu_solve(factor, jnp.ones(m), trans=1)

    def over(state: _Round) -> Array:
        return (state.bound <= tol / 2) | ~state.going | (state.rounds >= ROUNDS) | (state.steps >= max_steps)

    def body(state: _Round) -> _Round:
        # What was found to be out of use (a slack is zero until then), then what is likely to be.
        letters = lax.top_k(jnp.where(state.slack > state.q, jnp.inf, -near), size)[1]
        columns = lu_solve(factor, jnp.zeros((m, size)).at[letters, jnp.arange(size)].set(1.0), trans=1)
        accuracy, left = SHARE * LN2 * tol, max_steps - state.steps
        slack, steps = _slacks(p, all_in_use, columns, accuracy, left, problem.threads)
        every = jnp.zeros(m).at[letters].set(slack)
        q = lu_solve(factor, p / (all_in_use - columns @ slack))
        bound = gap(q)
        best = jnp.where(bound < state.bound, q, state.best)
        going, bound = bound < 0.1 * state.bound, jnp.minimum(bound, state.bound)
        return _Round(every, q, best, bound, going, state.rounds + 1, state.steps + steps)

    def gap(q: Array) -> Array:
        q = jnp.maximum(q, 0.0) / jnp.sum(jnp.maximum(q, 0.0))
        c = (p / (kernel @ q)) @ kernel
        found = (jnp.log(jnp.max(c)) - jnp.sum(jnp.where(q > 0, q * c * jnp.log(c), 0.0))) / LN2
        return jnp.where(jnp.isnan(found), jnp.inf, found)

    q = lu_solve(factor, p / all_in_use)
    near = (p / jnp.sum(kernel, axis=1)) @ kernel  # mass of the source about a letter: where it is little, many are out
    # A potential that is not positive everywhere, or no number, is none to begin with.
    possible = jnp.all(all_in_use > 0)
    bound = jnp.where(possible, gap(q), jnp.inf)
    state = _Round(jnp.zeros(m), q, q, bound, possible, jnp.zeros((), int), jnp.ones((), int))
    state = lax.while_loop(lambda state: ~over(state), body, state)
    every = View(excess, jnp.arange(m))
    point = matched_slope.point(problem, aim, every, jnp.maximum(state.best, 0.0), s, tol)
    return at_its_slope(result_of(problem, point, tol, state.steps, SQUARE), aim)


def _slacks(
    p: Array, all_in_use: Array, columns: Array, accuracy: Array, budget: Array, threads: tuple[()] | None
) -> tuple[Array, Array]:
    """Y >= 0 of least -Σ p log(ν⁰ - G y) by the predictor-corrector of `interior_point`, and its steps.

    The gradient Gᵀ(p/ν) is to be q >= 0 with q y = 0.
    """
    table, ridge = Table(columns, columns, threads), jnp.asarray(4 * jnp.finfo(p.dtype).eps)

    def potential(slack: Array) -> Array:
        return all_in_use - columns @ slack

    def step(state: _State) -> _State:
        slack, q = state.slack, state.q
        nu = potential(slack)
        off, root = (p / nu) @ columns - q, jnp.sqrt(slack / q)
        solve = table.inverse(p / nu**2, root, ridge)

        def newton(product: Array) -> tuple[Array, Array, Array]:
            left = product - q * slack
            d_slack = root * solve(root * (left / slack - off))
            d_q = (left - q * d_slack) / slack
            ways = ((slack, d_slack), (q, d_q), (nu, -columns @ d_slack))
            length = jnp.min(jnp.stack([to_boundary(x, dx) for x, dx in ways]))
            return d_slack, d_q, jnp.minimum(STEP * length, 1.0)

        mean = jnp.mean(q * slack)
        d_slack, d_q, length = newton(jnp.zeros_like(q))
        reached = jnp.mean((q + length * d_q) * (slack + length * d_slack))
        d_slack, d_q, length = newton(mean * (reached / mean) ** 3 - d_slack * d_q)
        slack, q = slack + length * d_slack, q + length * d_q
        missed = jnp.sum(q * slack) + jnp.sum(jnp.abs((p / potential(slack)) @ columns - q))
        return _State(slack, q, missed, state.steps + 1)

    def go_on(state: _State) -> Array:
        return (state.missed > accuracy) & (state.steps < jnp.minimum(NEWTON, budget))  # NaN ends it

    inward = jnp.max(columns @ jnp.ones(columns.shape[1]) / all_in_use)
    slack = jnp.full(columns.shape[1], 0.5 / jnp.maximum(inward, 1.0))
    q = (p / potential(slack)) @ columns
    q = jnp.maximum(q, jnp.mean(jnp.abs(q)))
    state = _State(slack, q, jnp.asarray(jnp.inf), jnp.zeros((), int))
    state = lax.while_loop(go_on, step, state)
    return state.slack, state.steps
