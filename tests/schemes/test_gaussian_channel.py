import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory import gaussian_channel, linear
from rdtheory.results import GaussianChannel
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

M = 4
rng = np.random.default_rng(7)
WEIGHT_COVS = np.stack([oracles.random_covariance(rng, M) for _ in range(6)])
INPUT_COVS = np.stack([oracles.random_covariance(rng, M) for _ in range(6)])
ITEMS = pytest.mark.parametrize("item", range(6))
SHARES = [1e-3, 0.05, 0.3, 0.8, 0.99]


def total(item):
    return float(np.trace(WEIGHT_COVS[item] @ INPUT_COVS[item]))


def assert_no_better_than_the_limit(performance, weight_cov, input_cov):
    """The sandwich: at the distortion it has, a channel needs at least the rate-distortion function."""
    limit = linear.rate(weight_cov, input_cov, performance.distortion).rate
    assert limit <= performance.rate + 1e-10, f"rate {performance.rate} below the limit {limit}"


@ITEMS
@pytest.mark.parametrize("share", SHARES)
def test_the_optimal_channel_attains_the_limit_and_is_orthogonal(item, share):
    w, x, D = WEIGHT_COVS[item], INPUT_COVS[item], share * total(item)
    result = gaussian_channel.performance(gaussian_channel.optimal(w, x, D), w, x)
    np.testing.assert_allclose(result.distortion, D, rtol=1e-11)
    # Condition numbers of up to 1e4 for each covariance multiply 1e-16.
    np.testing.assert_allclose(result.rate, linear.rate(w, x, D).rate, rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.orthogonality, 0, atol=1e-12 * total(item))


