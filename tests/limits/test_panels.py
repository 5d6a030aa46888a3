"""Panels that resolve a density: their masses are differences of its distribution function."""

import math

import numpy as np
import pytest

from rdtheory import sources
from rdtheory.limits.continuous import law, panels
from rdtheory.limits.continuous.law import in_units, law_of, units_of
from rdtheory.limits.continuous.panels import divide, resolve, rule


def exponential(x):
    return math.log(3) - np.where(x >= 0, x, np.inf)


def test_the_rule_is_exact_for_polynomials():
    left, right = np.array([-1.0, 2.0]), np.array([2.0, 2.5])
    x, w = rule(left, right)
    assert x.shape == w.shape == (2, 16)
    for power in range(32):
        exact = (right ** (power + 1) - left ** (power + 1)) / (power + 1)
        np.testing.assert_allclose((w * x**power).sum(1), exact, rtol=1e-13)


def assert_tiled(panels, edges):
    np.testing.assert_array_equal(panels.left[1:], panels.right[:-1])
    assert (panels.right > panels.left).all()
    assert set(edges) <= {*panels.left, panels.right[-1]}


def test_masses_are_those_of_the_distribution_function():
    edges = np.array([0.0, 1.0, 40.0])
    found = resolve(exponential, edges)
    assert_tiled(found, edges)
    np.testing.assert_allclose(found.mass, np.exp(-found.left) - np.exp(-found.right), rtol=1e-11, atol=1e-17)
    np.testing.assert_allclose(found.log_scale, math.log(3), rtol=1e-14)
    assert found.error < 1e-14
    assert len(found.mass) < 40


@pytest.mark.parametrize("kink", [0.3, 1.0])
def test_a_kink_inside_a_panel_costs_panels_and_no_digits(kink):
    edges = np.array([-40.0, 40.0])
    found = resolve(lambda x: -np.abs(x - kink), edges)
    assert_tiled(found, edges)

    def distribution(x):
        return np.where(x < kink, 0.5 * np.exp(np.minimum(x - kink, 0)), 1 - 0.5 * np.exp(np.minimum(kink - x, 0)))

    missed = np.abs(found.mass - (distribution(found.right) - distribution(found.left))).sum()
    assert missed < 2e-15
    assert found.error < 1e-15
    assert 20 < len(found.mass) < 50


@pytest.mark.parametrize(("pole", "panels"), [(0.0, 110), (1.0, 1500), (-3.0, 1500)])
def test_a_pole_is_approached_as_far_as_numbers_go(pole, panels):
    edges = np.unique([0.0, 1.0, pole])
    with np.errstate(divide="ignore"):
        found = resolve(lambda x: -0.5 * np.log(np.abs(x - pole)), edges)
    assert_tiled(found, edges)
    exact = 2 * math.sqrt(edges[-1] - edges[0])
    missed = abs(math.exp(found.log_scale) / exact - 1)
    assert missed <= found.error < 1e-6
    assert len(found.mass) < panels


@pytest.mark.parametrize("power", [-0.9, -0.98, -0.99])
def test_of_a_steep_pole_no_more_is_missed_than_is_said(power):
    with np.errstate(divide="ignore"):
        found = resolve(lambda x: power * np.log(x), np.array([0.0, 1.0]))
    assert abs(1 - math.exp(found.log_scale) * (1 + power)) <= found.error < 0.01


def test_what_changes_by_less_than_the_noise_is_not_divided(monkeypatch):
    def noisy(x):
        return -(x**2) / 2 + 1e-7 * np.sin(1e9 * x)

    edges = np.array([-6.0, 0.0, 6.0])
    few = resolve(noisy, edges, lambda x: np.full(x.shape, 1e-6))
    assert len(few.mass) < 10
    assert abs(math.exp(few.log_scale) - math.sqrt(2 * math.pi)) < 1e-6
    monkeypatch.setattr(panels, "MOST", 1000)
    for little in (None, lambda x: np.full(x.shape, 1e-9)):
        assert len(resolve(noisy, edges, little).mass) > 500
    smooth = [resolve(lambda x: -(x**2) / 2, edges, off) for off in (None, lambda x: np.zeros(x.shape))]
    np.testing.assert_array_equal(smooth[0].left, smooth[1].left)


def test_no_more_panels_are_made_than_can_be_held(monkeypatch):
    monkeypatch.setattr(panels, "MOST", 64)
    found = resolve(lambda x: 5 * np.sin(1e5 * x), np.array([0.0, 1.0]))
    assert len(found.mass) == 64
    assert found.error > 1e-3


