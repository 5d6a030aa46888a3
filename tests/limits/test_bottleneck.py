import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from rdtheory.limits import certify
from rdtheory.limits.bottleneck import POINTS, TOL, curve, gaussian, rate_at
from tests import long, oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

rng = np.random.default_rng(17)


def h(p):
    return oracles.entropy([p, 1 - p])


def noisy_coin(e):
    return np.array([[1 - e, e], [e, 1 - e]]) / 2


def information(joint):
    p = joint.sum(axis=1)
    return oracles.mutual_information(p[p > 0], joint[p > 0] / p[p > 0, None])


def channel_of(joint, result):
    """P(t|x), from the fields of the result alone."""
    laws = joint / joint.sum(axis=1, keepdims=True)
    q, r, s = (np.asarray(x) for x in (result.cluster_pmf, result.cluster_laws, result.slope))
    with np.errstate(divide="ignore"):
        kernel = np.array([[np.exp2(-s * (oracles.plogq(x, x) - oracles.plogq(x, t))) for t in r] for x in laws])
    weights = kernel * q
    return weights / weights.sum(axis=1, keepdims=True), weights.sum(axis=1)


def bounds(joint, result):
    """What the channel spends and keeps, and the dual bound with c searched on a fine grid."""
    p, laws = joint.sum(axis=1), joint / joint.sum(axis=1, keepdims=True)
    channel, z = channel_of(joint, result)
    kept = information(channel.T @ joint)
    s = float(result.slope)
    grid = np.linspace(1e-9, 1 - 1e-9, 200_001)
    with np.errstate(divide="ignore"):
        divergence = [oracles.plogq(x, x) - x[1] * np.log2(grid) - x[0] * np.log2(1 - grid) for x in laws]
    c = np.sum((p / z)[:, None] * np.exp2(-s * np.array(divergence)), axis=0)
    lower = -oracles.plogq(p, z) - np.log2(c.max()) - s * (information(joint) - float(result.relevance))
    return oracles.mutual_information(p, channel), kept, max(lower, float(result.relevance))


@pytest.mark.parametrize("max_steps", [1, 3, 10])
def test_the_doubly_symmetric_source_lies_in_the_certified_interval(max_steps):
    e = 0.1
    for a in (0.0, 1e-6, 0.01, 0.125, 0.3, 0.45, 0.4999):
        result = rate_at(noisy_coin(e), 1 - h(a * (1 - e) + (1 - a) * e), max_steps=max_steps)
        assert result.rate - result.gap - 1e-13 <= 1 - h(a) <= result.rate + 1e-13
        assert bool(result.converged) == bool(result.gap <= TOL)
        assert result.steps <= max_steps
        if max_steps == 10 and a > 0:
            assert result.converged
            np.testing.assert_allclose(result.rate, 1 - h(a), rtol=0, atol=TOL)


SOURCES = [noisy_coin(0.3), rng.dirichlet(np.ones(10)).reshape(5, 2), np.array([[0.4, 0.0], [0.0, 0.4], [0.1, 0.1]])]


@pytest.mark.parametrize("joint", SOURCES, ids=["coin", "random", "erased"])
def test_channel_and_dual_bound_recomputed_in_numpy(joint):
    for share in (0.01, 0.3, 0.7, 0.95):
        result = rate_at(joint, share * information(joint))
        rate, kept, lower = bounds(joint, result)
        assert result.gap < 1e-7
        assert result.rate - result.gap <= lower + 1e-12
        np.testing.assert_allclose(kept, result.relevance, rtol=0, atol=1e-7)
        np.testing.assert_allclose(rate, result.rate, rtol=0, atol=1e-6)
        assert rate + result.slope * (result.relevance - kept) >= result.rate - result.gap - 1e-9


