import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import xlog1py

import rdtheory as rd
from rdtheory.limits.certify import sums
from rdtheory.limits.perception import TOL, classification_rate_at, rate_at
from tests import oracles
from tests.problems import bernoulli_rate, entropy, hamming
from tests.transforms import assert_close, assert_only_bad_items_are_nan, stack

rng = np.random.default_rng(23)
KL = "kullback-leibler"


def h(p):
    return entropy([p, 1 - p])


def biased_coin_rate(p, D, P):
    """Bernoulli(p), p <= 1/2, Hamming, total variation: both constraints active, or only that on D."""
    free = D * (1 - 2 * p) / (1 - 2 * D) if p > D else p
    if free <= P:
        return bernoulli_rate(p)(D)
    joint = np.array([[1 - p - (D - P) / 2, (D - P) / 2], [(D + P) / 2, p - (D + P) / 2]])
    if joint[0, 1] * joint[1, 0] >= joint[0, 0] * joint[1, 1]:
        return 0.0
    return h(p) + h(p - P) - entropy(joint.ravel())


def divergence(r, p):
    """D(r‖p) in bits, to the digits of r - p."""
    change = (r - p)[p > 0] / p[p > 0]
    return p[p > 0] @ (xlog1py(1 + change, change) - change) / np.log(2)


def biased_coin_rate_under_divergence(p, D, P):
    """Of the two laws at divergence P it is that of the smaller p(1) which helps, or the law nearest to it."""
    coin, most = np.array([1 - p, p]), -np.log2(1 - p)
    if P == 0:
        change = 0.0
    elif most <= P:
        change = p
    else:

        def excess(log):
            x = np.maximum(np.exp(log) * np.array([1, -1]) / coin, -1)
            return np.log(coin @ (xlog1py(1 + x, x) - x) / np.log(2) / P)

        change = np.exp(brentq(excess, -35, np.log(p), xtol=1e-14, rtol=1e-14))
    return biased_coin_rate(p, D, change)


def proved(p, d, result, D, P, extra=None, divergence="total variation"):
    """The dual bound, recomputed from q, the slopes and the tilt."""
    q, v = np.asarray(result.reproduction_pmf), np.asarray(result.tilt)
    s, price = float(result.slope), float(result.level_slope)
    t = v[None, :] if extra is None else price * extra
    kernel = np.exp2(-s * d - t)
    z = kernel @ q
    if extra is not None:
        paid = price * P
    elif divergence == KL:
        alive = p > 0
        mean = p[alive] @ v[alive]
        # Not log Σ p 2^(t/μ): with μ = 1e12 nothing of t would be left in it.
        u = (v[alive] - mean) / price * np.log(2)
        if abs(u).max() < 1:
            log_mean = np.log1p(p[alive] @ (np.expm1(u) - u))
        else:
            log_mean = np.log(p[alive] @ np.exp(u - u.max())) + u.max()
        paid = mean + price * (min(P, -np.log2(p[alive].min())) + log_mean / np.log(2))
        paid = min(paid, v[alive].max())  # more no law spends
    else:
        paid = np.ptp(v) * min(P, 1.001) + v @ p
    c = kernel[p > 0].T @ (p[p > 0] / z[p > 0])
    return max(-oracles.plogq(p, z) - np.log2(c.max()) - paid - s * D, 0.0)


def assert_channel(p, d, result, D, level, extra=None, kind="total variation"):
    channel = np.asarray(result.test_channel)
    np.testing.assert_allclose(channel.sum(axis=1), 1, rtol=1e-12)
    assert (channel >= 0).all()
    assert p @ (channel * d).sum(axis=1) <= D * (1 + 1e-12) + 1e-15
    if kind == KL:
        assert (p @ channel)[p == 0].sum() == 0
        assert divergence(p @ channel, p) <= level * (1 + 1e-9) + 1e-28 / p[p > 0].min()  # rounding of r - p
    elif extra is None:
        assert np.abs(p @ channel - p).sum() / 2 <= level + 1e-14
    else:
        assert p @ (channel * extra).sum(axis=1) <= level * (1 + 1e-12) + 1e-15
    assert oracles.mutual_information(p, channel) <= result.rate + 1e-13


