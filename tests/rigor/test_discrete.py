"""Proofs for discrete sources, against closed forms in mpmath, exact fractions, and what is meant to be caught."""

import random
from fractions import Fraction as F

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from flint import arb, ctx

import rdtheory as rd
from rdtheory import rigor
from rdtheory.rigor import bounds, exact
from tests.problems import erasure_matrix, hamming

mpmath.mp.dps = 60


def entropy(*masses):
    return -sum(
        mpmath.mpf(p.numerator) / p.denominator * mpmath.log(mpmath.mpf(p.numerator) / p.denominator, 2)
        for p in map(F, masses)
        if p
    )


def holds(enclosure, truth):
    """Whether a number known to 50 digits lies in the enclosure, but for its own error."""
    with ctx.workprec(300):
        value = arb(mpmath.nstr(truth, 50)) + arb(0, "1e-48")
        return not enclosure.lower > value and not enclosure.upper < value


CLOSED = [
    (["0.7", "0.3"], [[0, 1], [1, 0]], "0.1", entropy("0.3") + entropy("0.7") - entropy("0.1", "0.9")),
    (["1/2", "1/2"], [[0, 1], [1, 0]], "0.11", 1 - entropy("0.11", "0.89")),
    ([F(1, 6)] * 6, (1 - np.eye(6)).tolist(), "0.5", mpmath.log(6, 2) - 1 - mpmath.log(5, 2) / 2),
    # Erokhin: two letters in use, the third is too rare; and all three
    (
        ["0.5", "0.3", "0.2"],
        (1 - np.eye(3)).tolist(),
        "0.45",
        entropy("0.5", "0.3") - entropy("0.55") - entropy("0.25"),
    ),
    (
        ["0.5", "0.3", "0.2"],
        (1 - np.eye(3)).tolist(),
        "0.05",
        entropy("0.5", "0.3", "0.2") - entropy("0.95") - 2 * entropy("0.025"),
    ),
    # each letter is erased with probability D
    ([F(1, 4)] * 4, [[*(0 if x == y else float("inf") for y in range(4)), 1] for x in range(4)], "0.5", mpmath.mpf(1)),
]


@pytest.mark.fast
@pytest.mark.parametrize(("p", "d", "D", "truth"), CLOSED)
def test_thirty_digits_of_closed_forms(p, d, D, truth):
    found = rigor.rate_at(p, d, D, digits=30)
    assert holds(found, truth)
    assert found.upper - found.lower <= found.upper * arb("1e-30")
    digits = mpmath.mpf(rigor.decimal(found, places=30))
    assert abs(digits - truth) <= mpmath.mpf(10) ** -30


def test_a_solvers_result_is_enclosed():
    for D in (0.01, 0.1, 0.29):
        point = rd.rate_at(np.array([0.7, 0.3]), hamming(2), D)
        lower, upper = rigor.enclose([0.7, 0.3], hamming(2), point)
        p, D = F(0.3) / (F(0.7) + F(0.3)), F(D)
        assert holds(rigor.Enclosure(lower, upper), entropy(p, 1 - p) - entropy(D, 1 - D))
        assert float(upper - lower) < 2e-9 and lower.is_exact() and upper.is_exact()
        assert float(lower) <= float(point.rate) and float(point.rate - point.gap) <= float(upper)


def test_masses_are_divided_by_their_exact_sum():
    with ctx.workprec(200):
        problem = exact.problem(np.array([0.1, 0.2, 0.7]), np.zeros((3, 1)))
        assert sum(problem.source) == 1
        assert problem.source[0] / problem.source[1] == exact.rational("", 0.1) / exact.rational("", 0.2)
        thirds = exact.problem(["1/3", "1/3", F(1, 3)], [[0], ["0.1"], [1]])
    assert [str(p) for p in thirds.source] == ["1/3"] * 3 and str(thirds.least) == "11/30"


def test_the_global_precision_is_left_alone():
    before = ctx.prec
    rigor.rate_at(["1/2", "1/2"], [[0, 1], [1, 0]], "0.2")
    with pytest.raises(ValueError, match="distortion must be finite"):
        rigor.rate_at(["1/2", "1/2"], [[0, 1], [1, 0]], "inf")
    assert ctx.prec == before