def test_a_general_nonlinear_solver_finds_no_better_description():
    joint, wanted = SOURCES[1], 0.5 * information(SOURCES[1])
    p = joint.sum(axis=1)
    result = rate_at(joint, wanted)

    def channel(x):
        weights = np.exp(x.reshape(5, 3) - x.reshape(5, 3).max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    found = [
        minimize(
            lambda x: oracles.mutual_information(p, channel(x)),
            2 * np.random.default_rng(seed).normal(size=15),
            method="SLSQP",
            constraints={"type": "ineq", "fun": lambda x: information(channel(x).T @ joint) - wanted},
        )
        for seed in range(4)
    ]
    assert result.rate - result.gap <= min(run.fun for run in found if run.success) + 1e-5


def test_a_corrupted_bottleneck_is_caught():
    joint = noisy_coin(0.1)
    result = rate_at(joint, 0.3, max_steps=1)
    _, _, lower = bounds(joint, result)
    assert result.gap > 1e-6
    assert result.rate - result.gap <= lower + 1e-12
    assert result.rate - result.gap / 2 > lower + 1e-7, "half the gap would claim more than the dual bound proves"


def test_an_erased_coin_has_a_straight_curve():
    """Y is a fair X, erased with probability 0.4: I(T;Y) = 0.6 I(X;T), and c is one on a whole line of laws."""
    joint = np.array([[0.3, 0.0, 0.2], [0.0, 0.3, 0.2]])
    for wanted in (0.1, 0.3, 0.5):
        result = rate_at(joint, wanted, max_steps=4)
        np.testing.assert_allclose(result.rate, wanted / 0.6, rtol=0, atol=1e-6)
        assert wanted / 0.6 <= result.rate + 1e-13
        assert result.gap < 1e-5
        assert not result.converged


def test_the_ends_of_the_curve():
    joint = SOURCES[1]
    nothing = rate_at(joint, 0.0)
    assert nothing.converged
    assert nothing.rate < TOL
    everything = rate_at(noisy_coin(0.1), information(noisy_coin(0.1)))
    assert everything.rate - everything.gap <= 1 <= everything.rate + 1e-13
    useless = np.outer([0.2, 0.8], [0.3, 0.7])
    for wanted in (0.0, abs(information(useless))):
        assert rate_at(useless, wanted).rate < TOL


JOINTS = rng.dirichlet(np.ones(4), size=3).reshape(3, 2, 2)
WANTED = np.array([0.3 * information(joint) for joint in JOINTS])
one_step = functools.partial(rate_at, max_steps=1)


@pytest.mark.parametrize("bad", [(2 * JOINTS[0], 0.0), long((JOINTS[0], -1.0)), long((JOINTS[0], 5.0))])
def test_an_invalid_item_of_a_batch_of_bottlenecks_is_nan(bad):
    assert_only_bad_items_are_nan(one_step, [JOINTS, WANTED], bad, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.full((2, 2), 0.3), 0.1), "joint_pmf must sum to 1"),
        ((noisy_coin(0.1), 0.9), r"relevance must be at most I\(X;Y\)"),
        ((noisy_coin(0.1), -0.1), "relevance must be >= 0"),
        ((np.ones(2) / 2, 0.1), "joint_pmf must be a matrix"),
    ],
)
def test_what_is_wrong_with_a_bottleneck_is_named(as_user, arguments, message):
    with pytest.raises(ValueError, match=message):
        rate_at(*arguments)


def test_a_curve_is_its_points_convex_and_from_zero_to_the_entropy():
    joint = SOURCES[1]
    points = curve(joint)
    assert points.rate.shape == (POINTS,)
    np.testing.assert_allclose(points.relevance[-1], information(joint), rtol=1e-15)
    assert points.gap[:-1].max() < 1e-7  # at I(X;Y) itself the slope is infinite
    assert (np.diff(points.rate, 2) > -1e-7).all()
    some = curve(joint, points.relevance[3:9:5])
    np.testing.assert_array_equal(some.rate, points.rate[3:9:5])
    np.testing.assert_allclose(some.rate[0], rate_at(joint, points.relevance[3]).rate, rtol=0, atol=1e-9)


def test_bad_curves():
    with pytest.raises(ValueError, match="relevances must be at most"):
        curve(noisy_coin(0.1), np.array([0.1, 0.9]))


# Three and four letters: branch and bound ----------------------------------------------------------------------------


