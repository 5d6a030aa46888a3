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


def test_mutual_information_of_a_perfect_and_of_a_useless_channel():
    p = np.array([0.7, 0.0, 0.3])
    np.testing.assert_allclose(information.mutual_information(p, np.eye(3)), oracles.entropy(p), rtol=1e-15)
    np.testing.assert_allclose(information.mutual_information(p, np.tile(PMFS[0], (3, 1))), 0, atol=1e-15)


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
