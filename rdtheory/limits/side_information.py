r"""Rate-distortion with discrete side information Y: at both ends (conditional), or at the decoder alone (Wyner-Ziv).

Both are convex programs whose duals are geometric programs. A primal-dual interior point solves them, and every answer
is certified from both sides by weak duality, converged or not.
"""

import itertools
import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _progress, _size_classes
from rdtheory.limits import _threads, certify
from rdtheory.limits._arguments import TOL
from rdtheory.limits.convex import primal_dual, wyner_ziv
from rdtheory.limits.discrete.arithmetic import excess_over, scaled_kernel
from rdtheory.limits.discrete.solvers.blahut_arimoto import INTERIOR_POINT
from rdtheory.results import RateDistortion, WynerZiv

__all__ = ["conditional_rate_at", "wyner_ziv_rate_at"]

LN2 = math.log(2)
MAX_STEPS = 100
PADDED = 128  # largest number of pairs of letters that are padded: the unknowns of a dense Newton step
STRATEGIES = 1024  # largest number of strategies times side letters: the unknowns of a dense Newton step


@_progress.doing("conditional_rate_at")
def conditional_rate_at(
    joint_pmf: Float[ArrayLike, "n k"],
    distortion_matrix: Float[ArrayLike, "n m"],
    distortion: Float[ArrayLike, ""],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = MAX_STEPS,
) -> RateDistortion:
    r"""Rate R_{X|Y}(D) when encoder and decoder both see the side information Y, certified.

    Solves

    .. math:: \min_{Q(\hat x|x,y)} I(X;\hat X|Y) \quad\text{subject to}\quad \mathbb E\,d(X,\hat X) \le D.

    It is the lower envelope of the rate-distortion functions of X given each y, all met at one common slope s. With
    q(·|y) the reproduction law for y, z(x,y) = Σ q(x̂|y) 2^(-s d) and c(x̂,y) = Σ p(x|y) 2^(-s d) / z, duality gives, for
    every s >= 0 and every q,

    .. math:: R_{X|Y}(D) \ge -sD - \sum p_{xy}\log z_{xy} - \sum_y p_y \log\max_{\hat x} c_{\hat xy}.

    Parameters
    ----------
    joint_pmf : (n, k), ``[x, y]`` = P(x, y); sums to 1.
    distortion_matrix : (n, m), >= 0; infinite entries forbid a reproduction.
    distortion : D, at least Σ_x p_x min_x̂ d(x, x̂).
    tol : certified gap in bits at which to stop.
    max_steps : interior-point steps after which to stop anyway; about 15 are usual.

    Returns
    -------
    RateDistortion
        ``rate`` in bits per symbol with R_{X|Y}(D) in [rate - gap, rate]; ``distortion`` is the D asked for; ``slope``;
        ``reproduction_pmf`` (k, m), one law per y. The channel is q(x̂|y) 2^(-s d(x,x̂)) / z(x,y). No derivative is
        promised.

    Raises
    ------
    ValueError : a joint pmf that does not sum to 1, shapes that disagree, no channel reaches that distortion.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Gray (1973), Conditional rate-distortion theory, for the function; Berger (1971) for the dual.

    Examples
    --------
    A fair coin and a copy that is wrong with probability 1/4: R(D) = h(1/4) - h(D).

    >>> joint = jnp.array([[0.375, 0.125], [0.125, 0.375]])
    >>> print(conditional_rate_at(joint, 1 - jnp.eye(2), 0.1).rate.round(9))
    0.342282531
    """
    _checks.require_x64("conditional_rate_at")
    joint, d, target, ok = _arguments(joint_pmf, distortion_matrix, distortion)
    ok &= _checks.stopping(tol, max_steps)
    (n, k), m = joint.shape, d.shape[1]
    shape = (n, k, m)
    if n * k <= PADDED:
        shape = _size_classes.classes(shape, joint, d, target, tol, max_steps)
    padded = _size_classes.pad(joint, shape[:2]), _size_classes.pad(d, shape[::2], np.inf)

    def solve() -> RateDistortion:
        return _conditional(*padded, target, tol, max_steps)

    found = _threads.with_one_thread(solve, joint, d, target, tol, max_steps)
    return _checks.poison(_size_classes.cut(found, reproduction_pmf=(k, m)), ok)


