import functools

import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory.limits.side_information import TOL, conditional_rate_at
from tests import oracles
from tests.problems import PROBLEMS, bernoulli_rate, die_rate, entropy, free_distortion, hamming, least_distortion
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

rng = np.random.default_rng(5)
QUICK = ["biased coin", "coin with refusal", "no finite column", "zero-mass row, all infinite", "constant"]
EXACT = [
    pytest.param(problem, id=problem.name, marks=[] if problem.name in QUICK else pytest.mark.long)
    for problem in PROBLEMS
    if problem.exact
]


def h(p):
    return entropy([p, 1 - p])


def noisy_copy(p):
    """Fair coin X, and Y wrong with probability p."""
    return np.array([[1 - p, p], [p, 1 - p]]) / 2


def erased_copy(pmf, kept):
    """Y is X with probability `kept`, and says nothing otherwise."""
    pmf = np.asarray(pmf)
    return np.column_stack([np.diag(kept * pmf), (1 - kept) * pmf])


def noisy_copy_rate(p):
    return lambda D: h(p) - h(D) if 0 < D < p else h(p) if D == 0 else 0.0


def erased_copy_rate(rate, kept):
    return lambda D: (1 - kept) * rate(D / (1 - kept))


CONDITIONAL = [
    ("noisy copy", noisy_copy(0.25), hamming(2), noisy_copy_rate(0.25), 0.25),
    ("faint copy", noisy_copy(0.499), hamming(2), noisy_copy_rate(0.499), 0.499),
    ("good copy", noisy_copy(1e-3), hamming(2), noisy_copy_rate(1e-3), 1e-3),
    (
        "erased coin",
        erased_copy([0.7, 0.3], 0.4),
        hamming(2),
        erased_copy_rate(bernoulli_rate(0.3), 0.4),
        0.18,
    ),
    ("erased die", erased_copy(np.full(4, 0.25), 0.5), hamming(4), erased_copy_rate(die_rate(4), 0.5), 0.375),
    ("exact copy", np.diag([0.2, 0.3, 0.5]), hamming(3), lambda D: 0.0, 0.2),
    ("useless Y", np.outer([0.7, 0.3], [0.1, 0.9]), hamming(2), bernoulli_rate(0.3), 0.3),
    ("unused y", np.column_stack([noisy_copy(0.25), [0, 0]]), hamming(2), noisy_copy_rate(0.25), 0.25),
]
conditional = pytest.mark.parametrize(
    ("joint", "d", "exact", "free"), [case[1:] for case in CONDITIONAL], ids=[case[0] for case in CONDITIONAL]
)
FRACTIONS = [0.0, 1e-9, 1e-3, 0.1, 0.5, 0.9, 0.999, 1.0, 1.7]


def conditional_lower(joint, d, q, slope, D):
    """What weak duality proves, recomputed from q and the slope alone."""
    total = 0.0
    source = joint.sum(axis=1)
    least = np.where(source > 0, d.min(axis=1), 0)
    excess = np.where((source > 0)[:, None], d - least[:, None], 0.0)
    a = oracles.kernel(excess, slope)
    for y, side in enumerate(joint.sum(axis=0)):
        if side > 0:
            p = joint[:, y] / side
            z = a @ q[y]
            total += side * (-oracles.plogq(p, z) - np.log2((a.T @ (p / z)).max()))
    return max(total - (0 if np.isinf(slope) else slope * (D - source @ least)), 0.0)


def assert_conditional_certificate(joint, d, result, D):
    proved = conditional_lower(joint, d, np.asarray(result.reproduction_pmf), float(result.slope), D)
    assert result.rate - result.gap <= proved + 1e-13, "claims more than is proved"


@conditional
@pytest.mark.parametrize("max_steps", [1, 4, 100])
def test_the_conditional_rate_lies_in_the_certified_interval_converged_or_not(joint, d, exact, free, max_steps):
    for fraction in FRACTIONS:
        result = conditional_rate_at(joint, d, fraction * free, max_steps=max_steps)
        assert result.rate - result.gap - 1e-14 <= exact(fraction * free) <= result.rate + 1e-14
        assert bool(result.converged) == bool(result.gap <= TOL)
        assert result.steps <= max_steps
        np.testing.assert_allclose(result.reproduction_pmf.sum(axis=1), 1, rtol=1e-12)
        assert_conditional_certificate(joint, d, result, fraction * free)


@conditional
def test_the_conditional_rate_is_found_to_nine_digits(joint, d, exact, free):
    for fraction in FRACTIONS:
        result = conditional_rate_at(joint, d, fraction * free)
        assert result.converged
        np.testing.assert_allclose(result.rate, exact(fraction * free), rtol=0, atol=TOL)


