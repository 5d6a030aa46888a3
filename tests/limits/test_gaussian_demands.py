import math

import jax
import numpy as np
import pytest
from scipy import optimize

import rdtheory as rd
from rdtheory import perception
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

LN2 = math.log(2)


def least_rate(sigma, D, constraints):
    """Over the standard deviation of X̂ and its covariance with X, by a general solver from several places."""
    best = math.inf
    for start in ((0.9, 0.6), (0.7, 0.4), (0.99, 0.9)):
        x0 = np.array([start[0] * sigma, start[1] * sigma**2])
        found = optimize.minimize(
            lambda x: -0.5 * math.log2(max(1 - x[1] ** 2 / (sigma * x[0]) ** 2, 1e-12)),
            x0,
            bounds=[(1e-3, 3 * sigma), (0, 9 * sigma**2)],
            constraints=[
                {"type": "ineq", "fun": lambda x: D - sigma**2 - x[0] ** 2 + 2 * x[1]},
                *({"type": "ineq", "fun": one} for one in constraints),
                {"type": "ineq", "fun": lambda x: 0.999999 - x[1] ** 2 / (sigma * x[0]) ** 2},
            ],
            method="SLSQP",
            options={"ftol": 1e-13, "maxiter": 400},
        )
        best = min(best, found.fun) if found.success else best
    return best


@pytest.mark.parametrize("sigma", [1.0, 2.0])
@pytest.mark.parametrize(("D", "P"), [(0.5, 0.0), (0.3, 0.01), (0.3, 0.5), (0.9, 0.05), (1.2, 0.02), (1.9, 0.9)])
def test_gaussian_perception_against_a_general_solver_over_couplings(sigma, D, P):
    v = sigma**2
    found = perception.gaussian(v, v * D, v * P)
    wanted = least_rate(sigma, v * D, [lambda x: math.sqrt(v * P) - abs(sigma - x[0])])
    np.testing.assert_allclose(found.rate, wanted, atol=2e-6)
    s, k = float(found.deviation), float(found.correlation)
    assert v + s**2 - 2 * sigma * s * k <= v * D * (1 + 1e-12)
    assert (sigma - s) ** 2 <= v * P * (1 + 1e-12) + 1e-30
    np.testing.assert_allclose(found.rate, -0.5 * math.log2(1 - k**2), atol=1e-12)


@pytest.mark.parametrize(("D", "bits"), [(0.5, 0.1), (0.5, 0.4), (0.9, 0.0), (1.5, 0.3), (0.05, 0.7)])
def test_gaussian_classification_against_a_general_solver_over_couplings(D, bits):
    rho = 0.8

    def tells(x):
        return -0.5 * math.log2(max(1 - (rho * x[1] / x[0]) ** 2, 1e-12)) - bits  # σ = 1

    found = perception.gaussian_classification(1.0, rho, D, bits)
    np.testing.assert_allclose(found.rate, least_rate(1.0, D, [tells]), atol=2e-6)
    s, k = float(found.deviation), float(found.correlation)
    assert 1 + s**2 - 2 * s * k <= D * (1 + 1e-12) or D >= 1
    assert tells((s if s > 0 else 1.0, s * k)) >= -1e-12


def test_one_gaussian_encoder_serves_every_demand_of_its_rate():
    rng, n, sigma, rate = np.random.default_rng(4), 200_000, 1.5, 0.8
    x, noise, other = rng.normal(size=(3, n))
    kappa = math.sqrt(1 - 2 ** (-2 * rate))
    z = kappa * x + math.sqrt(1 - kappa**2) * noise  # all that is sent
    for D, P in ((0.75, 2.25), (0.95, 0.0), (0.95, 0.05), (1.4, 0.1), (2.0, 0.3)):
        found = perception.gaussian(sigma**2, D, P)
        assert found.rate <= rate, "a demand of the region"
        k = float(found.correlation) / kappa
        shown = float(found.deviation) * (k * z + math.sqrt(1 - k**2) * other)
        assert np.mean((sigma * x - shown) ** 2) <= D + 5 * np.std((sigma * x - shown) ** 2) / math.sqrt(n)
        wasserstein = np.mean((np.sort(sigma * x) - np.sort(shown)) ** 2)
        assert wasserstein <= P + 6e-3


