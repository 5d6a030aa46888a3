"""Mehrotra's predictor-corrector for min -Σ p log(A q) + Σ q over q >= 0. notation: see `problem`; ν dual, y slack.

With ν in place of p / (A q) the optimality conditions are those of a linear program in which one product is not zero:

    Aᵀν + y = 1,   (A q) ν = p,   q y = 0,   q, y, ν >= 0,

so the method for linear programs applies as it is (Koenker & Mizera 2014 solve the same program). Newton's equations
are reduced to B = diag(ν/z)^½ A diag(q/y)^½ and I + BᵀB or I + BBᵀ, whichever is smaller.

A point that is asked for by its distortion or rate is a saddle, max_s min_q -Σ p log z - s D with A = 2^(-s excess),
and s one more unknown of the same equations: one row more, and one right-hand side. With w = Σ_y q A excess and s in
nats, the row is νᵀw = D; eliminated, it is

    (V + gᵀH⁻¹g) ds = νᵀw - D + …,   H = Aᵀ diag(ν/z) A + diag(y/q),   g = Aᵀ(νw/z) - (A excess)ᵀν,

with V >= 0 the variance of the excess. It takes about as many steps as a slope that is given. Where R(D) is straight H
is singular and g not in its range: then the slope stays, and q moves.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import xlogy

from rdtheory.limits.discrete.arithmetic import LN2, times
from rdtheory.limits.discrete.certificate import free_energy
from rdtheory.limits.discrete.kernels import PlaneKernel, Table

PATIENCE = 20  # steps without a smaller gap after which rounding has won
STEP = 0.9995  # of the way to the boundary
MET = 12.0  # how much more exactly a constraint is met than the gap
FLOOR = 0.1  # of what a constraint is missed by, in the gap that letters are kept in use for
CENTRAL = 1e-4  # least slack of a letter in use, in units of the gap


class Slope(NamedTuple):
    """One that moves until a constraint is met, of what it is, the mean excess distortion and the rate."""

    at: Callable[[Array], Table]
    first: Array
    missed: Callable[[Array, Array, Array], Array]  # by how many bits
    short: Callable[[Array, Array, Array], Array]  # of how much excess
    moves: Array  # whether any slope of a batch does
    free: Array  # whether this one does


class _State(NamedTuple):
    q: Array
    nu: Array
    slack: Array
    ridge: Array
    s: Array
    reach: Array  # largest relative change of the slope in a step
    last: Array  # its change in the last one
    best: tuple[Array, Array]  # q and s of the smallest gap so far
    gap: Array  # that gap, bits
    stale: Array  # steps since it shrank
    steps: Array


class _Border(NamedTuple):
    """What a slope that moves adds to Newton's equations, per bit of slope."""

    w: Array
    g: Array
    variance: Array
    short: Array
    missed: Array  # bits


class _Direction(NamedTuple):
    dq: Array
    dz: Array
    dnu: Array
    dslack: Array
    ds: Array
    center: Array  # the product q y to aim at from here
    primal: Array  # step lengths to the boundary, at most 1
    dual: Array


