import functools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import rdtheory as rd
from rdtheory.limits import certify
from rdtheory.limits.channel import TOL, capacity_at
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

rng = np.random.default_rng(11)


def h(p):
    return oracles.entropy([p, 1 - p])


def symmetric(e):
    return np.array([[1 - e, e], [e, 1 - e]])


def z_channel(q):
    return np.array([[1.0, 0.0], [q, 1 - q]])


def z_capacity(q):
    best = brentq(lambda p: (1 - q) * np.log2((1 - p * (1 - q)) / (p * (1 - q))) - h(q), 1e-9, 1 - 1e-9, xtol=1e-15)
    return lambda B: h(min(B, best) * (1 - q)) - min(B, best) * h(q)


def gibbs(costs):
    """Noiseless letters: the largest entropy at a mean cost is that of 2^(-s b)."""
    costs = np.asarray(costs, float)

    def law(s):
        weights = np.exp2(-s * (costs - costs.min()))
        return weights / weights.sum()

    def capacity(B):
        if costs.mean() <= B:
            return np.log2(len(costs))
        if costs.min() == B:
            return np.log2((costs == costs.min()).sum())
        return oracles.entropy(law(brentq(lambda s: law(s) @ costs - B, 0, 1e4, xtol=1e-15, rtol=1e-15)))

    return capacity


KNOWN = [
    ("symmetric", symmetric(0.11), [0, 1], lambda B: h(min(B, 0.5) * 0.78 + 0.11) - h(0.11), (0, 1)),
    ("erasure", np.array([[0.7, 0, 0.3], [0, 0.7, 0.3]]), [0, 1], lambda B: 0.7 * h(min(B, 0.5)), (0, 1)),
    ("Z", z_channel(0.5), [0, 1], z_capacity(0.5), (0, 1)),
    ("noiseless", np.eye(4), [1, 2, 3, 5], gibbs([1, 2, 3, 5]), (1, 5)),
    ("two cheapest", np.eye(4), [1, 1, 3, 5], gibbs([1, 1, 3, 5]), (1, 5)),
    ("free", symmetric(0.11), [2, 2], lambda B: 1 - h(0.11), (2, 3)),
    ("unused output", np.column_stack([np.eye(3), np.zeros(3)]), [0, 1, 1], gibbs([0, 1, 1]), (0, 1)),
]
known = pytest.mark.parametrize(
    ("channel", "costs", "exact", "ends"), [case[1:] for case in KNOWN], ids=[case[0] for case in KNOWN]
)
SHARES = [0.0, 1e-9, 1e-4, 0.1, 0.3, 0.5, 0.7, 1.0, 3.0]


def budgets(ends):
    return [ends[0] + share * (ends[1] - ends[0]) for share in SHARES]


def test_an_output_of_no_probability_proves_nothing():
    """Once log r ran away until r rounded to zero, and the bound with it to -0.88 bit."""
    w, p, zero = jnp.array([[0.7, 0.0, 0.3], [0.0, 0.7, 0.3]]), jnp.full(2, 0.5), jnp.zeros(())
    found = certify.capacity(w, jnp.zeros(2), zero, p, jnp.array([0.5, 0.0, 0.5]), zero)
    np.testing.assert_allclose(found.lower, 0.7, rtol=1e-13)
    assert found.upper >= 0.7


@known
@pytest.mark.parametrize("max_steps", [1, 5, 100, 1000])
def test_the_capacity_at_a_cost_lies_in_the_certified_interval(channel, costs, exact, ends, max_steps):
    for B in budgets(ends):
        result = capacity_at(channel, np.array(costs, float), B, max_steps=max_steps)
        assert result.rate - result.gap - 1e-14 <= exact(B) <= result.rate + 1e-14
        assert result.gap >= 0
        assert bool(result.converged) == bool(result.gap <= TOL)
        assert result.steps <= max_steps
        p = np.asarray(result.input_pmf)
        np.testing.assert_allclose(p.sum(), 1, rtol=1e-13)
        assert p @ costs <= B * (1 + 1e-14) + 1e-15
        np.testing.assert_allclose(result.spent, p @ costs, rtol=1e-12, atol=1e-15)
        assert oracles.mutual_information(p, channel) >= result.rate - result.gap - 1e-14
        if max_steps >= 100:
            assert result.converged
            np.testing.assert_allclose(result.rate, exact(B), rtol=0, atol=TOL)


