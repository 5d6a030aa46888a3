"""Proofs for densities, against closed forms, FLINT's own quadrature, and the solver in float64."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from flint import acb, arb, arb_poly, ctx

import rdtheory as rd
from rdtheory import rigor
from rdtheory.rigor import continuous, exact, moments
from rdtheory.rigor.moments import Law

mpmath.mp.dps = 40


def test_a_gaussian_has_its_closed_form():
    found = rigor.continuous_rate_at(rigor.gaussian_mixture([1], [3], [2]), "1/4", digits=25)
    assert found.lower <= 2 <= found.upper and found.upper - found.lower < arb("1e-24")


def test_shannons_bound_of_a_mixture_is_its_entropy_by_another_quadrature():
    found = rigor.continuous_rate_at(rigor.gaussian_mixture(["1/4", "3/4"], [-1, 1], ["1/2", "1"]), "0.2", digits=15)

    def density(x):
        return mpmath.npdf(x, -1, mpmath.mpf(1) / 2) / 4 + mpmath.npdf(x, 1, 1) * 3 / 4

    entropy = -mpmath.quad(lambda x: density(x) * mpmath.log(density(x)), [-12, -3, -1, 1, 3, 14])
    truth = (entropy - mpmath.log(2 * mpmath.pi * mpmath.e / 5) / 2) / mpmath.log(2)
    assert abs(mpmath.mpf(rigor.decimal(found)) - truth) < 1e-14
    assert found.upper - found.lower < arb("1e-14")


@pytest.mark.fast
@pytest.mark.parametrize(
    ("density", "source", "D"),
    [
        (lambda: rigor.uniform(-1, 1), lambda: rd.sources.uniform(-1.0, 1.0), "1/12"),
        (lambda: rigor.uniform(0, "1/2"), lambda: rd.sources.uniform(0.0, 0.5), "0.001"),
        (
            lambda: rigor.gaussian_mixture(["0.3", "0.7"], [-1, 1], ["0.3", "0.5"]),
            lambda: rd.sources.gaussian_mixture(*np.array([[0.3, 0.7], [-1.0, 1.0], [0.3, 0.5]])),
            "0.3",
        ),
    ],
)
def test_ten_digits_that_agree_with_the_solver(density, source, D):
    found = rigor.continuous_rate_at(density(), D)
    assert found.upper - found.lower <= arb("1e-10")
    other = rd.continuous.rate_at(source(), float(Fraction(D)), tol=1e-8)
    assert float(found.lower) <= float(other.upper) + 1e-15 and float(other.lower) <= float(found.upper) + 1e-15


def test_zero_rate_and_no_rate():
    assert rigor.decimal(rigor.continuous_rate_at(rigor.laplace(1), 2)) == "0"
    with pytest.raises(ValueError, match="distortion must be > 0"):
        rigor.continuous_rate_at(rigor.uniform(0, 1), 0)
    with pytest.raises(ValueError, match="digits must be at most 11"):
        rigor.continuous_rate_at(rigor.uniform(0, 1), "0.01", digits=12)
    for make, message in [
        (lambda: rigor.uniform(1, 1), "high must be greater"),
        (lambda: rigor.laplace(0), "scale must be > 0"),
        (lambda: rigor.gaussian_mixture([1], [0], [1, 2]), "as many"),
        (lambda: rigor.gaussian_mixture(["0.5"], [0], [1]), "sum to 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()


@pytest.fixture
def law():
    with ctx.workprec(120):
        yield Law([arb("-0.6"), arb("0.05"), arb("0.5")], [arb("0.4"), arb("0.2"), arb("0.4")], arb(5))


def test_moments_are_those_of_flints_quadrature(law):
    density = rigor.laplace("0.7")
    low, high = exact.rational("", -3), exact.rational("", "2.5")
    panels = moments.panels(density, law, low, high, 20)
    for y in (arb("0.3"),):
        found = moments.moments(panels, law, y, 4)
        for k in (0, 3):
            truth = sum(
                (
                    acb.integral(
                        lambda x, _, f=piece, k=k, y=y: (
                            f(x) / moments.partition(law, x) * (-law.beta * (x - y) ** 2).exp() * (x - y) ** k
                        ),
                        acb(arb(a)),
                        acb(arb(b)),
                    ).real
                    for piece, a, b in moments.spans(density, low, high)
                ),
                arb(0),
            )
            assert found[k].overlaps(truth) and found[k].rad() < arb("1e-15")


def test_the_supremum_is_above_every_value_and_near_the_greatest(law):
    density = rigor.uniform(-1, 1)
    low, high = exact.rational("", -1), exact.rational("", 1)
    panels = moments.panels(density, law, low, high, 20)
    found = moments.supremum(panels, law, low, high, 12)
    seen = max(float(moments.moments(panels, law, arb(float(y)), 1)[0]) for y in np.linspace(-1.5, 1.5, 601))
    assert seen <= float(found) <= seen + 1e-4


def test_the_maximum_of_a_polynomial_is_bounded():
    rng = np.random.default_rng(0)
    for _ in range(20):
        coefficients = rng.normal(size=8)
        with ctx.workprec(100):
            found = moments.polynomial_maximum(arb_poly([*map(float, coefficients)]), arb("1e-12"))
        grid = np.polynomial.polynomial.polyval(np.linspace(-1, 1, 4001), coefficients)
        beyond = np.polynomial.polynomial.polyval(np.linspace(-1.0011, 1.0011, 4001), coefficients)
        assert max(grid.max(), 0) <= float(found) + 1e-15
        assert float(found) <= max(beyond.max(), 0) + 1e-5


def test_corrupted_points_still_yield_what_is_true(monkeypatch):
    density, D = rigor.uniform(-1, 1), "0.1"
    truth = rigor.continuous_rate_at(density, D)
    true = continuous.points.proposed

    def worse(*arguments):
        cut = true(*arguments)
        p = cut.points
        moved = p._replace(places=p.places + 0.01, masses=p.masses * np.linspace(0.9, 1.2, len(p.masses)))
        return cut._replace(points=moved._replace(slope=p.slope * 1.05))

    monkeypatch.setattr(continuous.points, "proposed", worse)
    found = rigor.continuous_rate_at(density, D)
    assert found.lower <= truth.upper and truth.lower <= found.upper
    assert found.upper - found.lower > arb("1e-6")

    def no_law(*arguments):
        cut = true(*arguments)
        return cut._replace(points=cut.points._replace(masses=-cut.points.masses))

    monkeypatch.setattr(continuous.points, "proposed", no_law)
    found = rigor.continuous_rate_at(density, D)
    assert found.lower == 0 and not found.upper.is_finite()


@pytest.mark.long
def test_laplace_whose_points_have_no_end():
    found = rigor.continuous_rate_at(rigor.laplace(1), 1)
    other = rd.continuous.rate_at(rd.sources.laplace(1.0), 1.0, tol=1e-6)
    assert found.upper - found.lower <= arb("1e-10")
    assert float(other.lower) <= float(found.upper) and float(found.lower) <= float(other.upper)