def greatest_by_search(p, a, s, laws, tries=200):
    """The greatest log c that ascent from many laws finds, in NumPy: never above the true one."""
    k = laws.shape[1]
    r = np.concatenate([laws, np.random.default_rng(1).dirichlet(np.ones(k), size=tries)])
    r = 0.999 * r + 0.001 / k
    log_w = np.log2(np.maximum(p, 1e-300)) + a
    with np.errstate(divide="ignore"):
        negentropy = np.where(laws > 0, laws * np.log2(np.where(laws > 0, laws, 1)), 0).sum(axis=1)

    def exponents(r):
        return log_w[:, None] - s * (negentropy[:, None] - laws @ np.log2(np.maximum(r, 1e-300)).T)

    for _ in range(3000):
        e = exponents(r)
        w = np.exp2(e - e.max(axis=0))
        r = (w / w.sum(axis=0)).T @ laws
    e = exponents(r)
    return float((e.max(axis=0) + np.log2(np.exp2(e - e.max(axis=0)).sum(axis=0))).max())


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_bound_of_c_over_all_laws_is_above_what_search_finds_and_near_it(k):
    for seed in range(12):
        local = np.random.default_rng(seed)
        laws = local.dirichlet(np.full(k, (0.2, 1.0, 5.0)[seed % 3]), size=5)
        if seed % 4 == 0:
            laws[0, 0] = 0
            laws /= laws.sum(axis=1, keepdims=True)
        p, a, s = local.dirichlet(np.ones(5)), local.normal(size=5), float(np.exp(local.uniform(0, 4)))
        found = float(jax.jit(certify.greatest_c)(*(jnp.asarray(part) for part in (p, a, s, laws, laws))))
        search = greatest_by_search(p, a, s, laws)
        assert search - 1e-12 <= found, seed
        assert found <= search + 1e-9 + abs(search) / 60, seed


@pytest.mark.parametrize("shape", [(3, 4), (4, 3)])
def test_two_sides_for_three_and_four_letters(shape):
    joint = np.random.default_rng(3).dirichlet(np.ones(12)).reshape(shape)
    points = curve(joint, information(joint) * np.array([0.3, 0.6, 0.9]))
    assert points.gap.max() < 1e-5
    assert (points.rate - points.gap > points.relevance).all()
    # Tishby's own iteration from random clusters is above the lower bound, and its best is near the upper one.
    p, laws = joint.sum(axis=1), joint / joint.sum(axis=1, keepdims=True)
    for i in (0, 1):
        s, best = float(points.slope[i]), np.inf
        for seed in range(3):
            channel = np.random.default_rng(seed).dirichlet(np.ones(6), size=len(p))
            for _ in range(1500):
                q = p @ channel
                r = (p[:, None] * channel).T @ laws / q[:, None]
                divergence = (laws[:, None] * np.log2(laws[:, None] / r[None])).sum(axis=2)
                channel = q * np.exp2(-s * divergence)
                channel /= channel.sum(axis=1, keepdims=True)
            line = oracles.mutual_information(p, channel) - s * (
                information(channel.T @ joint) - float(points.relevance[i])
            )
            assert line >= points.rate[i] - points.gap[i] - 1e-9
            best = min(best, line)
        assert best <= points.rate[i] + 1e-6


def test_letters_of_zero_mass_and_laws_on_the_boundary_are_certified_too():
    joint = np.array([[0.3, 0.0, 0.0], [0.0, 0.2, 0.1], [0.0, 0.1, 0.2], [0.0, 0.0, 0.0], [0.05, 0.05, 0.0]])
    for share in (0.2, 0.7):
        point = rate_at(joint, share * information(joint))
        assert point.gap < 1e-5
        assert point.rate - point.gap > point.relevance - 1e-9


def test_of_one_letter_nothing_is_to_be_told():
    point = rate_at(np.array([[0.3], [0.7]]), 0.0)
    assert point.gap <= point.rate <= 1e-290 and point.cluster_laws.shape[1] == 1


@pytest.mark.parametrize("joint", [np.outer([0.2, 0.3, 0.5], [0.3, 0.3, 0.4]), np.array([[0.5, 0.0], [0.5, 0.0]])])
def test_of_what_is_independent_nothing_is_to_be_told(joint):
    point = rate_at(joint, 0.0)
    assert point.gap <= point.rate <= 1e-12 and point.converged


def test_five_letters_have_the_relevance_for_lower_bound():
    joint = np.random.default_rng(3).dirichlet(np.ones(15)).reshape(3, 5)
    point = rate_at(joint, 0.5 * information(joint), max_steps=2)
    np.testing.assert_allclose(point.rate - point.gap, point.relevance, rtol=1e-9)


# Gaussian ------------------------------------------------------------------------------------------------------------


def gaussian_pair(seed, m, k):
    local = np.random.default_rng(seed)
    root = local.normal(size=(m + k, m + k + 1))
    whole = root @ root.T
    return whole[:m, :m], whole[m:, m:], whole[:m, m:]


