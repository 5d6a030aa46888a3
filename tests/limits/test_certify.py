"""Adversarial candidates for the kernel of all certificates, and balls that say what they are worth.

The judge reads every number as the exact one that it is and computes in 200 bits with the error of every step, so that
what it calls false is false: it allows for nothing but what the machine flushes to zero.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from rdtheory.limits import certify
from rdtheory.limits.certify import every_law, feasible, sums
from rdtheory.rigor._balls import flint
from tests import long

N, K = 3, 3  # letters
SLOPES = [0.0, 1e-3, 1.0, 7.0, 60.0, 1e300, np.inf, np.nan, -1.0]
SEEDS = [0, *(long(seed) for seed in range(1, 50))]  # of 2,000 problems each
TINY = 1e-290  # what is flushed is far below
BITS = 200  # of the judge

extended = np.longdouble


# Problems and candidates ---------------------------------------------------------------------------------------------


def weights(rng, *shape):
    """Positive numbers of any size, some of them zero, equal or below 2^-1022."""
    kind = rng.integers(5, size=shape[:1] + (1,) * (len(shape) - 1))
    wild = 10.0 ** rng.uniform(-320, 0, shape)
    steep = 10.0 ** rng.uniform(-12, 0, shape)
    near = 1 + 10.0 ** rng.uniform(-16, -1, shape) * rng.normal(size=shape)
    plain = rng.exponential(size=shape)
    holes = plain * (rng.random(shape) < 0.6)
    found = np.select([kind == 0, kind == 1, kind == 2, kind == 3], [wild, steep, near, plain], holes)
    found[..., 0] = np.where(found.sum(axis=-1) < 1e-3, 1.0, found[..., 0])
    return found


def laws(rng, *shape):
    found = weights(rng, *shape)
    return found / found.sum(axis=-1, keepdims=True)


def costs(rng, count, *, forbidding=True, diagonal=False):
    unit = 10.0 ** rng.choice([-200, -3, 0, 0, 0, 8, 200], size=(count, 1, 1))
    kind = rng.integers(4, size=(count, 1, 1))
    d = rng.exponential(size=(count, N, N))
    d = np.select([kind == 0, kind == 1], [1.0 - np.eye(N), np.round(4 * d) / 4], d)
    d = np.where((kind == 2) & (not diagonal), d + 10.0 ** rng.integers(0, 13, (count, N, 1)), d)
    if diagonal:
        d = d * (1 - np.eye(N))
    if forbidding:
        d = np.where((kind == 3) & (rng.random(d.shape) < 0.2) & (np.arange(N) > 0), np.inf, d)
    return d * unit


def reachable(rng, p, d):
    """A distortion from the least to beyond the greatest that matters."""
    least = np.sum(p * d.min(axis=-1), axis=-1)
    share = rng.choice([0.0, 1e-14, 1e-6, 0.1, 0.5, 1.0, 3.0], size=len(p))
    free = np.min(np.sum(p[:, :, None] * np.where(np.isfinite(d), d, 0), axis=1), axis=-1)
    return least + share * np.abs(free - least)


def mangled(rng, x):
    """The candidate itself for most problems; for the others scaled, replaced or broken."""
    kind = rng.integers(8, size=(len(x),) + (1,) * (x.ndim - 1))
    with np.errstate(over="ignore"):
        huge = x * 10.0 ** rng.choice([-300, 300], size=kind.shape)
    broken = np.where(rng.random(x.shape) < 0.3, rng.choice([np.nan, np.inf, -1.0], size=x.shape), x)
    return np.select([kind == 0, kind == 1, kind == 2], [huge, broken, rng.exponential(size=x.shape)], x)


class Candidate(NamedTuple):
    channel: np.ndarray
    potential: np.ndarray
    slope: np.ndarray


def candidates(rng, p, d, price=0.0):
    """What a law q and a slope lead to, (…, n, m) and (…, n); mangled."""
    q = laws(rng, *p.shape[:-1], d.shape[-1])
    span = np.max(np.where(np.isfinite(d), d, 0), axis=(-2, -1), keepdims=True)
    slope = rng.choice(SLOPES[:5], size=span.shape) / np.where(span > 0, span, 1.0)
    excess = np.where(np.isfinite(d), d - d.min(axis=-1, keepdims=True), np.inf)
    weighted = q[..., None, :] * np.exp2(-times(slope, excess) - price).astype(float)
    with np.errstate(divide="ignore"):
        potential = -np.log2(weighted.sum(axis=-1))
    slope = np.where(rng.random(len(p)) < 0.2, rng.choice(SLOPES, size=len(p)), slope.reshape(len(p)))
    return Candidate(mangled(rng, weighted), mangled(rng, potential), slope)


# The judge -----------------------------------------------------------------------------------------------------------


ZERO, ONE, INFINITE = flint.arb(0), flint.arb(1), flint.arb("inf")
ball = np.frompyfunc(lambda x: x if isinstance(x, flint.arb) else flint.arb(float(x)), 1, 1)
log2 = np.frompyfunc(lambda x: x.log() / flint.arb.const_log2(), 1, 1)
exp2 = np.frompyfunc(lambda x: (x * flint.arb.const_log2()).exp(), 1, 1)
root = np.frompyfunc(lambda x: x.sqrt(), 1, 1)
larger, smaller = np.frompyfunc(lambda x, y: x.max(y), 2, 1), np.frompyfunc(lambda x, y: x.min(y), 2, 1)


def finite(x):
    return np.frompyfunc(lambda x: x.is_finite(), 1, 1)(x).astype(bool)


def greatest(x, axis=-1):
    return larger.reduce(x, axis=axis)


def least(x, axis=-1):
    return smaller.reduce(x, axis=axis)


def law(weights):
    """Rows of balls that sum to one; a row of zeros stays one."""
    x = ball(weights)
    total = np.sum(x, axis=-1, keepdims=True)
    return x / np.where(total == 0, ONE, total)


def average(p, values):
    """Σ p v over the last axis, where p is not zero: v may be anything elsewhere."""
    used = p != 0
    return np.sum(np.where(used, p * np.where(used, values, ZERO), ZERO), axis=-1)


def divergence(p, r):
    """Σ p log (p/r) over the last axis, r > 0 where p is, in bits."""
    p, r = np.broadcast_arrays(p, r)
    used = p != 0
    return average(p, log2(np.where(used, p, ONE) / np.where(used, r, ONE)))


def information(p, w):
    """Bits, of a law (…, n) and a channel (…, n, m) of balls."""
    t = np.sum(p[..., None] * w, axis=-2, keepdims=True)
    return average(p, divergence(w, t))


def proved(p, a, price):
    """Σ p a - log max Σ p 2^(a - u), of finite potentials; u may be infinite, p is a law."""
    used = (p != 0)[..., None] & finite(price)
    logs = log2(np.where(p != 0, p, ONE)) + a
    c = np.sum(np.where(used, exp2(logs[..., None] - np.where(used, price, ZERO)), ZERO), axis=-2)
    return average(p, a) - log2(greatest(c))


class Budget(NamedTuple):
    excess: np.ndarray  # inf where forbidden
    allowed: np.ndarray


def budget(p, d, target):
    p, least, d = law(p), np.where(p > 0, d.min(axis=-1), 0), np.where((p > 0)[..., None], d, 0)
    excess = ball(d) - ball(least)[..., None]
    allowed = ball(target) - np.sum(p * ball(least), axis=-1)
    return Budget(np.where(np.isinf(d), INFINITE, excess), np.where(allowed > 0, allowed, ZERO))


def spends(p, channel, excess):
    used = (p != 0)[..., None] & (channel != 0)
    # Before the channel is divided by its sum a product with 0 is 0, whatever is forbidden.
    return np.sum(np.where(used, p[..., None] * channel * np.where(used, excess, ZERO), ZERO), (-2, -1))


def priced(slope, now):
    """S e, and s A, of slopes that are sound, else of zero; one that costs FAR bits anywhere is steep enough."""
    costly = (now.excess > 0) & finite(now.excess)
    smallest = least(np.where(costly, now.excess, INFINITE).reshape(len(slope), -1))
    s = ball(np.where(sound(slope, slope), slope, 0))
    s = np.where(s * smallest > feasible.FAR, feasible.FAR / smallest, s)
    costs = np.where(costly, s[:, None, None] * np.where(costly, now.excess, ZERO), now.excess)
    none = (now.allowed == 0)[:, None, None] & (now.excess > 0)
    return np.where(none, INFINITE, costs), s * now.allowed


def sound(x, *slopes):
    whole = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    for slope in slopes:
        whole &= np.isfinite(slope) & (slope >= 0)
    return whole


def assert_certified(found, *, upper, lower, sound):
    """`upper`: the rate of the point returned; `lower`: what candidates prove that are sound."""
    claimed, above = np.asarray(found.upper), np.asarray(found.lower)
    assert_at_most(upper, claimed, "is the rate of what is said to have")
    assert_at_most(above, upper, "is claimed, attained is")
    assert_at_most(above[sound], np.where(lower > 0, lower, ZERO)[sound], "is claimed, proved is")
    assert (above <= claimed * (1 + 1e-13)).all()


def assert_at_most(these, those, message):
    """None is surely more than its counterpart, by more than is flushed."""
    these, those = ball(these), ball(those)
    false = np.flatnonzero(these > those + flint.arb(TINY))
    assert not false.size, f"{these[false[0]].str(20)} {message} {those[false[0]].str(20)}, in {false.size} problems"


def assert_within(spent, allowed, excess):
    scale = greatest(np.where(finite(excess), excess, ZERO).reshape(len(spent), -1))
    assert_at_most(np.zeros(len(spent)), allowed - spent + scale * TINY, "is more than is left, which is")


def times(a, b):
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((a == 0) | (b == 0), extended(0), a * b)


def run(function, *arguments, together=True):
    if together:
        return jax.jit(jax.vmap(function))(*(jnp.asarray(x) for x in arguments))
    return jax.jit(lambda *batch: jax.lax.map(lambda item: function(*item), batch))(*map(jnp.asarray, arguments))


# Checks --------------------------------------------------------------------------------------------------------------


def check_capacity(seed, count=400):
    rng = np.random.default_rng([seed, 1])
    w = laws(rng, count, N, K)
    unit = 10.0 ** rng.choice([-200, 0, 0, 8, 200], size=(count, 1))
    b = np.where(rng.random((count, 1)) < 0.3, 0.0, rng.integers(0, 4, (count, N))) * unit
    cheapest = b.min(axis=1)
    B = cheapest + rng.choice([0.0, 1e-14, 0.3, 1.0, 9.0], size=count) * (b.mean(axis=1) - cheapest)
    p, r = mangled(rng, laws(rng, count, N)), mangled(rng, laws(rng, count, K))
    natural = rng.random(count) < 0.5
    r = np.where(natural[:, None], np.einsum("bn,bnm->bm", p, w), r)
    with np.errstate(over="ignore"):
        s = rng.choice(SLOPES, size=count) / unit[:, 0]
    found = run(certify.capacity, w, b, B, p, r, s)
    point = np.asarray(found.point)
    sends = law(point)
    assert_within(np.sum(sends * ball(b - cheapest[:, None]), axis=1), ball(B) - ball(cheapest), ball(b)[:, :, None])
    rows, used = law(w), (w > 0).any(axis=1)
    attained = information(sends, rows)
    assert_at_most(np.asarray(found.lower), attained, "is claimed, attained is")
    r = np.where(used & ~(r < 2.0**-1022), r, 0.0)
    usable = sound(r, s) & (r >= 0).all(axis=1) & (r.sum(axis=1) > 0) & (s < 1e200)
    output = larger(law(np.where(usable[:, None], r, 1.0)), flint.arb(certify.FLOOR))[:, None, :]
    s = ball(np.where(usable, s, 0.0))
    above = divergence(rows, output) - s[:, None] * (ball(b) - ball(B)[:, None])
    sent = (b == cheapest[:, None]) | (B > cheapest)[:, None]
    above = greatest(np.where(sent, above, -INFINITE))
    # A law that excludes a letter is moved off zero, and then proves what it could not.
    most = log2(ball(np.minimum(sent.sum(axis=1), used.sum(axis=1))))
    assert_at_most(smaller(above, most)[usable], np.asarray(found.upper)[usable], "is proved, claimed at most")
    assert (np.asarray(found.lower) <= np.asarray(found.upper) * (1 + 1e-13)).all()


def check_conditional(seed, count=300):
    rng = np.random.default_rng([seed, 2])
    joint = laws(rng, count, N * 2).reshape(count, N, 2)
    joint = np.where(joint < 2.0**-1022, 0.0, joint)  # read as that, and then nothing is forbidden by them
    d = costs(rng, count)
    p = joint.sum(axis=2)
    D = reachable(rng, p, d)
    both = [candidates(rng, np.moveaxis(joint, 2, 1)[:, y], d) for y in range(2)]
    channel, potential = (np.stack([getattr(c, name) for c in both], axis=1) for name in ("channel", "potential"))
    s = both[0].slope
    found = run(certify.conditional, joint, d, D, channel, potential, s)
    given, side = law(np.moveaxis(joint, 2, 1)), law(np.sum(ball(joint), axis=1))
    now, point = budget(np.sum(ball(joint), axis=2), d, D), law(found.point)
    spent = average(side, np.stack([spends(given[:, y], point[:, y], now.excess) for y in range(2)], axis=1))
    assert_within(spent, now.allowed, now.excess)
    price, paid = priced(s, now)
    clean = ball(np.where(np.isfinite(potential), potential, 0))
    lower = average(side, np.stack([proved(given[:, y], clean[:, y], price) for y in range(2)], axis=1)) - paid
    rate = average(side, np.stack([information(given[:, y], point[:, y]) for y in range(2)], axis=1))
    assert_certified(found, upper=rate, lower=lower, sound=sound(potential, s))


def check_total_variation(seed, count=300):
    rng = np.random.default_rng([seed, 3])
    p, d = laws(rng, count, N), costs(rng, count, forbidding=False, diagonal=True)
    D, P = reachable(rng, p, d), rng.choice([0.0, 1e-9, 0.05, 1.0, 4.0], size=count)
    t = rng.exponential(size=(count, N)) * rng.choice([0.0, 1.0, 30.0], size=(count, 1))
    channel, potential, s = candidates(rng, p, d, t[:, None, :])
    t = mangled(rng, t)
    found = run(certify.total_variation, p, d, D, P, channel, potential, s, t)
    now, point, p = budget(p, d, D), law(found.point), law(p)
    assert_within(spends(p, point, now.excess), now.allowed, now.excess)
    distance = np.sum(np.abs(np.sum(p[..., None] * point, axis=1) - p), axis=1) / 2
    assert_at_most(distance, P + 4e-15, "is the distance where what is allowed is")
    price, paid = priced(s, now)
    t = ball(np.where(np.isfinite(t), t, 0))
    t = t - least(t)[:, None]
    most = np.sum(p * t, axis=1) + np.minimum(P, 1) * greatest(t)
    clean = ball(np.where(np.isfinite(potential), potential, 0))
    lower = proved(p, clean, price + t[:, None, :]) - paid - most
    assert_certified(found, upper=information(p, point), lower=lower, sound=sound(potential, s))


def check_classification(seed, count=300):
    rng = np.random.default_rng([seed, 4])
    p, d = laws(rng, count, N), costs(rng, count, forbidding=False, diagonal=True)
    e = costs(rng, count, forbidding=False, diagonal=True)
    D, E = reachable(rng, p, d), reachable(rng, p, e)
    channel, potential, s = candidates(rng, p, d)
    v = rng.choice([0.0, 1.0, 20.0, np.nan, np.inf], size=count) / np.maximum(e.max(axis=(1, 2)), 1e-250)
    found = run(certify.classification, p, d, D, e, E, channel, potential, s, v)
    first, second, point, p = budget(p, d, D), budget(p, e, E), law(found.point), law(p)
    assert_within(spends(p, point, first.excess), first.allowed, first.excess)
    assert_within(spends(p, point, second.excess), second.allowed, second.excess)
    (price, paid), (more, also) = priced(s, first), priced(v, second)
    lower = proved(p, ball(np.where(np.isfinite(potential), potential, 0)), price + more) - paid - also
    assert_certified(found, upper=information(p, point), lower=lower, sound=sound(potential, s, v))


def check_divergence(seed, count=300):
    rng = np.random.default_rng([seed, 5])
    p, d = laws(rng, count, N), costs(rng, count, forbidding=False, diagonal=True)
    D, P = reachable(rng, p, d), rng.choice([0.0, 1e-20, 1e-9, 0.05, 1.0, 1e3], size=count)
    t = rng.exponential(size=(count, N)) * rng.choice([0.0, 1.0, 30.0], size=(count, 1))
    channel, potential, s = candidates(rng, p, d, t[:, None, :])
    mu = rng.choice([1e-3, 1.0, 30.0, 1e9, np.nan, 0.0], size=count)
    found = run(certify.divergence, p, d, D, P, channel, potential, s, t, mu)
    alive = p > 1e-300
    now, point, own = budget(p, d, D), law(found.point), law(p)
    assert_within(spends(own, point, now.excess), now.allowed, now.excess)
    output = np.where(alive, np.sum(own[..., None] * point, axis=1), ZERO)
    apart = larger(divergence(output, np.where(alive, own, ONE)), ZERO)
    # What rounding changes of the output law, an amount of 2^-53 or so, is felt in its square over the rarest letter.
    over = (root(apart * flint.arb.const_log2()) - root(ball(P) * flint.arb.const_log2())) * root(
        least(np.where(alive, own, ONE))
    )
    assert_at_most(over, np.full(count, 4e-16), "above the root of what is allowed, where so much is rounding:")
    now = now._replace(excess=np.where(alive[:, None, :], now.excess, INFINITE))
    price, paid = priced(s, now)
    t, mu = ball(t), ball(np.where(sound(mu, mu) & (mu > 0), mu, 1))
    t = t - least(np.where(alive, t, INFINITE))[:, None]
    spread = average(np.where(alive, own, ZERO), exp2(t / mu[:, None]))
    far = smaller(ball(P), -log2(least(np.where(alive, own, ONE))))
    most = smaller(mu * far + mu * log2(spread), greatest(np.where(alive, t, ZERO)))
    total = np.where(alive[:, None, :], price + t[:, None, :], INFINITE)
    lower = proved(own, ball(np.where(np.isfinite(potential), potential, 0)), total) - paid - most
    assert_certified(found, upper=information(own, point), lower=lower, sound=sound(potential, s))


def check_wyner_ziv(seed, count=300):
    rng = np.random.default_rng([seed, 6])
    joint = laws(rng, count, N * 2).reshape(count, N, 2)
    joint = np.where(joint < 2.0**-1022, 0.0, joint)  # read as that, and then nothing is forbidden by them
    d, p = costs(rng, count), joint.sum(axis=2)
    D = reachable(rng, p, d)
    strategies = np.array([(i, j) for i in range(N) for j in range(N)])
    v = mangled(rng, rng.normal(size=(count, len(strategies), 2)))
    now, of_side = budget(np.sum(ball(joint), axis=2), d, D), law(joint)
    used = of_side[:, :, None, :] != 0
    excess = np.where(used, of_side[:, :, None, :] * np.where(used, now.excess[:, :, strategies], ZERO), ZERO)
    now = now._replace(excess=np.sum(excess, axis=3))
    channel, potential, s = candidates(rng, p, now.excess.astype(float))
    function = lambda *a: certify.wyner_ziv(a[0], a[1], a[2], jnp.asarray(strategies), *a[3:])  # noqa: E731
    found = run(function, joint, d, D, channel, potential, s, v)
    point, law_p = law(found.point), law(np.sum(ball(joint), axis=2))
    assert_within(spends(law_p, point, now.excess), now.allowed, ball(d))
    price, paid = priced(s, now)
    a, weight = (ball(np.where(np.isfinite(x), x, 0)) for x in (potential, v))
    given, side = law(np.moveaxis(joint, 2, 1)), law(np.sum(ball(joint), axis=1))
    mean = np.sum(of_side[:, :, None, :] * weight[:, None], axis=3)
    each = [proved(given[:, y], a, price + weight[:, None, :, y] - mean) for y in range(2)]
    lower = average(side, np.stack(each, axis=1)) - paid
    rate = average(side, np.stack([information(given[:, y], point) for y in range(2)], axis=1))
    assert_certified(found, upper=rate, lower=lower, sound=sound(potential, s) & sound(v))


def check_bottleneck(seed, count=100, letters=2):
    rng = np.random.default_rng([seed, 7, letters] if letters > 2 else [seed, 7])
    joint = laws(rng, count, N * letters).reshape(count, N, letters)
    p, of_y = law(np.sum(ball(joint), axis=2)), law(np.sum(ball(joint), axis=1))
    rows = np.where((p == 0)[:, :, None], of_y[:, None, :], law(joint))
    whole = average(p, divergence(rows, of_y[:, None, :]))
    share = rng.choice([0.0, 1e-9, 0.3, 0.9, 1.0], size=count)
    wanted = (share * larger(whole, ZERO)).astype(float)
    slope = rng.choice([0.0, 1.0, 3.0, 50.0], size=count)
    kernel = np.exp2(-slope[:, None, None] * divergences(rows, ball(laws(rng, count, 4, letters))).astype(float))
    with np.errstate(divide="ignore"):
        potential = -np.log2(np.sum(kernel * laws(rng, count, 4)[:, None, :], axis=2))
    channel, potential = mangled(rng, kernel + 1e-6), mangled(rng, potential)
    # Of a batch together every one would take as long as the slowest.
    found = run(certify.bottleneck, joint, wanted, channel, potential, slope, together=False)
    # On these laws of Y no c is above what was said of all.
    at = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 101), 10.0 ** np.arange(-200, -6, 10.0)])
    seen = np.broadcast_to(ball(np.stack([1 - at, at], axis=1)), (count, len(at), 2))
    if letters > 2:
        inside = [rng.dirichlet(np.full(letters, size), size=(count, 60)) for size in (0.2, 1.0)]
        seen = law(np.concatenate([*inside, rows.astype(float) + 1e-12], axis=1))
    a, s = ball(np.where(np.isfinite(potential), potential, 0)), ball(slope)
    lower = proved(p, a, s[:, None, None] * divergences(rows, seen)) - s * (whole - wanted)
    good = sound(potential)
    assert_at_most(
        np.asarray(found.lower)[good], larger(lower, ball(wanted))[good], "is claimed, what candidates prove is below"
    )
    assert (np.asarray(found.lower) <= np.asarray(found.upper) * (1 + 1e-13)).all()
    # The channel, time-shared with T = X as much as it must be. Near I(X;Y) what is wanted is so up to rounding.
    point = law(found.point)
    of_t = np.sum(p[..., None] * point, axis=1)
    clusters = law(np.sum((p[..., None] * point)[..., None] * rows[:, :, None, :], axis=1))
    kept = average(of_t, divergence(clusters, of_y[:, None, :]))
    missing = ball(wanted) - kept - np.where(share < 0.99, 0.0, 1e-13) * (root(larger(whole, ZERO)) + whole)
    short = missing > 0
    shared = np.where(short, missing / np.where(short, whole - kept, ONE), ZERO)
    entropy = -average(p, log2(np.where(p != 0, p, ONE)))
    rate = (ONE - shared) * information(p, point) + shared * entropy
    assert_at_most(rate, np.asarray(found.upper), "is the rate of what is said to have")


def check_greatest_c(seed, count=24):
    """Of the laws that are given and their mixtures, none has a larger c: slopes at which every digit matters."""
    rng = np.random.default_rng([seed, 77])
    for letters in (2, 3, 4):
        joints = [weights(rng, 4, letters) for _ in range(count)]
        p = np.array([x.sum(axis=1) / x.sum() for x in joints])
        laws = np.array([np.where(x.sum(axis=1, keepdims=True) > 0, x, x.sum(axis=0)) for x in joints])
        laws = laws / laws.sum(axis=2, keepdims=True)
        s = 10.0 ** rng.uniform(-3, 18, count)
        a = rng.normal(size=(count, 4)) * rng.choice([0.0, 1.0, 100.0], size=(count, 1))
        # Steep potentials that a law of its own pays for: then mixtures matter, and with them rounding.
        far = np.array([np.max(np.sum(np.where(x > 0, x * np.log2(np.where(x > 0, x, 1)), 0), 1)) for x in laws])
        a += (rng.random(count) < 0.5)[:, None] * np.abs(s * far)[:, None] * rng.random((count, 4)) / 4
        found = jax.jit(lambda *of: jax.lax.map(lambda one: every_law.greatest_c(*one), of))(p, a, s, laws, laws)
        for i in range(count):
            rows = [[flint.arb(float(x)) for x in row] for row in laws[i]]
            rows = [[x / sum(row, flint.arb(0)) for x in row] for row in rows]
            mixed = [rng.dirichlet(np.ones(4)) for _ in range(6)]
            shares = [*np.eye(4), *mixed, *(0.999 * np.eye(4)[j] + 0.001 * x for j, x in enumerate(mixed[:4]))]
            for share in shares:
                r = [
                    sum((rows[x][y] * flint.arb(float(share[x])) for x in range(4)), flint.arb(0))
                    for y in range(letters)
                ]
                assert not log_c(p[i], a[i], s[i], rows, r) > flint.arb(float(found[i])), (seed, letters, i)


def log_c(p, a, s, rows, r):
    bits = flint.arb(2).log()
    total = flint.arb(0)
    for mass, potential, row in zip(p, a, rows, strict=True):
        if mass > 0 and all(y > 0 or x == 0 for x, y in zip(row, r, strict=True)):
            spent = sum((x * (x / y).log() for x, y in zip(row, r, strict=True) if x > 0), flint.arb(0))
            total += flint.arb(float(mass)) * (flint.arb(float(potential)) * bits - flint.arb(float(s)) * spent).exp()
    return total.log() / bits


def divergences(rows, r):
    """D of each row (…, n, k) from each law (…, t, k), all of whose letters are possible."""
    own = average(rows, log2(np.where(rows != 0, rows, ONE)))
    return own[..., None] - np.sum(rows[..., :, None, :] * log2(r)[..., None, :, :], axis=-1)


def check_bottleneck_of_three(seed):
    check_bottleneck(seed, count=8, letters=3)


def check_bottleneck_of_four(seed):
    check_bottleneck(seed, count=8, letters=4)


CHECKS = [
    check_capacity,
    check_conditional,
    check_total_variation,
    check_divergence,
    check_classification,
    check_wyner_ziv,
    check_bottleneck,
    check_greatest_c,
    check_bottleneck_of_three,
    check_bottleneck_of_four,
]


@pytest.fixture(autouse=True)
def balls_of_many_digits():
    with flint.ctx.workprec(BITS):
        yield


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_no_candidate_makes_a_false_bound(check, seed):
    check(seed)


CORRUPTED = {
    "no allowance for rounding": ([certify, feasible, sums], "relative", lambda original: lambda terms: 0.0),
    "more is spent than allowed": ([feasible], "within", lambda original: lambda spent, allowed, error: jnp.ones(())),
    "smaller divergences": (
        [sums],
        "divergence",
        lambda original: lambda *a, **k: (0.999999 * original(*a, **k)[0], original(*a, **k)[1]),
    ),
    "larger divergences": (
        [sums],
        "divergence",
        lambda original: lambda *a, **k: (1.000001 * original(*a, **k)[0], original(*a, **k)[1]),
    ),
    "a smaller sum of c": ([sums], "log_sum", lambda original: lambda *a: original(*a) - 1e-9),
    "a cheaper distortion": (
        [feasible],
        "priced",
        lambda original: lambda *a: (original(*a)[0], 0.999 * original(*a)[1]),
    ),
    "potentials for nothing": ([sums], "dual", lambda original: lambda *a: original(*a) + 1e-9),
    "less than the greatest c": ([certify], "greatest_c", lambda original: lambda *a: original(*a) - 1e-2),
}


@pytest.mark.parametrize("corruption", CORRUPTED)
def test_every_corrupted_sum_is_caught(corruption, monkeypatch):
    modules, name, change = CORRUPTED[corruption]
    for module in modules:
        monkeypatch.setattr(module, name, change(getattr(module, name)))
    caught = 0
    for check in CHECKS:
        try:
            check(0)
        except AssertionError:
            caught += 1
            break
    assert caught


@pytest.mark.parametrize(
    ("p", "d"),
    [([0.5, 0.5], [[0.0, 1e-26], [1e300, 0.0]]), ([2.0**-690, 1.0], [[0.0, 2.0**-400], [1.0, 0.0]])],
    ids=["beside the largest", "times a mass"],
)
def test_where_nothing_is_allowed_nothing_is_however_little(p, d):
    """In units of the largest excess the least is flushed to zero, or its mean is: then all might show the second."""
    p, d, zero = jnp.asarray(p), jnp.asarray(d), jnp.zeros(())
    second, free = jnp.array([[0.0, 1.0], [0.0, 1.0]]), jnp.zeros(2)
    rare = mpmath.mpf(float(p[0])) / mpmath.fsum(map(float, p))
    entropy = -rare * mpmath.log(rare, 2) - (1 - rare) * mpmath.log1p(-rare) / mpmath.log(2)
    for found in (
        jax.jit(certify.conditional)(p[:, None], d, zero, second[None], free[None], zero),
        jax.jit(certify.classification)(p, d, zero, d, zero, second, free, zero, zero),
        jax.jit(certify.total_variation)(p, d, zero, jnp.ones(()), second, free, zero, free),
    ):
        assert mpmath.mpf(float(found.upper)) >= entropy


def test_laws_that_differ_only_in_the_digits_of_the_rarer_letter():
    """Both shares of the other letter round to one: 1.777 was claimed of an optimum of at most H(X) = 1."""
    joint = jnp.array([[0.5, 0.5e-300], [0.5, 2.5e-17]])
    for columns in ([0, 1], [1, 0]):
        found = jax.jit(certify.bottleneck)(
            joint[:, columns], jnp.asarray(1e-18), jnp.eye(2), jnp.array([0.0, 4.0]), jnp.asarray(1e14)
        )
        assert found.lower <= 1e-15 and found.upper <= 1 + 1e-12


def test_an_infinite_cost_is_never_paid():
    found = jax.jit(certify.capacity)(
        jnp.eye(3),
        jnp.array([0, jnp.inf, jnp.inf]),
        jnp.asarray(0.5),
        jnp.array([0.2, 0.8, 0]),
        jnp.ones(3),
        jnp.zeros(()),
    )
    assert found.lower <= 0 and found.upper >= 0


def test_what_rounding_leaves_of_a_distance_is_charged():
    """The first letter's 1 - 1e-17 is 1, and never to show the second seems to show it often enough."""
    p, never = jnp.array([1.0, 1e-17]), jnp.array([[1.0, 0.0], [1.0, 0.0]])
    D, zero, free = jnp.asarray(1e-17), jnp.zeros(()), jnp.zeros(2)
    found = jax.jit(certify.total_variation)(p, 1 - jnp.eye(2), D, zero, never, free, zero, free)
    with mpmath.workprec(200):
        rare = mpmath.mpf(1e-17) / (1 + mpmath.mpf(1e-17))
        both = rare - mpmath.mpf(1e-17) / 2  # at least, for as often as a letter is shown as the other it is not
        joint = {(1, 1): both, (1, 0): rare - both, (0, 1): rare - both, (0, 0): 1 - 2 * rare + both}
        law = {0: 1 - rare, 1: rare}
        rate = mpmath.fsum(mass * mpmath.log(mass / (law[x] * law[y]), 2) for (x, y), mass in joint.items())
    assert rate > 1e-16
    assert float(found.upper) >= rate


