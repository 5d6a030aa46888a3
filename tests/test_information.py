import jax
import mpmath
import numpy as np
import pytest

from rdtheory import information
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

rng = np.random.default_rng(1)
PMFS, OTHERS = rng.dirichlet(np.ones(5), size=(2, 6))
CHANNELS = rng.dirichlet(np.ones(3), size=(6, 5))


@pytest.mark.parametrize("p", [[1.0], [1.0, 0.0], [0.5, 0.25, 0.25], [0.0, 0.3, 0.7], [1e-300, 1.0]])
def test_entropy_is_its_definition(p):
    np.testing.assert_allclose(information.entropy(np.array(p)), oracles.entropy(p), rtol=1e-15, atol=1e-15)


def test_entropy_is_log_n_for_a_fair_die_and_zero_for_a_certainty():
    np.testing.assert_allclose(information.entropy(np.full(6, 1 / 6)), np.log2(6), rtol=1e-15)
    assert information.entropy(np.array([0.0, 1.0])) == 0


@pytest.mark.parametrize("item", range(6))
def test_divergence_is_its_definition(item):
    p, r = PMFS[item], OTHERS[item]
    np.testing.assert_allclose(
        information.divergence(p, r), oracles.plogq(p, p) - oracles.plogq(p, r), rtol=0, atol=1e-14
    )


