import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import zeta
from scipy.stats import ks_2samp, kstest, norm, ttest_ind

from rdtheory import channel_simulation, gaussian_channel, linear
from rdtheory.results import GaussianChannel
from tests import oracles
from tests.transforms import assert_close, stack

ONE = np.eye(1)
KEY = jax.random.key(11)
LOG_E = math.log2(math.e)


def scalar_channel(bits):
    """Of the optimal errors for variance one at that many bits."""
    D = 4.0**-bits
    return GaussianChannel(jnp.eye(1) * (1 - D), jnp.eye(1) * D * (1 - D))


def encode_one_weight(key, channel, weight_cov, weights, **options):
    """`encode_components` with the arguments and the results of `encode`."""
    laws = channel.gain[0], channel.noise_cov[0], weight_cov[0]
    sent = channel_simulation.encode_components(key, *laws, weights, **options)
    return jax.tree.map(lambda leaf: leaf[0], sent)


def decode_one_weight(key, channel, weight_cov, index):
    laws = channel.gain[0], channel.noise_cov[0], weight_cov[0]
    return channel_simulation.decode_components(key, *laws, jnp.reshape(index, 1))


POISSON = channel_simulation.encode, channel_simulation.decode
GREEDY = encode_one_weight, decode_one_weight
BOTH = pytest.mark.parametrize("scheme", [POISSON, GREEDY], ids=["Poisson", "greedy"])


@functools.partial(jax.jit, static_argnums=(0, 5))
def transmit(scheme, key, channel, weight_cov, weights, limit=2**22):
    encode, decode = scheme

    def one(item):
        key, w = item
        sent = encode(key, channel, weight_cov, w, limit=limit)
        return sent, decode(key, channel, weight_cov, sent.index)

    return jax.lax.map(one, (jax.random.split(key, len(weights)), weights))


def draw(seed, weight_cov, n):
    return np.random.default_rng(seed).multivariate_normal(np.zeros(len(weight_cov)), weight_cov, size=n)


def least_p_value(sent, received, channel, weight_cov, directions=12):
    """Of Kolmogorov-Smirnov tests, and tests of the power, of projections of (w, ŵ), times their number.

    Against other weights sent through the channel itself. Random projections of the noise are among those of the pair.
    """
    rng = np.random.default_rng(99)
    others = draw(98, weight_cov, 5 * len(sent))
    genuine = np.asarray(gaussian_channel.sample(jax.random.key(97), channel, others))
    pairs, reference = np.hstack([sent, received]), np.hstack([others, genuine])
    m = len(weight_cov)
    noise = np.hstack([-np.asarray(channel.gain), np.eye(m)])
    rows = np.vstack([noise, np.eye(2 * m), rng.normal(size=(directions, 2 * m)), rng.normal(size=(m, m)) @ noise])
    lines = [(pairs @ row, reference @ row) for row in rows]
    p_values = [ks_2samp(*line).pvalue for line in lines] + [ttest_ind(a**2, b**2).pvalue for a, b in lines]
    return min(p_values) * len(p_values)


# What the decoder gets -----------------------------------------------------------------------------------------------


@BOTH
def test_what_is_received_is_distributed_as_by_the_channel(scheme):
    channel, weights = scalar_channel(2.0), draw(0, ONE, 4000)
    sent, received = transmit(scheme, KEY, channel, jnp.eye(1), weights)
    assert sent.found.all()
    assert least_p_value(weights, received, channel, ONE) > 0.01
    noise = (np.asarray(received) - channel.gain[0, 0] * weights)[:, 0] / math.sqrt(channel.noise_cov[0, 0])
    assert kstest(noise, norm.cdf).pvalue > 0.01
    errors = ((weights - np.asarray(received)) ** 2)[:, 0]
    assert abs(errors.mean() - 4.0**-2) < 4 * errors.std() / math.sqrt(len(errors))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda channel: channel._replace(noise_cov=1.2 * channel.noise_cov),
        lambda channel: channel._replace(gain=0.9 * channel.gain),
        lambda channel: GaussianChannel(-channel.gain, channel.noise_cov),
    ],
    ids=["louder", "weaker", "inverted"],
)
def test_another_channel_is_told_apart(wrong):
    channel, weights = scalar_channel(2.0), draw(0, ONE, 4000)
    _, received = transmit(POISSON, KEY, wrong(channel), jnp.eye(1), weights)
    assert least_p_value(weights, received, channel, ONE) < 1e-6