@pytest.mark.parametrize("max_steps", [1, 5, 100])
@pytest.mark.parametrize("p", [0.5, 0.3, 0.1])
def test_a_coin_under_total_variation_lies_in_the_certified_interval(p, max_steps):
    pmf = np.array([1 - p, p])
    for D in (0.0, 1e-3, 0.05, 0.25, 0.45):
        for P in (0.0, 1e-3, 0.02, 0.1, 1.0):
            result = rate_at(pmf, hamming(2), D, P, max_steps=max_steps)
            exact = biased_coin_rate(p, D, P)
            assert result.rate - result.gap - 1e-14 <= exact <= result.rate + 1e-14
            assert bool(result.converged) == bool(result.gap <= TOL)
            assert result.steps <= max_steps
            assert_channel(pmf, hamming(2), result, D, P)
            if D > 0:
                assert result.rate - result.gap <= proved(pmf, hamming(2), result, D, P) + 1e-13
            if max_steps == 100 and P > 0:
                assert result.converged
            if max_steps == 100:
                np.testing.assert_allclose(result.rate, exact, rtol=0, atol=2e-8)


@pytest.mark.parametrize("max_steps", [1, 5, 100])
@pytest.mark.parametrize("p", [0.5, 0.3, 0.1])
def test_a_coin_under_divergence_lies_in_the_certified_interval(p, max_steps):
    pmf = np.array([1 - p, p])
    for D in (0.0, 1e-3, 0.05, 0.25, 0.45):
        for P in (0.0, 1e-26, 1e-12, 1e-6, 1e-3, 0.02, 0.1, 5.0):
            result = rate_at(pmf, hamming(2), D, P, divergence=KL, max_steps=max_steps)
            exact = biased_coin_rate_under_divergence(p, D, P)
            assert result.rate - result.gap - 1e-14 <= exact <= result.rate + 1e-14
            assert bool(result.converged) == bool(result.gap <= TOL)
            assert result.steps <= max_steps
            assert_channel(pmf, hamming(2), result, D, P, kind=KL)
            if D > 0:
                assert result.rate - result.gap <= proved(pmf, hamming(2), result, D, P, divergence=KL) + 1e-13
            if max_steps == 100 and P > 1e-9:
                assert result.converged
            if max_steps == 100:
                np.testing.assert_allclose(result.rate, exact, rtol=0, atol=2e-8)


def test_perfect_realism_of_a_fair_coin_is_free():
    result = rate_at(np.array([0.5, 0.5]), hamming(2), 0.11, 0.0)
    np.testing.assert_allclose(result.rate, 1 - h(0.11), rtol=0, atol=TOL)


def test_without_a_limit_on_perception_it_is_the_ordinary_function_and_it_falls_with_p():
    p, x = rng.dirichlet(np.ones(5)), rng.uniform(0, 1, 5)
    d = (x[:, None] - x[None, :]) ** 2
    D = 0.3 * (p @ d).min()
    plain = rd.rate_at(p, d, D)
    rates = [rate_at(p, d, D, P) for P in (0.0, 0.01, 0.05, 1.0)]
    assert max(plain.rate - plain.gap, rates[-1].rate - rates[-1].gap) <= min(plain.rate, rates[-1].rate)
    for low, high in zip(rates[1:], rates[:-1], strict=True):
        assert low.rate - low.gap <= high.rate
    for result, P in zip(rates, (0.0, 0.01, 0.05, 1.0), strict=True):
        assert result.gap < 1e-7
        assert_channel(p, d, result, D, P)
        assert result.rate - result.gap <= proved(p, d, result, D, P) + 1e-13


LETTERS = np.array([0.0, 0.15, 0.4, 0.7, 1.0])
SQUARED = (LETTERS[:, None] - LETTERS[None, :]) ** 2


def test_divergence_lies_between_its_neighbours():
    # Between perfect realism, the same under either, and R(D); above total variation by Pinsker; falling in D and in P.
    p = np.array([0.35, 0.3, 0.2, 0.1, 0.05])
    levels = (0.0, 1e-8, 1e-3, 0.02, 0.1, 4.0)
    D = 0.02
    plain, real = rd.rate_at(p, SQUARED, D), rate_at(p, SQUARED, D, 0.0)
    results = [rate_at(p, SQUARED, D, P, divergence=KL) for P in levels]
    for one, other in ((results[0], real), (results[-1], plain)):
        assert max(one.rate - one.gap, other.rate - other.gap) <= min(one.rate, other.rate)
    for low, high in zip(results[1:], results[:-1], strict=True):
        assert low.rate - low.gap <= high.rate
    for result, P in zip(results, levels, strict=True):
        assert result.gap < 1e-7
        total = rate_at(p, SQUARED, D, np.sqrt(P * np.log(2) / 2))
        assert total.rate - total.gap <= result.rate
        assert rate_at(p, SQUARED, D + 0.01, P, divergence=KL).rate < result.rate
        assert_channel(p, SQUARED, result, D, P, kind=KL)
        assert result.rate - result.gap <= proved(p, SQUARED, result, D, P, divergence=KL) + 1e-13
    assert results[2].rate < results[1].rate - 1e-4, "P must matter here"