@pytest.mark.parametrize("D", [0.1, 1.0, 3.0, 6.0])
def test_diagonal_covariances_give_theorem_two(D):
    variances, inputs = np.array([2.0, 1.0, 0.5, 3.0]), np.array([1.0, 2.0, 0.3, 0.8])
    _, _, errors = oracles.theorem_one(np.diag(variances), inputs, D)
    channel = gaussian_channel.optimal(np.diag(variances), np.diag(inputs), D)
    kept = 1 - errors / variances
    np.testing.assert_allclose(channel.gain, np.diag(kept), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(channel.noise_cov, np.diag(errors * kept), rtol=1e-12, atol=1e-14)
    result = gaussian_channel.performance(channel, np.diag(variances), np.diag(inputs))
    np.testing.assert_allclose(result.rate, 0.5 * np.log2(variances / errors).sum(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("quiet", [1e-15, 1e-16, 1e-17, 1e-20, 1e-100, 0.0])
@pytest.mark.parametrize("D", [0.1, 0.05, 0.7])
def test_a_component_beside_which_the_other_drowns_is_not_described(quiet, D):
    w, x = np.diag([1.0, quiet, quiet, quiet / 3]), np.eye(M)
    channel = gaussian_channel.optimal(w, x, D)
    np.testing.assert_allclose(np.diag(channel.gain), [1 - D, 0, 0, 0], rtol=1e-14, atol=0)
    result = gaussian_channel.performance(channel, w, x)
    np.testing.assert_allclose(result.rate, -0.5 * np.log2(D), rtol=0, atol=1e-13)
    np.testing.assert_allclose(result.distortion, D, rtol=1e-14)
    # In another basis, where rounding makes components that are not there.
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(M, M)))[0]
    turned = turn @ w @ turn.T
    result = gaussian_channel.performance(gaussian_channel.optimal(turned, x, D), turned, x)
    np.testing.assert_allclose(result.rate, -0.5 * np.log2(D), rtol=0, atol=1e-13)


def test_performance_is_its_formula():
    w, x, gain = WEIGHT_COVS[0], INPUT_COVS[0], rng.normal(size=(M, M))
    noise = oracles.random_covariance(rng, M)
    result = gaussian_channel.performance(GaussianChannel(jnp.asarray(gain), jnp.asarray(noise)), w, x)
    output = gain @ w @ gain.T + noise
    wanted = 0.5 * (np.linalg.slogdet(output)[1] - np.linalg.slogdet(noise)[1]) * oracles.LOG_E
    lost = np.eye(M) - gain
    np.testing.assert_allclose(result.rate, wanted, rtol=1e-11)
    np.testing.assert_allclose(result.distortion, np.trace(x @ (lost @ w @ lost.T + noise)), rtol=1e-13)
    np.testing.assert_allclose(result.orthogonality, np.trace(x @ (gain @ w @ lost.T - noise)), rtol=1e-12)


@ITEMS
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_suboptimal_channels_stay_above_the_limit_and_are_seen_to_be_suboptimal(item, share):
    w, x, D = WEIGHT_COVS[item], INPUT_COVS[item], share * total(item)
    gain, noise = gaussian_channel.optimal(w, x, D)
    flat = gaussian_channel.optimal(w, jnp.eye(M), 0.3 * np.trace(w))
    for channel in [
        GaussianChannel(0.8 * gain, noise),
        GaussianChannel(1.2 * gain, noise),
        GaussianChannel(gain, 2.0 * noise),
        GaussianChannel(gain, 0.5 * noise),
        GaussianChannel(gain, noise + 0.05 * jnp.eye(M)),
    ]:
        result = gaussian_channel.performance(channel, w, x)
        assert_no_better_than_the_limit(result, w, x)
        assert abs(result.orthogonality) > 1e-3 * total(item)
        assert result.rate > linear.rate(w, x, result.distortion).rate + 1e-4
    # Made for other inputs it is orthogonal in their metric, and above the limit of these.
    result = gaussian_channel.performance(flat, w, x)
    assert_no_better_than_the_limit(result, w, x)
    assert result.rate > linear.rate(w, x, result.distortion).rate + 1e-4


def test_a_wrong_water_level_in_the_right_basis_is_above_the_limit_though_orthogonal():
    variances, inputs = np.array([2.0, 1.0, 0.5]), np.ones(3)
    errors = np.array([0.6, 0.3, 0.15])  # a share of each instead of one level
    kept = 1 - errors / variances
    channel = GaussianChannel(jnp.diag(jnp.asarray(kept)), jnp.diag(jnp.asarray(errors * kept)))
    result = gaussian_channel.performance(channel, np.diag(variances), np.diag(inputs))
    np.testing.assert_allclose(result.distortion, errors.sum(), rtol=1e-13)
    np.testing.assert_allclose(result.orthogonality, 0, atol=1e-14)  # rule one alone does not make it optimal
    assert result.rate > linear.rate(np.diag(variances), np.diag(inputs), errors.sum()).rate + 0.1


def test_a_rate_below_the_limit_fails_the_sandwich():
    w, x, D = WEIGHT_COVS[0], INPUT_COVS[0], 0.1 * total(0)
    result = gaussian_channel.performance(gaussian_channel.optimal(w, x, D), w, x)
    with pytest.raises(AssertionError, match="below the limit"):
        assert_no_better_than_the_limit(result._replace(rate=result.rate - 1e-6), w, x)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_singular_covariances(rank):
    low = oracles.random_covariance(rng, M, rank)
    for w, x in [(low, INPUT_COVS[0]), (WEIGHT_COVS[0], low)]:
        D = 0.1 * float(np.trace(w @ x))
        channel = gaussian_channel.optimal(w, x, D)
        result = gaussian_channel.performance(channel, w, x)
        np.testing.assert_allclose(result.distortion, D, rtol=1e-9)
        np.testing.assert_allclose(result.rate, linear.rate(w, x, D).rate, rtol=0, atol=1e-8)
        np.testing.assert_allclose(result.orthogonality, 0, atol=1e-12)


def test_with_distortion_to_spare_nothing_is_sent_and_without_any_everything():
    w, x = WEIGHT_COVS[0], INPUT_COVS[0]
    silent = gaussian_channel.optimal(w, x, 1.01 * total(0))
    np.testing.assert_array_equal(silent.gain, np.zeros((M, M)))
    np.testing.assert_array_equal(silent.noise_cov, np.zeros((M, M)))
    assert gaussian_channel.performance(silent, w, x).rate == 0
    faithful = gaussian_channel.optimal(w, x, 0.0)
    np.testing.assert_allclose(faithful.gain, np.eye(M), atol=1e-9)
    np.testing.assert_allclose(faithful.noise_cov, 0, atol=1e-13)
    result = gaussian_channel.performance(faithful, w, x)
    np.testing.assert_allclose(result.distortion, 0, atol=1e-12)
    assert result.rate == np.inf


@pytest.mark.parametrize("scale", [1e18, 1e-18])  # of an input: above the others, and below
def test_graded_scales_meet_their_distortion_and_rate(scale):
    w, x = np.diag([1.0, 1 / scale]), np.diag([1.0, scale])
    result = gaussian_channel.performance(gaussian_channel.optimal(w, x, 0.5), w, x)
    np.testing.assert_allclose(result.distortion, 0.5, rtol=1e-10)
    np.testing.assert_allclose(result.rate, 2.0, rtol=1e-10)


# Samples -------------------------------------------------------------------------------------------------------------


def within_five_standard_errors(products, wanted):
    """Means over the samples of pairwise products, each against its own standard error."""
    error = products.std(axis=0) / np.sqrt(len(products))
    return np.all(np.abs(products.mean(axis=0) - wanted) <= 5 * error)


def test_samples_have_the_covariances_of_the_channel():
    w, x, n = WEIGHT_COVS[0], INPUT_COVS[0], 200_000
    channel = gaussian_channel.optimal(w, x, 0.2 * total(0))
    weights = np.random.default_rng(0).multivariate_normal(np.zeros(M), w, size=n)
    sent = np.asarray(gaussian_channel.sample(jax.random.key(1), channel, weights))
    gain, noise = np.asarray(channel.gain), np.asarray(channel.noise_cov)
    assert within_five_standard_errors(sent[:, :, None] * sent[:, None, :], gain @ w @ gain.T + noise)
    assert within_five_standard_errors(sent[:, :, None] * weights[:, None, :], gain @ w)
    lost = weights - sent
    assert within_five_standard_errors(np.einsum("ni,ij,nj->n", lost, x, lost), 0.2 * total(0))
    assert within_five_standard_errors(np.einsum("ni,ij,nj->n", sent, x, lost), 0.0)
    assert not within_five_standard_errors(sent[:, :, None] * sent[:, None, :], gain @ w @ gain.T)


def test_the_same_key_gives_the_same_bits_and_another_key_others():
    channel = gaussian_channel.optimal(WEIGHT_COVS[0], INPUT_COVS[0], 0.2 * total(0))
    weights = jnp.ones((3, M))
    first = gaussian_channel.sample(jax.random.key(0), channel, weights)
    np.testing.assert_array_equal(first, gaussian_channel.sample(jax.random.key(0), channel, weights))
    assert jnp.all(first != gaussian_channel.sample(jax.random.key(1), channel, weights))
    assert jnp.all(first[0] != first[1])  # each weight vector is sent on its own


def test_the_derivative_of_a_sample_in_the_weights_is_the_gain():
    channel = gaussian_channel.optimal(WEIGHT_COVS[0], INPUT_COVS[0], 0.2 * total(0))
    jacobian = jax.jacobian(lambda w: gaussian_channel.sample(jax.random.key(0), channel, w))(jnp.ones(M))
    np.testing.assert_allclose(jacobian, channel.gain, rtol=1e-14)


# Transformations and errors ------------------------------------------------------------------------------------------

DS = np.array([0.1, 0.4, 1.0])
INDEFINITE = np.diag([1.0, 1.0, 1.0, -1.0])


def test_jit_and_vmap_change_nothing():
    batch = [WEIGHT_COVS[:3], INPUT_COVS[:3], DS]
    assert_transforms_agree(gaussian_channel.optimal, *batch, rtol=1e-9, atol=1e-11)

    def attained(gain, noise_cov, w, x):
        return gaussian_channel.performance(GaussianChannel(gain, noise_cov), w, x)

    gains, noises = jax.vmap(gaussian_channel.optimal)(*batch)
    assert_transforms_agree(attained, gains, noises, *batch[:2], rtol=1e-9, atol=1e-11)

    def sampled(seed, gain, noise_cov, weights):
        return gaussian_channel.sample(jax.random.key(seed), GaussianChannel(gain, noise_cov), weights)

    assert_transforms_agree(sampled, np.arange(3), gains, noises, np.ones((3, M)), rtol=1e-10)


@pytest.mark.parametrize(
    ("argument", "bad"),
    [(0, INDEFINITE), (0, np.full((M, M), np.nan)), (1, INDEFINITE), (1, np.triu(np.ones((M, M)))), (2, -1.0)],
)
def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact(argument, bad):
    batch = [WEIGHT_COVS[:3], INPUT_COVS[:3], DS]
    items = [array[1] for array in batch]
    items[argument] = bad
    assert_only_bad_items_are_nan(gaussian_channel.optimal, batch, items, 1, rtol=1e-9, atol=1e-11)


def test_an_invalid_channel_in_a_batch_is_nan():
    def attained(noise_cov, w):
        return gaussian_channel.performance(GaussianChannel(jnp.eye(M), noise_cov), w, np.eye(M))

    good = [INPUT_COVS[:3], WEIGHT_COVS[:3]]
    assert_only_bad_items_are_nan(attained, good, [INDEFINITE, good[1][1]], 1)
    assert_only_bad_items_are_nan(attained, good, [good[0][1], INDEFINITE], 1)


EYE = GaussianChannel(jnp.eye(2), jnp.eye(2))
TALL = GaussianChannel(jnp.ones((3, 2)), jnp.eye(2))
BAD_NOISE = GaussianChannel(jnp.eye(2), -jnp.eye(2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gaussian_channel.optimal(-np.eye(2), np.eye(2), 1.0), ValueError, "weight_cov must be positive"),
        (lambda: gaussian_channel.optimal(np.eye(2), np.eye(3), 1.0), ValueError, "input_cov must be \\(2, 2\\)"),
        (lambda: gaussian_channel.optimal(np.eye(2), np.eye(2), -1.0), ValueError, "distortion must be >= 0"),
        (lambda: gaussian_channel.optimal(np.eye(2), np.eye(2), np.nan), ValueError, "distortion must be >= 0"),
        (lambda: gaussian_channel.optimal(np.eye(2) * 1j, np.eye(2), 1.0), TypeError, "weight_cov must hold real"),
        (lambda: gaussian_channel.performance(EYE, np.eye(3), np.eye(3)), ValueError, "channel.gain must have shape"),
        (lambda: gaussian_channel.performance(TALL, np.eye(2), np.eye(2)), ValueError, "channel.gain must have shape"),
        (
            lambda: gaussian_channel.performance(BAD_NOISE, np.eye(2), np.eye(2)),
            ValueError,
            "channel.noise_cov must be",
        ),
        (lambda: gaussian_channel.performance(EYE, np.eye(2), -np.eye(2)), ValueError, "input_cov must be positive"),
        (lambda: gaussian_channel.sample(jax.random.key(0), EYE, np.ones(3)), ValueError, "weights must have shape"),
        (lambda: gaussian_channel.sample(jax.random.key(0), BAD_NOISE, np.ones(2)), ValueError, "channel.noise_cov"),
        (lambda: gaussian_channel.sample(jax.random.key(0), TALL, np.ones(2)), ValueError, "channel.gain"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_gain_of_nan_is_an_error():
    with pytest.raises(ValueError, match="channel.gain"):
        gaussian_channel.performance(GaussianChannel(jnp.eye(2) * jnp.nan, jnp.eye(2)), np.eye(2), np.eye(2))


# Successive refinement -----------------------------------------------------------------------------------------------


def after(first, second):
    """Two channels in a row."""
    gain = second.gain @ first.gain
    return GaussianChannel(gain, second.gain @ first.noise_cov @ second.gain.T + second.noise_cov)


@ITEMS
@pytest.mark.parametrize(
    ("fine", "coarse"), [(1e-3, 0.05), (0.05, 0.3), (0.3, 0.8), (0.2, 0.2), (0.3, 1.2), (0.0, 0.1)]
)
def test_the_fine_reproduction_and_the_coarser_of_it_are_both_optimal(item, fine, coarse):
    w, x = WEIGHT_COVS[item], INPUT_COVS[item]
    D, more = fine * total(item), coarse * total(item)
    found = after(gaussian_channel.optimal(w, x, D), gaussian_channel.coarser(w, x, D, more))
    wanted = gaussian_channel.optimal(w, x, more)
    np.testing.assert_allclose(found.gain, wanted.gain, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.noise_cov, wanted.noise_cov, rtol=0, atol=1e-9)
    met = gaussian_channel.performance(found, w, x)
    np.testing.assert_allclose(met.distortion, min(more, total(item)), rtol=1e-9)
    np.testing.assert_allclose(met.rate, linear.rate(w, x, more).rate, rtol=0, atol=1e-8)


@ITEMS
def test_the_bits_that_refine_are_the_difference_of_the_rates(item):
    """I(W; Ŵ₂ | Ŵ₁), from the joint covariance of all three."""
    w, x = WEIGHT_COVS[item], INPUT_COVS[item]
    D, more = 0.02 * total(item), 0.2 * total(item)
    first, second = gaussian_channel.optimal(w, x, D), gaussian_channel.coarser(w, x, D, more)
    # W, Ŵ₂, Ŵ₁ as linear functions of independent variables.
    rows = [np.hstack([np.eye(M), np.zeros((M, 2 * M))]), np.hstack([first.gain, np.eye(M), np.zeros((M, M))])]
    rows.append(np.asarray(second.gain) @ rows[1] + np.hstack([np.zeros((M, 2 * M)), np.eye(M)]))
    sources = np.zeros((3 * M, 3 * M))
    for place, cov in enumerate((w, first.noise_cov, second.noise_cov)):
        sources[place * M : (place + 1) * M, place * M : (place + 1) * M] = cov
    joint = np.vstack(rows) @ sources @ np.vstack(rows).T

    def given(part, known):
        """Covariance of some of the variables given others, W of 0, Ŵ₂ of 1, Ŵ₁ of 2."""
        a, b = (np.concatenate([np.arange(i * M, (i + 1) * M) for i in which]) for which in (part, known))
        return (
            joint[np.ix_(a, a)] - joint[np.ix_(a, b)] @ np.linalg.pinv(joint[np.ix_(b, b)], 1e-10) @ joint[np.ix_(b, a)]
        )

    bits = 0.5 * (np.linalg.slogdet(given([0], [2]))[1] - np.linalg.slogdet(given([0], [1, 2]))[1]) / np.log(2)
    wanted = linear.rate(w, x, D).rate - linear.rate(w, x, more).rate
    np.testing.assert_allclose(bits, wanted, rtol=0, atol=1e-6)
    # Given Ŵ₂ nothing more is known of W from Ŵ₁, as it is given less.
    scale = np.abs(w).max()
    np.testing.assert_allclose(given([0, 2], [1])[:M, M:], 0, atol=1e-9 * scale)
    assert np.abs(given([0, 1], [2])[:M, M:]).max() > 1e-3 * scale


def test_coarser_under_jit_and_vmap_and_bad_input(as_user):
    Ds = np.array([0.1, 0.2, 0.5, 0.3, 0.4, 0.6])
    assert_transforms_agree(gaussian_channel.coarser, WEIGHT_COVS, INPUT_COVS, Ds, 2 * Ds, rtol=1e-9, atol=1e-10)
    assert_only_bad_items_are_nan(
        gaussian_channel.coarser, [WEIGHT_COVS, INPUT_COVS, Ds, 2 * Ds], [WEIGHT_COVS[3], INPUT_COVS[3], Ds[3], 0.01], 3
    )
    with pytest.raises(ValueError, match="coarse_distortion must be at least distortion, 0.5, got 0.4"):
        gaussian_channel.coarser(np.eye(2), np.eye(2), 0.5, 0.4)
    with pytest.raises(ValueError, match="distortion must be >= 0"):
        gaussian_channel.coarser(np.eye(2), np.eye(2), -0.5, 0.4)
