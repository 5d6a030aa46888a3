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

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rdtheory.distortion import Grid, Samples
from rdtheory.limits.certify.every_law import greatest_c
from rdtheory.limits.certify.sums import FLOOR, LEAST_LOG, U, log_sum, relative
from rdtheory.limits.discrete import certificate, kernels
from rdtheory.limits.discrete.arithmetic import unit_of
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

LN2 = math.log(2)
FLUSHED = 2.0**-1000  # more than any term that is flushed: 2^-1022 times a logarithm
SLIGHT = 2.0**-400  # least positive excess, in units of the greatest, that a channel is charged for
LITTLE = 2.0**-900  # less than this is not spent: of what a channel is charged so much may be flushed
FAR = 128.0  # bits; a slope that makes every positive excess cost this acts like an infinite one
LETTERS = 4  # Y, up to which c is bounded over all laws
# Of I(X;Y) as it is computed, which below 1e-27 bit is rounding: a relevance below is not meant to be all of it.
NEARLY = 0.99
NOISE = 64.0  # bits; log of the smallest change of a channel that rounding may have made, 2^-64, with its sign


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
    problem = make(_law(p, p > 0), kernels.of(d))
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
    w = _rows(w)
    cheapest = jnp.min(jnp.where(inputs, costs, jnp.inf))
    above, allowed = costs - cheapest, jnp.maximum(budget - cheapest, 0.0)
    usable = inputs & ((above <= 0) | (allowed > 0))  # what costs more than all of the budget is never sent
    error = relative(len(inputs) + len(outputs))

    s = jnp.where(jnp.isfinite(slope) & (slope > 0), slope, 0.0)
    divergences, off = _divergence(w, jnp.maximum(_law(output_pmf, outputs), FLOOR)[None, :])
    spared = _times(s, costs - budget)
    upper = jnp.max(jnp.where(usable, divergences + off - spared + 4 * U * jnp.abs(spared), -jnp.inf))
    most = jnp.log2(jnp.minimum(jnp.sum(usable), jnp.sum(outputs)).astype(w.dtype)) * (1 + error)
    upper = jnp.minimum(_or(upper, jnp.inf), most)

    p = _law(input_pmf, usable)
    kept = _within(p @ jnp.where(usable, above, 0.0), allowed, error)
    p = kept * p + (1 - kept) * _one_hot(jnp.argmax(usable & (above <= 0)), len(p))
    divergences, off = _divergence(w, jnp.maximum(p @ w, FLOOR)[None, :])
    # r = pW up to rounding, of which D(pW‖r) is the square.
    lower = p @ jnp.where(p > 0, divergences - off, 0.0) * (1 - error) - error**2 / LN2 - len(outputs) * FLUSHED
    return Certificate(jnp.maximum(_or(lower, 0.0), 0.0), upper, p)


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
    budget = _budget(jnp.sum(joint, axis=1), d, target, summed=joint.shape[1])
    costs, spent = _priced(budget, slope)
    channel = _law(channel, budget.excess[None] < jnp.inf)
    return _two_sides(joint, costs[None], spent, channel, potential, [budget], _best(budget.excess))


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
    k, p, of_side = joint.shape[1], jnp.sum(joint, axis=1), _rows(joint)  # P(y given x), (n, k)
    budget = _budget(p, d, target, summed=k)

    def mean_of(excess: Array) -> Array:
        shown = jnp.where((joint > 0)[:, None, :], of_side[:, None, :] * excess[:, strategies], 0.0)
        return jnp.where((p > 0)[:, None], jnp.sum(shown, axis=2), 0.0)

    budget = budget._replace(excess=mean_of(budget.excess), priced=mean_of(budget.priced))
    costs, spent = _priced(budget, slope)
    v = _finite(side_weights)
    mean, sizes = of_side @ v.T, (costs + of_side @ jnp.abs(v).T)[None] + jnp.abs(v).T[:, None, :]
    # What is less by as much as rounding may have added is still a price.
    prices = costs[None] + (v.T[:, None, :] - mean[None]) - (2 * k + 16) * U * sizes
    prices = jnp.where(costs[None] < jnp.inf, prices, jnp.inf)
    channel = jnp.broadcast_to(_law(channel, budget.excess < jnp.inf)[None], (k, *channel.shape))
    potential = jnp.broadcast_to(potential[None], (k, len(p)))
    found = _two_sides(joint, prices, spent, channel, potential, [budget], _best(budget.excess))
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
    budget = _budget(p, d, target)
    t = _finite(price) - jnp.min(_finite(price))
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
    alive, budget = p > 0, _budget(p, d, target)
    # r is zero where p is.
    excess, charged = (jnp.where(alive[None, :], x, jnp.inf) for x in (budget.excess, budget.priced))
    budget = budget._replace(excess=excess, priced=charged)
    # No law on the letters alive is further from p than that of the rarest.
    most = jnp.minimum(level, -jnp.log2(jnp.min(jnp.where(alive, p, 1.0))))
    t = jnp.where(alive, _finite(price), 0.0)
    t = jnp.where(alive, t - jnp.min(jnp.where(alive, t, jnp.inf)), 0.0)
    mu = jnp.where((multiplier > 0) & jnp.isfinite(multiplier), multiplier, 1.0)

    def distance(law: Array) -> Array:
        value, off = _divergence(law, jnp.where(alive, p, 1.0), jnp.where(alive, law - p, 0.0))
        return value + off

    return _realistic(p, budget, slope, t, _most_paid(p, t, mu, most), channel, potential, distance, most)


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
    first, second = _budget(p, d, target), _budget(p, e, level)
    costs, spent = _priced(first, slope)
    more, paid = _priced(second, level_slope)
    excess = first.excess + second.excess
    return _alone(
        p, costs + more, spent + paid, _law(channel, excess < jnp.inf), potential, [first, second], _best(excess)
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
    laws = jnp.where((p > 0)[:, None], _rows(joint), of_y[None, :])
    information, off = _information(p, laws, of_y, n)
    channel = _law(channel, jnp.ones(channel.shape, bool))
    law = p @ channel
    clusters = _rows((p[:, None] * channel).T @ laws)
    kept, kept_off = _information(law, clusters, of_y, n)
    nothing, off, relevance = relevance <= 0, off + kept_off, jnp.minimum(relevance, information)
    entropy = p @ -jnp.log2(jnp.where(p > 0, p, 1.0)) + 2 * relative(n)
    everything = (information - relevance <= 2 * off) & (relevance >= NEARLY * information)
    short = jnp.where(everything, relevance - off, relevance + off) - kept
    share = jnp.where(
        (short > 0) & ~nothing, jnp.clip(short / jnp.maximum(information - off - kept, FLOOR), 0.0, 1.0), 0.0
    )
    upper = jnp.minimum((1 - share) * _rate(p, channel) + share * entropy, entropy) * (1 + relative(n))
    lower = jnp.minimum(relevance, information - off)
    if 1 < k <= LETTERS:
        s, a = jnp.where(jnp.isfinite(slope) & (slope > 0), slope, 0.0), _finite(potential)
        proved = p @ a - relative(n) * (p @ jnp.abs(a)) - greatest_c(p, a, s, laws, clusters)
        lower = jnp.maximum(lower, proved - s * (jnp.maximum(information - relevance, 0.0) + off))
    return _bounds(lower, upper, channel)


class _Budget(NamedTuple):
    """In units of a power of two near the largest excess, so that nothing that matters is flushed."""

    excess: Array  # d - min d, of source letters with mass; no less than it is, and zero where that is
    priced: Array  # the same, no more than it is
    least: Array  # A, what D allows of it, is in [least, most]
    most: Array
    unit: Array


def _budget(p: Array, d: Array, target: Array, summed: int = 0) -> _Budget:
    """Where every least distortion is zero A is D, exactly; a D below Σ p min d is meant to be that.

    `summed` is of how many terms each p is the sum.
    """
    floor = jnp.where(p > 0, jnp.min(d, axis=1), 0.0)
    excess = jnp.where(jnp.isfinite(d), jnp.where((p > 0)[:, None], d - floor[:, None], 0.0), jnp.inf)
    excess = jnp.where((p > 0)[:, None], excess, 0.0)
    largest = jnp.max(jnp.where(jnp.isfinite(excess), excess, 0.0))
    unit = unit_of(largest)
    wanted, least = target / unit, p @ (floor / unit)
    off = jnp.where(least == 0, 0.0, relative(len(p) + summed) * least + 2 * U * wanted)
    spare, most = _or(wanted - least - off, 0.0), _or(jnp.maximum(wanted - least, 0.0) + off, jnp.inf)
    most = jnp.where((most > 0) | ((least == 0) & (target > 0)), jnp.maximum(most, FLOOR), 0.0)
    raised = jnp.where(excess > 0, jnp.maximum(excess / unit, SLIGHT), 0.0)
    return _Budget(raised, excess / unit, jnp.where(spare > LITTLE, spare, 0.0), most, unit)


def _priced(budget: _Budget, slope: Array) -> tuple[Array, Array]:
    """S e for a slope that the problem allows, and the most of it that a channel within the budget spends.

    Where nothing is allowed the price of every excess is infinite.
    """
    excess, none = budget.priced, budget.most == 0
    smallest = jnp.min(jnp.where(excess > 0, excess, jnp.inf))
    s = jnp.where(slope > 0, jnp.minimum(slope * budget.unit, FAR / smallest), 0.0)
    costs = jnp.where(excess < jnp.inf, _times(s, excess), jnp.inf)
    return jnp.where(none & (excess > 0), jnp.inf, costs), jnp.where(none, 0.0, _times(s, budget.most)) * (1 + 8 * U)


def _two_sides(
    joint: Array,
    prices: Array,
    spent: Array,
    channel: Array,
    potential: Array,
    budgets: list[_Budget],
    best: Array,
    noise: Array | float = 0.0,
) -> Certificate:
    """Of min I(X;X̂|Y), all but joint (n, k) with y first: the second line for each y, and the channel made feasible.

    `spent` is the most of the prices that a channel of the problem spends, on average over y; `best` a channel without
    excess; `noise` what the rate of the candidate may be more for its rounding.
    """
    side, given, error = jnp.sum(joint, axis=0), _rows(joint.T), relative(sum(joint.shape))
    prices = jnp.broadcast_to(prices, (*given.shape, prices.shape[-1]))
    proved = jax.vmap(_dual)(given, potential, prices)
    lower = side @ jnp.where(side > 0, proved - error * jnp.abs(proved), 0.0) - spent
    for budget in budgets:
        channel = _spending(joint.T[:, :, None], channel, budget, best)
    upper = side @ jax.vmap(_rate)(given, channel) * (1 + error) + noise
    return _bounds(lower, upper, channel)


def _alone(p: Array, prices: Array, spent: Array, channel: Array, potential: Array, *feasible) -> Certificate:
    """Without side information."""
    found = _two_sides(p[:, None], prices[None], spent, channel[None], potential[None], *feasible)
    return found._replace(point=found.point[0])


def _realistic(
    p: Array,
    budget: _Budget,
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
    costs, spent = _priced(budget, slope)
    channel = _law(channel, budget.excess < jnp.inf)
    share = 1 - _within(distance(p @ channel), level, 0.0)
    channel, noise = _toward(p, channel, share)
    return _alone(p, costs + price[None, :], spent + paid, channel, potential, [budget], jnp.eye(len(p)), noise)


def _spending(weights: Array, channel: Array, budget: _Budget, best: Array) -> Array:
    """The channel (k, n, m) mixed with one without excess, until the mean excess is within the budget."""
    excess = budget.excess[None]
    costly = (weights > 0) & (channel > 0) & (excess > 0)
    spent = jnp.sum(jnp.where(costly, weights * (channel * excess), 0.0))
    some = _within(spent, budget.least, relative(channel.size))
    # Where nothing is allowed nothing is, not even what is flushed.
    kept = jnp.where(budget.least > 0, some, jnp.where(jnp.any(costly), 0.0, 1.0))
    return kept * channel + (1 - kept) * best[None]


def _within(spent: Array, allowed: Array, error: Array | float) -> Array:
    """Greatest share of what spends so much that is surely within what is allowed."""
    surely = allowed * (1 - error)
    # What is no number (an infinite cost that is never paid) has no share.
    return jnp.where(
        spent * (1 + error) <= surely, 1.0, surely / jnp.where(spent > 0, spent * (1 + 2 * error), jnp.inf)
    )


def _dual(p: Array, potential: Array, costs: Array) -> Array:
    """Σ p a - log max c, less what it may be off; costs (n, m), infinite where a reproduction is forbidden."""
    used, a = p > 0, _finite(potential)
    log_p = jnp.log2(jnp.where(used, p, 1.0))
    exponents = (log_p + a)[:, None] - costs
    sizes = (jnp.abs(log_p) + jnp.abs(a))[:, None] + jnp.abs(costs)
    log_c = log_sum(used[:, None] & (costs < jnp.inf), exponents, 8 * sizes)
    highest = jnp.maximum(jnp.max(log_c), LEAST_LOG)
    a = jnp.where(used, a, 0.0)
    return p @ a - relative(len(p)) * (p @ jnp.abs(a)) - highest - 4 * U * jnp.abs(highest)


def _rate(p: Array, channel: Array) -> Array:
    """Upper bound of I(p, channel)."""
    divergences, off = _divergence(channel, jnp.maximum(p @ channel, FLOOR)[None, :])
    return p @ jnp.where(p > 0, divergences + off, 0.0) * (1 + relative(len(p)))


def _information(p: Array, w: Array, r: Array, summed: int) -> tuple[Array, Array]:
    """I(p, W), of which r is the output law, and what it may be off; W and r are sums of so many terms."""
    divergences, off = _divergence(w, jnp.maximum(r, FLOOR)[None, :], summed=summed)
    value, error = p @ jnp.where(p > 0, divergences, 0.0), relative(w.size + summed)
    return value, p @ jnp.where(p > 0, off, 0.0) + error * (value + error)


def _divergence(w: Array, r: Array, change: Array | None = None, summed: int = 0) -> tuple[Array, Array]:
    """D(W_x‖r) of each row and what it may be off, relative to its terms; r > 0, of which `change` is w - r.

    Σ w log(w/r) - w + r has no negative term, so little is lost where w is near r. It is written with one ratio there:
    the compiler may compute w twice, a last digit apart. If r does not sum to 1 this is more than the divergence from r
    divided by its sum.
    """
    ratio = (w - r if change is None else change) / r
    near = jnp.abs(ratio) < 0.25
    x = jnp.where(near, ratio, 0.0)
    apart = jnp.where(w > 0, w * jnp.log(jnp.where(w > 0, w, 1.0) / r), 0.0)
    terms = jnp.where(near, r * ((1 + x) * jnp.log1p(x) - x), apart - w + r)
    sizes = jnp.where(near, 3 * r * jnp.abs(x), jnp.abs(apart) + w + r)
    off = relative(r.shape[-1] + summed) * jnp.sum(sizes, axis=-1) + r.shape[-1] * FLUSHED
    return jnp.sum(terms, axis=-1) / LN2, 2 * off / LN2


def _toward(p: Array, channel: Array, share: Array) -> tuple[Array, Array]:
    """The channel followed by one that moves its output law towards p, by `share` of the way; a bound of the noise.

    Processing the output costs no rate. Where the law is nearly p already, little of the way is more than rounding.
    """
    output = p @ channel
    surplus, missing = share * jnp.maximum(output - p, 0.0), share * jnp.maximum(p - output, 0.0)
    moved = jnp.where(output > 0, surplus / jnp.where(output > 0, output, 1.0), 0.0)
    # All that is missing may be lost in rounding, of a likely letter for one; rows must sum to one all the same.
    law = jnp.where(jnp.sum(missing) > 0, missing / jnp.where(jnp.sum(missing) > 0, jnp.sum(missing), 1.0), p)
    noise = jnp.where(share > 0, NOISE * relative(len(p)), 0.0)
    return channel * (1 - moved)[None, :] + (channel @ moved)[:, None] * law[None, :], noise


def _most_paid(p: Array, t: Array, mu: Array, level: Array) -> Array:
    """Upper bound of μ P + μ log Σ p 2^(t/μ), to the digits of t where μ is large, or of max t, if that is less."""
    mean = p @ t
    x = jnp.where(p > 0, t - mean, 0.0) / mu * LN2
    spread = jnp.log1p(p @ (jnp.expm1(x) - x)) / LN2  # as Σ p x = 0
    size = p @ jnp.abs(t) + jnp.max(jnp.abs(jnp.where(p > 0, t - mean, 0.0))) + mu * (level + spread)
    paid = mean + mu * (level + spread) + 8 * relative(len(p)) * size
    return jnp.minimum(_or(paid, jnp.inf), jnp.max(jnp.where(p > 0, t, -jnp.inf)))


def _bounds(lower: Array, upper: Array, point: Array) -> Certificate:
    """No rate is negative, and what is not a number bounds nothing."""
    return Certificate(jnp.maximum(_or(lower, 0.0), 0.0), _or(upper, jnp.inf), point)


def _law(weights: Array, usable: Array) -> Array:
    """The weights made a law on what is usable, along the last axis; uniform if there are none."""
    clean = jnp.where(usable & (weights > 0) & jnp.isfinite(weights), jnp.minimum(weights, 1 / FLOOR), 0.0)
    largest = jnp.max(clean, axis=-1, keepdims=True)
    scaled = jnp.where(largest > 0, clean / jnp.where(largest > 0, largest, 1.0), usable)
    return scaled / jnp.maximum(jnp.sum(scaled, axis=-1, keepdims=True), 1.0)


def _rows(joint: Array) -> Array:
    """Each row divided by its sum."""
    total = jnp.sum(joint, axis=1, keepdims=True)
    return joint / jnp.where(total > 0, total, 1.0)


def _best(excess: Array) -> Array:
    """The channel to a letter without excess."""
    return _one_hot(jnp.argmin(excess, axis=-1), excess.shape[-1])


def _one_hot(at: Array, size: int) -> Array:
    return jax.nn.one_hot(at, size, dtype=jnp.float64)


def _times(s: Array, x: Array) -> Array:
    return jnp.where(x == 0, 0.0, jnp.where(s == 0, 0.0, s * x))


def _finite(x: Array) -> Array:
    return jnp.where(jnp.isfinite(x), x, 0.0)


def _or(x: Array, instead: float) -> Array:
    return jnp.where(jnp.isnan(x), instead, x)
