"""Adversarial candidates for the certificate of R(D), which ball arithmetic judges: a program that shares no code."""

from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd
from rdtheory.distortion import Grid, Samples
from rdtheory.limits import certify
from rdtheory.limits.discrete import certificate, kernels
from rdtheory.limits.discrete.problem import View, make
from rdtheory.rigor import bounds, exact
from rdtheory.rigor._balls import flint
from tests.limits.test_certify import SEEDS, SLOPES, N, costs, extended, laws, mangled, reachable

COUNT = 400  # problems of dense matrices, a quarter as many of each structure


class Case(NamedTuple):
    """Problems of one kind in a batch, and what their distortions are exactly."""

    p: np.ndarray
    d: np.ndarray | Grid | Samples
    exactly: list  # a matrix of floats or rationals each
    D: np.ndarray


def dense(rng, count):
    p, d = laws(rng, count, N), costs(rng, count)
    return Case(p, d, list(d), reachable(rng, p, d))


def grids(rng, count):
    offsets = np.concatenate([np.zeros((count, 1)), np.cumsum(rng.exponential(size=(count, 3)), axis=1)], axis=1)
    p, apart = laws(rng, count, 4), np.abs(np.arange(4)[:, None] - np.arange(4)[None, :])
    d = offsets[:, apart]
    return Case(p, Grid((jnp.asarray(offsets),)), list(d), reachable(rng, p, d))


def samples(rng, count):
    x = rng.normal(size=(count, 4, 2)) * 10.0 ** rng.choice([-3, 0, 0, 6], size=(count, 1, 1))
    y = np.where(rng.random((count, 3, 1)) < 0.5, x[:, :3], x[:, :3] + rng.normal(size=(count, 3, 2)))
    p, rational = laws(rng, count, 4), np.vectorize(Fraction, otypes=[object])
    exactly = np.sum((rational(x)[:, :, None] - rational(y)[:, None]) ** 2, axis=3)
    d = exactly.astype(float)
    return Case(p, Samples(jnp.asarray(x), jnp.asarray(y)), list(exactly), reachable(rng, p, d))


KINDS = {"dense": dense, "grid": grids, "samples": samples}


@jax.jit
@jax.vmap
def optimal(p, d, D):
    found = rd.rate_at(p, d, D, max_steps=200)
    return found.reproduction_pmf, found.slope


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module", params=SEEDS)
def judged(request, kind):
    """Problems, good candidates, and [lower, upper] that balls prove of them."""
    case = KINDS[kind](np.random.default_rng([request.param, 10]), COUNT if kind == "dense" else COUNT // 4)
    q, s = map(np.asarray, optimal(case.p, case.d, case.D))
    return case, q, s, proved(case, q, s)


def proved(case, weights, slopes):
    found = []
    with flint.ctx.workprec(200):
        for p, d, D, q, s in zip(case.p, case.exactly, case.D, weights, slopes, strict=True):
            problem = exact.problem(p, d.tolist())
            D = max(exact.rational("D", D), problem.least)
            if problem.free is not None and D - problem.least >= problem.free:
                found.append((0.0, 0.0))
                continue
            finite = 0 <= s < np.inf and D > problem.least
            slope = flint.arb(float(s)) if finite else None
            candidate = bounds.Candidate([flint.arb(mass) for mass in q.tolist()], slope)
            found.append(tuple(map(float, bounds.of_candidate(problem, candidate, D))))
    return np.array(found)


def judge(case, q, s, truth):
    found = jax.jit(jax.vmap(certify.rate_distortion))(case.p, case.d, case.D, q, s)
    lower, upper = np.asarray(found.lower), np.asarray(found.upper)
    assert (lower <= truth[:, 1]).all(), f"{np.max(lower - truth[:, 1])} above what a channel attains"
    assert (upper >= truth[:, 0]).all(), f"{np.max(truth[:, 0] - upper)} below what is proved"
    assert (lower <= upper).all()
    return upper - lower


def adversarial(case, m, rng):
    count = len(case.p)
    span = np.array([max((float(x) for x in row.ravel() if float(x) < np.inf), default=0) for row in case.exactly])
    with np.errstate(over="ignore"):
        s = rng.choice(SLOPES, size=count) / np.where(span > 0, span, 1.0)
    return mangled(rng, laws(rng, count, m)), s


def test_no_candidate_makes_a_false_bound(judged):
    case, q, s, truth = judged
    judge(case, *adversarial(case, q.shape[1], np.random.default_rng(len(q))), truth)
    width = judge(case, q, s, truth)
    assert np.median(width) < 1e-9, "candidates that are optimal prove it"


CORRUPTED = {
    "no allowance for sums": ("relative", lambda original: lambda problem: 0.0),
    "no allowance for rates": ("rounding", lambda original: lambda *a: jnp.zeros(())),
    "a larger potential": ("free_energy", lambda original: lambda *a: original(*a) + 1e-9),
    "a cheaper distortion": ("times", lambda original: lambda s, x: 0.999 * original(s, x)),
    "smaller sums c": ("bounds", lambda original: lambda *a: original(*a)._replace(log_max=jnp.zeros(()))),
    "a smaller rate of the channel": (
        "bounds",
        lambda original: lambda *a: original(*a)._replace(drift=original(*a).drift + 1e-9),
    ),
}


@pytest.mark.parametrize("corruption", CORRUPTED)
def test_every_corrupted_sum_is_caught(corruption, monkeypatch):
    rng = np.random.default_rng(5)
    case = dense(rng, COUNT)
    q, s = map(np.asarray, optimal(case.p, case.d, case.D))
    truth = proved(case, q, s)
    name, change = CORRUPTED[corruption]
    monkeypatch.setattr(certificate, name, change(getattr(certificate, name)))
    with pytest.raises(AssertionError):
        judge(case, *adversarial(case, N, rng), truth)
        judge(case, q, s, truth)


def test_what_is_not_asked_for_by_a_distortion_is_true_at_its_own(judged):
    """A point at a slope: its rate is one of a channel of its distortion, its line is below R at any other."""
    case, q, _, truth = judged
    attained = certified_at_slope(case.p, case.d, *adversarial(case, q.shape[1], np.random.default_rng(3)))
    rate, gap, distortion, slope = map(np.asarray, attained)
    line = np.where((slope > 0) & (slope < 1e200), slope, 0.0)
    below = extended(rate) - gap + extended(line) * (extended(distortion) - case.D)
    assert (below <= truth[:, 1])[slope == line].all()
    assert (rate >= truth[:, 0])[distortion <= case.D].all()


def test_a_channel_has_at_most_the_distortion_that_is_stated():
    """Beside least distortions of 1e9 and 1e12, of which a digit is more than the excess."""
    case = Case(*(field[21:22] for field in dense(np.random.default_rng([28, 10]), COUNT)))
    for q in np.eye(N):
        _, _, distortion, _ = certified_at_slope(case.p, case.d, q[None], np.array([7e-12]))
        masses = [Fraction(mass) for mass in case.p[0].tolist()]
        spent = sum(mass * Fraction(cost) for mass, cost in zip(masses, (case.d[0] @ q).tolist(), strict=True))
        assert spent / sum(masses) <= Fraction(float(distortion[0]))


@jax.jit
@jax.vmap
def certified_at_slope(p, d, q, s):
    problem = make(p, kernels.of(d))
    letters = jnp.arange(len(problem.usable))
    view = View(problem.d.once(problem, letters), letters)
    point = certificate.at_slope(problem, view, q, s * problem.unit)
    return point.rate, point.gap, point.distortion * problem.unit, point.s / problem.unit
