"""Adversarial candidates for the kernel of all certificates; what they are worth is computed in 80 bits beside it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from rdtheory.limits import certify
from tests import long

N, K = 3, 3  # letters
SLOPES = [0.0, 1e-3, 1.0, 7.0, 60.0, 1e300, np.inf, np.nan, -1.0]
SEEDS = [0, *(long(seed) for seed in range(1, 50))]  # of 2,000 problems each
TINY = 1e-290  # what is flushed is far below
NOTHING = np.longdouble("1e-4000")  # makes a law of a row of zeros
JUDGE = 4e-18  # what the sums of the judge may be off

extended = np.longdouble
assert np.finfo(extended).eps < 2e-19, "80-bit numbers are the judge"


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


def log2(x):
    with np.errstate(divide="ignore"):
        return np.log2(x)


def times(a, b):
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((a == 0) | (b == 0), extended(0), a * b)


def law(p):
    p = p.astype(extended)
    return p / p.sum(axis=-1, keepdims=True)


def information(p, w):
    """Bits, of a law (…, n) and a channel (…, n, m)."""
    p, w = law(p), law(w)
    t = np.sum(p[..., None] * w, axis=-2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where((w > 0) & (p[..., None] > 0), p[..., None] * w * (np.log2(w) - np.log2(t)), 0)
    return np.sum(terms, axis=(-2, -1))


def proved(p, potential, price):
    """Σ p a - log max Σ p 2^(a - u), of potentials that are finite."""
    p, a = law(p), potential.astype(extended)
    used = p > 0
    exponents = np.where(used[..., None], (log2(p) + np.where(used, a, 0))[..., None] - price, -np.inf)
    top = exponents.max(axis=-2, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    log_c = top[..., 0, :] + log2(np.sum(np.exp2(exponents - top), axis=-2))
    return np.sum(np.where(used, p * a, 0), axis=-1) - log_c.max(axis=-1)


class Budget(NamedTuple):
    excess: np.ndarray
    allowed: np.ndarray
    least: np.ndarray


def budget(p, d, target):
    p, d = law(p), d.astype(extended)
    floor = np.where(p > 0, d.min(axis=-1), 0)
    with np.errstate(invalid="ignore"):
        excess = np.where((p > 0)[..., None], d - floor[..., None], 0)
    least = np.sum(p * floor, axis=-1)
    return Budget(excess, np.maximum(target - least, 0), least)


def spends(p, channel, excess):
    used = (law(p)[..., None] > 0) & (channel > 0)
    return np.sum(np.where(used, law(p)[..., None] * law(channel) * np.where(used, excess, 0), 0), axis=(-2, -1))


def priced(slope, now):
    """S e, and s A, for slopes that are finite and not negative; one that costs FAR bits anywhere is steep enough."""
    smallest = np.where(now.excess > 0, now.excess, np.inf).min(axis=(1, 2))
    s = np.minimum(slope.astype(extended), certify.FAR / smallest)
    costs = np.where(np.isinf(now.excess), np.inf, times(s[:, None, None], now.excess))
    none = now.allowed == 0
    return np.where(none[:, None, None] & (now.excess > 0), np.inf, costs), times(s, now.allowed)


def sound(x, *slopes):
    whole = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    for slope in slopes:
        whole &= np.isfinite(slope) & (slope >= 0)
    return whole


def assert_certified(found, *, upper, lower, sound):
    """`upper`: the rate of the point returned; `lower`: what candidates prove that are sound, in 80 bits."""
    below = np.asarray(found.upper) - upper
    above = np.where(sound, np.maximum(lower, 0), np.inf) - np.asarray(found.lower)
    assert (below >= -JUDGE).all(), f"a rate of {upper[below.argmin()]} is said to be {found.upper[below.argmin()]}"
    assert (above >= -JUDGE * (1 + np.abs(lower))).all(), (
        f"{found.lower[above.argmin()]} is claimed, {lower[above.argmin()]} proved"
    )
    assert (np.asarray(found.lower) <= np.asarray(found.upper) * (1 + 1e-13)).all()


def assert_within(spent, allowed, excess):
    scale = np.max(np.where(np.isfinite(excess), excess, 0).astype(extended).reshape(len(spent), -1), axis=1)
    over = spent - allowed * (1 + 1e-18) - TINY * scale
    assert (over <= 0).all(), f"{over.max()} above what is allowed"


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
    assert_within(
        np.sum(law(point) * (b - cheapest[:, None]).astype(extended), axis=1), B.astype(extended) - cheapest, b
    )
    attained = information(point, w)
    assert (np.asarray(found.lower) <= attained + JUDGE).all(), (
        f"{np.max(np.asarray(found.lower) - attained)} above what is attained"
    )
    r = np.where((w > 0).any(axis=1) & ~(r < 2.0**-1022), r, 0.0)
    usable = sound(r, s) & (r >= 0).all(axis=1) & (r.sum(axis=1) > 0) & (s < 1e200)
    rows, output = law(w), np.maximum(law(np.where(usable[:, None], r, 1.0)), certify.FLOOR)[:, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(rows > 0, rows * (np.log2(rows) - np.log2(output)), 0)
    above = np.sum(terms, axis=2) - times(s[:, None].astype(extended), b.astype(extended) - B[:, None])
    sent = (b == cheapest[:, None]) | (B > cheapest)[:, None]
    above = np.where(usable, np.where(sent, above, -np.inf).max(axis=1), -np.inf)
    # A law that excludes a letter is moved off zero, and then proves what it could not.
    most = np.log2(np.minimum(sent.sum(axis=1), (w > 0).any(axis=1).sum(axis=1)))
    above = np.where(np.isfinite(above), np.minimum(above, most), -np.inf)
    below = np.asarray(found.upper) - above
    assert (below >= -JUDGE).all(), f"at most {found.upper[below.argmin()]} is claimed, {above[below.argmin()]} proved"
    assert (np.asarray(found.lower) <= np.asarray(found.upper) * (1 + 1e-13)).all()


def check_conditional(seed, count=300):
    rng = np.random.default_rng([seed, 2])
    joint = laws(rng, count, N * 2).reshape(count, N, 2)
    d = costs(rng, count)
    p = joint.sum(axis=2)
    D = reachable(rng, p, d)
    both = [candidates(rng, np.moveaxis(joint, 2, 1)[:, y], d) for y in range(2)]
    channel, potential = (np.stack([getattr(c, name) for c in both], axis=1) for name in ("channel", "potential"))
    s = both[0].slope
    found = run(certify.conditional, joint, d, D, channel, potential, s)
    now, point = budget(p, d, D), np.asarray(found.point)
    given, side = law(np.moveaxis(joint, 2, 1) + NOTHING), law(joint.sum(axis=1))
    with np.errstate(invalid="ignore"):
        spent = np.sum(
            side * np.stack([spends(given[:, y], point[:, y], now.excess) for y in range(2)], axis=1), axis=1
        )
    assert_within(spent, now.allowed, now.excess)
    price, paid = priced(np.where(sound(s, s), s, 0), now)
    clean = np.where(np.isfinite(potential), potential, 0)
    lower = np.sum(side * np.stack([proved(given[:, y], clean[:, y], price) for y in range(2)], axis=1), axis=1) - paid
    rate = np.sum(side * np.stack([information(given[:, y], point[:, y]) for y in range(2)], axis=1), axis=1)
    assert_certified(found, upper=rate, lower=lower, sound=sound(potential, s))


def check_total_variation(seed, count=300):
    rng = np.random.default_rng([seed, 3])
    p, d = laws(rng, count, N), costs(rng, count, forbidding=False, diagonal=True)
    D, P = reachable(rng, p, d), rng.choice([0.0, 1e-9, 0.05, 1.0, 4.0], size=count)
    t = rng.exponential(size=(count, N)) * rng.choice([0.0, 1.0, 30.0], size=(count, 1))
    channel, potential, s = candidates(rng, p, d, t[:, None, :])
    t = mangled(rng, t)
    found = run(certify.total_variation, p, d, D, P, channel, potential, s, t)
    now, point = budget(p, d, D), law(np.asarray(found.point))
    assert_within(spends(p, point, now.excess), now.allowed, now.excess)
    distance = np.sum(np.abs(np.einsum("bn,bnm->bm", law(p), point) - law(p)), axis=1) / 2
    assert (distance <= P + 4e-15).all()
    price, paid = priced(np.where(sound(s, s), s, 0), now)
    t = np.where(np.isfinite(t), t, 0).astype(extended)
    t = t - t.min(axis=1, keepdims=True)
    most = np.sum(law(p) * t, axis=1) + np.minimum(P, 1) * t.max(axis=1)
    lower = proved(p, np.where(np.isfinite(potential), potential, 0), price + t[:, None, :]) - paid - most
    assert_certified(found, upper=information(p, point), lower=lower, sound=sound(potential, s))


def check_classification(seed, count=300):
    rng = np.random.default_rng([seed, 4])
    p, d = laws(rng, count, N), costs(rng, count, forbidding=False, diagonal=True)
    e = costs(rng, count, forbidding=False, diagonal=True)
    D, E = reachable(rng, p, d), reachable(rng, p, e)
    channel, potential, s = candidates(rng, p, d)
    v = rng.choice([0.0, 1.0, 20.0, np.nan, np.inf], size=count) / np.maximum(e.max(axis=(1, 2)), 1e-250)
    found = run(certify.classification, p, d, D, e, E, channel, potential, s, v)
    first, second, point = budget(p, d, D), budget(p, e, E), np.asarray(found.point)
    assert_within(spends(p, point, first.excess), first.allowed, first.excess)
    assert_within(spends(p, point, second.excess), second.allowed, second.excess)
    price, paid = priced(np.where(sound(s, s), s, 0), first)
    more, also = priced(np.where(sound(v, v), v, 0), second)
    lower = proved(p, np.where(np.isfinite(potential), potential, 0), price + more) - paid - also
    assert_certified(found, upper=information(p, point), lower=lower, sound=sound(potential, s, v))


def check_divergence(seed, count=300):
    rng = np.random.default_rng([seed, 5])
    p, d = laws(rng, count, N), costs(rng, count, forbidding=False, diagonal=True)
    D, P = reachable(rng, p, d), rng.choice([0.0, 1e-20, 1e-9, 0.05, 1.0, 1e3], size=count)
    t = rng.exponential(size=(count, N)) * rng.choice([0.0, 1.0, 30.0], size=(count, 1))
    channel, potential, s = candidates(rng, p, d, t[:, None, :])
    mu = rng.choice([1e-3, 1.0, 30.0, 1e9, np.nan, 0.0], size=count)
    found = run(certify.divergence, p, d, D, P, channel, potential, s, t, mu)
    now, point = budget(p, d, D), law(np.asarray(found.point))
    assert_within(spends(p, point, now.excess), now.allowed, now.excess)
    output, own = np.einsum("bn,bnm->bm", law(p), point), law(p)
    alive = own > 1e-300
    ratio = np.where(alive, output / np.where(alive, own, 1) - 1, 0)
    apart = np.sum(
        np.where(alive, own * ((1 + ratio) * np.log1p(np.maximum(ratio, -1 + extended(1e-18))) - ratio), 0), axis=1
    )
    # What rounding changes of the output law, an amount of 2^-53 or so, is felt in its square over the rarest letter.
    over = np.sqrt(np.maximum(apart / math.log(2), 0)) - np.sqrt(P)
    over = over * np.sqrt(np.where(alive, own, 1).min(axis=1))
    assert (over <= 4e-16).all(), f"{over.max()} above the root of {P[over.argmax()]}"
    now = now._replace(excess=np.where(alive[:, None, :], now.excess, np.inf))
    price, paid = priced(np.where(sound(s, s), s, 0), now)
    t, mu = t.astype(extended), np.where(sound(mu, mu) & (mu > 0), mu, 1).astype(extended)
    top = np.where(alive, t, -np.inf).max(axis=1)
    spread = np.sum(np.where(alive, own * np.exp2(np.where(alive, t - top[:, None], 0) / mu[:, None]), 0), axis=1)
    most = mu * np.minimum(P, -log2(np.where(alive, own, 1).min(axis=1))) + top + mu * np.log2(spread)
    total = np.where(alive[:, None, :], price + t[:, None, :], np.inf)
    lower = proved(p, np.where(np.isfinite(potential), potential, 0), total) - paid - most
    # Where μ is huge, 80 bits lose what the bound is made of.
    assert_certified(found, upper=information(p, point), lower=lower + 1e-18 * mu, sound=sound(potential, s))


def check_wyner_ziv(seed, count=300):
    rng = np.random.default_rng([seed, 6])
    joint = laws(rng, count, N * 2).reshape(count, N, 2)
    joint = np.where(joint < 2.0**-1022, 0.0, joint)  # read as that, and then nothing is forbidden by them
    d, p = costs(rng, count), joint.sum(axis=2)
    D = reachable(rng, p, d)
    strategies = np.array([(i, j) for i in range(N) for j in range(N)])
    v = mangled(rng, rng.normal(size=(count, len(strategies), 2)))
    now, of_side = budget(p, d, D), law(joint + NOTHING)
    with np.errstate(invalid="ignore"):
        mean = np.sum(
            np.where(of_side[:, :, None, :] > TINY, of_side[:, :, None, :] * now.excess[:, :, strategies], 0), axis=3
        )
    now = now._replace(excess=np.where((p > 0)[:, :, None], mean, 0))
    channel, potential, s = candidates(rng, p, mean.astype(float))
    function = lambda *a: certify.wyner_ziv(a[0], a[1], a[2], jnp.asarray(strategies), *a[3:])  # noqa: E731
    found = run(function, joint, d, D, channel, potential, s, v)
    point = np.asarray(found.point)
    assert_within(spends(p, point, now.excess), now.allowed, d)
    price, paid = priced(np.where(sound(s, s), s, 0), now)
    a, weight = (np.where(np.isfinite(x), x, 0).astype(extended) for x in (potential, v))
    given, side = law(np.moveaxis(joint, 2, 1) + NOTHING), law(joint.sum(axis=1))
    exponents = log2(np.moveaxis(given, 1, 2))[:, :, None, :] + a[:, :, None, None] - price[..., None]
    exponents = exponents + np.einsum("bnk,btk->bnt", of_side, weight)[..., None] - weight[:, None]
    top = exponents.max(axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    kappa = top[:, 0] + log2(np.sum(np.exp2(exponents - top), axis=1))
    lower = np.sum(law(p) * a, axis=1) - np.where(side[:, None, :] > TINY, kappa, -np.inf).max(axis=(1, 2)) - paid
    rate = np.sum(side * np.stack([information(given[:, y], point) for y in range(2)], axis=1), axis=1)
    assert_certified(found, upper=rate, lower=lower, sound=sound(potential, s) & sound(v))


def check_bottleneck(seed, count=100, letters=2):
    rng = np.random.default_rng([seed, 7, letters] if letters > 2 else [seed, 7])
    joint = laws(rng, count, N * letters).reshape(count, N, letters)
    p, rows = joint.sum(axis=2), law(joint + NOTHING)
    whole = information(p, rows)
    wanted = (rng.choice([0.0, 1e-9, 0.3, 0.9, 1.0], size=count) * whole).astype(float)
    r = laws(rng, count, 4, letters)
    slope = rng.choice([0.0, 1.0, 3.0, 50.0], size=count)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(
            rows[:, :, None, :] > 0, rows[:, :, None, :] * (log2(rows)[:, :, None, :] - log2(r)[:, None]), 0
        )
        kernel = np.exp2(-times(slope[:, None, None], terms.sum(axis=3)))
        potential = -np.log2(np.sum(kernel * laws(rng, count, 4)[:, None, :], axis=2)).astype(float)
    channel, potential = mangled(rng, kernel.astype(float) + 1e-6), mangled(rng, potential)
    # Of a batch together every one would take as long as the slowest.
    found = run(certify.bottleneck, joint, wanted, channel, potential, slope, together=letters == 2)
    # On a grid of laws of Y no c is above what was said of all.
    at = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 501), 10.0 ** np.arange(-200, -6, 10.0)])
    grid = np.stack([1 - at, at], axis=1).astype(extended)
    if letters > 2:
        inside = [rng.dirichlet(np.full(letters, size), size=600) for size in (0.2, 1.0)]
        grid = np.concatenate([*inside, rows.reshape(-1, letters) + 1e-12]).astype(extended)
        grid /= grid.sum(axis=1, keepdims=True)
    terms = np.where(
        rows[:, :, None, :] > 0, rows[:, :, None, :] * (log2(rows)[:, :, None, :] - np.log2(grid)[None, None]), 0
    )
    a = np.where(np.isfinite(potential), potential, 0)
    lower = proved(p, a, slope[:, None, None] * terms.sum(axis=3)) - slope * (whole - wanted)
    above = np.maximum(lower, wanted) - np.asarray(found.lower)
    assert (above >= -JUDGE * (1 + np.abs(lower)))[sound(potential)].all()
    assert (np.asarray(found.lower) <= np.asarray(found.upper) * (1 + 1e-13)).all()


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
    check_bottleneck_of_three,
    check_bottleneck_of_four,
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_no_candidate_makes_a_false_bound(check, seed):
    check(seed)


CORRUPTED = {
    "no allowance for rounding": ("relative", lambda original: lambda terms: 0.0),
    "more is spent than allowed": ("_within", lambda original: lambda spent, allowed, error: jnp.ones(())),
    "smaller divergences": ("_divergence", lambda original: lambda *a: (0.999999 * original(*a)[0], original(*a)[1])),
    "larger divergences": ("_divergence", lambda original: lambda *a: (1.000001 * original(*a)[0], original(*a)[1])),
    "a smaller sum of c": ("log_sum", lambda original: lambda *a: original(*a) - 1e-9),
    "a cheaper distortion": ("_priced", lambda original: lambda *a: (original(*a)[0], 0.999 * original(*a)[1])),
    "potentials for nothing": ("_dual", lambda original: lambda *a: original(*a) + 1e-9),
    "less than the greatest c": ("greatest_of_two", lambda original: lambda *a: original(*a) - 1e-2),
    "less than it on the simplex": ("greatest_on_simplex", lambda original: lambda *a: original(*a) - 1e-2),
}


@pytest.mark.parametrize("corruption", CORRUPTED)
def test_every_corrupted_sum_is_caught(corruption, monkeypatch):
    name, change = CORRUPTED[corruption]
    monkeypatch.setattr(certify, name, change(getattr(certify, name)))
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