def told(cov, noise_of):
    """I(T;·) in bits of T = A X + N with unit noise, given A Σ Aᵀ and the part of it that is left."""
    return (
        0.5
        * (np.linalg.slogdet(cov + np.eye(len(cov)))[1] - np.linalg.slogdet(noise_of + np.eye(len(cov)))[1])
        / np.log(2)
    )


@pytest.mark.parametrize(("m", "k"), [(1, 1), (3, 2), (2, 4)])
def test_gaussian_against_a_general_solver_over_linear_encoders(m, k):
    x, y, cross = gaussian_pair(m, m, k)
    left = x - cross @ np.linalg.solve(y, cross.T)  # of X given Y
    most = 0.5 * (np.linalg.slogdet(x)[1] - np.linalg.slogdet(left)[1]) / np.log(2)
    for share in (0.2, 0.7):
        found = gaussian(x, y, cross, share * most)

        def lagrangian(a, x=x, left=left, s=float(found.slope)):
            a = a.reshape(m, m)
            whole = a @ x @ a.T
            return told(whole, np.zeros((m, m))) - s * told(whole, a @ left @ a.T)

        best = min(
            minimize(lagrangian, np.random.default_rng(seed).normal(size=m * m), options={"gtol": 1e-9}).fun
            for seed in range(4)
        )
        line = float(found.rate - found.slope * found.relevance)
        np.testing.assert_allclose(best, line, atol=1e-6)
        assert best >= line - 1e-9
        np.testing.assert_allclose(np.sum(found.rates), found.rate, rtol=1e-13)
        rho2 = np.linalg.eigvals(np.linalg.solve(x, x - left)).real
        np.testing.assert_allclose(found.correlations**2, np.sort(rho2)[::-1][: min(m, k)], atol=1e-10)
    np.testing.assert_allclose(gaussian(x, y, cross, 0.0).rate, 0, atol=1e-12)


def test_a_grid_of_a_gaussian_is_no_better_and_comes_near():
    edges = np.append(np.append(-np.inf, np.linspace(-3, 3, 23)), np.inf)
    rho, wanted = 0.8, 0.35
    sample = stats.norm.ppf(
        (np.arange(40)[:, None] + 0.5) / 40 * np.diff(stats.norm.cdf(edges)) + stats.norm.cdf(edges[:-1])
    )
    given = np.diff(stats.norm.cdf((edges - rho * sample[..., None]) / 0.6), axis=2).mean(axis=0)
    joint = np.diff(stats.norm.cdf(edges))[:, None] * given
    found, exact = (
        rate_at(joint / joint.sum(), wanted),
        float(gaussian(np.eye(1), np.eye(1), np.full((1, 1), rho), wanted).rate),
    )
    assert exact <= found.rate <= exact + 0.03
    coarse = joint.reshape(6, 4, 24).sum(axis=1).reshape(6, 3, 8).sum(axis=2)
    point = rate_at(coarse / coarse.sum(), wanted)
    assert exact <= point.rate - point.gap  # Y in three cells tells less, so that more of X is needed


def test_units_of_a_gaussian_do_not_matter():
    x, y, cross = gaussian_pair(0, 3, 2)
    a, b = np.diag([1e-10, 1.0, 1e6]), np.diag([1e9, 1e-8])
    wanted, found = gaussian(x, y, cross, 0.4), gaussian(a @ x @ a, b @ y @ b, a @ cross @ b, 0.4)
    np.testing.assert_allclose(found.correlations, wanted.correlations, atol=1e-10)
    np.testing.assert_allclose(found.rate, wanted.rate, rtol=1e-10)


def test_gaussian_ends_and_bad_input():
    one = np.eye(1)
    assert gaussian(one, one, one, 0.7).rate == pytest.approx(0.7, abs=1e-12)  # X determines Y
    assert gaussian(one, one, 0 * one, 0.0).rate == 0
    np.testing.assert_allclose(gaussian(one, one, 0.6 * one, 1e-9).slope, 1 / 0.36, rtol=1e-6)
    with pytest.raises(ValueError, match="relevance must be at most"):
        gaussian(one, one, 0.6 * one, 1.0)
    with pytest.raises(ValueError, match="a correlation is"):
        gaussian(one, one, 2 * one, 0.1)


def test_transforms_of_the_gaussian():
    pairs = [gaussian_pair(seed, 2, 2) for seed in range(3)]
    batches = [np.stack(parts) for parts in zip(*pairs, strict=True)]
    assert_transforms_agree(gaussian, *batches, np.array([0.1, 0.2, 0.05]), rtol=1e-9)