def test_divergence_vanishes_between_equals_and_is_infinite_outside_the_support():
    assert information.divergence(PMFS[0], PMFS[0]) == 0
    assert information.divergence(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == np.inf
    assert information.divergence(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0


@pytest.mark.parametrize("item", range(6))
def test_mutual_information_is_its_definition(item):
    wanted = oracles.mutual_information(PMFS[item], CHANNELS[item])
    np.testing.assert_allclose(information.mutual_information(PMFS[item], CHANNELS[item]), wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("item", range(6))
def test_mutual_information_of_a_joint_law(item):
    joint = PMFS[item][:, None] * CHANNELS[item]
    joint[1] = 0
    joint /= joint.sum()
    wanted = oracles.entropy(joint.sum(0)) + oracles.entropy(joint.sum(1)) - oracles.entropy(joint.ravel())
    found = information.mutual_information_of_joint(joint)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)
    np.testing.assert_allclose(information.mutual_information_of_joint(joint.T), found, rtol=0, atol=1e-14)


def test_a_joint_law_must_be_one():
    with pytest.raises(ValueError, match="joint_pmf must sum to 1"):
        information.mutual_information_of_joint(np.ones((2, 2)))
    assert information.mutual_information_of_joint(np.array([[1e-200, 0.0], [0.0, 1.0]])) > 0  # p_x p_y is flushed


def test_mutual_information_of_a_perfect_and_of_a_useless_channel():
    p = np.array([0.7, 0.0, 0.3])
    np.testing.assert_allclose(information.mutual_information(p, np.eye(3)), oracles.entropy(p), rtol=1e-15)
    np.testing.assert_allclose(information.mutual_information(p, np.tile(PMFS[0], (3, 1))), 0, atol=1e-15)


def right_derivatives(function, values):
    """What raising each number alone changes, in 60 digits; infinite where it grows without end."""
    slopes = np.zeros(values.shape)
    with mpmath.workdps(60):
        exact = np.array([mpmath.mpf(float(v)) for v in values.ravel()], object).reshape(values.shape)
        for place in np.ndindex(values.shape):
            found = []
            for step in (mpmath.mpf(10) ** -20, mpmath.mpf(10) ** -26):
                moved = exact.copy()
                moved[place] += step
                found.append((function(moved / moved.sum(axis=-1, keepdims=True)) - function(exact)) / step)
            # A slope of log(step) grows by 6 log2(10) = 20 bits from the one step to the other.
            endless = mpmath.isinf(found[1]) or abs(found[1] - found[0]) > 1e-3
            slopes[place] = np.sign(float(found[1])) * np.inf if endless else float(found[1])
    return slopes


def surplus(masses, others, weights=1):
    masses, others, weights = np.broadcast_arrays(masses, others, weights)
    return sum(
        w * m * (mpmath.log(m / o, 2) if o > 0 else mpmath.inf)
        for m, o, w in zip(masses.ravel(), others.ravel(), weights.ravel(), strict=True)
        if m > 0 and w > 0
    )


POINTS = [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5], [0.0, 0.75, 0.25]]
SQUARES = [np.eye(3), [[0.5, 0.5, 0.0], [0.25, 0.0, 0.75], [0.0, 0.0, 1.0]], [[0.5, 0.5, 0.0]] * 3]


@pytest.mark.parametrize("p", POINTS)
def test_derivatives_at_masses_of_zero_are_those_to_the_right(p):
    p = np.array(p)
    assert_slopes(jax.grad(information.entropy)(p), right_derivatives(lambda x: -surplus(x, 1), p))
    for r in (np.array([0.25, 0.5, 0.25]), p, p[[0, 2, 1]]):
        if np.isfinite(information.divergence(p, r)):
            by_p, by_r = jax.grad(information.divergence, (0, 1))(p, r)
            assert_slopes(by_p, right_derivatives(lambda x, r=r: surplus(x, r), p))
            assert_slopes(by_r, right_derivatives(lambda x, p=p: surplus(p, x), r))
    for q in map(np.array, SQUARES):
        by_p, by_q = jax.grad(information.mutual_information, (0, 1))(p, q)
        assert_slopes(by_p, right_derivatives(lambda x, q=q: surplus(q, (x @ q)[None, :], x[:, None]), p))
        assert_slopes(by_q, right_derivatives(lambda x, p=p: surplus(x, (p @ x)[None, :], p[:, None]), q))


def assert_slopes(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


def test_jit_and_vmap_change_nothing():
    assert_transforms_agree(information.entropy, PMFS)
    assert_transforms_agree(information.divergence, PMFS, OTHERS)
    assert_transforms_agree(information.mutual_information, PMFS, CHANNELS)


@pytest.mark.parametrize("bad", [np.full(5, 0.3), np.array([1.5, -0.5, 0, 0, 0]), np.array([np.nan, 1, 0, 0, 0])])
def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact(bad):
    assert_only_bad_items_are_nan(information.entropy, [PMFS], [bad], 2)
    assert_only_bad_items_are_nan(information.divergence, [PMFS, OTHERS], [PMFS[2], bad], 2)
    assert_only_bad_items_are_nan(
        information.mutual_information, [PMFS, CHANNELS], [PMFS[2], np.tile(bad[:3], (5, 1))], 2
    )


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        ("entropy", ([0.5, 0.6],), ValueError, "pmf must sum to 1, but sums to 1.1"),
        ("entropy", ([1.5, -0.5],), ValueError, "pmf must be >= 0"),
        ("entropy", ([np.nan, 1.0],), ValueError, "pmf must be >= 0 and finite"),
        ("entropy", ([[0.5, 0.5]],), ValueError, "pmf must be a vector"),
        ("entropy", ([],), ValueError, "pmf must not be empty"),
        ("entropy", (np.array([0.5, 0.5], complex),), TypeError, "pmf must hold real numbers"),
        ("entropy", ("fair",), TypeError, "pmf"),
        ("divergence", ([0.5, 0.5], [1.0]), ValueError, "reference_pmf must have shape"),
        ("divergence", ([0.5, 0.5], [0.5, 0.6]), ValueError, "reference_pmf must sum to 1"),
        ("mutual_information", ([0.5, 0.5], [[0.5, 0.6], [0.5, 0.5]]), ValueError, "each row of channel must sum to 1"),
        ("mutual_information", ([0.5, 0.5], np.eye(3)), ValueError, "channel must have shape"),
        ("mutual_information", ([0.5, 0.5], [[1.5, -0.5], [0, 1]]), ValueError, "channel must be >= 0"),
    ],
)
def test_what_is_wrong_is_named(as_user, function, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(information, function)(*arguments)