@_progress.doing("wyner_ziv_rate_at")
def wyner_ziv_rate_at(
    joint_pmf: Float[ArrayLike, "n k"],
    distortion_matrix: Float[ArrayLike, "n m"],
    distortion: Float[ArrayLike, ""],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = MAX_STEPS,
) -> WynerZiv:
    r"""Wyner-Ziv rate: only the decoder sees the side information Y, certified.

    Solves

    .. math:: \min_{Q(t|x)} I(X;T|Y) \quad\text{subject to}\quad \mathbb E\,d(X, T(Y)) \le D

    over laws of a strategy T, a map from side letters to reproductions: all m^k of them. With d̄(x,t) the mean
    distortion of t given x, weak duality gives, for every s >= 0, μ and w > 0 with

    .. math:: \tfrac1{w_{ty}} \sum_x p(x|y)\, 2^{\mu_x - s\bar d(x,t)} \prod_{y'} w_{ty'}^{p(y'|x)} \le 1
        \quad\text{for all } t, y,

    the bound R(D) >= Σ p_x μ_x - s D.

    Parameters
    ----------
    joint_pmf, distortion_matrix, distortion, tol, max_steps : as for `conditional_rate_at`.

    Returns
    -------
    WynerZiv
        ``rate`` in bits per symbol with the Wyner-Ziv function in [rate - gap, rate], ``slope``, the ``strategies``
        (m^k, k), the ``test_channel`` (n, m^k) that attains the rate, and the dual point ``potential`` (n,) and
        ``side_weights`` (m^k, k). No derivative is promised.

    Raises
    ------
    ValueError : as for `conditional_rate_at`; k m^k above 1024.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Wyner & Ziv (1976); Willems (1983) and Dupuis, Yu & Willems (2004) for strategies.

    Examples
    --------
    >>> joint = jnp.array([[0.375, 0.125], [0.125, 0.375]])
    >>> print(f"{wyner_ziv_rate_at(joint, 1 - jnp.eye(2), 0.05).rate:.8f}")
    0.56215122
    """
    _checks.require_x64("wyner_ziv_rate_at")
    joint, d, target, ok = _arguments(joint_pmf, distortion_matrix, distortion)
    k, m = joint.shape[1], d.shape[1]
    if k * m**k > STRATEGIES:
        raise ValueError(
            f"{m} reproductions and {k} side letters make {m}^{k} = {m**k} strategies, more than fit in memory "
            f"(k m^k may be {STRATEGIES}); merge side letters or use fewer reproductions"
        )
    strategies = np.array(list(itertools.product(range(m), repeat=k)))
    ok &= _checks.stopping(tol, max_steps)

    def solve() -> WynerZiv:
        return _with_strategies(joint, d, target, strategies, tol, max_steps)

    return _checks.poison(_threads.with_one_thread(solve, joint, d, target, tol, max_steps), ok)


def _arguments(
    joint_pmf: ArrayLike, distortion_matrix: ArrayLike, distortion: ArrayLike
) -> tuple[Array, Array, Array, _checks.Flag]:
    joint, ok = _checks.pmf("joint_pmf", joint_pmf, ndim=2)
    _, values = _checks.look(joint)
    source = values.sum(axis=1)
    d, d_ok = _checks.distortion_matrix("distortion_matrix", distortion_matrix, source)
    target, target_ok = _checks.reachable("distortion", distortion, source, d)
    return joint, d, target, ok & d_ok & target_ok


class _Problem(NamedTuple):
    """In units of the largest excess distortion, a power of two near it."""

    excess: Array  # (n, m), d - min d
    least: Array  # least distortion
    allowed: Array  # D - least
    unit: Array


def _problem(source: Array, d: Array, target: Array) -> _Problem:
    floor = jnp.where(source > 0, jnp.min(d, axis=1), 0.0)
    excess, least = excess_over(source, d, floor), source @ floor
    largest = jnp.max(jnp.where(jnp.isfinite(excess), excess, 0.0))
    unit = jnp.where(largest > 0, jnp.ldexp(1.0, jnp.frexp(largest)[1] - 1), 1.0)
    # More than the worst finite entry of every row is never spent.
    worst = source @ jnp.max(jnp.where(jnp.isfinite(excess), excess / unit, 0.0), axis=1)
    allowed = jnp.clip((target - least) / unit, 0.0, 1.001 * worst)
    # At the least distortion every letter but the best ones is forbidden.
    excess = jnp.where((excess > 0) & (allowed == 0), jnp.inf, excess / unit)
    return _Problem(excess, least / unit, allowed, unit)


@partial(_compile.jit, brief=True)
def _with_strategies(joint, d, target, strategies, tol, max_steps) -> WynerZiv:
    problem = _problem(jnp.sum(joint, axis=1), d, target)
    return wyner_ziv.at_distortion(
        joint, d, problem.excess, problem.allowed, problem.unit, target, strategies, tol, max_steps
    )


