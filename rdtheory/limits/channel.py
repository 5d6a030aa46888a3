"""What a discrete memoryless channel can carry, freely or under an input cost, with the same kind of certificate."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import xlogy
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _progress, _size_classes
from rdtheory.limits import certify
from rdtheory.limits._arguments import MAX_STEPS, TOL
from rdtheory.limits.convex import primal_dual
from rdtheory.results import Capacity, CapacityCost

__all__ = ["capacity", "capacity_at"]

LN2 = math.log(2)
INTERIOR_POINT_STEPS = 100
DENSE = 512  # outputs up to which a step may factor a matrix of their size
TINY = 1e-6  # bits, below which a capacity need not be known to its own digits


@_progress.doing("capacity")
def capacity(
    channel_matrix: Float[ArrayLike, "n m"], *, tol: float | Array = TOL, max_steps: int | Array = MAX_STEPS
) -> Capacity:
    r"""Capacity of a discrete memoryless channel, certified.

    Solves :math:`\max_p I(X;Y)` by the interior point of `capacity_at`, and beyond 512 outputs, or where that fails, by
    Arimoto's :math:`p_x \leftarrow p_x 2^{D_x} / \sum p 2^D` with :math:`D_x = D(W_{\cdot|x}\|pW)`. At every iterate
    :math:`\sum p_x D_x \le C \le \max_x D_x`, which is the certificate.

    Parameters
    ----------
    channel_matrix : (n, m), ``[x, y]`` = P(y given x), rows sum to 1.
    tol : certified gap in bits at which to stop; the interior point goes on to this share of a capacity below one bit.
    max_steps : steps of both after which to stop anyway, 100 of them of the interior point.

    Returns
    -------
    Capacity
        ``rate`` in bits per use with C in [rate - gap, rate], ``gap``, ``converged``, ``steps``, ``input_pmf`` (n,).
        No derivative is promised.

    Raises
    ------
    ValueError : a row that is not a probability mass function.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Arimoto (1972); Blahut (1972).

    Examples
    --------
    >>> print(capacity(jnp.array([[0.89, 0.11], [0.11, 0.89]])).rate.round(9))
    0.500084042
    """
    _checks.require_x64("capacity")
    w, ok = _checks.stochastic_matrix("channel_matrix", channel_matrix)
    ok &= _checks.stopping(tol, max_steps)
    padded = _size_classes.pad(w, _size_classes.classes(w.shape, w, tol, max_steps))
    return _checks.poison(_size_classes.cut(_capacity(padded, tol, max_steps), input_pmf=w.shape[:1]), ok)


@partial(_compile.jit, brief=True)
def _capacity(w: Array, tol: Array, max_steps: Array) -> Capacity:
    n, m = w.shape
    free, zero = jnp.zeros(n), jnp.zeros(())
    inputs = jnp.any(w > 0, axis=1)  # a row of zeros is no input

    def certified(p: Array, r: Array) -> tuple[Array, Array, Array]:
        found = certify.capacity(w, free, zero, p, r, zero)
        return found.upper, found.upper - found.lower, found.point

    def step(state):
        (_, _, p), steps = state
        log_output = jnp.log2(jnp.maximum(p @ w, jnp.finfo(w.dtype).tiny))
        divergences = jnp.where(inputs, jnp.sum(xlogy(w, w), axis=1) / LN2 - w @ log_output, -jnp.inf)
        grown = p * jnp.exp2(divergences - jnp.max(divergences))
        p = grown / jnp.sum(grown)
        return certified(p, p @ w), steps + 1

    def go_on(state):
        (_, gap, _), steps = state
        return (gap > tol) & (steps < max_steps)

    if m > DENSE:
        p, steps = inputs / jnp.sum(inputs), jnp.zeros((), int)
        start = certified(p, p @ w)
    else:
        # Of a useless channel not only the gap is small, but its share of the capacity.
        found, steps = _interior_point(w, free, zero, tol, jnp.minimum(max_steps, INTERIOR_POINT_STEPS), relative=True)
        start = found.rate, found.gap, found.input_pmf
    (upper, gap, p), steps = lax.while_loop(go_on, step, (start, steps))
    return Capacity(upper, gap, gap <= tol, steps, p)


@_progress.doing("capacity_at")
def capacity_at(
    channel_matrix: Float[ArrayLike, "n m"],
    input_costs: Float[ArrayLike, " n"],
    budget: Float[ArrayLike, ""],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = INTERIOR_POINT_STEPS,
) -> CapacityCost:
    r"""Capacity C(B) of a discrete memoryless channel whose input may cost B on average, certified.

    Solves :math:`\max_p I(X;Y)` subject to :math:`\sum_x p_x b_x \le B`. For every output pmf r and every s >= 0,

    .. math:: C(B) \le \max_x \big[D(W_{\cdot|x}\|r) - s b_x\big] + sB,

    with equality at the best of them, which an interior point finds; its multipliers are the input pmf, and what that
    attains is the lower bound.

    Parameters
    ----------
    channel_matrix : (n, m), ``[x, y]`` = P(y given x), rows sum to 1.
    input_costs : (n,), >= 0 and finite; b, the cost of sending each letter once.
    budget : B, at least the least of `input_costs`.
    tol : certified gap in bits at which to stop.
    max_steps : interior-point steps after which to stop anyway; about 15 are usual.

    Returns
    -------
    CapacityCost
        ``rate`` in bits per use with C(B) in [rate - gap, rate], ``spent``, ``gap``, ``slope`` s, ``converged``,
        ``steps``, ``input_pmf`` (n,). By Danskin's theorem dC/dB is ``slope`` where C is differentiable;
        differentiating through the iteration is not supported.

    Raises
    ------
    ValueError : a row that is not a probability mass function, a negative cost, a budget no letter fits.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Blahut (1972); Csiszár & Körner (2011), Theorem 6.11, for capacity as a function of cost.

    Examples
    --------
    A binary symmetric channel in which sending a one costs 1: C(B) = h(B * 0.11) - h(0.11).

    >>> point = capacity_at(jnp.array([[0.89, 0.11], [0.11, 0.89]]), jnp.array([0.0, 1.0]), 0.2)
    >>> print(f"{point.rate:.9f} bits at {point.slope:.6f} bits per unit of cost")
    0.335750189 bits at 1.142196 bits per unit of cost
    """
    _checks.require_x64("capacity_at")
    w, ok = _checks.stochastic_matrix("channel_matrix", channel_matrix)
    b, b_ok = _checks.nonnegative("input_costs", input_costs, ndim=1)
    _checks.array("input_costs", b, shape=w.shape[:1])
    total, total_ok = _checks.nonnegative("budget", budget, finite=False)
    _, budget_value, costs = _checks.look(total, b)
    b_ok &= _checks.no_flush("input_costs", costs)
    total_ok &= _checks.holds(
        budget_value >= costs.min(),
        lambda: f"budget must be at least {costs.min()}, the cost of the cheapest letter, got {budget_value}",
    )
    ok &= b_ok & total_ok & _checks.stopping(tol, max_steps)
    shape = _size_classes.classes(w.shape, w, b, total, tol, max_steps)
    padded = _size_classes.pad(w, shape), _size_classes.pad(b, shape[:1], costs.max())
    found = _capacity_at(*padded, total, tol, max_steps)
    return _checks.poison(_size_classes.cut(found, input_pmf=b.shape), ok)


@partial(_compile.jit, brief=True)
def _capacity_at(w: Array, costs: Array, budget: Array, tol: Array, max_steps: Array) -> CapacityCost:
    found, steps = _interior_point(w, costs, budget, tol, max_steps)
    return found._replace(steps=steps)


def _interior_point(
    w: Array, costs: Array, budget: Array, tol: Array, max_steps: Array, *, relative: bool = False
) -> tuple[CapacityCost, Array]:
    # notation: b excess cost in units of its largest, B the excess budget, s the slope in nats inside the solver
    n, m = w.shape
    least = jnp.min(costs)
    spread = jnp.max(costs) - least
    unit = jnp.where(spread > 0, spread, 1.0)
    b = (costs - least) / unit
    allowed = jnp.where(spread > 0, jnp.clip((budget - least) / unit, 0.0, 1.001), 0.0)
    # At the least cost, the cheapest letters only. A row of zeros is no input.
    usable = jnp.any(w > 0, axis=1) & ((b == 0) | (allowed > 0))
    reached = jnp.any((w > 0) & usable[:, None], axis=0)
    negentropy = jnp.sum(xlogy(w, w), axis=1)

    def constraints(unknowns: Array) -> Array:
        log_r, s, level = unknowns[:-2], unknowns[-2], unknowns[-1]
        divergences = negentropy - w @ jnp.where(reached, log_r, 0.0)
        letters = jnp.where(usable, divergences - s * b - level, -1.0)
        return jnp.append(letters, jnp.stack([primal_dual.log_sum_exp(log_r, reached, 0), -s]))

    def derivatives(unknowns: Array, multipliers: Array) -> tuple[Array, Array, Array]:
        # All but the sum of r is linear.
        r = jax.nn.softmax(jnp.where(reached, unknowns[:-2], -jnp.inf))
        letters = jnp.where(usable[:, None], jnp.column_stack([-jnp.where(reached, w, 0.0), -b, -jnp.ones(n)]), 0.0)
        sum_ = jnp.append(r, jnp.zeros(2))
        jacobian = jnp.concatenate([letters, sum_[None], jnp.zeros((1, m + 2)).at[0, m].set(-1.0)])
        hessian = multipliers[n] * (jnp.diag(sum_) - sum_[:, None] * sum_[None, :])
        return constraints(unknowns), jacobian, hessian

    def certified(unknowns: Array, multipliers: Array) -> tuple[Array, CapacityCost]:
        s = jnp.where(allowed > 0, jnp.maximum(unknowns[-2], 0.0) / (LN2 * unit), 0.0)
        p = jnp.where(usable, jnp.maximum(multipliers[:-2], 0.0), 0.0)
        # The output of p itself, so that who has p can repeat the certificate, unless p need not meet the budget.
        r = p @ w if relative else jax.nn.softmax(jnp.where(reached, unknowns[:-2], -jnp.inf))
        lower, upper, p = certify.capacity(w, costs, budget, p, r, s)
        gap, spent = upper - lower, jnp.minimum(least + p @ (costs - least), budget)
        slope = jnp.where(allowed > 0, s, jnp.where(spread > 0, jnp.inf, 0.0))
        missing = gap / jnp.clip(upper, TINY, 1.0) if relative else gap
        return missing, CapacityCost(upper, spent, gap, slope, gap <= tol, jnp.zeros((), int), p)

    cheap = jnp.where(usable, 1.0, 0.0) / jnp.sum(usable)
    log_r = jnp.where(reached, jnp.log(jnp.where(reached, cheap @ w + 1e-3, 1.0)), 0.0) - 0.1
    level = jnp.max(jnp.where(usable, negentropy - w @ log_r, -jnp.inf)) + 1.0
    start = jnp.concatenate([log_r, jnp.stack([jnp.ones(()), level])])
    multipliers = jnp.append(cheap, jnp.array([1.0, 1e-2]))
    objective = jnp.append(jnp.zeros(m), jnp.stack([allowed, jnp.ones(())]))
    return primal_dual.minimize(objective, constraints, start, multipliers, certified, tol, max_steps, derivatives)
