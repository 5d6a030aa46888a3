import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from rdtheory import closed_form
from tests import oracles, problems
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

PMFS = np.array([[0.2, 0.4, 0.1, 0.3], [0.25, 0.25, 0.25, 0.25], [0.7, 0.0, 0.2, 0.1], [0.0, 1.0, 0.0, 0.0]])
COV = oracles.random_covariance(np.random.default_rng(0), 3)
DISTORTIONS = np.array([0.0, 1e-12, 0.05, 0.2, 0.31, 0.6, 0.75, 0.9, 1.0, 1.5])


@pytest.mark.parametrize("p", [0.0, 1e-6, 0.11, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("D", DISTORTIONS)
def test_bernoulli_is_entropy_minus_entropy(p, D):
    np.testing.assert_allclose(closed_form.bernoulli(p, D), problems.bernoulli_rate(p)(D), rtol=0, atol=1e-15)


def test_bernoulli_has_the_published_value_at_eleven_percent():
    np.testing.assert_allclose(closed_form.bernoulli(0.5, 0.11), 0.5, atol=1e-4)  # Cover & Thomas: capacity one half


@pytest.mark.parametrize("letters", [2, 3, 6, 100])
@pytest.mark.parametrize("D", DISTORTIONS)
def test_uniform_hamming_is_the_die(letters, D):
    wanted = problems.die_rate(letters)(D)
    np.testing.assert_allclose(closed_form.uniform_hamming(letters, D), wanted, rtol=0, atol=1e-14)
    np.testing.assert_allclose(closed_form.hamming(np.full(letters, 1 / letters), D), wanted, rtol=0, atol=1e-13)


def test_one_letter_costs_nothing():
    assert closed_form.uniform_hamming(1, 0.0) == 0
    assert closed_form.hamming(np.ones(1), 0.0) == 0
    assert closed_form.erasure(np.ones(1), 0.0) == 0


@pytest.mark.parametrize("item", range(4))
@pytest.mark.parametrize("D", DISTORTIONS)
def test_hamming_is_erokhins_formula(item, D):
    wanted = problems.erokhin_rate(PMFS[item])(D)
    np.testing.assert_allclose(closed_form.hamming(PMFS[item], D), wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("item", range(4))
@pytest.mark.parametrize("D", DISTORTIONS)
def test_erasure_spreads_the_erased_mass_evenly(item, D):
    wanted = problems.erasure_rate(PMFS[item])(D)
    np.testing.assert_allclose(closed_form.erasure(PMFS[item], D), wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("form", "matrix", "D", "width"),
    [
        (closed_form.hamming, problems.hamming(4), 0.1, 1e-6),
        (closed_form.hamming, problems.hamming(4), 0.35, 1e-6),
        (closed_form.hamming, problems.hamming(4), 0.55, 1e-6),
        # Up to D = 0.4 the curve is a line, of one critical slope where the gap shrinks like 1/steps.
        (closed_form.erasure, problems.erasure_matrix(4), 0.1, 1e-3),
        (closed_form.erasure, problems.erasure_matrix(4), 0.5, 1e-6),
        (closed_form.erasure, problems.erasure_matrix(4), 0.9, 1e-6),
    ],
)
def test_blahut_arimoto_in_numpy_certifies_the_formula(form, matrix, D, width):
    lower, upper = oracles.rate_at(PMFS[0], matrix, D, bisections=40, steps=1500)
    assert lower - 1e-13 <= form(PMFS[0], D) <= upper + 1e-13
    assert upper - lower < width


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 7.0])
@pytest.mark.parametrize("D", [1e-6, 0.5, 1.0, 10.0])
def test_scalar_continuous_sources(scale, D):
    wanted = np.log2(scale / D) if scale > D else 0.0
    np.testing.assert_allclose(closed_form.gaussian(scale, D), wanted / 2, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(closed_form.laplacian(scale, D), wanted, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(closed_form.exponential(scale, D), wanted, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(
    ("form", "density", "noise_entropy", "ends"),
    [
        (
            closed_form.gaussian,
            lambda x: np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
            lambda D: 0.5 * np.log2(2 * np.pi * np.e * D),
            (-30, 30),
        ),
        (closed_form.laplacian, lambda x: np.exp(-abs(x)) / 2, lambda D: np.log2(2 * np.e * D), (-200, 200)),
        (closed_form.exponential, lambda x: np.exp(-x), lambda D: np.log2(np.e * D), (0, 200)),
    ],
)
def test_continuous_formulas_are_shannons_bound_with_the_entropy_integrated_numerically(
    form, density, noise_entropy, ends
):
    def term(x):
        return -density(x) * np.log2(density(x))

    entropy, _ = quad(term, *ends, points=[0] if ends[0] < 0 else None, limit=200, epsabs=1e-12)
    for D in [0.01, 0.3, 0.99]:
        np.testing.assert_allclose(form(1.0, D), entropy - noise_entropy(D), rtol=0, atol=1e-9)


@pytest.mark.parametrize("D", [1e-3, 0.3, 0.99])
def test_the_output_of_a_laplacian_is_the_quotient_of_characteristic_functions(D):
    b, t = 1.7, np.geomspace(0.01, 100, 20)
    zeros, scale = closed_form.laplacian_output(b, D)
    output = zeros + (1 - zeros) / (1 + (scale * t) ** 2)
    np.testing.assert_allclose(output / (1 + (D * t) ** 2), 1 / (1 + (b * t) ** 2), rtol=1e-12)
    np.testing.assert_allclose(zeros, 4 ** -closed_form.laplacian(b, D), rtol=1e-13)


def test_a_laplacian_of_which_nothing_is_described_is_all_zeros():
    for b, D in ((1.0, 1.0), (1.0, 3.0), (0.0, 0.5), (0.0, 0.0)):
        assert closed_form.laplacian_output(b, D).zeros == 1
    assert closed_form.laplacian_output(1.0, 0.0).zeros == 0


def test_a_continuous_source_without_error_needs_an_infinite_rate_unless_it_is_constant():
    for form in [closed_form.gaussian, closed_form.laplacian, closed_form.exponential]:
        assert form(1.0, 0.0) == np.inf
        assert form(0.0, 0.0) == 0
    assert closed_form.vector_gaussian(np.eye(2), 0.0) == np.inf
    assert closed_form.vector_gaussian(np.zeros((2, 2)), 0.0) == 0


@pytest.mark.parametrize("D", [1e-9, 0.1, 0.5, 1.0, 2.0, 100.0])
def test_vector_gaussian_is_water_filling_over_the_eigenvalues(D):
    wanted, *_ = oracles.reverse_water_filling(np.linalg.eigvalsh(COV), D)
    np.testing.assert_allclose(closed_form.vector_gaussian(COV, D), wanted, rtol=1e-13, atol=1e-13)


def test_vector_gaussian_of_one_component_is_gaussian():
    np.testing.assert_allclose(
        closed_form.vector_gaussian(np.array([[3.0]]), 0.2), closed_form.gaussian(3.0, 0.2), rtol=1e-15
    )


def central(form, x, step=1e-6):
    return (float(form(x + step)) - float(form(x - step))) / (2 * step)


IN_DISTORTION = pytest.mark.parametrize(
    "form",
    [
        functools.partial(closed_form.bernoulli, 0.3),
        functools.partial(closed_form.uniform_hamming, 6),
        functools.partial(closed_form.hamming, PMFS[0]),
        functools.partial(closed_form.hamming, PMFS[2]),
        functools.partial(closed_form.erasure, PMFS[0]),
        functools.partial(closed_form.gaussian, 1.0),
        functools.partial(closed_form.laplacian, 1.0),
        functools.partial(closed_form.exponential, 1.0),
        functools.partial(closed_form.vector_gaussian, COV),
    ],
)


@IN_DISTORTION
@pytest.mark.parametrize("D", [0.03, 0.17])
def test_the_derivative_in_the_distortion_is_a_difference_quotient(form, D):
    # Truncation is step² f'''/6 < 1e-7 and rounding 1e-15/step = 1e-9.
    np.testing.assert_allclose(jax.grad(form)(D), central(form, D), rtol=1e-6)


@IN_DISTORTION
def test_where_the_rate_is_zero_so_is_its_derivative(form):
    beyond = max(10.0, float(np.trace(COV)) + 1)
    for D in (beyond, 1e300):
        assert (form(D), jax.grad(form)(D)) == (0, 0)


@pytest.mark.parametrize(
    ("form", "D"),
    [
        (functools.partial(closed_form.bernoulli, 0.3), 0.3),
        (functools.partial(closed_form.hamming, PMFS[0]), 1 - PMFS[0].max()),
        (functools.partial(closed_form.erasure, PMFS[0]), 1.0),
        (functools.partial(closed_form.gaussian, 1.0), 1.0),
        (functools.partial(closed_form.laplacian, 1.0), 1.0),
        (functools.partial(closed_form.exponential, 1.0), 1.0),
    ],
)
def test_at_the_largest_distortion_that_costs_the_derivative_is_that_to_the_right(form, D):
    assert (form(D), jax.grad(form)(D)) == (0, 0)
    assert jax.grad(form)(D * (1 - 1e-9)) < -0.4


@pytest.mark.parametrize("D", [1.0, 1.5])
def test_where_all_is_erased_nothing_is_left_to_rounding(D):
    pmfs = np.random.default_rng(1).dirichlet(np.ones(4), size=300)
    rate, slope = jax.vmap(lambda p: jax.value_and_grad(closed_form.erasure, argnums=1)(p, D))(pmfs)
    assert not np.any(rate)
    assert not np.any(slope)


@pytest.mark.parametrize("form", [closed_form.gaussian, closed_form.laplacian, closed_form.exponential])
def test_the_derivative_in_the_scale_is_a_difference_quotient(form):
    np.testing.assert_allclose(jax.grad(form)(2.0, 0.3), central(lambda a: form(a, 0.3), 2.0), rtol=1e-7)


def test_the_derivative_of_bernoulli_in_the_probability_is_a_difference_quotient():
    for p in [0.3, 0.8]:
        wanted = central(lambda p: closed_form.bernoulli(p, 0.1), p)
        np.testing.assert_allclose(jax.grad(closed_form.bernoulli)(p, 0.1), wanted, rtol=1e-7)


@pytest.mark.parametrize(
    ("form", "batch"),
    [
        (closed_form.bernoulli, np.array([0.0, 0.3, 0.5, 0.9])),
        (closed_form.hamming, PMFS),
        (closed_form.erasure, PMFS),
        (closed_form.gaussian, np.array([0.0, 0.3, 0.5, 4.0])),
        (closed_form.laplacian, np.array([0.0, 0.3, 0.5, 4.0])),
        (closed_form.laplacian_output, np.array([0.0, 0.3, 0.5, 4.0])),
        (closed_form.exponential, np.array([0.0, 0.3, 0.5, 4.0])),
        (closed_form.vector_gaussian, np.stack([COV, 2 * COV, np.eye(3), np.zeros((3, 3))])),
    ],
)
def test_jit_and_vmap_change_nothing_and_an_invalid_item_is_nan(form, batch):
    Ds = np.array([0.1, 0.25, 0.4, 0.05])
    assert_transforms_agree(form, batch, Ds)
    for bad in [-1.0, np.nan]:
        assert_only_bad_items_are_nan(form, [batch, Ds], [batch[1], bad], 1)
        assert_only_bad_items_are_nan(form, [batch, Ds], [np.full_like(batch[1], bad), Ds[1]], 1)


def test_uniform_hamming_under_jit_and_vmap():
    assert_transforms_agree(functools.partial(closed_form.uniform_hamming, 5), np.array([0.0, 0.1, 0.8, 2.0]))


@pytest.mark.parametrize(
    ("form", "first", "message"),
    [
        (closed_form.bernoulli, -0.1, "probability must be >= 0"),
        (closed_form.bernoulli, 1.1, "probability must be at most 1"),
        (closed_form.bernoulli, np.nan, "probability"),
        (closed_form.uniform_hamming, 0, "letters must be a whole number, at least 1"),
        (closed_form.uniform_hamming, 2.5, "letters must be a whole number, at least 1"),
        (closed_form.hamming, [0.5, 0.6], "source_pmf must sum to 1"),
        (closed_form.hamming, [[0.5, 0.5]], "source_pmf must be a vector"),
        (closed_form.erasure, [1.5, -0.5], "source_pmf must be >= 0"),
        (closed_form.gaussian, -1.0, "variance must be >= 0"),
        (closed_form.gaussian, [1.0], "variance must be a scalar"),
        (closed_form.laplacian, np.inf, "scale must be >= 0 and finite"),
        (closed_form.laplacian_output, -1.0, "scale must be >= 0 and finite"),
        (closed_form.exponential, -1.0, "mean must be >= 0"),
        (closed_form.vector_gaussian, [[1.0, 2.0], [2.0, 1.0]], "covariance must be positive semidefinite"),
        (closed_form.vector_gaussian, [[1.0, 0.5], [0.0, 1.0]], "covariance must be symmetric"),
        (closed_form.vector_gaussian, [[1.0, 0.5]], "covariance must be square"),
    ],
)
def test_what_is_wrong_is_named(as_user, form, first, message):
    with pytest.raises(ValueError, match=message):
        form(first, 0.1)


@pytest.mark.parametrize(
    ("form", "first"),
    [
        (closed_form.bernoulli, 0.5),
        (closed_form.uniform_hamming, 6),
        (closed_form.hamming, PMFS[0]),
        (closed_form.erasure, PMFS[0]),
        (closed_form.gaussian, 1.0),
        (closed_form.laplacian, 1.0),
        (closed_form.exponential, 1.0),
        (closed_form.vector_gaussian, COV),
    ],
)
@pytest.mark.parametrize("D", [-1e-9, np.nan, jnp.array([-0.1])])
def test_a_wrong_distortion_is_named(as_user, form, first, D):
    with pytest.raises(ValueError, match="distortion must be"):
        form(first, D)
