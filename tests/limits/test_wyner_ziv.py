import numpy as np
import pytest
from scipy.optimize import brentq

from rdtheory.limits.side_information import TOL, conditional_rate_at, wyner_ziv_rate_at
from tests import oracles
from tests.problems import bernoulli_rate, entropy, hamming
from tests.transforms import assert_only_bad_items_are_nan

rng = np.random.default_rng(31)
FRACTIONS = [0.0, 1e-6, 0.03, 0.2, 0.6, 0.95, 1.0, 1.5]


def h(p):
    return entropy([p, 1 - p])


def noisy_copy(p):
    return np.array([[1 - p, p], [p, 1 - p]]) / 2


def noisy_copy_rate(p):
    """Wyner & Ziv (1976): the convex hull of h(p * D) - h(D) and the point (p, 0)."""

    def mixed(D):
        return p * (1 - D) + (1 - p) * D

    def curve(D):
        return h(mixed(D)) - h(D)

    def slope(D):
        return (1 - 2 * p) * np.log2((1 - mixed(D)) / mixed(D)) - np.log2((1 - D) / D)

    touch = brentq(lambda D: curve(D) + slope(D) * (p - D), 1e-9, p - 1e-9, xtol=1e-17, rtol=1e-15)
    return lambda D: curve(D) if D <= touch else max(curve(touch) * (p - D) / (p - touch), 0.0)


def erased_copy(pmf, kept):
    return np.column_stack([np.diag(kept * np.asarray(pmf)), (1 - kept) * np.asarray(pmf)])


KNOWN = [
    ("noisy copy", noisy_copy(0.25), hamming(2), noisy_copy_rate(0.25), 0.25),
    ("good copy", noisy_copy(0.02), hamming(2), noisy_copy_rate(0.02), 0.02),
    # What was erased costs what it costs without side information, whether or not the encoder knows.
    ("erased coin", erased_copy([0.7, 0.3], 0.4), hamming(2), lambda D: 0.6 * bernoulli_rate(0.3)(D / 0.6), 0.18),
    ("no side information", np.array([[0.7], [0.3]]), hamming(2), bernoulli_rate(0.3), 0.3),
]
known = pytest.mark.parametrize(
    ("joint", "d", "exact", "free"), [case[1:] for case in KNOWN], ids=[case[0] for case in KNOWN]
)


def spends(joint, d, result):
    """I(X;T|Y) and mean distortion of the channel, from the definitions."""
    channel, strategies = np.asarray(result.test_channel), np.asarray(result.strategies)
    rate = spent = 0.0
    for y, side in enumerate(joint.sum(axis=0)):
        used = joint[:, y] > 0
        rate += side * oracles.mutual_information(joint[used, y] / side, channel[used])
        spent += joint[:, y] @ (channel * d[:, strategies[:, y]]).sum(axis=1)
    return rate, spent


def proved(joint, d, result, D):
    """The dual bound from μ, w and s alone: of each side letter's greatest sum over the strategies."""
    mu, log_w, s = (np.asarray(x) for x in (result.potential, result.side_weights, result.slope))
    strategies = np.asarray(result.strategies)
    p, side = joint.sum(axis=1), joint.sum(axis=0)
    worst = np.full(len(side), -np.inf)
    for t, shown in enumerate(strategies):
        price = np.sum(joint * d[:, shown], axis=1) / p
        base = mu - s * (price - d.min(axis=1)) + (joint / p[:, None]) @ log_w[t]
        for y in range(len(side)):
            worst[y] = max(worst[y], np.log2(joint[:, y] / side[y] @ np.exp2(base)) - log_w[t, y])
    return max(p @ mu - side @ worst - s * (D - p @ d.min(axis=1)), 0.0)


@known
@pytest.mark.parametrize("max_steps", [1, 5, 100])
def test_the_rate_lies_in_the_certified_interval_converged_or_not(joint, d, exact, free, max_steps):
    for fraction in FRACTIONS:
        D = fraction * free
        result = wyner_ziv_rate_at(joint, d, D, max_steps=max_steps)
        assert result.rate - result.gap - 1e-14 <= exact(D) <= result.rate + 1e-14
        assert bool(result.converged) == bool(result.gap <= TOL)
        assert result.steps <= max_steps
        rate, spent = spends(joint, d, result)
        assert rate <= result.rate + 1e-13
        assert spent <= D * (1 + 1e-12) + 1e-15
        if 0 < fraction < 1:
            assert result.rate - result.gap <= proved(joint, d, result, D) + 1e-13
        if max_steps == 100:
            assert result.converged
            np.testing.assert_allclose(result.rate, exact(D), rtol=0, atol=TOL)


def test_it_lies_between_the_conditional_function_and_the_ordinary_one():
    joint, d = rng.dirichlet(np.ones(6)).reshape(3, 2), rng.uniform(0, 1, (3, 3))
    D = 0.7 * float(joint.sum(axis=1) @ d.min(axis=1)) + 0.3 * float((joint.T @ d).min(axis=1).sum())
    result = wyner_ziv_rate_at(joint, d, D)
    assert result.converged
    known_to_both = conditional_rate_at(joint, d, D)
    known_to_none = conditional_rate_at(joint.sum(axis=1, keepdims=True), d, D)
    assert known_to_both.rate - known_to_both.gap <= result.rate
    assert result.rate - result.gap <= known_to_none.rate
    assert result.rate - result.gap <= proved(joint, d, result, D) + 1e-13
    rate, spent = spends(joint, d, result)
    np.testing.assert_allclose([rate, spent], [result.rate, D], rtol=0, atol=1e-8)
    assert known_to_both.rate + 1e-6 < result.rate  # the loss is real here


def test_a_corrupted_certificate_is_caught():
    joint = noisy_copy(0.25)
    result = wyner_ziv_rate_at(joint, hamming(2), 0.05, max_steps=4)
    bound = proved(joint, hamming(2), result, 0.05)
    assert result.gap > 1e-6
    assert result.rate - result.gap <= bound + 1e-13
    assert result.rate - result.gap / 2 > bound + 1e-7, "half the gap would claim more than is proved"


JOINTS = rng.dirichlet(np.ones(4), size=3).reshape(3, 2, 2)


def test_an_invalid_item_of_a_batch_is_nan():
    assert_only_bad_items_are_nan(
        lambda joint, D: wyner_ziv_rate_at(joint, hamming(2), D, max_steps=4)._replace(strategies=D),
        [JOINTS, np.full(3, 0.05)],
        [2 * JOINTS[0], np.nan],
        1,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.full((2, 2), 0.3), hamming(2), 0.1), "joint_pmf must sum to 1"),
        ((noisy_copy(0.1), hamming(2), -0.1), "distortion must be >= 0"),
        ((np.full((4, 4), 1 / 16), np.zeros((4, 5)), 0.1), r"5\^4 = 625 strategies"),
    ],
)
def test_what_is_wrong_is_named(as_user, arguments, message):
    with pytest.raises(ValueError, match=message):
        wyner_ziv_rate_at(*arguments)
