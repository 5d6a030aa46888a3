import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy.linalg import eigvalsh

from rdtheory import linear
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

M = 4
rng = np.random.default_rng(20190610)
WEIGHT_COVS = np.stack([oracles.random_covariance(rng, M) for _ in range(40)])
INPUT_COVS = np.stack([oracles.random_covariance(rng, M) for _ in range(40)])
INPUT_VARIANCES = rng.uniform(0.1, 3.0, size=(40, M))
SHARES = [1e-6, 0.01, 0.1, 0.5, 0.9, 0.999]
ITEMS = pytest.mark.parametrize("item", range(6))


local_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64


def total(weight_cov, input_cov):
    return float(np.trace(weight_cov @ input_cov))


# The exact function --------------------------------------------------------------------------------------------------


@ITEMS
@pytest.mark.parametrize("share", SHARES)
def test_rate_is_water_filling_by_bisection(item, share):
    w, x = WEIGHT_COVS[item], INPUT_COVS[item]
    D = share * total(w, x)
    # The oracle's matrix root loses about 1e-16 / smallest eigenvalue, relative.
    np.testing.assert_allclose(linear.rate(w, x, D).rate, oracles.linear_rate(w, x, D), rtol=1e-10, atol=1e-11)


def test_rate_is_independent_of_the_basis():
    q = np.linalg.qr(rng.normal(size=(M, M)))[0]
    w, x = WEIGHT_COVS[0], INPUT_COVS[0]
    for share in SHARES:
        D = share * total(w, x)
        rotated = linear.rate(q @ w @ q.T, q @ x @ q.T, D)
        np.testing.assert_allclose(rotated.rate, linear.rate(w, x, D).rate, rtol=1e-11, atol=1e-12)


def test_rate_is_independent_of_a_change_of_variables():
    a = rng.normal(size=(M, M)) + 2 * np.eye(M)
    inverse = np.linalg.inv(a)
    w, x = WEIGHT_COVS[1], INPUT_COVS[1]
    D = 0.1 * total(w, x)
    np.testing.assert_allclose(
        linear.rate(a @ w @ a.T, inverse.T @ x @ inverse, D).rate, linear.rate(w, x, D).rate, rtol=1e-9
    )


@pytest.mark.parametrize("scale", [1e-150, 1e-20, 1e20, 1e150])
def test_rate_does_not_depend_on_the_units(scale):
    w, x = WEIGHT_COVS[2], INPUT_COVS[2]
    D = 0.2 * total(w, x)
    wanted = linear.rate(w, x, D).rate
    np.testing.assert_allclose(linear.rate(scale * w, x, scale * D).rate, wanted, rtol=1e-11)
    np.testing.assert_allclose(linear.rate(w, scale * x, scale * D).rate, wanted, rtol=1e-11)


