import functools

import numpy as np
import pytest
from scipy.optimize import minimize

from rdtheory.limits.bottleneck import POINTS, TOL, curve, rate_at
from tests import long, oracles
from tests.transforms import assert_only_bad_items_are_nan

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


def test_more_than_two_letters_have_an_upper_bound_and_data_processing_below():
    """Y is a fair X, erased with probability 0.4: I(T;Y) = 0.6 I(X;T)."""
    joint = np.array([[0.3, 0.0, 0.2], [0.0, 0.3, 0.2]])
    for wanted in (0.1, 0.3, 0.5):
        result = rate_at(joint, wanted)
        np.testing.assert_allclose(result.rate, wanted / 0.6, rtol=0, atol=1e-6)
        assert wanted / 0.6 <= result.rate + 1e-13
        np.testing.assert_allclose(result.rate - result.gap, wanted, rtol=0, atol=1e-9)
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
