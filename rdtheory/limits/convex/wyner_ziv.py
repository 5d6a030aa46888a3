r"""The iteration behind `side_information.wyner_ziv_rate_at`: jitted, trusting its arguments.

notation: t a strategy, d̄(x, t) = Σ_y p(y|x) d(x, t(y)); Q(t|x) the channel. I(X;T|Y) is a sum over t of functions
f(Q_t), convex and homogeneous, so the dual asks that f(v) + s d̄·v >= μ·v (weighted by p) for every v >= 0. Since
f(v) is the least Σ p(x,y) v_x log(v_x / w_y) over w >= 0 with Σ p_y w_y = Σ p_x v_x, that says, for every such w,

    G_t(w) = Σ_x p_x 2^(μ_x - s d̄(x,t)) Π_y w_y^p(y|x) <= Σ_y p_y w_y.

G is concave and homogeneous, so its tangent at any one w > 0 bounds it for all: enough that for each y

    κ(t, y) = (1/w_y) Σ_x p(x|y) 2^(μ_x - s d̄(x,t)) Π_y' w_y'^p(y'|x) <= 1.

In μ, s and log w this is a geometric program, and its multipliers are p_y Q(t|y).
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from rdtheory import _compile
from rdtheory.limits import certify
from rdtheory.limits.convex import primal_dual
from rdtheory.results import WynerZiv

LN2 = math.log(2)


@_compile.jit
def at_distortion(joint, d, excess, allowed, unit, target, strategies, tol, max_steps) -> WynerZiv:
    """The point of the Wyner-Ziv function; `excess` and `allowed` in units of `unit`."""
    (n, k), m, t = joint.shape, excess.shape[1], strategies.shape[0]
    p, side = jnp.sum(joint, axis=1), jnp.sum(joint, axis=0)
    of_side = joint / jnp.where(p > 0, p, 1.0)[:, None]  # P(y given x)
    of_source = joint / jnp.where(side > 0, side, 1.0)[None, :]  # P(x given y)
    shown = excess[:, strategies]  # (n, t, k)
    price = jnp.sum(jnp.where(joint[:, None, :] > 0, of_side[:, None, :] * shown, 0.0), axis=2)
    possible = (p > 0)[:, None] & jnp.isfinite(price)
    price = jnp.where(possible, price, 0.0)
    terms = possible[:, :, None] & (joint > 0)[:, None, :]  # (n, t, k)
    log_of_source = jnp.log(jnp.where(joint > 0, of_source, 1.0))
    # The weights of a strategy matter up to a factor: that of the likeliest y is 1.
    loose = jnp.arange(k) != jnp.argmax(side)

    def parts(unknowns: Array) -> tuple[Array, Array, Array]:
        return unknowns[:n], unknowns[n], unknowns[n + 1 :].reshape(t, k) * loose[None, :]

    def log_kappa(potential: Array, s: Array, weights: Array) -> Array:
        exponents = potential[:, None] - s * price + of_side @ weights.T
        exponents = exponents[:, :, None] + log_of_source[:, None, :] - weights[None, :, :]
        return primal_dual.log_sum_exp(exponents, terms, 0)  # (t, k)

    def constraints(unknowns: Array) -> Array:
        potential, s, weights = parts(unknowns)
        return jnp.append(log_kappa(potential, s, weights).reshape(-1), -s)

    def certified(unknowns: Array, multipliers: Array) -> tuple[Array, WynerZiv]:
        potential, s, weights = parts(unknowns)
        s = jnp.maximum(s, 0.0)
        share = jnp.maximum(multipliers[:-1].reshape(t, k), 1e-200) / jnp.where(side > 0, side, 1.0)[None, :]
        scores = jnp.where(possible, jnp.where(joint > 0, of_side, 0.0) @ jnp.log(share).T - s * price, -jnp.inf)
        channel = jax.nn.softmax(jnp.where((p > 0)[:, None], scores, 0.0), axis=1)
        return judged(channel, jnp.where(p > 0, potential, 0.0) / LN2, s / (LN2 * unit), weights / LN2)

    def judged(channel: Array, potential: Array, slope: Array, weights: Array) -> tuple[Array, WynerZiv]:
        found = certify.wyner_ziv(joint, d, target, strategies, channel, potential, slope, weights)
        gap, slope, steps = found.upper - found.lower, jnp.where(allowed > 0, slope, jnp.inf), jnp.zeros((), int)
        return gap, WynerZiv(
            found.upper, target, gap, slope, gap <= tol, steps, strategies, found.point, potential, weights
        )

    begin = jnp.zeros(n + 1 + t * k).at[n].set(1.0)
    start = begin.at[:n].add(-1.0 - jnp.max(constraints(begin)[:-1]))
    multipliers = jnp.append(jnp.tile(jnp.maximum(side, 1e-3)[None, :] / t, (t, 1)).reshape(-1), 1e-2)
    objective = jnp.concatenate([-p, allowed[None], jnp.zeros(t * k)])
    found, steps = primal_dual.minimize(objective, constraints, start, multipliers, certified, tol, max_steps)

    # From D_max on the best letter for each y is enough, and nothing is sent.
    costs = joint.T @ jnp.where(jnp.isfinite(excess), excess, 0.0)
    costs = jnp.where((joint.T > 0).astype(p.dtype) @ jnp.where(jnp.isfinite(excess), 0.0, 1.0) > 0, jnp.inf, costs)
    powers = m ** jnp.arange(k - 1, -1, -1)
    silent = jax.nn.one_hot(jnp.sum(jnp.argmin(costs, axis=1) * powers), t, dtype=p.dtype)
    _, free = judged(jnp.tile(silent, (n, 1)), found.potential, jnp.zeros(()), found.side_weights)
    enough = free.rate <= found.gap
    gap = jnp.where(enough, free.rate, found.gap)
    return found._replace(
        rate=jnp.where(enough, free.rate, found.rate),
        gap=gap,
        converged=gap <= tol,
        slope=jnp.where(enough, 0.0, found.slope),
        test_channel=jnp.where(enough, free.test_channel, found.test_channel),
        steps=steps,
    )