def test_a_search_that_is_cut_sends_nothing():
    channel, weights = scalar_channel(2.0), draw(0, ONE, 4000)
    sent, received = transmit(POISSON, KEY, channel, jnp.eye(1), weights, 8)
    kept = np.asarray(sent.found)
    assert 0.3 < kept.mean() < 0.9
    assert np.isnan(np.asarray(received)[~kept]).all() & np.isnan(np.asarray(sent.bits)[~kept]).all()
    assert np.all(np.asarray(sent.index)[~kept] == 0) & np.all(np.asarray(sent.candidates) <= 8)
    # Those that were found are what a longer search finds.
    longer, same = transmit(POISSON, KEY, channel, jnp.eye(1), weights)
    np.testing.assert_array_equal(np.asarray(sent.index)[kept], np.asarray(longer.index)[kept])
    np.testing.assert_array_equal(np.asarray(received)[kept], np.asarray(same)[kept])
    assert np.all(np.asarray(longer.candidates)[~kept] >= 8)


CORRELATED = oracles.random_covariance(np.random.default_rng(1), 3)
INPUTS = np.diag([1.0, 0.5, 0.1])
BLOCKS = {
    "one component under water": (CORRELATED, INPUTS, 0.2),
    "all alike": (np.eye(3), np.eye(3), 3 * 4.0**-0.8),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_sent_as_a_whole(name):
    weight_cov, input_cov, D = BLOCKS[name]
    channel = gaussian_channel.optimal(weight_cov, input_cov, D)
    rate = float(gaussian_channel.performance(channel, weight_cov, input_cov).rate)
    assert 1.5 < rate < 4
    assert np.sum(np.linalg.eigvalsh(channel.noise_cov) < 1e-12) == (name != "all alike")
    weights = draw(2, weight_cov, 3000)
    sent, received = transmit(POISSON, KEY, channel, jnp.asarray(weight_cov), weights)
    assert sent.found.all()
    assert least_p_value(weights, received, channel, weight_cov) > 0.01
    lost = weights - np.asarray(received)
    errors = np.einsum("ni,ij,nj->n", lost, input_cov, lost)
    assert abs(errors.mean() - D) < 4 * errors.std() / math.sqrt(len(errors))
    assert_short(sent.bits, rate)
    # Nothing sent is below the limit: bits count for more than the rate-distortion function allows for.
    assert sent.bits.mean() > linear.rate(weight_cov, input_cov, errors.mean()).rate


def test_the_decoder_does_not_depend_on_the_basis_that_the_encoder_chose():
    """Outputs alike in every direction have no eigenvectors of their own; rounding may choose any."""
    channel = GaussianChannel(jnp.eye(3) / 2, jnp.eye(3) / 4)
    noise = np.random.default_rng(0).normal(size=(3, 3)) * 1e-15
    rounded = channel._replace(noise_cov=channel.noise_cov + noise + noise.T)
    for index in (1, 17):
        there, here = (channel_simulation.decode(KEY, c, np.eye(3), index) for c in (channel, rounded))
        np.testing.assert_allclose(there, here, rtol=0, atol=1e-13)


# What it takes -------------------------------------------------------------------------------------------------------


def assert_short(bits, information):
    """Within the theorem, its mean and four standard errors of it."""
    bits = np.asarray(bits)
    assert bits.mean() + 4 * bits.std() / math.sqrt(len(bits)) < information + math.log2(information + 1) + 4


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("information", [0.1, 0.5, 1.0, 3.0, 5.0, 7.0])
def test_lengths_are_those_of_the_theorem_at_every_rate(scheme, information):
    sent, _ = transmit(scheme, KEY, scalar_channel(information), jnp.eye(1), draw(3, ONE, 4000))
    assert_lengths(scheme, sent, information)


def assert_lengths(scheme, sent, information):
    assert sent.found.all()
    assert_short(sent.bits, information)
    whole = np.ceil(np.asarray(sent.bits))
    assert whole.mean() < information + math.log2(information + 1) + 5
    logs = np.log2(sent.index)
    allowed = information + 1 + (LOG_E / math.e if scheme is POISSON else LOG_E)
    assert logs.mean() + 4 * logs.std() / math.sqrt(len(logs)) < allowed
    assert sent.bits.mean() > information  # no code has less


@BOTH
def test_lengths_are_those_of_the_theorem_and_searches_double_with_each_bit(scheme):
    means = []
    for information in (2.0, 6.0):
        sent, _ = transmit(scheme, KEY, scalar_channel(information), jnp.eye(1), draw(3, ONE, 4000))
        assert_lengths(scheme, sent, information)
        means.append(np.log2(sent.candidates).mean())
    assert abs((means[1] - means[0]) / 4 - 1) < 0.1


@BOTH
@pytest.mark.parametrize("w", [0.0, 1.2])
def test_the_mean_number_of_candidates_is_the_largest_ratio_of_the_laws(scheme, w):
    channel, n = scalar_channel(2.0), 4000
    sent, received = transmit(scheme, KEY, channel, jnp.eye(1), np.full((n, 1), w))
    counts = np.asarray(sent.candidates)
    a, noise, output = channel.gain[0, 0] * w, channel.noise_cov[0, 0], 1 - 4.0**-2
    grid = np.linspace(-8, 8, 100_001)
    ratio = norm.pdf(grid, a, math.sqrt(noise)) / norm.pdf(grid, 0, math.sqrt(output))
    assert abs(counts.mean() - ratio.max()) < 4 * counts.std() / math.sqrt(n)
    assert np.all(counts >= np.asarray(sent.index))
    assert kstest(np.asarray(received)[:, 0], norm(a, math.sqrt(noise)).cdf).pvalue > 0.01


def test_lengths_are_those_of_a_prefix_code():
    index = np.arange(1, 10_001)
    for information in (0.01, 1.0, 12.0):
        bits = np.asarray(channel_simulation.code_length(index, information))
        power = 1 + 1 / (information + LOG_E / math.e + 1)
        rest = zeta(power, 10_001) / zeta(power)
        np.testing.assert_allclose(np.sum(2.0**-bits) + rest, 1, rtol=1e-12)  # Kraft
        assert np.all(np.diff(bits) > 0)
    np.testing.assert_array_equal(channel_simulation.code_length(np.array([1, 0]), 0.0), [0.0, np.nan])


# Edges ---------------------------------------------------------------------------------------------------------------

LAWS = np.array([0.875, 0.5, 0.0]), np.array([0.4375, 0.25, 0.0]), np.array([4.0, 1.0, 0.3])


def test_a_weight_under_water_takes_no_bits():
    sent = channel_simulation.encode_components(KEY, *LAWS, np.array([1.0, -1.0, 5.0]))
    assert sent.index[2] == 1
    assert sent.bits[2] == 0
    assert np.all(sent.bits[:2] > 0)
    assert channel_simulation.decode_components(KEY, *LAWS, sent.index)[2] == 0
    silent = GaussianChannel(jnp.zeros((3, 3)), jnp.zeros((3, 3)))
    sent = channel_simulation.encode(KEY, silent, np.eye(3), np.ones(3))
    assert (sent.index, sent.bits, sent.found) == (1, 0, True)
    np.testing.assert_array_equal(channel_simulation.decode(KEY, silent, np.eye(3), sent.index), np.zeros(3))


def test_without_noise_there_is_no_index():
    noises, ones = np.array([0.0, 1.0, 1.0]), np.ones(3)
    clean = GaussianChannel(jnp.eye(3), jnp.diag(jnp.asarray(noises)))
    sent = channel_simulation.encode(KEY, clean, np.eye(3), ones)
    assert (sent.index, sent.found) == (0, False)
    assert np.isnan(sent.bits)
    assert np.isnan(channel_simulation.decode(KEY, clean, np.eye(3), sent.index)).all()
    sent = channel_simulation.encode_components(KEY, ones, noises, ones, ones)
    np.testing.assert_array_equal(sent.found, [False, True, True])
    received = channel_simulation.decode_components(KEY, ones, noises, ones, sent.index)
    np.testing.assert_array_equal(np.isnan(received), [True, False, False])


def test_weights_are_described_one_by_one():
    """Each by its own search: the others do not change it."""
    w = np.array([1.0, -1.0, 5.0])
    sent = channel_simulation.encode_components(KEY, *LAWS, w)
    other = channel_simulation.encode_components(KEY, *LAWS, w * np.array([1.0, -2.0, 1.0]))
    np.testing.assert_array_equal(np.asarray(sent.index)[[0, 2]], np.asarray(other.index)[[0, 2]])
    assert sent.index[1] != other.index[1]


# Transformations and errors ------------------------------------------------------------------------------------------


def test_jit_and_vmap_change_nothing():
    keys = jax.random.split(KEY, 3)
    weights = np.random.default_rng(4).normal(size=(3, 3))
    noises = np.array([0.2, 0.5, 1.0])

    def there_and_back(key, noise, w):
        channel = GaussianChannel(jnp.eye(3) / 2, noise * jnp.eye(3))
        sent = channel_simulation.encode(key, channel, np.eye(3), w)
        laws = jnp.full(3, 0.5), jnp.full(3, noise), jnp.ones(3)
        each = channel_simulation.encode_components(key, *laws, w)
        return (
            sent,
            channel_simulation.decode(key, channel, np.eye(3), sent.index),
            each,
            channel_simulation.decode_components(key, *laws, each.index),
        )

    wanted = stack([there_and_back(*item) for item in zip(keys, noises, weights, strict=True)])
    together = jax.jit(jax.vmap(there_and_back))
    assert_close(together(keys, noises, weights), wanted, rtol=1e-9, atol=1e-12)
    # An invalid item is NaN and its neighbors stay as they are.
    spoiled = jax.device_get(together(keys, np.array([0.2, -0.5, 1.0]), weights))
    assert not spoiled[0].found[1] and not spoiled[2].found[1].any()
    assert all(np.isnan(leaf[1]).all() for leaf in (spoiled[0].bits, spoiled[1], spoiled[2].bits, spoiled[3]))
    others = np.array([0, 2])
    assert_close(*(jax.tree.map(lambda leaf: leaf[others], x) for x in (spoiled, wanted)), rtol=1e-9, atol=1e-12)


GOOD = scalar_channel(1.0)
BAD = GaussianChannel(jnp.eye(1), -jnp.eye(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: channel_simulation.encode(KEY, BAD, ONE, np.ones(1)), "channel.noise_cov must be positive"),
        (lambda: channel_simulation.encode(KEY, GOOD, np.eye(2), np.ones(2)), "channel.gain must have shape"),
        (lambda: channel_simulation.encode(KEY, GOOD, -ONE, np.ones(1)), "weight_cov must be positive"),
        (lambda: channel_simulation.encode(KEY, GOOD, ONE, np.ones(2)), "weights must have shape"),
        (lambda: channel_simulation.encode(KEY, GOOD, ONE, np.ones(1), limit=0), "limit must be a whole number"),
        (lambda: channel_simulation.encode(KEY, GOOD, ONE, np.ones(1), limit=2**30 + 1), "limit must be .* at most"),
        (lambda: channel_simulation.encode_components(KEY, *LAWS, np.ones(3), limit=0), "limit must be .* at least 1"),
        (lambda: channel_simulation.encode_components(KEY, *LAWS, np.ones(3), limit=2**30 + 1), "limit must be"),
        (lambda: channel_simulation.decode(KEY, BAD, ONE, 1), "channel.noise_cov must be positive"),
        (lambda: channel_simulation.encode_components(KEY, *LAWS, np.ones(2)), "weights must have shape"),
        (lambda: channel_simulation.encode_components(KEY, LAWS[0], -LAWS[1], LAWS[2], LAWS[0]), "noise_variances"),
        (lambda: channel_simulation.decode_components(KEY, *LAWS, np.ones(2, int)), "index must have shape"),
        (lambda: channel_simulation.decode_components(KEY, LAWS[0], LAWS[1], -LAWS[2], np.ones(3, int)), "weight_var"),
        (lambda: channel_simulation.code_length(np.ones(2, int), -1.0), "information must be >= 0"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, message):
    with pytest.raises(ValueError, match=message):
        call()
