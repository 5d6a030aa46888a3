"""Mehrotra's predictor-corrector for min -Σ p log(A q) + Σ q over q >= 0. notation: see `problem`; ν dual, y slack.

With ν in place of p / (A q) the optimality conditions are those of a linear program in which one product is not zero:

    Aᵀν + y = 1,   (A q) ν = p,   q y = 0,   q, y, ν >= 0,

so the method for linear programs applies as it is (Koenker & Mizera 2014 solve the same program). Newton's equations
are reduced to B = diag(ν/z)^½ A diag(q/y)^½ and I + BᵀB or I + BBᵀ, whichever is smaller.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import xlogy

from rdtheory.limits.discrete.arithmetic import LN2
from rdtheory.limits.discrete.kernels import PlaneKernel, Table

PATIENCE = 20  # steps without a smaller gap after which rounding has won
STEP = 0.9995  # of the way to the boundary
CENTRAL = 1e-4  # least slack of a letter in use, in units of the gap


class _State(NamedTuple):
    q: Array
    nu: Array
    slack: Array
    ridge: Array
    best: Array  # q of the smallest gap so far
    gap: Array  # that gap, bits
    stale: Array  # steps since it shrank
    steps: Array


class _Direction(NamedTuple):
    dq: Array
    dz: Array
    dnu: Array
    dslack: Array
    center: Array  # the product q y to aim at from here
    primal: Array  # step lengths to the boundary, at most 1
    dual: Array


def minimize(
    kernel: Table | PlaneKernel, p: Array, q: Array, tol: Array, max_steps: Array
) -> tuple[Array, Array, Array]:
    """The q, summing to one, of least gap log max c - Σ q c log c that was found, that gap, and the steps taken.

    Letters in which the starting q is zero stay out. Rows of p = 0 are inert. `tol` is in bits.
    """
    m, live = len(q), q > 0
    times, transposed = kernel.times, kernel.transposed

    def over_q(x: Array) -> Array:
        return jnp.where(live, x, 0.0)

    def step(state: _State) -> _State:
        q, nu, slack = state.q, state.nu, state.slack
        z = times(q)
        c, priced = transposed(jnp.stack([p / z, nu]))
        c = over_q(c)
        gap = (jnp.log(jnp.max(c)) - jnp.sum(xlogy(q * c, c))) / LN2
        better = gap < state.gap
        best, least = jnp.where(better, q, state.best), jnp.where(better, gap, state.gap)
        stale = jnp.where(gap < 0.9 * state.gap, 0, state.stale + 1)

        dual = over_q(1 - priced - slack)
        root = over_q(jnp.sqrt(q / slack))
        solve = kernel.inverse(nu / z, root, state.ridge)

        def newton(product: Array, complement: Array) -> tuple[Array, Array, Array, Array]:
            right = root * (transposed(product / z) + over_q(complement / jnp.where(live, q, 1.0)) - dual)
            dq = root * solve(right)
            dz = times(dq)
            return dq, dz, (product - nu * dz) / z, over_q((complement - slack * dq) / jnp.where(live, q, 1.0))

        product, complement = p - z * nu, -over_q(q * slack)
        mean = -jnp.sum(complement) / jnp.sum(live)

        def improve(_: Array, tried: _Direction) -> _Direction:
            """The predictor from nothing, the corrector from the predictor: one copy to compile."""
            dq, dz, dnu, dslack = newton(
                product - tried.dz * tried.dnu, complement + over_q(tried.center - tried.dq * tried.dslack)
            )
            primal, dual = to_boundary(q, dq), jnp.minimum(to_boundary(slack, dslack), to_boundary(nu, dnu))
            primal, dual = jnp.minimum(primal, 1.0), jnp.minimum(dual, 1.0)
            reached = jnp.sum(over_q((q + primal * dq) * (slack + dual * dslack))) / jnp.sum(live)
            return _Direction(dq, dz, dnu, dslack, mean * (reached / mean) ** 3, primal, dual)

        none = jnp.zeros_like(mean)
        nowhere = _Direction(
            jnp.zeros_like(q), jnp.zeros_like(z), jnp.zeros_like(z), jnp.zeros_like(q), none, none, none
        )
        way = lax.fori_loop(0, 2, improve, nowhere)

        # A factorization that broke down is made again with a larger ridge.
        sound = jnp.isfinite(jnp.sum(way.dq) + jnp.sum(way.dnu) + jnp.sum(way.dslack))
        primal, dual_length = (
            jnp.where(sound, jnp.where(length < 1, STEP * length, 1.0), 0.0) for length in (way.primal, way.dual)
        )

        def moved(x: Array, length: Array, dx: Array) -> Array:
            return x + length * jnp.where(sound, dx, 0.0)

        # Rounding may take a full step to zero, and from there an interior point never returns. Slacks that are far
        # below what the gap stands for block every later step.
        least_slack = jnp.where(q > CENTRAL, CENTRAL * LN2 * jnp.maximum(gap, 0.0), 1e-12 * slack)
        return _State(
            q=jnp.maximum(moved(q, primal, way.dq), 1e-12 * q),
            nu=jnp.maximum(moved(nu, dual_length, way.dnu), 1e-12 * nu),
            slack=jnp.where(live, jnp.maximum(moved(slack, dual_length, way.dslack), least_slack), 1.0),
            ridge=jnp.where(sound, state.ridge, 64 * state.ridge),
            best=best,
            gap=least,
            stale=stale,
            steps=state.steps + 1,
        )

    def go_on(state: _State) -> Array:
        return (state.gap > tol) & (state.steps < max_steps) & (state.stale < PATIENCE) & (state.ridge < 1e-3)

    nu = p / times(q)
    c = over_q(transposed(nu))
    state = _State(
        q=q,
        nu=nu / jnp.max(c),
        slack=jnp.where(live, jnp.maximum(1 - c / jnp.max(c), 0.1 / m), 1.0),
        ridge=jnp.asarray(4 * jnp.finfo(p.dtype).eps, p.dtype),
        best=q,
        gap=jnp.asarray(jnp.inf, p.dtype),
        stale=jnp.zeros((), int),
        steps=jnp.zeros((), int),
    )
    state = lax.while_loop(go_on, step, state)
    return state.best / jnp.sum(state.best), state.gap, state.steps


def to_boundary(x: Array, dx: Array) -> Array:
    """How far x can go along dx before an entry turns negative."""
    ratio = jnp.where((x > 0) & (dx < 0), -dx / jnp.where(x > 0, x, 1.0), 0.0)
    return 1 / jnp.maximum(jnp.max(ratio), 1e-300)