def test_the_machine_computes_as_the_bounds_assume():
    """Errors of elementary functions in units of 2^-53, relative: within four, and the exponent's size for a power."""
    rng = np.random.default_rng(8)
    positive = np.concatenate(
        [10 ** rng.uniform(-300, 300, 500), 1 + rng.normal(size=500) * 10 ** rng.uniform(-15, -1, 500)]
    )
    small = np.concatenate([rng.uniform(-0.25, 0.25, 500), rng.normal(size=500) * 10 ** rng.uniform(-15, -2, 500)])
    small = small[np.abs(small) < 0.25]
    negative = -(10 ** rng.uniform(-8, 3, 500))
    negative = negative[negative > -1000]
    with mpmath.workprec(120):
        for name, x, true, allowed in [
            ("log", positive, mpmath.log, lambda x: 4),
            ("log2", positive, lambda x: mpmath.log(x, 2), lambda x: 4),
            ("log1p", small, mpmath.log1p, lambda x: 4),
            ("exp2", negative, lambda x: mpmath.mpf(2) ** x, lambda x: 4 + abs(x)),
        ]:
            found = np.asarray(jax.jit(getattr(jnp, name))(x))
            for value, y in zip(x, found, strict=True):
                exact = true(mpmath.mpf(float(value)))
                error = abs(mpmath.mpf(float(y)) - exact)
                assert error <= allowed(value) * abs(exact) * mpmath.mpf(2) ** -53, f"{name}({value})"
