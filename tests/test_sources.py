import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from rdtheory import sources

NAMED = {
    "uniform": (sources.uniform(-1.0, 3.0), stats.uniform(-1, 4)),
    "laplace": (sources.laplace(0.7), stats.laplace(scale=0.7)),
    "gaussian": (sources.gaussian(2.0), stats.norm(scale=2)),
    "exponential": (sources.exponential(3.0), stats.expon(scale=3)),
    "student": (sources.student_t(3.5, 2.0), stats.t(3.5, scale=2)),
    "generalized": (sources.generalized_gaussian(0.7, 1.3), stats.gennorm(0.7, scale=1.3)),
}


@pytest.mark.parametrize("name", NAMED)
def test_densities_are_scipys(name):
    source, law = NAMED[name]
    low, high = max(source.support[0], -20.0), min(source.support[1], 20.0)
    x = np.linspace(low, high, 41)[1:-1]
    np.testing.assert_allclose(source.log_density(x), law.logpdf(x), rtol=1e-12, atol=1e-12)
    assert source.support[0] < source.breaks[0] < source.support[1]


def test_mixture_density_integrates_to_one():
    source = sources.gaussian_mixture(
        jnp.array([0.2, 0.8, 0.0]), jnp.array([-1.0, 2.0, 9.0]), jnp.array([0.1, 1.0, 1.0])
    )
    x = np.array([-1.3, 0.0, 2.5])
    wanted = 0.2 * stats.norm(-1, 0.1).pdf(x) + 0.8 * stats.norm(2, 1).pdf(x)
    np.testing.assert_allclose(np.exp(source.log_density(x)), wanted, rtol=1e-12)
    total = quad(lambda t: np.exp(source.log_density(np.array([t])))[0], -5, 10, points=[-1, 2])[0]
    np.testing.assert_allclose(total, 1, rtol=1e-9)


def test_peak_of_an_own_density_is_found_far_away():
    source = sources.from_log_density(lambda x: -0.5 * ((x - 1000.0) / 0.01) ** 2, (-np.inf, np.inf))
    np.testing.assert_allclose(source.breaks, [1000.0], rtol=1e-6)
    assert 0.005 < source.scale < 0.05


@pytest.mark.parametrize("breaks", [(), (1e9,)])
def test_a_peak_hardly_wider_than_the_rounding_of_its_place_is_found(breaks):
    source = sources.from_log_density(lambda x: -0.5 * ((x - 1e9) / 1e-5) ** 2, (-np.inf, np.inf), breaks)
    assert np.abs(source.breaks - 1e9).max() < 1e-5
    assert 0.5e-5 < source.scale < 5e-5


def test_the_peak_of_a_flat_top_is_not_its_end():
    source = sources.from_log_density(lambda x: np.where(np.abs(x - 0.9) < 1e-3, 5.0, 0.0), (0.0, 1.0))
    np.testing.assert_allclose(source.breaks, [0.9], atol=5e-4)
    np.testing.assert_allclose(source.scale, 1e-3, rtol=0.6)


def test_samples_become_atoms():
    source = sources.from_samples(jnp.array([2.0, 1.0, 2.0, 5.0]))
    assert source.log_density is None
    np.testing.assert_array_equal(source.atoms, [1, 2, 5])
    np.testing.assert_array_equal(source.masses, [0.25, 0.5, 0.25])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sources.uniform(1.0, 1.0), "high must be greater than low"),
        (lambda: sources.uniform(0.0, np.inf), "high must be finite"),
        (lambda: sources.gaussian(0.0), "scale must be > 0"),
        (lambda: sources.laplace(-1.0), "scale must be > 0"),
        (lambda: sources.exponential(np.nan), "scale must be finite"),
        (lambda: sources.student_t(0.0), "dof must be > 0"),
        (lambda: sources.generalized_gaussian(-1.0, 1.0), "shape must be > 0"),
        (lambda: sources.gaussian_mixture([0.5, 0.6], [0.0, 1.0], [1.0, 1.0]), "weights must sum to 1"),
        (lambda: sources.gaussian_mixture([0.5, 0.5], [0.0, 1.0], [1.0, 0.0]), "scales must be > 0"),
        (lambda: sources.from_samples([1.0, np.nan]), "samples must be finite"),
        (lambda: sources.from_log_density(lambda x: x, (1.0, 0.0)), "support must be"),
        (lambda: sources.from_log_density(lambda x: x, (0.0, 1.0), breaks=(2.0,)), "breaks must lie inside"),
        (lambda: sources.from_log_density(lambda x: 0.0, (0.0, 1.0)), "must act elementwise"),
    ],
)
def test_bad_input_is_named(make, message, as_user):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_density_that_is_no_function(as_user):
    with pytest.raises(TypeError, match="log_density must be a function"):
        sources.from_log_density(3.0, (0.0, 1.0))


def test_a_peak_that_is_told_is_kept_though_no_grid_meets_it():
    width = 1e-10

    def log_density(x):
        return np.where(np.abs(x - 0.7730538236899066) < width / 2, np.log(1 / width), 0.0)

    told = sources.from_log_density(log_density, (0.0, 1.0), breaks=(0.7730538236899066,))
    assert 0.01 * width < told.scale < 100 * width