def test_gaussian_ends():
    assert perception.gaussian(1.0, 0.0, 0.0).rate == np.inf
    assert perception.gaussian(0.0, 0.0, 0.0).rate == 0
    assert perception.gaussian(1.0, 2.0, 0.0).rate == 0  # X̂ of its own
    for unit in (1e308, 1e-300):  # whose products are no numbers
        np.testing.assert_allclose(
            perception.gaussian(unit, unit / 10, 0.0).rate, -0.5 * math.log2(1 - 0.95**2), rtol=1e-13
        )
    for D in (0.1, 0.7, 1.3):
        np.testing.assert_allclose(perception.gaussian(1.0, D, 9.0).rate, rd.closed_form.gaussian(1.0, D), atol=1e-14)
        np.testing.assert_allclose(
            perception.gaussian_classification(1.0, 0.3, D, 0.0).rate, rd.closed_form.gaussian(1.0, D), atol=1e-14
        )
    # R(D, 0) is R of half the distortion of MMSE at the same rate: twice the distortion buys realism.
    D = 1e-9
    np.testing.assert_allclose(perception.gaussian(1.0, D, 0.0).rate, -0.5 * math.log2(D), atol=1e-9)
    assert perception.gaussian_classification(1.0, 0.5, 1.0, 0.3).rate == np.inf  # I(S;X) is .2075 bit
    assert perception.gaussian_classification(1.0, 0.0, 1.0, 0.0).rate == 0
    assert perception.gaussian_classification(1.0, 0.0, 1.0, 0.1).rate == np.inf
    assert perception.gaussian_classification(1.0, 1e-200, 0.5, 0.0).rate == 0.5  # whose square is no number
    np.testing.assert_allclose(perception.gaussian_classification(1.0, 1.0, 1.0, 0.3).rate, 0.3, rtol=1e-14)


@pytest.mark.parametrize("p", [0.5, 0.3, 0.9])
def test_bernoulli_against_the_certified_solver(p):
    for D in (0.02, 0.1, 0.25, 0.4, 0.6):
        for P in (0.0, 0.03, 0.2, 1.0):
            found = rd.perception.rate_at(np.array([1 - p, p]), 1 - np.eye(2), D, P)
            exact = perception.bernoulli(p, D, P)
            assert found.rate - found.gap - 1e-12 <= exact <= found.rate + 1e-12, (D, P)
            assert found.gap < 1e-6


def test_two_bits_cost_their_sum_so_that_universality_costs():
    """Demands: the first bit within .1; the second within .2; each alone is cheap, one encoder for both is not."""
    first, second = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    p, d, e = np.full(4, 0.25), *(1.0 * (bit[:, None] != bit[None, :]) for bit in (first, second))
    each = [perception.classification_rate_at(p, d, e, D, E) for D, E in ((0.1, 1.0), (1.0, 0.2))]
    both = perception.classification_rate_at(p, d, e, 0.1, 0.2)
    cost = both.rate - both.gap - max(float(point.rate) for point in each)
    h = [-x * math.log2(x) - (1 - x) * math.log2(1 - x) for x in (0.1, 0.2)]
    assert 1 - h[1] - 1e-7 < cost <= 1 - h[1] + 1e-12


def test_bad_demands():
    with pytest.raises(ValueError, match="perception must be >= 0"):
        perception.gaussian(1.0, 0.1, -0.1)
    with pytest.raises(ValueError, match=r"correlation must be in \[-1, 1\], got 1.5"):
        perception.gaussian_classification(1.0, 1.5, 0.1, 0.1)
    with pytest.raises(ValueError, match="probability must be at most 1"):
        perception.bernoulli(1.1, 0.1, 0.1)


def test_transforms_of_demands():
    v, D, P = np.array([1.0, 2.0, 0.5]), np.array([0.3, 0.1, 0.9]), np.array([0.01, 0.0, 0.1])
    assert_transforms_agree(perception.gaussian, v, D, P)
    assert_transforms_agree(lambda D, b: perception.gaussian_classification(1.0, 0.8, D, b), D, P)
    assert_transforms_agree(lambda D, P: perception.bernoulli(0.3, D, P), D, P)
    assert_only_bad_items_are_nan(perception.gaussian, (v, D, P), (1.0, -1.0, 0.0), 1)


def test_where_all_is_allowed_nothing_is_sent():
    """Optimized as for users: a product fused into a sum is not rounded, and 1 - √P/σ was 3e-17 in place of 0."""
    variances = np.random.default_rng(0).uniform(0.1, 10, 300)
    lowered = jax.jit(jax.vmap(lambda v: perception.gaussian(v, v, v))).lower(variances)
    options = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
    found = lowered.compile(options)(variances)
    assert np.all(found.rate == 0) and np.all(found.correlation == 0)