@pytest.mark.parametrize(
    ("D", "truth"),
    [("1/10", entropy("0.7", "0.3")), ("1/2", 0), ("1", 0), ("1e9", 0)],
)
def test_at_the_ends_and_beyond(D, truth):
    """D_min = 1/10, D_max = 1/10 + 3/10, and a letter that is never there."""
    d = [["0.1", "1.1"], ["1.1", "0.1"], [float("inf"), float("inf")]]
    found = rigor.rate_at(["0.7", "0.3", 0], d, D)
    assert holds(found, mpmath.mpf(truth))
    assert found.upper - found.lower < arb("1e-30")


def test_below_the_least_distortion_is_an_error_that_says_by_how_much():
    with pytest.raises(
        ValueError, match="at least the least distortion of this problem, about 0.1, and is 1e-30 below"
    ):
        rigor.rate_at(["0.7", "0.3"], [["0.1", 1], [1, "0.1"]], F(1, 10) - F(1, 10**30))


def test_entries_near_the_smallest_float():
    tiny = 5e-324
    d = np.array([[0.0, 1.0], [1.0, 0.0], [1e-320, 1.0]])
    p = np.array([1 - 2**-53, 0.0, 1e-320])
    found = rigor.rate_at(p, d, 1e-3)
    assert found.lower >= 0 and found.upper < arb("1e-3")
    point = rd.rate_at(np.array([0.5, 0.5]), hamming(2), 0.2)
    scaled = point._replace(distortion=jnp.asarray(0.0), slope=jnp.asarray(jnp.inf))
    assert holds(rigor.enclose([0.5, 0.5], hamming(2) * tiny, scaled), mpmath.mpf(1))


def test_ties_and_letters_that_are_the_same():
    p, d = ["0.7", "0.3"], [[0, 1, 0, 1, 1], [1, 0, 1, 0, 0]]
    assert holds(rigor.rate_at(p, d, "0.1"), entropy("0.7", "0.3") - entropy("0.1", "0.9"))
    found = rigor.rate_at(["1/2", "1/2"], [[0, 1, "1/5"], [1, 0, "1/5"]], "3/20")  # on a straight piece
    assert found.upper - found.lower < arb("1e-30")
    line = [rigor.rate_at(["1/2", "1/2"], [[0, 1, "1/5"], [1, 0, "1/5"]], D).lower for D in ("1/10", "1/5")]
    with ctx.workprec(150):
        assert abs((line[0] + line[1]) / 2 - found.lower) < arb("1e-30")


def test_a_corrupted_candidate_still_yields_what_is_true():
    p, d, D = np.array([0.5, 0.3, 0.2]), np.abs(np.arange(3.0)[:, None] - np.arange(4.0) * 0.7), 0.3
    truth = rigor.rate_at(p, d, D)
    point = rd.rate_at(p, d, D)
    rng = np.random.default_rng(0)
    for _ in range(60):
        q = np.asarray(point.reproduction_pmf) * 10.0 ** rng.uniform(-30, 30, 4) ** rng.integers(0, 2)
        q[rng.integers(4)] = rng.choice([0.0, np.nan, -1.0, np.inf, 1e-320, 1e300])
        s = (
            float(point.slope) * 10.0 ** rng.uniform(-3, 3)
            if rng.integers(2)
            else rng.choice([0.0, -1, np.inf, np.nan])
        )
        lower, upper = rigor.enclose(p, d, point._replace(reproduction_pmf=jnp.asarray(q), slope=jnp.asarray(s)))
        assert lower <= truth.upper and upper >= truth.lower


def test_a_bound_without_outward_rounding_is_caught(monkeypatch):
    """The same sums in the midpoints of balls of few bits are false somewhere; with their radii they never are."""
    random.seed(1)
    problems = []
    for _ in range(12):
        a = F(random.randint(20, 50), 100)
        problems.append((a, a * F(random.randint(5, 90), 100)))

    def false(precision):
        wrong = 0
        for a, D in problems:
            with ctx.workprec(precision):
                problem = exact.problem([a, 1 - a], [[0, 1], [1, 0]])
                target = exact.rational("", D)
                q = (a - D) / (1 - 2 * D)
                s = float(mpmath.log((1 - D) / D, 2)) if D else None
                weights = [arb(exact.rational("", value)) for value in (q, 1 - q)]
                found = bounds.of_candidate(problem, bounds.Candidate(weights, arb(s)), target)
            wrong += not holds(rigor.Enclosure(*found), entropy(a, 1 - a) - entropy(D, 1 - D))
        return wrong

    assert false(24) == 0
    true = bounds.summed

    def rounded(problem, candidate):
        sums = true(problem, candidate)
        return sums._replace(
            kernel=sums.kernel.mid(),
            log_partition=sums.log_partition.mid(),
            columns=[value.mid() for value in sums.columns],
            ratios=sums.ratios.mid(),
        )

    monkeypatch.setattr(bounds, "summed", rounded)
    monkeypatch.setattr(bounds, "_ln2", lambda: arb.const_log2().mid())
    assert false(24) > 0


