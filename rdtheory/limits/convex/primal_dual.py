"""A small primal-dual interior point: min c·x subject to f(x) <= 0, f convex and smooth, a few hundred unknowns.

The duals of the problems in `limits` have this form with f the logarithm of sums of exponentials: geometric programs
(Chiang & Boyd 2004). The multipliers of the constraints are the probabilities that the theorem asks for. Nothing here
is trusted: the caller turns each iterate into a two-sided certificate, and that of the least gap is kept.

notation: x unknowns, y multipliers of f(x) + w = 0, w slacks; y, w > 0, and their products are driven to zero.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from rdtheory.limits import _cholesky

RIDGE = 4 * float(jnp.finfo(jnp.float64).eps)  # of the equilibrated matrix, per row
REFINEMENTS = 4  # of each solution; with two, rounding led some problems astray when multipliers were near 1e-9
UNEVEN = 1e-3  # least product of a multiplier and its slack, relative to their mean
FAR = 2.0  # a step may let the largest residual of a constraint grow to this times (itself + 1)
SHORTEST = 1e-12  # step that is tried to keep within that
AHEAD = 1e7  # largest residual, relative to the mean product, at which that mean is still reduced


Found = TypeVar("Found")
# of unknowns and multipliers: the constraints, their Jacobian, and the Hessian of their sum so multiplied
Derivatives = Callable[[Array, Array], tuple[Array, Array, Array]]


def minimize(
    objective: Array,
    constraints: Callable[[Array], Array],
    start: Array,
    multipliers: Array,
    certify: Callable[[Array, Array], tuple[Array, Found]],
    tol: Array,
    max_steps: Array,
    derivatives: Derivatives | None = None,
) -> tuple[Found, Array]:
    """What `certify` found at the iterate of least gap, and the number of steps made.

    Mehrotra's predictor and corrector; stops when the gap is at most `tol`, or an iterate is no longer finite.
    `certify` takes the unknowns and the multipliers, trusts neither, and returns the gap and whatever goes with it.
    A multiplier of zero stays zero: what it belongs to is no constraint. `derivatives` spare differentiating.
    """
    binding = multipliers > 0
    count = jnp.sum(binding)
    first_and_second = derivatives or partial(_differentiated, constraints)

    def longest(now: Array, change: Array) -> Array:
        return jnp.min(jnp.where(change < 0, -now / jnp.where(change < 0, change, -1.0), jnp.inf))

    def step(state):
        x, y, w, best, steps = state
        # The loop makes the first certificate too, as step 0: one copy of it to compile.
        now = certify(x, y)
        better = (now[0] < best[0]) | (steps < 0)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), now, best)
        value, jacobian, hessian = first_and_second(x, y)
        primal, dual = value + w, objective + jacobian.T @ y
        matrix = hessian + jacobian.T @ ((y / w)[:, None] * jacobian)
        scale = lax.rsqrt(jnp.maximum(jnp.diagonal(matrix), jnp.finfo(x.dtype).tiny ** 0.5))
        scaled = matrix * scale[:, None] * scale[None, :]
        inverse = _cholesky.inverse(scaled + RIDGE * x.shape[0] * jnp.eye(x.shape[0]))

        def solve(right: Array) -> Array:
            rough = inverse @ (right * scale)
            return scale * lax.fori_loop(0, REFINEMENTS, lambda _, x: x + inverse @ (right * scale - scaled @ x), rough)

        def direction(target: Array) -> tuple[Array, Array, Array]:
            pressure = (target + y * primal) / w
            dx = solve(-dual - jacobian.T @ pressure)
            along = jacobian @ dx
            return dx, pressure + y / w * along, -primal - along

        mean = y @ w / count
        # The curvature of f spoils what the linear model gained: the products must not run far ahead of the residuals.
        residual = jnp.maximum(jnp.max(jnp.abs(primal)), jnp.max(jnp.abs(dual)))

        def predict(_, state: tuple[Array, ...]) -> tuple[Array, ...]:
            target, *_ = state
            dx, dy, dw = direction(target)
            reach = jnp.minimum(1.0, jnp.minimum(longest(y, dy), longest(w, dw)))
            predicted = (y + reach * dy) @ (w + reach * dw) / count
            centering = jnp.where(residual > AHEAD * mean, 1.0, jnp.clip((predicted / mean) ** 3, 0.1, 1.0))
            target = centering * mean - y * w - reach**2 * dy * dw
            return jnp.where(binding, target, 0.0), dx, dy, dw

        # The second pass corrects the first, by the target that this made. A loop, so that one copy is compiled.
        _, dx, dy, dw = lax.fori_loop(0, 2, predict, (-y * w, x, y, w))

        def too_uneven(length: Array) -> Array:
            products = (y + length * dy) * (w + length * dw)
            least = jnp.min(jnp.where(binding, products, jnp.inf))
            return (least < UNEVEN * jnp.sum(products) / count) & (length > UNEVEN)

        def too_far(length: Array) -> Array:
            missed = jnp.abs(constraints(x + length * dx) + w + length * dw)
            return ~(jnp.max(missed) <= FAR * (1 + jnp.max(jnp.abs(primal)))) & (length > SHORTEST)

        length = jnp.minimum(1.0, 0.99 * jnp.minimum(longest(y, dy), longest(w, dw)))
        length = lax.while_loop(too_uneven, lambda length: 0.7 * length, length)
        length = lax.while_loop(too_far, lambda length: 0.5 * length, length)
        x, y, w = x + length * dx, y + length * dy, w + length * dw
        return x, y, w, best, steps + 1

    def go_on(state) -> Array:
        x, y, _, best, steps = state
        return (best[0] > tol) & (steps < max_steps) & jnp.isfinite(x).all() & jnp.isfinite(y).all()

    unknown = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(certify, start, multipliers))
    before = (jnp.full_like(unknown[0], jnp.inf), unknown[1])
    slacks = jnp.maximum(-constraints(start), 1e-2)
    *_, best, steps = lax.while_loop(go_on, step, (start, multipliers, slacks, before, jnp.asarray(-1, int)))
    return best[1], steps


def _differentiated(constraints: Callable[[Array], Array], x: Array, y: Array) -> tuple[Array, Array, Array]:
    def both(x: Array) -> tuple[Array, Array]:
        value, pull = jax.vjp(constraints, x)
        return value, pull(y)[0]

    (value, _), along = jax.linearize(both, x)
    columns, hessian = jax.vmap(along)(jnp.eye(x.shape[0]))
    return value, columns.T, hessian


def log_sum_exp(exponents: Array, allowed: Array, axis: int) -> Array:
    """Logarithm of the sum of exponentials of the allowed entries; -1 where none is, which constrains nothing."""
    some = jnp.any(allowed, axis=axis)
    top = lax.stop_gradient(jnp.max(jnp.where(allowed, exponents, -1e300), axis=axis, keepdims=True))
    total = jnp.sum(jnp.where(allowed, jnp.exp(jnp.where(allowed, exponents - top, 0.0)), 0.0), axis=axis)
    return jnp.where(some, jnp.squeeze(top, axis) + jnp.log(jnp.where(some, total, 1.0)), -1.0)
