import math

import jax
import numpy as np
import pytest

import rdtheory as rd
from rdtheory.limits.discrete.transitions import _enclosed, _problem


def hamming_transitions(p):
    """Slopes in nats at which letters come in, by solving c = 1 with their mass zero: e^-s = p_k / (P - (k - 1) p_k).

    P is the mass of the k letters in use before.
    """
    p = np.sort(p)[::-1]
    return [math.log((p[:k].sum() - (k - 1) * p[k]) / p[k]) for k in range(1, len(p)) if p[k] < p[k - 1]]


@pytest.mark.fast
@pytest.mark.parametrize("p", [[0.7, 0.3], [0.5, 0.5], [0.1, 0.6, 0.3], [0.4, 0.2, 0.2, 0.2], [0.6, 0.0, 0.4]])
def test_letters_under_hamming_distortion_come_in_one_after_another(p):
    p = np.array(p)
    found = rd.discrete.transitions(p, rd.distortion.hamming(len(p)))
    exact = np.array(hamming_transitions(p[p > 0])) / math.log(2)
    assert len(found.low) == len(exact) and np.all(found.decided)
    assert np.all(found.low < exact) and np.all(exact < found.high) and np.all(found.high < found.low * (1 + 1e-5))
    used = np.concatenate([found.support_before, found.support_after[-1:]])
    for s, letters in zip(exact, np.diff(used, axis=0), strict=True):
        np.testing.assert_array_equal(letters, np.isclose(hamming_transitions_of(p), s))
    exact_rates = [float(rd.closed_form.hamming(p, D)) for D in found.before.distortion]
    np.testing.assert_allclose(found.before.rate, exact_rates, atol=1e-12)


def hamming_transitions_of(p):
    """The slope in bits at which each letter comes in; infinite where it never does, zero where it is there at once."""
    larger = [p[p > mass] for mass in p]
    with np.errstate(divide="ignore"):
        shares = [
            np.log2(len(up) and (up.sum() - (len(up) - 1) * mass) / mass) for up, mass in zip(larger, p, strict=True)
        ]
    return np.array(shares)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_proved_is_what_plain_iteration_ends_at(seed):
    random = np.random.default_rng(seed)
    p, d = random.dirichlet(np.ones(4)), random.uniform(size=(4, 5))
    found = rd.discrete.transitions(p, d)
    assert len(found.low) > 0 and np.all(found.low[1:] > found.high[:-1]) and np.all(found.high < found.low * 1.001)
    np.testing.assert_array_equal(found.support_after[:-1], found.support_before[1:])
    for i in range(len(found.low) - 1):
        s = float(np.sqrt(found.high[i] * found.low[i + 1]))
        q = np.full(5, 0.2)
        kernel = np.exp2(-s * (d - d.min(axis=1, keepdims=True)))
        for _ in range(200_000):
            q = q * (kernel.T @ (p / (kernel @ q)))
        np.testing.assert_array_equal(q > 1e-4, np.asarray(found.support_after[i]) == 1)


def test_a_straight_piece_is_where_letters_change_places():
    p, x, y = np.array([0.7, 0.3]), np.array([0.0, 1.0]), np.linspace(0, 1, 11)
    found = rd.discrete.transitions(p, (x[:, None] - y) ** 2)
    np.testing.assert_array_equal(found.support_before[0], np.arange(11) == 3)  # the mean
    assert (
        found.before.distortion[0] == pytest.approx(0.21)
        and found.before.distortion[1] - found.after.distortion[1] > 0.04
    )
    lines = [rate + s * D for s, D, rate in zip(found.high, found.before.distortion, found.before.rate, strict=True)]
    other = [rate + s * D for s, D, rate in zip(found.high, found.after.distortion, found.after.rate, strict=True)]
    np.testing.assert_allclose(lines, other, atol=1e-5)


def test_equal_letters_are_one_and_ties_stay_undecided():
    coin, d = np.array([0.7, 0.3]), rd.distortion.hamming(2)
    found = rd.discrete.transitions(coin, np.concatenate([d, d], axis=1))
    np.testing.assert_array_equal(found.support_after, [[1, 1, 0, 0]])
    # Opposite questions about two fair bits: either pair is optimal, and so is any mixture.
    bits = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1], [1, 0, 1, 0]]).T.astype(float)
    assert len(rd.discrete.transitions(np.full(4, 0.25), bits).low) == 0
    # With a constant answer that is used below some slope only.
    found = rd.discrete.transitions(np.full(4, 0.25), np.concatenate([bits, np.full((4, 1), 0.4)], axis=1))
    assert len(found.low) >= 1 and not np.any(found.decided)
    assert found.support_before[0, -1] == 1 and found.support_after[-1, -1] == 0
    np.testing.assert_array_equal(found.support_after[-1, :-1], -1)


def test_letters_that_may_be_erased_are_sent_one_after_another_and_then_all_at_once():
    """With all erased c(x) = p(x) 2^s. From D = 0 on R(D) is a line; where it ends nothing is erased any more."""
    p = np.array([0.2, 0.3, 0.5])
    found = rd.discrete.transitions(p, rd.distortion.erasure(3))
    np.testing.assert_array_equal(found.support_before, [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]])
    np.testing.assert_array_equal(found.support_after[-1], [1, 1, 1, 0])
    line = float(rd.closed_form.erasure(p, 0.0) - rd.closed_form.erasure(p, 0.1)) / 0.1
    for k, exact in ((0, -math.log2(0.5)), (2, line)):
        assert found.low[k] < exact < found.high[k]
    assert found.before.distortion[2] > 0.5 and found.after.distortion[2] < 1e-6
    only = np.where(np.eye(3) == 1, 0.5, np.inf)  # each needs its own
    assert len(rd.discrete.transitions(p, only, np.array([0.1, 1.0, 10.0])).low) == 0


@pytest.mark.parametrize("off", [1e-2, 1e-6, 1e-12, 0.0])
def test_bounds_of_the_optimum_hold_from_any_law_near_or_far(off):
    random = np.random.default_rng(3)
    for _ in range(20):
        p, d, s = random.dirichlet(np.ones(5)), random.uniform(size=(5, 4)), random.uniform(1, 9)
        found = rd.interior_point(p, d, s, tol=1e-16)
        problem, best = _problem(p, d), np.asarray(found.reproduction_pmf)
        kernel = np.exp2(-s * problem.excess)
        exact = kernel.T @ (p / (kernel @ best))
        law = (1 - off) * best + off * random.dirichlet(np.ones(4))
        low, high = _enclosed(problem, s, law, np.ones(4, bool))
        slackness = 1e-6 if off < 1e-11 else 0.0  # the solver's own
        assert np.all(low <= exact + slackness) and np.all(exact <= high + slackness)
        if off > 1e-11:
            assert np.all(high - low < 20 * np.sqrt(off))


def test_bad_input_is_named(as_user):
    p, d = np.array([0.7, 0.3]), rd.distortion.hamming(2)
    with pytest.raises(ValueError, match="slopes must be > 0"):
        rd.discrete.transitions(p, d, np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="tol must be > 0"):
        rd.discrete.transitions(p, d, tol=0.0)
    with pytest.raises(TypeError, match="call it outside"):
        jax.jit(rd.discrete.transitions)(p, d)