@pytest.mark.parametrize("problem", EXACT)
def test_a_side_information_that_never_varies_leaves_the_ordinary_function(problem):
    least, free = least_distortion(problem), free_distortion(problem)
    for share in (0.0, 1e-6, 0.1, 0.5, 0.9, 1 - 1e-9, 1.0, 2.0):
        D = least + share * (free - least if np.isfinite(free) else 1.0)
        result = conditional_rate_at(problem.source_pmf[:, None], problem.distortion_matrix, D)
        assert result.converged or (share == 1 - 1e-9 and result.gap < 2 * TOL)  # rate and gap are both of that size
        assert result.rate - result.gap - 1e-14 <= problem.exact(D) <= result.rate + 1e-14


@pytest.mark.parametrize("seed", range(2))
def test_the_bound_meets_blahut_arimoto_run_apart_for_each_y_at_the_common_slope(seed):
    random = np.random.default_rng(seed)
    n, k, m = random.integers(2, 6, size=3)
    joint, d = random.dirichlet(np.ones(n * k)).reshape(n, k), random.uniform(0, 2, (n, m))
    slope = 3.0
    side = joint.sum(axis=0)
    points = [oracles.blahut_arimoto(joint[:, y] / side[y], d, slope) for y in range(k)]
    rate, D, gap = (sum(side[y] * points[y][i] for y in range(k)) for i in range(3))
    result = conditional_rate_at(joint, d, D)
    assert gap < 1e-6
    assert result.converged
    assert result.rate - result.gap <= rate + 1e-13
    assert rate - gap - 1e-13 <= result.rate
    # The channel it describes keeps to D and spends no more than the rate.
    q, s = np.asarray(result.reproduction_pmf), float(result.slope)
    spent = used = 0.0
    for y in range(k):
        channel = q[y] * np.exp2(-s * d)
        channel /= channel.sum(axis=1, keepdims=True)
        spent += joint[:, y] @ (channel * d).sum(axis=1)
        used += side[y] * oracles.mutual_information(joint[:, y] / side[y], channel)
    np.testing.assert_allclose(spent, D, rtol=1e-8)
    np.testing.assert_allclose(used, result.rate, rtol=0, atol=1e-8)


def test_a_corrupted_conditional_certificate_is_caught():
    joint, d = noisy_copy(0.25), hamming(2)
    result = conditional_rate_at(joint, d, 0.1, max_steps=3)
    assert result.gap > 1e-6
    proved = result.rate - conditional_lower(joint, d, np.asarray(result.reproduction_pmf), float(result.slope), 0.1)
    assert_conditional_certificate(joint, d, result, 0.1)
    with pytest.raises(AssertionError, match="more than is proved"):
        assert_conditional_certificate(joint, d, result._replace(gap=proved / 2), 0.1)


def test_side_information_never_costs_and_units_do_not_matter():
    joint, d = rng.dirichlet(np.ones(12)).reshape(4, 3), rng.uniform(0, 1, (4, 5))
    D = float(joint.sum(axis=1) @ d.min(axis=1)) + 0.1
    known = conditional_rate_at(joint, d, D)
    unknown = conditional_rate_at(joint.sum(axis=1, keepdims=True), d, D)
    assert known.rate - known.gap <= unknown.rate
    for unit in (1e-200, 1e200):
        scaled = conditional_rate_at(joint, unit * d, unit * D)
        assert scaled.converged
        np.testing.assert_allclose(scaled.rate, known.rate, rtol=0, atol=2 * TOL)
        np.testing.assert_allclose(scaled.slope * unit, known.slope, rtol=1e-6)


JOINTS = rng.dirichlet(np.ones(4), size=3).reshape(3, 2, 2)
MATRICES = hamming(2) + rng.uniform(0, 0.3, (3, 2, 2))
TARGETS = np.array([0.5, 0.6, 0.55])
cut_short = functools.partial(conditional_rate_at, max_steps=6)


def test_jit_and_vmap_change_nothing_in_the_conditional_rate():
    assert_transforms_agree(conditional_rate_at, JOINTS, MATRICES, TARGETS, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "bad", [(JOINTS[0] * 2, MATRICES[0], 0.5), (JOINTS[0], -MATRICES[0], 0.5), (JOINTS[0], MATRICES[0], np.nan)]
)
def test_an_invalid_item_of_a_batch_of_conditional_rates_is_nan(bad):
    assert_only_bad_items_are_nan(cut_short, [JOINTS, MATRICES, TARGETS], bad, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.full((2, 2), 0.3), hamming(2), 0.1), ValueError, "joint_pmf must sum to 1"),
        (([0.5, 0.5], hamming(2), 0.1), ValueError, "joint_pmf must be a matrix"),
        ((noisy_copy(0.1), hamming(3), 0.1), ValueError, "distortion_matrix must have one row per source letter"),
        ((noisy_copy(0.1), hamming(2), -0.1), ValueError, "distortion must be >= 0"),
        ((noisy_copy(0.1), 1 + hamming(2), 0.5), ValueError, "distortion must be at least 1"),
        ((noisy_copy(0.1), jnp.full((2, 2), np.nan), 0.5), ValueError, "distortion_matrix must be >= 0"),
    ],
)
def test_what_is_wrong_with_a_conditional_problem_is_named(as_user, arguments, error, message):
    with pytest.raises(error, match=message):
        conditional_rate_at(*arguments)