def minimize(
    kernel: Table | PlaneKernel, p: Array, q: Array, tol: Array, max_steps: Array, slope: Slope | None = None
) -> tuple[Array, Array, Array, Array]:
    """The q, summing to one, of least gap log max c - Σ q c log c that was found, that gap, the steps taken, the slope.

    Letters in which the starting q is zero stay out. Rows of p = 0 are inert. `tol` is in bits. With a slope that
    moves, `kernel` is that of the first one, and `MET` times what the constraint is missed by counts as a gap, too.
    """
    live, at_first = q > 0, kernel

    def over_q(x: Array) -> Array:
        return jnp.where(live, x, 0.0)

    def step(state: _State) -> _State:
        q, nu, slack, s = state.q, state.nu, state.slack, state.s
        kernel, border = _bordered(at_first, p, q, nu, s, slope)
        times, transposed = kernel.times, kernel.transposed
        z = times(q)
        c, priced = transposed(jnp.stack([p / z, nu]))
        c = over_q(c)
        gap = (jnp.log(jnp.max(c)) - jnp.sum(xlogy(q * c, c))) / LN2
        far = jnp.maximum(gap, border.missed * MET)
        better = far < state.gap
        best = jax.tree.map(lambda a, b: jnp.where(better, a, b), (q, s), state.best)
        stale = jnp.where(far < 0.9 * state.gap, 0, state.stale + 1)

        dual = over_q(1 - priced - slack)
        root = over_q(jnp.sqrt(q / slack))
        solve = kernel.inverse(nu / z, root, state.ridge)
        pull = root * solve(root * border.g) if slope else border.g  # dq by ds

        def newton(product: Array, complement: Array) -> tuple[Array, Array, Array, Array, Array]:
            right = root * (transposed(product / z) + over_q(complement / jnp.where(live, q, 1.0)) - dual)
            dq, ds = root * solve(right), jnp.zeros_like(s)
            if slope:
                whole = (border.w @ (product / z) - border.g @ dq - border.short) / (border.variance + border.g @ pull)
                change = jnp.clip(whole / s, -state.reach, state.reach)
                # As an exponent where it falls: never below zero.
                ds = jnp.where(slope.free, s * jnp.where(change < 0, jnp.expm1(change), change), 0.0)
                dq += ds * pull
            dz = times(dq) - ds * border.w
            return dq, dz, (product - nu * dz) / z, over_q((complement - slack * dq) / jnp.where(live, q, 1.0)), ds

        product, complement = p - z * nu, -over_q(q * slack)
        mean = -jnp.sum(complement) / jnp.sum(live)
        # Letters must not die out before the slope is about right.
        central = jnp.minimum(mean, FLOOR * LN2 * border.missed / jnp.sum(live))

        def improve(_: Array, tried: _Direction) -> _Direction:
            """The predictor from nothing, the corrector from the predictor: one copy to compile."""
            dq, dz, dnu, dslack, ds = newton(
                product - tried.dz * tried.dnu, complement + over_q(tried.center - tried.dq * tried.dslack)
            )
            primal, dual = to_boundary(q, dq), jnp.minimum(to_boundary(slack, dslack), to_boundary(nu, dnu))
            primal, dual = jnp.minimum(primal, 1.0), jnp.minimum(dual, 1.0)
            reached = jnp.sum(over_q((q + primal * dq) * (slack + dual * dslack))) / jnp.sum(live)
            center = jnp.maximum(mean * (reached / mean) ** 3, central)
            return _Direction(dq, dz, dnu, dslack, ds, center, primal, dual)

        none = jnp.zeros_like(mean)
        nowhere = _Direction(
            jnp.zeros_like(q), jnp.zeros_like(z), jnp.zeros_like(z), jnp.zeros_like(q), none, none, none, none
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
            s=moved(s, jnp.minimum(primal, dual_length), way.ds),
            reach=jnp.where(way.ds * state.last < 0, state.reach / 2, jnp.minimum(1.5 * state.reach, 1.0)),
            last=way.ds,
            best=best,
            gap=jnp.where(better, far, state.gap),
            stale=stale,
            steps=state.steps + 1,
        )

    def go_on(state: _State) -> Array:
        return (state.gap > tol) & (state.steps < max_steps) & (state.stale < PATIENCE) & (state.ridge < 1e-3)

    nu = p / kernel.times(q)
    c = over_q(kernel.transposed(nu))
    s = jnp.zeros((), p.dtype) if slope is None else slope.first
    state = _State(
        q=q,
        nu=nu / jnp.max(c),
        slack=jnp.where(live, jnp.maximum(1 - c / jnp.max(c), 0.1 / len(q)), 1.0),
        ridge=jnp.asarray(4 * jnp.finfo(p.dtype).eps, p.dtype),
        s=s,
        reach=jnp.ones_like(s),
        last=jnp.zeros_like(s),
        best=(q, s),
        gap=jnp.asarray(jnp.inf, p.dtype),
        stale=jnp.zeros((), int),
        steps=jnp.zeros((), int),
    )
    state = lax.while_loop(go_on, step, state)
    q, s = state.best
    return q / jnp.sum(q), state.gap, state.steps, s


def _bordered(
    at_first: Table | PlaneKernel, p: Array, q: Array, nu: Array, s: Array, slope: Slope | None
) -> tuple[Table | PlaneKernel, _Border]:
    """The kernel at a slope, and what that adds to Newton's equations."""
    none = jnp.zeros_like(s)
    nothing = _Border(jnp.zeros_like(nu), jnp.zeros_like(q), none, none, none)
    if slope is None:
        return at_first, nothing
    assert isinstance(at_first, Table)

    def border() -> tuple[Array, _Border]:
        kernel = slope.at(s)
        z, spent, squares = kernel.powers(q)
        g = kernel.transposed(nu * spent / z) - nu @ kernel.costs
        mean, variance = (p / z) @ spent, jnp.maximum(nu @ (squares - spent**2 / z), 0.0)
        rate = free_energy(p, z) + jnp.log2(jnp.sum(q)) - times(s, mean)
        missed = jnp.where(slope.free, slope.missed(s, mean, rate), 0.0)
        short = slope.short(s, nu @ spent, rate)
        return kernel.values, _Border(LN2 * spent, LN2 * g, LN2**2 * variance, LN2 * short, missed)

    values, border = lax.cond(slope.moves, border, lambda: (at_first.values, nothing))
    return at_first._replace(values=values), border


def to_boundary(x: Array, dx: Array) -> Array:
    """How far x can go along dx before an entry turns negative."""
    ratio = jnp.where((x > 0) & (dx < 0), -dx / jnp.where(x > 0, x, 1.0), 0.0)
    return 1 / jnp.maximum(jnp.max(ratio), 1e-300)