def brute_force(p, d, D, steps):
    """Fewest bits among all channels of two rows and two columns whose entries are multiples of 1/steps."""
    best = np.inf
    for i in range(steps + 1):
        for j in range(steps + 1):
            Q = np.array([[i, steps - i], [j, steps - j]]) / steps
            if (p[:, None] * Q * d).sum() <= D:
                r = p @ Q
                with np.errstate(all="ignore"):
                    best = min(best, np.nansum(p[:, None] * Q * np.log2(Q / r)))
    return best


def test_small_problems_lie_below_every_channel():
    rng = np.random.default_rng(3)
    for _ in range(6):
        a = float(rng.integers(1, 8)) / 8
        p, d = np.array([a, 1 - a]), rng.integers(0, 9, (2, 2)) / 8
        least, free = (p * d.min(axis=1)).sum(), (p @ d).min()
        D = least + 0.4 * (free - least)
        found = rigor.rate_at(p, d, D, digits=20)
        best = brute_force(p, d, D, 128)
        assert float(found.lower) <= best + 1e-12
        assert best - float(found.upper) < 0.05
        assert found.upper - found.lower <= arb("1e-20") * found.upper


def test_errors_name_the_argument(as_user):
    p, d = [0.5, 0.5], [[0, 1], [1, 0]]
    for arguments, message in [
        (([0.5, 0.4], d, 0.1), "source_pmf must sum to 1"),
        (([0.5, "half"], d, 0.1), "source_pmf must be a real number"),
        ((p, [[0, 1]], 0.1), "distortion_matrix must have 2 rows"),
        ((p, [[0, -1], [1, 0]], 0.1), "distortion_matrix must be >= 0"),
        ((p, [[0, float("nan")], [1, 0]], 0.1), "distortion_matrix must be a real number"),
        ((p, d, -1), "distortion must be finite and >= 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            rigor.rate_at(*arguments)
    with pytest.raises(ValueError, match="one point"):
        rigor.enclose(p, d, rd.curve(p, d, [1.0, 2.0]))
    with pytest.raises(TypeError, match="nested lists"):
        rigor.rate_at(p, rd.distortion.grid(jnp.array([0.0, 1.0])), 0.1)


def test_digits_are_within_one_unit_of_the_last():
    with ctx.workprec(100):
        third = rigor.Enclosure((arb(1) / 3 - arb("1e-9")).lower(), (arb(1) / 3 + arb("1e-9")).upper())
        assert rigor.decimal(third) == "0.33333333"
        assert rigor.decimal(third, places=3) == "0.333"
        assert rigor.decimal(rigor.Enclosure(arb(0), arb(0))) == "0"
        assert rigor.decimal(rigor.Enclosure(arb(0), arb("inf"))) == "inf"
        assert rigor.decimal(rigor.Enclosure(arb(1), arb(9))) == "?"


def test_erasure_of_a_biased_source_where_a_letter_is_just_given_up():
    """At D = 0.3 the rarest letter is always erased, and only just: no mass, and c = 1."""
    found = rigor.rate_at(["0.6", "0.3", "0.1"], [[repr(v) for v in row] for row in erasure_matrix(3).tolist()], "0.3")
    truth = entropy("0.6", "0.3", "0.1") - 3 * entropy("0.1") + entropy("0.3")
    assert holds(found, truth) and found.upper - found.lower < arb("1e-30")


@pytest.mark.long
def test_hundreds_of_letters():
    rng = np.random.default_rng(0)
    p, d = rng.dirichlet(np.ones(200)), rng.random((200, 200))
    found = rigor.rate_at(p, d, 0.1)
    assert found.upper - found.lower <= arb("1e-30") * found.upper
    point = rd.rate_at(p, d, 0.1, tol=1e-12)
    lower, upper = rigor.enclose(p, d, point)
    assert lower <= found.upper and found.lower <= upper and float(upper - lower) < 1e-11