def test_a_general_nonlinear_solver_finds_the_same_rate_under_divergence():
    p, d, D, P = np.array([0.35, 0.3, 0.2, 0.1, 0.05]), SQUARED, 0.01, 0.005
    result = rate_at(p, d, D, P, divergence=KL)
    found = oracles.rate_at_by_slsqp(p, d, D, [lambda channel: P - oracles.plogq(p @ channel, p @ channel / p)])
    assert result.converged
    np.testing.assert_allclose(result.rate, found, rtol=0, atol=1e-6)


def test_a_letter_without_mass_is_never_shown_under_divergence():
    p = np.array([0.7, 0.0, 0.3, 0.0, 0.0])
    for D, P in ((0.0, 0.01), (0.02, 0.0), (0.02, 1e-3), (0.1, 3.0), (3.0, 3.0)):
        result = rate_at(p, SQUARED, D, P, divergence=KL)
        coin = biased_coin_rate_under_divergence(0.3, D / SQUARED[0, 2], P)
        np.testing.assert_allclose(result.rate, coin, rtol=0, atol=2e-8)
        assert result.rate - result.gap - 1e-14 <= coin <= result.rate + 1e-14
        assert np.isinf(result.tilt[p == 0]).all()
        assert (result.reproduction_pmf[p == 0] == 0).all()
        assert_channel(p, SQUARED, result, D, P, kind=KL)
    alone = rate_at(np.array([0.0, 1.0, 0.0, 0.0, 0.0]), SQUARED, 0.0, 0.1, divergence=KL)
    assert alone.converged
    assert alone.rate <= TOL


def test_a_price_costs_at_most_what_the_ball_of_divergence_allows():
    p, t = np.array([0.5, 0.0, 0.3, 0.2]), np.array([1.0, 3e4, 1.5, 3.0])
    most_paid = jax.jit(functools.partial(sums.most_paid, jnp.asarray(p), jnp.asarray(t)))
    laws = rng.dirichlet(np.ones(3), size=4000)
    laws = np.insert(laws, 1, 0.0, axis=1)
    away = np.array([divergence(law, p) for law in laws])
    for level in (1e-2, 0.1, 0.5):
        paid = [most_paid(mu, level) for mu in np.geomspace(1e-2, 1e3, 50)]
        found = (laws @ t)[away <= level].max()
        assert found <= min(paid) <= found + 0.1
    # Near and far multipliers, where one of the two ways to sum would lose every digit.
    np.testing.assert_allclose(most_paid(1e13, 0.0), p @ t, rtol=1e-12)
    np.testing.assert_allclose(most_paid(1e-9, 0.0), 3.0, rtol=1e-8)


def test_divergence_under_jit_and_vmap():
    def function(p, P):
        return rate_at(p, hamming(2), 0.05, P, divergence=KL, max_steps=8)

    levels = np.array([0.01, 1e-4, np.nan])
    batch = jax.jit(jax.vmap(function))(PMFS, levels)
    loop = stack([function(p, P) for p, P in zip(PMFS[:2], levels[:2], strict=True)])
    assert_close(jax.tree.map(lambda leaf: leaf[:2], batch), loop, rtol=1e-9, atol=1e-11)
    assert np.isnan(batch.rate[2])
    assert not batch.converged[2]


@pytest.mark.long
@pytest.mark.parametrize("n", [2, 5, 9])
@pytest.mark.parametrize("kind", ["total variation", KL])
def test_random_sources_are_certified_and_their_channels_meet_both_demands(n, kind):
    draw = np.random.default_rng(n)
    gaps = {}
    for trial in range(60):
        p = draw.dirichlet(np.full(n, draw.choice([0.2, 1, 5])))
        if trial % 5 == 0 and n > 2:
            p[draw.integers(n)] = 0
            p /= p.sum()
        x = draw.uniform(0, 1, n)
        d = [(x[:, None] - x) ** 2, hamming(n), draw.uniform(0, 1, (n, n)) * hamming(n)][trial % 3]
        D = draw.choice([0, 1e-6, 1e-3, 0.03, 0.3, 0.7, 1.0]) * (p @ d).min()
        P = draw.choice([0, 1e-12, 1e-6, 1e-4, 1e-2, 0.1, 0.5, 2])
        result = rate_at(p, d, D, P, divergence=kind)
        assert_channel(p, d, result, D, P, kind=kind)
        assert 0 <= result.gap <= result.rate
        if D > 0:
            assert result.rate - result.gap <= proved(p, d, result, D, P, divergence=kind) + 1e-11
        gaps.setdefault(P >= 1e-4, []).append(float(result.gap))
    assert max(gaps[True]) < 1e-7
    assert np.mean(np.array(gaps[True]) <= TOL) > 0.9
    assert max(gaps[False]) < 1e-2
    assert np.median(gaps[False]) < 1e-8