def arimoto(w, b, s, steps=20_000):
    """Capacity at the cost that the multiplier s leads to, by the alternating maximization: (lower, upper, cost)."""
    p = np.full(len(w), 1 / len(w))
    for _ in range(steps):
        scores = np.array([oracles.plogq(row, row) - oracles.plogq(row, p @ w) for row in w]) - s * b
        if scores.max() - p @ scores < 1e-13:
            break
        p = p * np.exp2(scores)
        p /= p.sum()
    return p @ scores + s * (p @ b), scores.max() + s * (p @ b), p @ b


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_meets_that_of_arimotos_iteration(seed):
    random = np.random.default_rng(seed)
    w, b = random.dirichlet(np.ones(4), size=5), random.uniform(0, 2, 5)
    lower, upper, B = arimoto(w, b, 0.05)
    result = capacity_at(w, b, B)
    assert upper - lower < 1e-6
    assert result.converged
    assert result.rate - result.gap <= upper + 1e-13
    assert lower - 1e-13 <= result.rate
    free = rd.capacity(w)
    rich = capacity_at(w, b, 100.0)
    assert max(free.rate - free.gap, rich.rate - rich.gap) <= min(free.rate, rich.rate)
    assert abs(rich.slope) < 1e-6


def test_a_gaussian_channel_on_a_grid_stays_below_half_a_log():
    x, y = np.linspace(-3, 3, 25), np.linspace(-7, 7, 57)
    w = np.exp(-((x[:, None] - y[None, :]) ** 2) / 2)
    w /= w.sum(axis=1, keepdims=True)
    result = capacity_at(w, x**2, 0.5)
    assert result.converged
    np.testing.assert_allclose(result.rate, 0.5 * np.log2(1.5), rtol=0, atol=2e-4)
    np.testing.assert_allclose(result.slope, 0.5 / np.log(2) / 1.5, rtol=2e-2)


def test_the_slope_is_the_derivative_in_the_budget():
    w, b = symmetric(0.11), np.array([0.0, 1.0])
    step = 1e-4
    change = (capacity_at(w, b, 0.2 + step).rate - capacity_at(w, b, 0.2 - step).rate) / (2 * step)
    np.testing.assert_allclose(capacity_at(w, b, 0.2).slope, change, rtol=1e-5)


def test_a_corrupted_capacity_is_caught():
    w, b = z_channel(0.5), np.array([0.0, 1.0])
    result = capacity_at(w, b, 0.2, max_steps=3)
    attained = oracles.mutual_information(np.asarray(result.input_pmf), w)
    assert result.gap > 1e-6
    assert attained < result.rate - result.gap / 2, "half the gap would claim more than the input attains"


CHANNELS = rng.dirichlet(np.ones(3), size=(3, 2))
COSTS = rng.uniform(0, 1, (3, 2))
BUDGETS = COSTS.min(axis=1) + 0.1
cut_short = functools.partial(capacity_at, max_steps=6)


def test_jit_and_vmap_change_nothing_in_the_capacity_at_a_cost():
    assert_transforms_agree(cut_short, CHANNELS, COSTS, BUDGETS, rtol=1e-9)


@pytest.mark.parametrize(
    "bad", [(np.ones((2, 3)), COSTS[0], 2.0), (CHANNELS[0], -COSTS[0], 2.0), (CHANNELS[0], COSTS[0], -1.0)]
)
def test_an_invalid_item_of_a_batch_of_capacities_is_nan(bad):
    assert_only_bad_items_are_nan(cut_short, [CHANNELS, COSTS, BUDGETS], bad, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 2)), np.ones(2), 1.0), "each row of channel_matrix must sum to 1"),
        ((np.eye(2), -np.ones(2), 1.0), "input_costs must be >= 0"),
        ((np.eye(2), np.ones(3), 1.0), "input_costs must"),
        ((np.eye(2), np.ones(2), 0.5), "budget must be at least 1.0"),
        ((np.eye(2), np.ones(2), np.nan), "budget must be >= 0"),
        ((np.eye(2), jnp.array([1.0, np.inf]), 1.0), "input_costs must be >= 0 and finite"),
    ],
)
def test_what_is_wrong_with_a_cost_is_named(as_user, arguments, message):
    with pytest.raises(ValueError, match=message):
        capacity_at(*arguments)
