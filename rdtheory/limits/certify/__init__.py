r"""What proves a bound: the certificates of the convex problems in `limits`, from the data and candidates alone.

A solver proposes a law, a channel, a potential, a slope; nothing is believed of them. Each function here makes them
feasible and returns what weak duality then proves, with a bound on the error of every sum added to it. Candidates that
are NaN, infinite or not normalized make bounds that are far apart, never false ones. R(D), whose distortions need
not be stored, is `rate_distortion` here and in full in `certificate`.

**Rounding.** A sum, product, quotient, root or logarithm of the machine is within a factor 1 ± 4u of the true one,
u = 2^-53, and a power of two within 1 ± (4 + |exponent|) u; what is below 2^-1022 may be flushed to zero. (XLA's log1p
is used above minus a quarter only: below it is wrong by 240 u.) A sum of k terms is then within (k + 16) 2u of the true
one, relative to the sum of their magnitudes; that also covers laws, which are divided by their sums here and are meant
as divided exactly. A test holds the machine to this.

**Duality.** Four lines serve all of them. For laws p, W_x, r and t = pW,

.. math:: I(p, W) = \sum_x p_x D(W_x\|r) - D(t\|r) \le \sum_x p_x D(W_x\|r),

with equality at r = t. For any potential a and any price u(x, y) of a reproduction, with
:math:`c_y = \sum_x p_x 2^{a_x - u(x,y)}`, every channel has

.. math:: I(p, Q) \ge \sum_x p_x a_x - \log\max_y c_y - \mathbb E\, u(X, Y),

since :math:`\sum p Q \log (Q 2^{u - a} / t) \ge -\log \sum p\, t\, 2^{a - u} = -\log \sum t_y c_y`. What a channel of
the problem may spend of u at most is what the constraints say. All programs but capacity, the bottleneck and R(D)
itself are `_two_sides` with prices and budgets of their own. notation: e = d - min d excess distortion, A what D allows
of it; bits throughout.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rdtheory.distortion import Grid, Samples
from rdtheory.limits.certify import feasible, sums
from rdtheory.limits.certify.every_law import greatest_c
from rdtheory.limits.certify.sums import FLOOR, FLUSHED, LN2, U, relative
from rdtheory.limits.discrete import certificate, kernels
from rdtheory.limits.discrete.problem import View, make

__all__ = [
    "Certificate",
    "bottleneck",
    "capacity",
    "classification",
    "conditional",
    "divergence",
    "rate_distortion",
    "total_variation",
    "wyner_ziv",
]

LETTERS = 4  # Y, up to which c is bounded over all laws
# Of I(X;Y) as it is computed, which below 1e-27 bit is rounding: a relevance below is not meant to be all of it.
NEARLY = 0.99


class Certificate(NamedTuple):
    """The optimum lies in [lower, upper], in bits; `point` is the law or the channel that attains one of the two."""

    lower: Array
    upper: Array
    point: Array


def rate_distortion(p: Array, d: Array | Grid | Samples, target: Array, output_pmf: Array, slope: Array) -> Certificate:
    r"""R(D) = min I(X;X̂); d (n, m), a grid or samples; `point` is the law q, `output_pmf` made one.

    The second line with u = s e and :math:`a = -\log z, z_x = \sum_y q_y 2^{-s e_{xy}}`, whose channel
    :math:`Q = q 2^{-s e} / z` has t = q c and so the rate :math:`-\sum p \log z - s\,\mathbb E e - \sum t \log c`.
    One that spends more than D allows is mixed with one of least distortion. See `certificate`. Of excesses below
    1e-300 of the largest nothing is proved: they may be read as none.

    Examples
    --------
    >>> half, d, D = jnp.full(2, 0.5), 1 - jnp.eye(2), jnp.asarray(0.2)
    >>> found = rate_distortion(half, d, D, half, jnp.asarray(2.0))
    >>> print(f"{found.lower:.6f} {found.upper:.6f}")
    0.278072 0.278072
    """
    problem = make(feasible.law(p, p > 0), kernels.of(d))
    letters = jnp.arange(len(problem.usable))
    every = View(problem.d.once(problem, letters), letters)
    q, s = certificate.weights(problem, every, output_pmf), jnp.where(slope >= 0, slope * problem.unit, 0.0)
    now = certificate.moments(problem.p, every.excess, q, s)
    _, near = certificate.at_own(problem, every, q, s, now)
    lower, upper = certificate.at_distortion(problem, now, near, s, target)
    return Certificate(lower, upper, q)


def capacity(w: Array, costs: Array, budget: Array, input_pmf: Array, output_pmf: Array, slope: Array) -> Certificate:
    r"""Max I(X;Y) over input laws of mean cost at most B; w (n, m), of which a row of zeros is no input.

    For every law r and s >= 0 the first line of duality gives, as :math:`\sum p_x (b_x - B) \le 0`,

    .. math:: \sum_x p_x D(W_x\|pW) \le C(B) \le \max_x\; D(W_x\|r) - s (b_x - B)

    for an input law p of mean cost at most B: the candidate, mixed with the cheapest letter until it is.

    Examples
    --------
    >>> w, half, zero = jnp.array([[0.89, 0.11], [0.11, 0.89]]), jnp.full(2, 0.5), jnp.zeros(())
    >>> found = capacity(w, jnp.zeros(2), zero, half, half, zero)
    >>> print(f"{found.lower:.6f} {found.upper:.6f}")
    0.500084 0.500084
    """
    inputs, outputs = jnp.any(w > 0, axis=1), jnp.any(w > 0, axis=0)
    w = feasible.rows(w)
    cheapest = jnp.min(jnp.where(inputs, costs, jnp.inf))
    above, allowed = costs - cheapest, jnp.maximum(budget - cheapest, 0.0)
    usable = inputs & ((above <= 0) | (allowed > 0))  # what costs more than all of the budget is never sent
    error = relative(len(inputs) + len(outputs))

    s = jnp.where(jnp.isfinite(slope) & (slope > 0), slope, 0.0)
    divergences, off = sums.divergence(w, jnp.maximum(feasible.law(output_pmf, outputs), FLOOR)[None, :])
    spared = feasible.times(s, costs - budget)
    upper = jnp.max(jnp.where(usable, divergences + off - spared + 4 * U * jnp.abs(spared), -jnp.inf))
    most = jnp.log2(jnp.minimum(jnp.sum(usable), jnp.sum(outputs)).astype(w.dtype)) * (1 + error)
    upper = jnp.minimum(sums.either(upper, jnp.inf), most)

    p = feasible.law(input_pmf, usable)
    kept = feasible.within(p @ jnp.where(usable, above, 0.0), allowed, error)
    p = kept * p + (1 - kept) * feasible.one_hot(jnp.argmax(usable & (above <= 0)), len(p))
    divergences, off = sums.divergence(w, jnp.maximum(p @ w, FLOOR)[None, :])
    # r = pW up to rounding, of which D(pW‖r) is the square.
    lower = p @ jnp.where(p > 0, divergences - off, 0.0) * (1 - error) - error**2 / LN2 - len(outputs) * FLUSHED
    return Certificate(jnp.maximum(sums.either(lower, 0.0), 0.0), upper, p)


def conditional(joint: Array, d: Array, target: Array, channel: Array, potential: Array, slope: Array) -> Certificate:
    r"""R_{X|Y}(D) = min I(X;X̂|Y); joint (n, k), d (n, m), channel (k, n, m), potential (k, n).

    The second line for each y, at a common slope: :math:`\sum p_{xy} a_{xy} - \sum_y p_y \log\max c_{\hat xy} - s A`.

    Examples
    --------
    >>> half, d, D, s = jnp.full(2, 0.5), 1 - jnp.eye(2), jnp.asarray(0.2), jnp.asarray(2.0)
    >>> channel, potential = jnp.array([[0.8, 0.2], [0.2, 0.8]]), jnp.full(2, -jnp.log2(0.625))
    >>> found = conditional(half[:, None], d, D, channel[None], potential[None], s)
    >>> print(f"{found.lower:.6f} {found.upper:.6f}")
    0.278072 0.278072
    """
    budget = feasible.budget(jnp.sum(joint, axis=1), d, target, summed=joint.shape[1])
    costs, spent = feasible.priced(budget, slope)
    channel = feasible.law(channel, budget.excess[None] < jnp.inf)
    return _two_sides(joint, costs[None], spent, channel, potential, [budget], feasible.best(budget.excess))


def wyner_ziv(
    joint: Array,
    d: Array,
    target: Array,
    strategies: Array,
    channel: Array,
    potential: Array,
    slope: Array,
    side_weights: Array,
) -> Certificate:
    r"""Min I(X;T|Y) over laws of a strategy T, a map from side letters to reproductions; channel (n, t).

    joint (n, k); strategies (t, k), every map; potential (n,) a; side_weights (t, k) v. The bound of `conditional` with
    the potential a for each y and, ē being the mean excess of a strategy, the price

    .. math:: u_y(x, t) = s\bar e_{xt} + v_{ty} - \sum_{y'} p_{y'|x} v_{ty'},

    of which every channel spends :math:`s\,\mathbb E\,\bar e` on average: as T does not depend on Y given X, the others
    cancel.

    Examples
    --------
    >>> half, d, D, s = jnp.full(2, 0.5), 1 - jnp.eye(2), jnp.asarray(0.2), jnp.asarray(2.0)
    >>> channel, potential = jnp.array([[0.8, 0.2], [0.2, 0.8]]), jnp.full(2, -jnp.log2(0.625))
    >>> found = wyner_ziv(half[:, None], d, D, jnp.array([[0], [1]]), channel, potential, s, jnp.zeros((2, 1)))
    >>> print(f"{found.lower:.6f} {found.upper:.6f}")
    0.278072 0.278072
    """
    k, p, of_side = joint.shape[1], jnp.sum(joint, axis=1), feasible.rows(joint)  # P(y given x), (n, k)
    budget = feasible.budget(p, d, target, summed=k)

    def mean_of(excess: Array) -> Array:
        shown = jnp.where((joint > 0)[:, None, :], of_side[:, None, :] * excess[:, strategies], 0.0)
        return jnp.where((p > 0)[:, None], jnp.sum(shown, axis=2), 0.0)

    budget = budget._replace(excess=mean_of(budget.excess), priced=mean_of(budget.priced))
    costs, spent = feasible.priced(budget, slope)
    v = sums.finite(side_weights)
    mean, sizes = of_side @ v.T, (costs + of_side @ jnp.abs(v).T)[None] + jnp.abs(v).T[:, None, :]
    # What is less by as much as rounding may have added is still a price.
    prices = costs[None] + (v.T[:, None, :] - mean[None]) - (2 * k + 16) * U * sizes
    prices = jnp.where(costs[None] < jnp.inf, prices, jnp.inf)
    channel = jnp.broadcast_to(feasible.law(channel, budget.excess < jnp.inf)[None], (k, *channel.shape))
    potential = jnp.broadcast_to(potential[None], (k, len(p)))
    found = _two_sides(joint, prices, spent, channel, potential, [budget], feasible.best(budget.excess))
    return found._replace(point=found.point[0])


def total_variation(
    p: Array,
    d: Array,
    target: Array,
    level: Array,
    channel: Array,
    potential: Array,
    slope: Array,
    price: Array,
) -> Certificate:
    r"""Min I(X;X̂) where E d <= D and half of Σ |r - p| is at most P; d (n, n), zero on its diagonal; price (n,).

    The second line with u = s e + t(x̂), of which no law within P of p spends more than :math:`\sum p_x t_x + P\,(\max
    t - \min t)`. The channel is made to meet P, up to rounding that is charged, by another after it, which costs no
    rate.

    Examples
    --------
    >>> half, d, D, s = jnp.full(2, 0.5), 1 - jnp.eye(2), jnp.asarray(0.2), jnp.asarray(2.0)
    >>> channel, potential = jnp.array([[0.8, 0.2], [0.2, 0.8]]), jnp.full(2, -jnp.log2(0.625))
    >>> found = total_variation(half, d, D, jnp.zeros(()), channel, potential, s, jnp.zeros(2))
    >>> print(f"{found.lower:.6f} {found.upper:.6f}")
    0.278072 0.278072
    """
    budget = feasible.budget(p, d, target)
    t = sums.finite(price) - jnp.min(sums.finite(price))
    most = jnp.minimum(level, 1.0)  # no two laws are further apart
    paid = (p @ t + most * jnp.max(t)) * (1 + relative(len(p)))

    def distance(law: Array) -> Array:
        return jnp.sum(jnp.abs(law - p)) / 2 + relative(len(p))

    return _realistic(p, budget, slope, t, paid, channel, potential, distance, most)


def divergence(
    p: Array,
    d: Array,
    target: Array,
    level: Array,
    channel: Array,
    potential: Array,
    slope: Array,
    price: Array,
    multiplier: Array,
) -> Certificate:
    r"""The same where D(r‖p) is at most P, for any price t of the letters of positive mass and any μ > 0.

    A law within P of p spends of t at most :math:`\mu P + \mu\log\sum p_x 2^{t_x/\mu}` (Donsker & Varadhan).

    Examples
    --------
    >>> half, d, D, s = jnp.full(2, 0.5), 1 - jnp.eye(2), jnp.asarray(0.2), jnp.asarray(2.0)
    >>> channel, potential = jnp.array([[0.8, 0.2], [0.2, 0.8]]), jnp.full(2, -jnp.log2(0.625))
    >>> found = divergence(half, d, D, jnp.zeros(()), channel, potential, s, jnp.zeros(2), jnp.ones(()))
    >>> print(f"{found.lower:.6f} {found.upper:.6f}")
    0.278072 0.278072
    """
    alive, budget = p > 0, feasible.budget(p, d, target)
    # r is zero where p is.
    excess, charged = (jnp.where(alive[None, :], x, jnp.inf) for x in (budget.excess, budget.priced))
    budget = budget._replace(excess=excess, priced=charged)
    # No law on the letters alive is further from p than that of the rarest.
    most = jnp.minimum(level, -jnp.log2(jnp.min(jnp.where(alive, p, 1.0))))
    t = jnp.where(alive, sums.finite(price), 0.0)
    t = jnp.where(alive, t - jnp.min(jnp.where(alive, t, jnp.inf)), 0.0)
    mu = jnp.where((multiplier > 0) & jnp.isfinite(multiplier), multiplier, 1.0)

    def distance(law: Array) -> Array:
        value, off = sums.divergence(law, jnp.where(alive, p, 1.0), jnp.where(alive, law - p, 0.0))
        return value + off

    return _realistic(p, budget, slope, t, sums.most_paid(p, t, mu, most), channel, potential, distance, most)


def classification(
    p: Array,
    d: Array,
    target: Array,
    e: Array,
    level: Array,
    channel: Array,
    potential: Array,
    slope: Array,
    level_slope: Array,
) -> Certificate:
    """Min I(X;X̂) where the means of d and e, both (n, m), are within D and E: the second line with both prices.

    Every letter of positive mass has a reproduction that is best for both, with which the channel is mixed.

    Examples
    --------
    >>> half, d, D, s = jnp.full(2, 0.5), 1 - jnp.eye(2), jnp.asarray(0.2), jnp.asarray(2.0)
    >>> channel, potential = jnp.array([[0.8, 0.2], [0.2, 0.8]]), jnp.full(2, -jnp.log2(0.625))
    >>> found = classification(half, d, D, d, jnp.ones(()), channel, potential, s, jnp.zeros(()))
    >>> print(f"{found.lower:.6f} {found.upper:.6f}")
    0.278072 0.278072
    """
    first, second = feasible.budget(p, d, target), feasible.budget(p, e, level)
    costs, spent = feasible.priced(first, slope)
    more, paid = feasible.priced(second, level_slope)
    excess = first.excess + second.excess
    return _alone(
        p,
        costs + more,
        spent + paid,
        feasible.law(channel, excess < jnp.inf),
        potential,
        [first, second],
        feasible.best(excess),
    )


def bottleneck(joint: Array, relevance: Array, channel: Array, potential: Array, slope: Array) -> Certificate:
    r"""Min I(X;T) over descriptions with I(T;Y) >= `relevance`, T - X - Y; joint (n, k), channel (n, t).

    The second line with :math:`u = s D(p_{Y|x}\|r)` for every law r of Y, of which :math:`s (I(X;Y) - relevance)` may
    be spent: the maximum of c over all r is bounded by branch and bound for up to four letters Y; beyond, all that is
    proved is I(X;T) >= I(T;Y). A channel that keeps too little is time-shared with T = X. A relevance that is I(X;Y) up
    to rounding, or more, is meant to be that, and is kept where I(T;Y) is I(X;Y) up to rounding.

    Examples
    --------
    >>> joint, channel = jnp.array([[0.45, 0.05], [0.05, 0.45]]), jnp.array([[0.85, 0.15], [0.15, 0.85]])
    >>> found = bottleneck(joint, jnp.asarray(0.2), channel, jnp.zeros(2), jnp.ones(()))
    >>> print(f"{found.lower:.6f} {found.upper:.6f}")  # of poor candidates
    0.200000 0.390160
    """
    n, k = joint.shape
    p, of_y = jnp.sum(joint, axis=1), jnp.sum(joint, axis=0)
    laws = jnp.where((p > 0)[:, None], feasible.rows(joint), of_y[None, :])
    information, off = sums.information(p, laws, of_y, n)
    channel = feasible.law(channel, jnp.ones(channel.shape, bool))
    law = p @ channel
    clusters = feasible.rows((p[:, None] * channel).T @ laws)
    kept, kept_off = sums.information(law, clusters, of_y, n)
    nothing, off, relevance = relevance <= 0, off + kept_off, jnp.minimum(relevance, information)
    entropy = p @ -jnp.log2(jnp.where(p > 0, p, 1.0)) + 2 * relative(n)
    everything = (information - relevance <= 2 * off) & (relevance >= NEARLY * information)
    short = jnp.where(everything, relevance - off, relevance + off) - kept
    share = jnp.where(
        (short > 0) & ~nothing, jnp.clip(short / jnp.maximum(information - off - kept, FLOOR), 0.0, 1.0), 0.0
    )
    upper = jnp.minimum((1 - share) * sums.rate(p, channel) + share * entropy, entropy) * (1 + relative(n))
    lower = jnp.minimum(relevance, information - off)
    if 1 < k <= LETTERS:
        s, a = jnp.where(jnp.isfinite(slope) & (slope > 0), slope, 0.0), sums.finite(potential)
        proved = p @ a - relative(n) * (p @ jnp.abs(a)) - greatest_c(p, a, s, laws, clusters)
        lower = jnp.maximum(lower, proved - s * (jnp.maximum(information - relevance, 0.0) + off))
    return _bounds(lower, upper, channel)


def _two_sides(
    joint: Array,
    prices: Array,
    spent: Array,
    channel: Array,
    potential: Array,
    budgets: list[feasible.Budget],
    best: Array,
    noise: Array | float = 0.0,
) -> Certificate:
    """Of min I(X;X̂|Y), all but joint (n, k) with y first: the second line for each y, and the channel made feasible.

    `spent` is the most of the prices that a channel of the problem spends, on average over y; `best` a channel without
    excess; `noise` what the rate of the candidate may be more for its rounding.
    """
    side, given, error = jnp.sum(joint, axis=0), feasible.rows(joint.T), relative(sum(joint.shape))
    prices = jnp.broadcast_to(prices, (*given.shape, prices.shape[-1]))
    proved = jax.vmap(sums.dual)(given, potential, prices)
    lower = side @ jnp.where(side > 0, proved - error * jnp.abs(proved), 0.0) - spent
    for budget in budgets:
        channel = feasible.spending(joint.T[:, :, None], channel, budget, best)
    upper = side @ jax.vmap(sums.rate)(given, channel) * (1 + error) + noise
    return _bounds(lower, upper, channel)


def _alone(p: Array, prices: Array, spent: Array, channel: Array, potential: Array, *constraints) -> Certificate:
    """Without side information."""
    found = _two_sides(p[:, None], prices[None], spent, channel[None], potential[None], *constraints)
    return found._replace(point=found.point[0])


def _realistic(
    p: Array,
    budget: feasible.Budget,
    slope: Array,
    price: Array,
    paid: Array,
    channel: Array,
    potential: Array,
    distance: Callable[[Array], Array],
    level: Array,
) -> Certificate:
    """Where the output law is to be within `level` of p, by a distance that is convex and zero at p.

    A channel after the candidate moves its output law towards p, then it is mixed with X̂ = X.
    """
    costs, spent = feasible.priced(budget, slope)
    channel = feasible.law(channel, budget.excess < jnp.inf)
    share = 1 - feasible.within(distance(p @ channel), level, 0.0)
    channel, noise = feasible.toward(p, channel, share)
    return _alone(p, costs + price[None, :], spent + paid, channel, potential, [budget], jnp.eye(len(p)), noise)


def _bounds(lower: Array, upper: Array, point: Array) -> Certificate:
    """No rate is negative, and what is not a number bounds nothing."""
    return Certificate(jnp.maximum(sums.either(lower, 0.0), 0.0), sums.either(upper, jnp.inf), point)