def test_what_is_no_density_is_refused():
    edges = np.array([0.0, 1.0])
    for log_density in (
        lambda x: np.full(x.shape, np.nan),
        lambda x: np.where(x < 0.5, 0.0, np.inf),
        lambda x: np.full(x.shape, -np.inf),
    ):
        with pytest.raises(ValueError, match="must be a finite number or -inf wherever"):
            resolve(log_density, edges)
    seen = []

    def later(x):
        seen.append(x)
        return np.full(x.shape, np.nan if len(seen) > 1 else 0.0)

    with pytest.raises(ValueError, match="NaN somewhere inside"):
        resolve(later, edges)
    with pytest.raises(ValueError, match="finite positive integral"):
        resolve(lambda x: np.zeros(x.shape) if x.size == 16 else np.full(x.shape, -np.inf), edges)


def mass_of(log_density):
    """Of a density on [0, 1], and by how much it may be off."""
    source = sources.from_log_density(log_density, (0.0, 1.0))
    units = units_of(source)
    found = law_of(in_units(source, units), units).panels
    return math.exp(found.log_scale), found.error * math.exp(found.log_scale)


def test_a_jump_next_to_the_end_of_a_panel_is_seen():
    places = [0.7487557250039351, *np.random.default_rng(0).uniform(size=200)]
    for place in places:
        mass, error = mass_of(lambda x, place=place: np.where(x < place, math.log(2), 0.0))
        assert abs(mass - (1 + place)) <= error + 4e-14


@pytest.mark.parametrize("width", [1e-5, 2e-4])
@pytest.mark.parametrize("root", [0, 1])
def test_no_peak_or_hole_is_missed_that_is_wide_enough(root, width):
    """Uniform, or crowded with nodes next to zero: the square of a uniform number."""

    def base(x):
        return root * (math.log(0.5) - 0.5 * np.log(x))

    for place in np.random.default_rng(1).uniform(0.05, 0.95, 12):
        a, b = place - width / 2, place + width / 2
        beneath = math.sqrt(b) - math.sqrt(a) if root else b - a
        for inside, height in ((1.0, -math.log(width)), (0.0, -np.inf)):
            mass, error = mass_of(lambda x, a=a, b=b, height=height: np.where((x > a) & (x < b), height, base(x)))
            assert abs(mass - (1 - beneath + inside)) <= error + 1e-10 < 1e-5


def test_looking_closer_takes_little_memory_and_finds_nothing_where_all_is_smooth(monkeypatch):
    sizes, look, looked = [], law.hidden, []
    monkeypatch.setattr(law, "hidden", lambda *given: looked.append(look(*given)) or looked[-1])
    smooth = [
        (lambda x: -0.5 * np.log(x), (0.0, 1.0)),
        (lambda x: -0.9 * np.log(x), (0.0, 1.0)),
        (lambda x: -(np.abs(x - 0.3) ** 0.3), (-1.0, 1.0)),
        (lambda x: 0.5 * np.sin(1e3 * x), (0.0, 1.0)),
        (lambda x: -2 * np.log1p(x * x), (-np.inf, np.inf)),
        (lambda x: -x - np.exp(-x), (-700.0, np.inf)),
        (lambda x: -(((x - 1e9) / 1e-5) ** 2), (-np.inf, np.inf)),
    ]
    for log_density, support in smooth:
        source = sources.from_log_density(log_density, support)
        watched = source._replace(log_density=lambda x, f=source.log_density: sizes.append(np.size(x)) or f(x))
        units = units_of(source)
        law_of(in_units(watched, units), units)
    assert [found.size for found in looked] == [0] * len(smooth)
    looked.clear()
    sizes.clear()
    mixture = sources.gaussian_mixture(np.array([1.0]), np.array([0.0]), np.array([1.0]))
    law_of(mixture._replace(log_density=lambda x: sizes.append(np.size(x)) or mixture.log_density(x)))
    assert max(sizes) <= panels.AT_A_TIME
    assert sum(sizes) < 100_000


def test_more_than_can_be_found_is_said(monkeypatch):
    monkeypatch.setattr(law, "CLOSER_LOOKS", 1)
    at = (np.arange(300) + 0.5 + 0.2 * np.sin(np.arange(300))) / 300

    def comb(x):
        return np.where(np.abs(x - at[np.clip(x * 300, 0, 299).astype(int)]) < 1e-5, 3.0, 0.0)

    with pytest.raises(ValueError, match="give breaks"):
        mass_of(comb)


def test_pieces_are_equal_and_no_wider_than_asked_for():
    left, right = np.array([0.0, 1.0, 4.0, 4.5]), np.array([1.0, 4.0, 4.5, 5.5])
    a, b = divide(left, right, 0.4)
    np.testing.assert_array_equal(a[1:], b[:-1])
    np.testing.assert_allclose(b - a, np.repeat([1 / 3, 3 / 8, 1 / 4, 1 / 3], [3, 8, 2, 3]), rtol=1e-12)
    assert set(left) <= set(a)
    assert set(right) <= set(b)
    a, b = divide(left, right, np.array([1.0, 1.0, 9.0, 0.5]))
    np.testing.assert_allclose(b - a, [1, 1, 1, 1, 0.5, 0.5, 0.5], rtol=1e-12)
