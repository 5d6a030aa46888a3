import functools

import numpy as np
import pytest

import rdtheory as rd
from rdtheory.limits.channel import TOL
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

rng = np.random.default_rng(3)
CHANNELS = rng.dirichlet(np.ones(4), size=(5, 3))


def symmetric(p):
    return np.array([[1 - p, p], [p, 1 - p]])


KNOWN = [
    ("binary symmetric", symmetric(0.11), 1 - oracles.entropy([0.11, 0.89])),
    ("noiseless", np.eye(5), np.log2(5)),
    ("erasure", np.array([[0.7, 0.0, 0.3], [0.0, 0.7, 0.3]]), 0.7),
    ("Z", np.array([[1.0, 0.0], [0.5, 0.5]]), np.log2(5 / 4)),
    ("typewriter", 0.5 * (np.eye(6) + np.roll(np.eye(6), 1, axis=1)), np.log2(3)),
    ("useless", np.tile([0.2, 0.3, 0.5], (4, 1)), 0.0),
    ("two equal inputs", np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), 1.0),
    ("one input", np.array([[0.4, 0.6]]), 0.0),
    ("one output", np.ones((3, 1)), 0.0),
    ("unused output", np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 1.0),
]
known = pytest.mark.parametrize(("channel", "capacity"), [case[1:] for case in KNOWN], ids=[case[0] for case in KNOWN])


@known
@pytest.mark.parametrize("max_steps", [1, 3, 10, 10_000])
def test_the_capacity_lies_in_the_certified_interval_converged_or_not(channel, capacity, max_steps):
    result = rd.capacity(channel, max_steps=max_steps)
    assert result.rate - result.gap - 1e-15 <= capacity <= result.rate + 1e-15
    assert result.gap >= 0
    assert bool(result.converged) == bool(result.gap <= TOL)
    assert result.steps <= max_steps


@known
def test_the_capacity_is_found(channel, capacity):
    result = rd.capacity(channel)
    assert result.converged
    np.testing.assert_allclose(result.rate, capacity, rtol=0, atol=TOL)


@pytest.mark.parametrize("item", range(5))
@pytest.mark.parametrize("max_steps", [1, 10, 1000])
def test_the_input_law_attains_the_lower_end_and_divergences_prove_the_upper(item, max_steps):
    w = CHANNELS[item]
    result = rd.capacity(w, max_steps=max_steps)
    p = np.asarray(result.input_pmf)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-13)
    assert oracles.mutual_information(p, w) >= result.rate - result.gap - 1e-14
    divergences = [oracles.plogq(row, row) - oracles.plogq(row, p @ w) for row in w]
    assert result.rate >= max(divergences) - 1e-14


@pytest.mark.parametrize("item", range(5))
def test_the_certified_interval_meets_that_of_arimotos_iteration_in_numpy(item):
    lower, upper = oracles.capacity(CHANNELS[item])
    result = rd.capacity(CHANNELS[item])
    assert result.rate - result.gap <= upper + 1e-13
    assert lower - 1e-13 <= result.rate


def test_a_flag_agrees_with_its_gap_even_when_the_tolerance_is_at_rounding_level():
    for tol in [0.0, 1e-15, 1e-14, 1e-13]:
        result = rd.capacity(KNOWN[5][1], tol=tol, max_steps=5)
        assert bool(result.converged) == bool(result.gap <= tol)


capacity = functools.partial(rd.capacity, max_steps=100)


def test_jit_and_vmap_change_nothing():
    assert_transforms_agree(capacity, CHANNELS)


@pytest.mark.parametrize("bad", [0.3, -1.0, np.nan, np.inf])
def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact(bad):
    assert_only_bad_items_are_nan(capacity, [CHANNELS], [np.full((3, 4), bad)], 3)


@pytest.mark.parametrize(
    ("channel", "options", "error", "message"),
    [
        ([[0.5, 0.6], [1.0, 0.0]], {}, ValueError, "each row of channel_matrix must sum to 1"),
        ([[1.5, -0.5], [1.0, 0.0]], {}, ValueError, "channel_matrix must be >= 0"),
        ([[np.nan, 1.0], [1.0, 0.0]], {}, ValueError, "channel_matrix must be >= 0 and finite"),
        ([0.5, 0.5], {}, ValueError, "channel_matrix must be a matrix"),
        (np.zeros((0, 2)), {}, ValueError, "channel_matrix must not be empty"),
        (np.eye(2, dtype=complex), {}, TypeError, "channel_matrix must hold real numbers"),
        ("noisy", {}, TypeError, "channel_matrix"),
        (np.eye(2), {"tol": -1e-9}, ValueError, "tol must be >= 0"),
        (np.eye(2), {"max_steps": 0}, ValueError, "max_steps must be at least 1"),
    ],
)
def test_what_is_wrong_is_named(as_user, channel, options, error, message):
    with pytest.raises(error, match=message):
        rd.capacity(channel, **options)