def test_directions_that_do_not_vary_or_are_not_seen_cost_no_rate():
    w, x = np.diag([2.0, 0.0, 3.0, 1.0]), np.diag([1.0, 5.0, 0.0, 4.0])
    for D in [0.01, 1.0, 5.0]:
        result = linear.rate(w, x, D)
        wanted, level, _ = oracles.reverse_water_filling([2.0, 4.0], D)
        np.testing.assert_allclose(result.rate, wanted, rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(result.water_level, level, rtol=1e-13)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_singular_covariances_in_any_basis_have_the_rate_of_their_range(rank):
    low = oracles.random_covariance(rng, M, rank)
    for w, x in [(low, INPUT_COVS[0]), (WEIGHT_COVS[0], low), (low, low)]:
        values, vectors = np.linalg.eigh(low)
        basis = vectors[:, -rank:]
        D = 1e-3 * total(w, x)
        result = linear.rate(w, x, D)
        # Restricted to the range of the singular one by hand: F = basis · √values spans it.
        factor = basis * np.sqrt(values[-rank:])
        inner = factor.T @ (x if w is low else w) @ factor
        wanted, *_ = oracles.reverse_water_filling(np.linalg.eigvalsh(inner), D)
        np.testing.assert_allclose(result.rate, wanted, rtol=1e-9)
        assert np.sum(np.asarray(result.distortions) > 0) == rank


def test_the_trace_is_enough_distortion_for_rate_zero():
    w, x = np.diag([1.0, 2.0]), np.diag([3.0, 0.5])
    for D in [4.0, 4.5, 1e6]:
        assert linear.rate(w, x, D).rate == 0
    for item in range(5):
        w, x = WEIGHT_COVS[item], INPUT_COVS[item]
        np.testing.assert_allclose(linear.rate(w, x, total(w, x)).rate, 0, atol=1e-12)
        assert linear.rate(w, x, 1.001 * total(w, x)).rate == 0


def test_distortion_zero_is_infinite_unless_nothing_must_be_described():
    assert linear.rate(np.eye(2), np.eye(2), 0.0).rate == np.inf
    assert linear.rate(np.zeros((2, 2)), np.eye(2), 0.0).rate == 0
    assert linear.rate(np.eye(2), np.zeros((2, 2)), 0.0).rate == 0
    assert linear.rate(np.diag([1.0, 0.0]), np.diag([0.0, 1.0]), 0.0).rate == 0


# A variance below 1e-32 of the largest is rounding to `rate`, see `component_variances`.
@pytest.mark.parametrize("small", [1e-6, 1e-12, 1e-18, 1e-28])
def test_graded_scales_keep_their_small_components(small):
    w, x = np.diag([1.0, small]), np.eye(2)
    for D in [small * 1e-3, small, 1.5 * small, 0.5]:
        wanted, *_ = oracles.reverse_water_filling([1.0, small], D)
        np.testing.assert_allclose(linear.rate(w, x, D).rate, wanted, rtol=1e-12, err_msg=f"D = {D}")
        bound, *_ = oracles.theorem_one(w, np.ones(2), D)
        np.testing.assert_allclose(linear.lower_bound(w, np.ones(2), D).rate, bound, rtol=1e-12, err_msg=f"D = {D}")


def test_inputs_that_undo_the_scales_of_the_weights_make_them_equal():
    w, x = np.diag([1.0, 1e-18]), np.diag([1.0, 1e18])
    np.testing.assert_allclose(linear.rate(w, x, 0.5).rate, 2.0, rtol=1e-12)
    np.testing.assert_allclose(linear.component_variances(jnp.asarray(w), jnp.asarray(x)), [1.0, 1.0], rtol=1e-12)


@ITEMS
def test_component_variances_are_generalized_eigenvalues(item):
    w, x = WEIGHT_COVS[item], INPUT_COVS[item]
    # Σ_W v = ν Σ_X^{-1} v
    wanted = eigvalsh(w, np.linalg.inv(x))[::-1]
    np.testing.assert_allclose(linear.component_variances(jnp.asarray(w), jnp.asarray(x)), wanted, rtol=1e-8)


# The paper's bound ---------------------------------------------------------------------------------------------------


@ITEMS
@pytest.mark.parametrize("share", SHARES)
def test_lower_bound_is_theorem_one_by_bisection(item, share):
    w, variances = WEIGHT_COVS[item], INPUT_VARIANCES[item]
    D = share * float(np.diag(w) @ variances)
    bits, level, errors = oracles.theorem_one(w, variances, D)
    result = linear.lower_bound(w, variances, D)
    np.testing.assert_allclose(result.rate, bits, rtol=0, atol=1e-11)
    np.testing.assert_allclose(result.water_level, level, rtol=1e-12)
    np.testing.assert_allclose(result.weight_distortions, errors, rtol=1e-12)
    np.testing.assert_allclose(variances @ result.weight_distortions, D, rtol=1e-13)


@functools.cache
def bound_and_rate():
    """At 40 problems and 12 distortions: the bound, the exact rate, the least eigenvalue of Σ_W - diag(D_i)."""
    found = []
    for w, variances in zip(WEIGHT_COVS, INPUT_VARIANCES, strict=True):
        for share in np.geomspace(1e-4, 1.0, 12):
            D = share * float(np.diag(w) @ variances)
            bound = linear.lower_bound(w, variances, D)
            exact = linear.rate(w, np.diag(variances), D)
            margin = np.linalg.eigvalsh(w - np.diag(bound.weight_distortions))[0]
            found.append((float(bound.rate), float(exact.rate), margin))
    return found


def test_the_bound_is_exact_if_and_only_if_the_errors_fit_under_the_covariance():
    tight = loose = 0
    for bound, exact, margin in bound_and_rate():
        assert bound <= exact + 1e-12
        if margin >= 0:
            np.testing.assert_allclose(bound, exact, rtol=0, atol=1e-11)
            tight += 1
        elif margin < -1e-3:
            assert bound < exact - 1e-9
            loose += 1
    assert min(tight, loose) > 100


def test_the_bound_goes_negative_where_the_rate_is_nearly_zero():
    lowest = min(bound for bound, _, _ in bound_and_rate())
    assert lowest < -0.5
    w, variances = np.array([[1.0, 0.9], [0.9, 1.0]]), np.ones(2)
    assert linear.lower_bound(w, variances, 1.99).rate < -1
    assert 0 < linear.rate(w, np.eye(2), 1.99).rate < 0.01


def test_the_bound_is_exact_for_uncorrelated_weights_at_any_distortion():
    for variances, inputs in zip(rng.uniform(0.1, 2, (5, M)), INPUT_VARIANCES[:5], strict=True):
        for share in [*SHARES, 1.0, 1.5]:
            D = share * float(variances @ inputs)
            np.testing.assert_allclose(
                linear.lower_bound(np.diag(variances), inputs, D).rate,
                linear.rate(np.diag(variances), np.diag(inputs), D).rate,
                rtol=1e-12,
                atol=1e-12,
            )


def test_degenerate_weights_in_the_bound():
    inputs = np.array([1.0, 2.0, 0.5])
    known = linear.lower_bound(np.diag([1.0, 0.0, 2.0]), inputs, 0.3).rate
    np.testing.assert_allclose(known, linear.lower_bound(np.diag([1.0, 2.0]), inputs[[0, 2]], 0.3).rate, rtol=1e-14)
    singular = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert linear.lower_bound(singular, inputs, 0.3).rate == -np.inf
    assert linear.lower_bound(np.eye(3), inputs, 0.0).rate == np.inf
    assert linear.lower_bound(np.zeros((3, 3)), inputs, 0.0).rate == 0


def test_an_input_that_never_varies_costs_no_rate():
    result = linear.lower_bound(np.diag([1.0, 2.0]), np.array([1.0, 0.0]), 0.25)
    np.testing.assert_allclose(result.rate, 1.0, rtol=1e-14)
    np.testing.assert_allclose(result.weight_distortions, [0.25, 2.0], rtol=1e-15)
    assert linear.lower_bound(np.eye(2), np.zeros(2), 0.0).rate == 0


# Rounding ------------------------------------------------------------------------------------------------------------


def water_filled(variances, D):
    """The level by taking the smallest first, in whatever arithmetic the variances are."""
    rest, left = D, sorted(variances)
    while len(left) > 1 and left[0] * len(left) < rest:
        rest -= left.pop(0)
    return min(rest / len(left), left[-1])


def exact_rate(w, x, D):
    w, x = mpmath.matrix(w.tolist()), mpmath.matrix(x.tolist())
    values, vectors = mpmath.eigsy(x)
    root = vectors * mpmath.diag([mpmath.sqrt(max(value, 0)) for value in values])
    variances = list(mpmath.eigsy(root.T * w * root, eigvals_only=True))
    level = water_filled(variances, mpmath.mpf(D))
    return sum(mpmath.log(v / level, 2) for v in variances if v > level) / 2


def exact_bound(w, inputs, D):
    variances, inputs = [mpmath.mpf(float(v)) for v in np.diag(w)], [mpmath.mpf(float(v)) for v in inputs]
    level = water_filled([v * x for v, x in zip(variances, inputs, strict=True)], mpmath.mpf(D))
    errors = [min(level / x, v) for v, x in zip(variances, inputs, strict=True)]
    return (mpmath.log(mpmath.det(mpmath.matrix(w.tolist())), 2) - sum(mpmath.log(e, 2) for e in errors)) / 2


def ill_conditioned(condition, spread, seed, dtype):
    """A covariance whose weights have scales as far apart as `spread` says."""
    random = np.random.default_rng(seed)
    q = np.linalg.qr(random.normal(size=(M, M)))[0]
    scales = spread ** random.uniform(-0.5, 0.5, size=M)
    cov = scales[:, None] * ((q * condition ** -np.linspace(0, 1, M)) @ q.T) * scales
    return ((cov + cov.T) / 2).astype(dtype)


@pytest.mark.parametrize(
    ("x64", "condition", "spread", "least", "most"),
    [
        # `least` is an error that is really made: with no allowance the bounds would be false
        (True, 1e2, 1.0, 1e-16, 1e-11),
        (True, 1e10, 1.0, 1e-9, 1e-2),
        (True, 1e10, 1e6, 1e-9, 1e-2),
        (False, 1e2, 1.0, 1e-7, 1e-2),
        (False, 1e7, 1.0, 1e-3, np.inf),
    ],
)
def test_the_stated_rounding_covers_what_is_lost(x64, condition, spread, least, most):
    dtype = np.float64 if x64 else np.float32
    lost, stated = [], []
    for seed in range(6):
        w, x = (ill_conditioned(condition, spread, [seed, one], dtype) for one in (0, 1))
        for share in (1e-6, 0.01, 0.5):
            for function, exact, inputs in (
                (linear.rate, exact_rate, x),
                (linear.rate, exact_rate, np.eye(M, dtype=dtype)),
                (linear.lower_bound, exact_bound, np.diag(x)),
            ):
                D = float(dtype(share * np.trace(w @ (inputs if inputs.ndim == 2 else np.diag(inputs)))))
                with local_x64(x64):
                    found = function(w, inputs, D)
                with mpmath.workdps(50):
                    error = float(abs(mpmath.mpf(float(found.rate)) - exact(w, inputs, D)))
                assert error <= found.rounding, (function.__name__, seed, share)
                lost.append(error)
                stated.append(float(found.rounding))
    assert max(lost) >= least
    assert max(stated) <= most


def test_shannons_bound_less_its_rounding_is_below_the_gaussian_rate():
    exceeded = []
    for seed in range(6):
        w, x = ill_conditioned(10.0, 1.0, [seed, 0], float), ill_conditioned(1e9, 1e3, [seed, 1], float)
        with mpmath.workdps(50):
            entropy = mpmath.log(mpmath.det(mpmath.matrix((2 * np.pi * np.e * w).tolist())), 2) / 2
            for share in (1e-20, 1e-9, 0.1):
                D = share * total(w, x)
                bound = linear.shannon_lower_bound(float(entropy), w, x, D)
                excess = float(mpmath.mpf(float(bound.rate)) - exact_rate(w, x, D))
                assert excess <= bound.rounding
                exceeded.append(excess)
    assert max(exceeded) > 1e-10


def test_what_cannot_be_told_from_zero_has_no_bound_and_does_no_harm_under_water():
    w = np.array([[1.0, 1 - 2.0**-53], [1 - 2.0**-53, 1.0]])
    assert linear.rate(w, np.eye(2), 1e-16).rounding == np.inf
    assert linear.rate(w, np.eye(2), 0.1).rounding < 1e-12
    assert linear.rate(np.zeros((2, 2)), np.eye(2), 0.1).rounding < 1e-12
    assert not np.isnan(linear.rate(np.eye(2), np.eye(2), 0.0).rounding)


# Other priors --------------------------------------------------------------------------------------------------------


def gaussian_entropy(cov):
    return 0.5 * np.linalg.slogdet(2 * np.pi * np.e * cov)[1] / np.log(2)


@ITEMS
def test_shannons_bound_of_a_gaussian_and_uncorrelated_inputs_is_lower_bound(item):
    w, variances = WEIGHT_COVS[item], np.sort(INPUT_VARIANCES[item])
    D = 0.3 * float(np.diag(w) @ variances)
    np.testing.assert_allclose(
        linear.shannon_lower_bound(gaussian_entropy(w), w, np.diag(variances), D).rate,
        linear.lower_bound(w, variances, D).rate,
        rtol=0,
        atol=1e-11,
    )


@ITEMS
@pytest.mark.parametrize("share", SHARES)
def test_shannons_bound_is_at_most_the_gaussian_rate(item, share):
    w, x = WEIGHT_COVS[item], INPUT_COVS[item]
    D = share * total(w, x)
    exact = linear.rate(w, x, D).rate
    gaussian = linear.shannon_lower_bound(gaussian_entropy(w), w, x, D).rate
    assert gaussian <= exact + 1e-11
    # Independent uniform weights W = A U with A Aᵀ = Σ_W, Var U_i = 1: h = log|det A| + M log √12.
    uniform = 0.5 * np.linalg.slogdet(w)[1] / np.log(2) + M * 0.5 * np.log2(12)
    assert linear.shannon_lower_bound(uniform, w, x, D).rate < gaussian


def test_shannons_bound_at_low_distortion_is_exact_for_a_gaussian():
    w, x = WEIGHT_COVS[3], INPUT_COVS[3]
    D = 1e-6 * total(w, x)
    np.testing.assert_allclose(
        linear.shannon_lower_bound(gaussian_entropy(w), w, x, D).rate, linear.rate(w, x, D).rate, rtol=1e-10
    )


def test_shannons_bound_is_below_what_a_uniform_quantizer_of_uniform_weights_needs():
    # 2^k cells of a uniform weight on [-1, 1] cost k bits and leave a squared error of (2/2^k)²/12.
    for k in range(1, 12):
        D = (2 / 2**k) ** 2 / 12
        bound = linear.shannon_lower_bound(1.0, np.eye(1) / 3, np.eye(1), D).rate
        assert bound <= k
        np.testing.assert_allclose(k - bound, 0.5 * np.log2(2 * np.pi * np.e / 12), rtol=0, atol=1e-12)


# Derivatives ---------------------------------------------------------------------------------------------------------

SYMMETRIC = [np.outer(a, b) + np.outer(b, a) for a, b in rng.normal(size=(3, 2, M))]
DIFFERENTIABLE = [
    ("random", WEIGHT_COVS[0], INPUT_COVS[0], 0.2),
    ("all components used", WEIGHT_COVS[0], INPUT_COVS[0], 1e-3),
    ("repeated eigenvalues", np.eye(M), np.eye(M), 0.5),
    ("two equal pairs", np.diag([2.0, 2.0, 1.0, 1.0]), np.eye(M), 0.3),
    ("only the larger pair used", np.diag([5.0, 5.0, 1.0, 1.0]), np.eye(M), 0.7),
]


of_rate = jax.jit(jax.grad(lambda *arguments: linear.rate(*arguments).rate, argnums=(0, 1, 2)))
of_bound = jax.jit(jax.grad(lambda *arguments: linear.lower_bound(*arguments).rate, argnums=(0, 1, 2)))


@pytest.mark.parametrize(("w", "x", "share"), [case[1:] for case in DIFFERENTIABLE], ids=[c[0] for c in DIFFERENTIABLE])
@pytest.mark.parametrize("direction", SYMMETRIC)
def test_the_derivatives_of_rate_are_difference_quotients(w, x, share, direction):
    D, step = share * total(w, x), 1e-6

    def rate(w, x, D):
        return float(linear.rate(w, x, D).rate)

    gradients = of_rate(w, x, D)
    by_w = (rate(w + step * direction, x, D) - rate(w - step * direction, x, D)) / (2 * step)
    by_x = (rate(w, x + step * direction, D) - rate(w, x - step * direction, D)) / (2 * step)
    by_D = (rate(w, x, D * (1 + step)) - rate(w, x, D * (1 - step))) / (2 * step * D)
    # Second-order truncation 1e-12 times third derivatives of up to 1/λ_min³ ~ 1e4; rounding 1e-15/step.
    np.testing.assert_allclose(np.sum(gradients[0] * direction), by_w, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(np.sum(gradients[1] * direction), by_x, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(gradients[2], by_D, rtol=1e-7)
    np.testing.assert_allclose(gradients[2], -1 / (2 * float(linear.rate(w, x, D).water_level) * np.log(2)), rtol=1e-11)


@pytest.mark.parametrize(
    ("w", "share"),
    [(WEIGHT_COVS[0], 0.2), (WEIGHT_COVS[0], 0.01), (np.eye(M), 0.5), (np.diag([2.0, 2.0, 1.0, 1.0]), 0.8)],
    ids=["random", "small distortion", "equal", "two equal pairs"],
)
@pytest.mark.parametrize("direction", SYMMETRIC)
def test_the_derivatives_of_the_lower_bound_are_difference_quotients(w, share, direction):
    variances, step = INPUT_VARIANCES[0], 1e-6
    D = share * float(np.diag(w) @ variances)

    def bound(w, variances, D):
        return float(linear.lower_bound(w, variances, D).rate)

    gradients = of_bound(w, variances, D)
    by_w = (bound(w + step * direction, variances, D) - bound(w - step * direction, variances, D)) / (2 * step)
    by_inputs = oracles.central_difference(lambda x: bound(w, x, D), variances, step)
    by_D = (bound(w, variances, D * (1 + step)) - bound(w, variances, D * (1 - step))) / (2 * step * D)
    np.testing.assert_allclose(np.sum(gradients[0] * direction), by_w, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(gradients[1], by_inputs, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(gradients[2], by_D, rtol=1e-7)


def test_the_derivatives_of_shannons_bound_are_difference_quotients():
    w, x, step = WEIGHT_COVS[0], INPUT_COVS[0], 1e-6
    D = 0.2 * total(w, x)

    def bound(h, D):
        return linear.shannon_lower_bound(h, w, x, D).rate

    by_h, by_D = jax.grad(bound, argnums=(0, 1))(1.0, D)
    np.testing.assert_allclose(by_h, 1, rtol=1e-14)
    np.testing.assert_allclose(by_D, (bound(1.0, D + step) - bound(1.0, D - step)) / (2 * step), rtol=1e-7)


def test_derivatives_at_singular_covariances_are_finite():
    w, x = jnp.diag(jnp.array([1.0, 0.0, 2.0, 0.0])), jnp.diag(jnp.array([0.0, 1.0, 1.0, 0.0]))
    for gradient in jax.grad(lambda w, x, D: linear.rate(w, x, D).rate, argnums=(0, 1, 2))(w, x, 0.5):
        assert jnp.isfinite(gradient).all()


# Transformations and errors ------------------------------------------------------------------------------------------

DS = np.array([0.1, 0.5, 2.0])
BATCH = {
    "rate": [WEIGHT_COVS[:3], INPUT_COVS[:3], DS],
    "lower_bound": [WEIGHT_COVS[:3], INPUT_VARIANCES[:3], DS],
    "shannon_lower_bound": [np.array([0.0, 1.0, 2.0]), WEIGHT_COVS[:3], INPUT_COVS[:3], DS],
}
INDEFINITE, ASYMMETRIC = np.diag([1.0, 1.0, 1.0, -1.0]), np.triu(np.ones((M, M)))


@pytest.mark.parametrize("function", list(BATCH))
def test_jit_and_vmap_change_nothing(function):
    assert_transforms_agree(getattr(linear, function), *BATCH[function], rtol=1e-11)


def test_jit_and_vmap_change_no_component_variances():
    assert_transforms_agree(
        linear.component_variances, jnp.asarray(WEIGHT_COVS[:3]), jnp.asarray(INPUT_COVS[:3]), rtol=1e-11
    )


@pytest.mark.parametrize(
    ("function", "argument", "bad"),
    [
        ("rate", 0, INDEFINITE),
        ("rate", 0, ASYMMETRIC),
        ("rate", 0, np.full((M, M), np.nan)),
        ("rate", 1, INDEFINITE),
        ("rate", 1, np.full((M, M), np.inf)),
        ("rate", 2, -1.0),
        ("rate", 2, np.nan),
        ("lower_bound", 0, INDEFINITE),
        ("lower_bound", 0, np.full((M, M), np.nan)),
        ("lower_bound", 1, np.array([1.0, -1.0, 1.0, 1.0])),
        ("lower_bound", 2, -1.0),
        ("shannon_lower_bound", 0, np.nan),
        ("shannon_lower_bound", 1, INDEFINITE),
        ("shannon_lower_bound", 2, ASYMMETRIC),
        ("shannon_lower_bound", 3, np.nan),
    ],
)
def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact(function, argument, bad):
    items = [batch[1] for batch in BATCH[function]]
    items[argument] = bad
    assert_only_bad_items_are_nan(getattr(linear, function), BATCH[function], items, 1)


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        ("rate", (INDEFINITE, np.eye(M), 1.0), ValueError, "weight_cov must be positive semidefinite.*eigenvalue -1"),
        ("rate", (np.eye(M), ASYMMETRIC, 1.0), ValueError, "input_cov must be symmetric"),
        ("rate", (np.eye(M), np.eye(3), 1.0), ValueError, "input_cov must be \\(4, 4\\) to match"),
        ("rate", (np.ones((2, 3)), np.eye(2), 1.0), ValueError, "weight_cov must be square"),
        ("rate", (np.ones(3), np.eye(3), 1.0), ValueError, "weight_cov must be a matrix"),
        ("rate", (np.eye(2) * np.nan, np.eye(2), 1.0), ValueError, "weight_cov must be finite"),
        ("rate", (np.eye(2), np.eye(2), -1.0), ValueError, "distortion must be >= 0"),
        ("rate", (np.eye(2), np.eye(2), [1.0]), ValueError, "distortion must be a scalar"),
        ("rate", (np.eye(2, dtype=complex), np.eye(2), 1.0), TypeError, "weight_cov must hold real numbers"),
        ("rate", (np.eye(2), "identity", 1.0), TypeError, "input_cov"),
        ("lower_bound", (INDEFINITE, np.ones(M), 1.0), ValueError, "weight_cov must be positive semidefinite"),
        ("lower_bound", (np.eye(2), np.array([1.0, -1.0]), 1.0), ValueError, "input_variances must be >= 0"),
        ("lower_bound", (np.eye(2), np.ones(3), 1.0), ValueError, "input_variances must have shape"),
        ("lower_bound", (np.eye(2), np.eye(2), 1.0), ValueError, "input_variances must be a vector"),
        ("lower_bound", (np.eye(2), np.ones(2), np.nan), ValueError, "distortion must be >= 0"),
        ("shannon_lower_bound", (np.nan, np.eye(2), np.eye(2), 1.0), ValueError, "differential_entropy must be"),
        (
            "shannon_lower_bound",
            ([1.0], np.eye(2), np.eye(2), 1.0),
            ValueError,
            "differential_entropy must be a scalar",
        ),
        ("shannon_lower_bound", (1.0, np.eye(2), np.eye(3), 1.0), ValueError, "input_cov must be \\(2, 2\\)"),
        ("shannon_lower_bound", (1.0, np.eye(2), np.eye(2), -1.0), ValueError, "distortion must be >= 0"),
    ],
)
def test_what_is_wrong_is_named(as_user, function, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(linear, function)(*arguments)


# Layers --------------------------------------------------------------------------------------------------------------

ROWS, COLUMNS = rng.uniform(0.1, 3.0, size=(2, M)), rng.uniform(0.1, 3.0, size=(2, 3))


@pytest.mark.parametrize("share", SHARES)
def test_a_layer_is_a_linear_model_of_all_its_weights(share):
    """Σ ⊗ 1 and diag(r) ⊗ diag(c) are the covariances of the row-major weights."""
    x, r, c = INPUT_COVS[0], ROWS[0], COLUMNS[0]
    D = share * np.sum(np.diagonal(x) * r) * c.sum()
    found = linear.layer_rate(x, r, c, D)
    whole = linear.rate(np.diag(np.kron(r, c)), np.kron(x, np.eye(3)), D)
    np.testing.assert_allclose(found.rate, whole.rate, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found.water_level, whole.water_level, rtol=1e-11)
    np.testing.assert_allclose(np.sort(np.ravel(found.distortions)), np.sort(whole.distortions), rtol=1e-9)
    np.testing.assert_allclose(
        found.rate, oracles.linear_rate(np.diag(np.kron(r, c)), np.kron(x, np.eye(3)), D), rtol=1e-9, atol=1e-10
    )
    assert found.distortions.shape == (3, M)
    assert 0 < found.rounding < 1e-10


def test_only_the_products_of_row_and_column_variances_matter():
    x, r, c = INPUT_COVS[1], ROWS[1], COLUMNS[1]
    one, other = linear.layer_rate(x, r, c, 0.3), linear.layer_rate(x, 1e8 * r, 1e-8 * c, 0.3)
    np.testing.assert_allclose(one.rate, other.rate, rtol=1e-12)


def test_nothing_to_describe_takes_no_bits():
    x, r, c = INPUT_COVS[0], ROWS[0], COLUMNS[0]
    for D in (0.0, 0.1):
        for nothing in ((0 * x, r, c), (x, 0 * r, c), (x, r, 0 * c)):
            assert linear.layer_rate(*nothing, D).rate == 0
            assert not np.isnan(linear.layer_rate(*nothing, D).rounding)
    assert linear.layer_rate(x, r, c, 0.0).rate == np.inf
    assert linear.layer_rate(x, r, c, 1.001 * np.sum(np.diagonal(x) * r) * c.sum()).rate == 0
    # Outputs and inputs that are zero change nothing.
    more = np.zeros((M + 1, M + 1))
    more[:M, :M] = x
    wider = linear.layer_rate(more, np.append(r, 5.0), np.append(c, 0.0), 0.5)
    np.testing.assert_allclose(wider.rate, linear.layer_rate(x, r, c, 0.5).rate, rtol=1e-12)


def test_the_stated_rounding_of_a_layer_covers_what_is_lost():
    """Of nearly singular moments, beside exact eigenvalues: Σ = 1 + (ones - 1)(1 - ε)."""
    small = 2.0**-40
    x = np.full((M, M), 1 - small) + small * np.eye(M)
    variances = np.array([M * (1 - small) + small] + [small] * (M - 1))
    c = np.array([1.0, 2.0**-10])
    for D in (1e-14, 1e-11, 1.0):
        found = linear.layer_rate(x, np.ones(M), c, D)
        wanted, *_ = oracles.reverse_water_filling(np.outer(c, variances).ravel(), D)
        assert abs(float(found.rate) - wanted) <= float(found.rounding)


def test_layers_under_transformations():
    good = INPUT_COVS[:2], ROWS, COLUMNS, np.array([0.2, 0.7])
    assert_transforms_agree(linear.layer_rate, *good)
    for argument, bad in ((0, -np.eye(M)), (1, -1.0), (2, np.nan), (3, -1.0)):
        items = [batch[1] for batch in good]
        items[argument] = bad
        assert_only_bad_items_are_nan(linear.layer_rate, good, items, 1)


def test_the_slope_of_a_layer_is_its_water_level():
    x, r, c = INPUT_COVS[0], ROWS[0], COLUMNS[0]
    slope = jax.grad(lambda D: linear.layer_rate(x, r, c, D).rate)(0.4)
    np.testing.assert_allclose(slope, -1 / (2 * np.log(2) * linear.layer_rate(x, r, c, 0.4).water_level), rtol=1e-11)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(2), np.ones(3), np.ones(2), 0.1), "row_variances must have shape (2,), got (3,)"),
        ((np.diag([1.0, -1.0]), np.ones(2), np.ones(2), 0.1), "moments must be positive semidefinite"),
        ((np.eye(2), -np.ones(2), np.ones(2), 0.1), "row_variances must be >= 0"),
        ((np.eye(2), np.ones(2), np.ones((2, 2)), 0.1), "column_variances must be a vector"),
        ((np.eye(2), np.ones(2), np.array([1.0, np.nan]), 0.1), "column_variances must be >= 0"),
        ((np.eye(2), np.ones(2), np.ones(2), -0.1), "distortion must be >= 0"),
    ],
)
def test_what_is_wrong_with_a_layer_is_named(as_user, arguments, message):
    with pytest.raises(ValueError) as raised:
        linear.layer_rate(*arguments)
    assert message in str(raised.value)