@partial(_compile.jit, brief=True)
def _conditional(joint: Array, d: Array, target: Array, tol: Array, max_steps: Array) -> RateDistortion:
    (n, k), m = joint.shape, d.shape[1]
    excess, _, allowed, unit = _problem(jnp.sum(joint, axis=1), d, target)
    side = jnp.sum(joint, axis=0)
    given = joint / jnp.where(side > 0, side, 1.0)[None, :]
    finite = jnp.isfinite(excess)
    bounded = jnp.where(finite, excess, 0.0)
    terms = (joint > 0)[:, :, None] & finite[:, None, :]
    possible = jnp.any(terms, axis=0)
    shown = jnp.any(possible, axis=0)  # letters that may be shown at all
    log_given = jnp.log(jnp.where(joint > 0, given, 1.0))

    # From D_max on the best single letter for each y is enough.
    forbidden = jnp.einsum("xy,xj->yj", joint, jnp.where(finite, 0.0, 1.0)) > 0
    costs = jnp.where(forbidden, jnp.inf, jnp.einsum("xy,xj->yj", joint, bounded))
    free = jax.nn.one_hot(jnp.argmin(costs, axis=1), m, dtype=joint.dtype)

    def exponents(unknowns: Array) -> Array:
        return (log_given + unknowns[:-1].reshape(n, k))[:, :, None] - unknowns[-1] * bounded[:, None, :]

    def constraints(unknowns: Array) -> Array:
        values = primal_dual.log_sum_exp(exponents(unknowns), terms, 0)
        return jnp.append(values.reshape(-1), -unknowns[-1])

    def derivatives(unknowns: Array, multipliers: Array) -> tuple[Array, Array, Array]:
        # Each y has constraints of its own, with potentials of its own: all that is common is the slope.
        values, y = constraints(unknowns), multipliers[:-1].reshape(k, m)
        share = jnp.where(terms, jnp.exp(exponents(unknowns) - values[:-1].reshape(1, k, m)), 0.0)  # sums over x to 1
        mean, apart = jnp.einsum("xyj,xj->yj", share, bounded), jnp.eye(k)
        across = jnp.einsum("xyj,yz->yjxz", share, apart).reshape(k * m, n * k)
        jacobian = jnp.block([[across, -mean.reshape(-1, 1)], [jnp.zeros((1, n * k)), -jnp.ones((1, 1))]])
        weighted, above = share * y[None, :, :], bounded[:, None, :] - mean[None, :, :]
        own = jnp.einsum("xyj,xw->yxw", weighted, jnp.eye(n)) - jnp.einsum("xyj,wyj->yxw", weighted, share)
        among = jnp.einsum("yxw,yz->xywz", own, apart).reshape(n * k, n * k)
        cross = -jnp.sum(weighted * above, axis=2).reshape(-1, 1)
        corner = jnp.sum(weighted * above**2).reshape(1, 1)
        return values, jacobian, jnp.block([[among, cross], [cross.T, corner]])

    def certified(unknowns: Array, multipliers: Array) -> tuple[Array, RateDistortion]:
        s = jnp.maximum(unknowns[-1], 0.0) / LN2
        weights = jnp.where(
            shown[None, :], jnp.maximum(multipliers[:-1].reshape(k, m), jnp.finfo(joint.dtype).tiny), 0.0
        )
        q = weights / jnp.sum(weights, axis=1, keepdims=True)
        weighted = q[:, None, :] * scaled_kernel(excess, s)[None, :, :]
        potential = -jnp.log2(jnp.sum(weighted, axis=2))
        lower, upper, _ = certify.conditional(joint, d, target, weighted, potential, s / unit)
        slope, gap = jnp.where(allowed > 0, s / unit, jnp.inf), upper - lower
        steps, method = jnp.zeros((), int), jnp.asarray(INTERIOR_POINT)
        segment = jnp.stack([target, target])
        return gap, RateDistortion(upper, target, gap, slope, gap <= tol, steps, q, segment, method)

    begin = jnp.append(jnp.zeros(n * k), 1.0)
    multipliers = jnp.where(possible, jnp.maximum(side, 1e-3)[:, None] / jnp.sum(shown), 0.0)
    highest = jnp.max(jnp.where(possible.reshape(-1), constraints(begin)[:-1], -jnp.inf))
    start = begin.at[:-1].add(-1.0 - highest)
    objective = jnp.append(-joint.reshape(-1), allowed)
    found, steps = primal_dual.minimize(
        objective, constraints, start, jnp.append(multipliers, 1e-2), certified, tol, max_steps, derivatives
    )
    shows = jnp.broadcast_to(free[:, None, :], (k, n, m))
    silent = certify.conditional(joint, d, target, shows, jnp.zeros((k, n)), jnp.zeros(())).upper
    enough = silent <= found.gap
    gap = jnp.where(enough, silent, found.gap)
    return found._replace(
        rate=jnp.where(enough, silent, found.rate),
        gap=gap,
        converged=gap <= tol,
        slope=jnp.where(enough, 0.0, found.slope),
        reproduction_pmf=jnp.where(enough, free, found.reproduction_pmf),
        steps=steps,
    )