@pytest.mark.parametrize("kind", ["total variation", KL])
def test_a_corrupted_perception_certificate_is_caught(kind):
    p = np.array([0.7, 0.3])
    result = rate_at(p, hamming(2), 0.1, 0.002, divergence=kind, max_steps=4)
    bound = proved(p, hamming(2), result, 0.1, 0.002, divergence=kind)
    assert result.gap > 1e-6
    assert result.rate - result.gap <= bound + 1e-13
    assert result.rate - result.gap / 2 > bound + 1e-7, "half the gap would claim more than is proved"


FIRST, SECOND = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
D_FIRST, D_SECOND = (1.0 * (bit[:, None] != bit[None, :]) for bit in (FIRST, SECOND))


@pytest.mark.parametrize("max_steps", [1, 5, 100])
def test_two_bits_one_reproduced_and_one_classified(max_steps):
    p = np.full(4, 0.25)
    for D in (0.0, 0.01, 0.2, 0.5, 0.9):
        for E in (0.0, 0.1, 0.3, 0.6):
            result = classification_rate_at(p, D_FIRST, D_SECOND, D, E, max_steps=max_steps)
            exact = 2 - h(min(D, 0.5)) - h(min(E, 0.5))
            assert result.rate - result.gap - 1e-14 <= exact <= result.rate + 1e-14
            assert_channel(p, D_FIRST, result, D, E, D_SECOND)
            if D > 0 and E > 0:
                assert result.rate - result.gap <= proved(p, D_FIRST, result, D, E, D_SECOND) + 1e-13
            if max_steps == 100:
                assert result.converged


def test_a_second_constraint_equal_to_the_first_takes_the_stricter_level():
    p = np.array([0.7, 0.3])
    for D, E in ((0.1, 0.2), (0.2, 0.05), (0.1, 0.1)):
        result = classification_rate_at(p, hamming(2), hamming(2), D, E)
        # The same constraint twice leaves the two slopes undetermined, and the solver a singular matrix.
        assert result.converged or (D == E and result.gap < 1e-8)
        exact = bernoulli_rate(0.3)(min(D, E))
        assert result.rate - result.gap - 1e-14 <= exact <= result.rate + 1e-14


PMFS = rng.dirichlet(np.ones(2), size=3)


def cut_short(p, D, P):
    return rate_at(p, hamming(2), D, P, max_steps=4)


@pytest.mark.parametrize("bad", [([0.5, 0.6], 0.1, 0.1), ([0.5, 0.5], -0.1, 0.1), ([0.5, 0.5], 0.1, np.nan)])
def test_an_invalid_item_of_a_batch_is_nan(bad):
    levels = np.full(3, 0.05)
    assert_only_bad_items_are_nan(cut_short, [PMFS, levels, levels], bad, 1)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (rate_at, ([0.5, 0.6], hamming(2), 0.1, 0.1), "source_pmf must sum to 1"),
        (rate_at, ([0.5, 0.5], 1 + hamming(2), 0.1, 0.1), "zero on its diagonal"),
        (rate_at, ([0.5, 0.5], hamming(3), 0.1, 0.1), "distortion_matrix must"),
        (rate_at, ([0.5, 0.5], hamming(2), 0.1, -0.1), "perception must be >= 0"),
        (functools.partial(rate_at, divergence="chi"), ([0.5, 0.5], hamming(2), 0.1, 0.1), "divergence must be one of"),
        (classification_rate_at, ([0.5, 0.5], hamming(2), 1 - hamming(2), 0.1, 0.1), "best|least error at once"),
        (classification_rate_at, ([0.5, 0.5], hamming(2), 0.5 + hamming(2), 0.1, 0.1), "error must be at least 0.5"),
    ],
)
def test_what_is_wrong_is_named(as_user, function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
