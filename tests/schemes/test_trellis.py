import heapq
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory import bitstream, linear, trellis
from rdtheory.schemes.trellis import code, model, viterbi
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

STATES = [4, 8, 16, 32, 64, 128, 256]
CHECKS = dict(zip(STATES, [(5, 2), (11, 4), (19, 4), (37, 8), (67, 20), (157, 86), (333, 242)], strict=True))
LOG_E = math.log2(math.e)


def gaussian(n, seed=0):
    return np.random.default_rng(seed).normal(size=n)


def lengths(found):
    """Bits of each label, by summing the weights exp(-(2k + q)²/2τ²) of all labels as they stand."""
    q, k, width = (
        np.asarray(x)[:, None] for x in (found.states % 2, found.labels, found.spread * np.ones(len(found.labels)))
    )
    sent = width[:, 0] > 0
    width = np.where(width > 0, width, 1.0)
    if found.spread.ndim == 0:
        sums = np.array(
            [np.exp(-((2 * np.arange(-999, 1000) + parity) ** 2) / (2 * width[0] ** 2)).sum() for parity in (0, 1)]
        )[q]
    else:
        sums = np.exp(-((2 * np.arange(-400, 401) + q) ** 2) / (2 * width**2)).sum(axis=1, keepdims=True)
    bits = np.log2(sums) + LOG_E * (2 * k + q) ** 2 / (2 * width**2)
    return np.where(sent, bits[:, 0], 0.0)


def gap(found, weights):
    """Bits per weight over ½ log(σ²/D), and its standard error.

    What one weight adds is the length of its label, and, to first order, what its square and its error do to σ² and D.
    """
    square, error = weights**2, (weights - found.weights_hat) ** 2
    value = found.rate - 0.5 * np.log2(square.mean() / error.mean())
    each = lengths(found) + LOG_E / 2 * (error / error.mean() - square / square.mean())
    return float(value), float(each.std() / np.sqrt(len(weights)))


# The codes -----------------------------------------------------------------------------------------------------------


def follow(state, label, states):
    """The next state, from the parity checks h0 and h1 of Ungerboeck's table, bit by bit."""
    h0, h1 = CHECKS[states]
    bits = [state >> i & 1 for i in range(states.bit_length() - 1)] + [0]
    following = [bits[i + 1] ^ (bits[0] & h0 >> i + 1 & 1) ^ (label & h1 >> i + 1 & 1) for i in range(len(bits) - 1)]
    return sum(bit << i for i, bit in enumerate(following))


@pytest.mark.parametrize("states", STATES)
def test_states_follow_the_parity_checks(states):
    table = [[follow(state, label, states) for label in (0, 1)] for state in range(states)]
    np.testing.assert_array_equal(code.successors(states), table)
    assert sorted(np.ravel(table)) == sorted([*range(states)] * 2)  # two ways into each state


@pytest.mark.parametrize(("states", "published"), list(zip(STATES, [9, 10, 11, 13, 14, 16, 16], strict=True)))
def test_free_distances_are_those_of_ungerboecks_table(states, published):
    apart = [0, 1, 4, 1]  # squared distance of 4ℤ + coset from 0, the distance between two points of one coset being 16
    best, queue = {}, [(apart[2], follow(0, 1, states))]
    while queue[0][1] != 0:
        distance, state = heapq.heappop(queue)
        if best.setdefault(state, distance) < distance:
            continue
        for label in (0, 1):
            heapq.heappush(queue, (distance + apart[2 * label + state % 2], follow(state, label, states)))
    assert min(queue[0][0], 16) == published


@pytest.mark.parametrize(
    ("states", "decibels"), list(zip(STATES, [0.99, 1.09, 1.16, 1.22, 1.27, 1.31, 1.33], strict=True))
)
def test_the_loss_is_what_granular_gains_of_trellis_coded_quantization_leave(states, decibels):
    cube_to_ball = 10 * math.log10(math.pi * math.e / 6)
    np.testing.assert_allclose(trellis.loss(states), (cube_to_ball - decibels) / (20 * math.log10(2)), atol=0.0035)


# The search ----------------------------------------------------------------------------------------------------------


def cost(metrics, states_found, cosets):
    assert states_found[0] == 0
    np.testing.assert_array_equal(cosets % 2, states_found % 2)
    return float(metrics[cosets, np.arange(len(cosets))].sum())


def search(metrics, states, turns=1):
    found = np.zeros(metrics.shape[1], np.int32), None
    for turn in range(turns):
        found = _search(metrics, found[0], turn, states)
    return [np.asarray(x) for x in found]


_search = jax.jit(viterbi.search, static_argnums=3)


@pytest.mark.parametrize(("states", "seed"), [(4, 0), (4, 1), (8, 2), (8, 3), (64, 4)])
def test_no_path_is_cheaper(states, seed):
    n = 11
    metrics = np.random.default_rng(seed).exponential(size=(4, n))
    following, cheapest = code.successors(states), math.inf
    for labels in itertools.product((0, 1), repeat=n):
        state, total = 0, 0.0
        for i, label in enumerate(labels):
            total += metrics[2 * label + state % 2, i]
            state = following[state, label]
        cheapest = min(cheapest, total)
    path, cosets = search(metrics, states)
    np.testing.assert_array_equal(path, code.path(jnp.asarray(cosets // 2), states))
    np.testing.assert_allclose(cost(metrics, path, cosets), cheapest, rtol=1e-14)


def test_a_sequence_in_pieces_loses_nothing():
    states, n = 8, 5000
    assert n > 4 * viterbi.length(n, states)
    metrics = np.random.default_rng(0).exponential(size=(4, n))
    following, costs = code.successors(states), np.where(np.arange(states) == 0, 0.0, np.inf)
    for column in metrics.T:  # the textbook, from all states at once
        updated = np.full(states, np.inf)
        for label in (0, 1):
            np.minimum.at(updated, following[:, label], costs + column[2 * label + np.arange(states) % 2])
        costs = updated
    totals = []
    for turns in (1, 2, 3):
        path, cosets = search(metrics, states, turns)
        np.testing.assert_array_equal(path, code.path(jnp.asarray(cosets // 2), states))
        totals.append(cost(metrics, path, cosets))
    assert totals[0] > costs.min() + 1  # held in state 0 at the joints
    np.testing.assert_allclose(totals[1:], costs.min(), rtol=1e-14)


# The model -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0.05, 0.3, 0.7, 0.999, 1.0, 1.5, 6.0, 80.0])
def test_probabilities_sum_to_one(width):
    points = np.arange(-2000, 2001)
    lengths = model.code_length(jnp.asarray(points), jnp.full(1, width))
    for parity in (0, 1):
        np.testing.assert_allclose(jnp.sum(jnp.exp2(-lengths[points % 2 == parity])), 1, rtol=1e-12)


def test_the_factor_settles_where_the_code_is_shortest():
    points, ratio = jnp.asarray(np.random.default_rng(0).integers(-3, 4, 500)), jnp.full(1, 1.3)
    sent = jnp.array([True])
    refit = jax.jit(lambda f: jax.lax.fori_loop(0, 60, lambda _, f: model.refit(f, points, sent, ratio), f))
    factor = refit(jnp.array(1.0))
    nearby = [float(jnp.sum(model.code_length(points, f * factor * ratio))) for f in (0.99, 1.0, 1.01)]
    assert nearby[1] < min(nearby[0], nearby[2])


# What is attained ----------------------------------------------------------------------------------------------------


def step_for(rate, states):
    return trellis.steps(2.0 ** (-2 * (rate - trellis.loss(states))), states=states)


@pytest.mark.parametrize("rate", [0.5, 1.0, 1.7, 3.0, 6.0])
def test_eight_states_come_within_a_tenth_of_a_bit(rate):
    weights = gaussian(20_000)
    found = trellis.quantize(weights, step_for(rate, 8))
    value, error = gap(found, weights)
    assert error < 0.007
    assert value + 2 * error <= 0.10
    assert value - 2 * error >= 0.05  # no lattice of this error does better at high rate, and this code hardly at low
    np.testing.assert_allclose(found.rate, rate, atol=0.025)


def test_256_states_come_within_a_twentieth():
    weights = gaussian(20_000, 1)
    value, error = gap(trellis.quantize(weights, step_for(1.0, 256), states=256), weights)
    assert value + 2 * error <= 0.05
    assert value >= -4 * error


@pytest.mark.long
@pytest.mark.parametrize(("states", "wanted"), [(8, 0.10), (256, 0.05)])
@pytest.mark.parametrize("rate", [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6])
def test_the_gap_at_every_rate(states, wanted, rate):
    weights = gaussian(100_000, int(4 * rate))
    found = trellis.quantize(weights, step_for(rate, states), states=states)
    value, error = gap(found, weights)
    assert value + 2 * error <= wanted
    assert value - 2 * error >= 0.025
    np.testing.assert_allclose(found.rate, rate, atol=0.025 if rate > 0.5 else 0.07)


def linear_model(n, seed):
    """λ, σ and w with λσ² over four decades."""
    rng = np.random.default_rng(seed)
    importance, eigenvalues = 10 ** rng.uniform(-1, 1, n), 10 ** rng.uniform(-4, 0, n)
    deviation = np.sqrt(eigenvalues / importance)
    return importance, deviation, deviation * rng.normal(size=n)


def water_filled(importance, deviation, level):
    eigenvalues = importance * deviation**2
    return np.minimum(eigenvalues, level).sum(), 0.5 * np.log2(np.maximum(eigenvalues / level, 1)).sum()


def linear_excess(states, seed, level):
    """Excess of rate and distortion together at slope 1/(2 level ln 2), which no scheme has below 0, with its error."""
    importance, deviation, weights = linear_model(10_000, seed)
    over = importance * deviation**2 / level
    steps = trellis.steps(level, importance, states=states)
    found = trellis.quantize(weights, steps, states=states, deviation=deviation)
    lost = importance * (weights - found.weights_hat) ** 2
    distortion, _ = water_filled(importance, deviation, level)
    np.testing.assert_allclose(lost.sum(), distortion, rtol=0.08)
    # How (w/σ)² was drawn shifts the error of weights that are not sent and the rate of those that are.
    drawn = np.minimum(over, 1) * ((weights / deviation) ** 2 - 1)
    each = lengths(found) + LOG_E / 2 * (lost / level - drawn) - 0.5 * np.log2(np.maximum(over, 1))
    value = each.mean() + float(found.side) - distortion / level * LOG_E / 2 / len(weights)
    return value, each.std() / np.sqrt(len(weights)), found, over


def test_a_linear_model_with_four_decades():
    value, error, found, over = linear_excess(8, 0, 1e-2)
    assert error < 0.01
    assert value + 2 * error <= 0.10
    assert value >= -2 * error
    under = over < 1
    assert 0.4 < under.mean() < 0.6
    assert not np.any(found.labels[under])
    assert not np.any(found.weights_hat[under])
    assert not np.any(found.spread[under])


@pytest.mark.long
@pytest.mark.parametrize(("states", "wanted"), [(8, 0.10), (256, 0.05)])
@pytest.mark.parametrize("level", [1e-1, 10**-1.5, 1e-2, 10**-2.5, 1e-3, 1e-4, 1e-5, 1e-6])
def test_a_linear_model_at_every_rate(states, wanted, level):
    values, errors, *_ = zip(*(linear_excess(states, seed, level) for seed in range(8)), strict=True)
    value, error = np.mean(values), np.sqrt(np.mean(np.square(errors)) / len(errors))
    assert error < 0.004
    assert value + 2 * error <= wanted
    assert value >= -2 * error


def linear_bytes(states, seed, level):
    """The excess in bytes for a decoder that knows λ, σ and the level."""
    value, _, found, _ = linear_excess(states, seed, level)
    data = bitstream.encode(trellis.packed(found, states=states)._replace(step=None), send_classes=False)
    return value + 8 * len(data) / 10_000 - float(found.rate)


@pytest.mark.long
@pytest.mark.parametrize(("states", "wanted"), [(8, 0.10), (256, 0.05)])
@pytest.mark.parametrize("level", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_a_linear_model_in_bytes(states, wanted, level):
    values = [linear_bytes(states, seed, level) for seed in range(8)]
    assert np.mean(values) + 2 * np.std(values, ddof=1) / np.sqrt(len(values)) <= wanted


def test_water_filling_of_the_linear_model_is_the_limit():
    importance, deviation, _ = linear_model(40, 0)
    for level in (1e-3, 1e-1):
        distortion, rate = water_filled(importance, deviation, level)
        limit = linear.rate(np.diag(deviation**2), np.diag(importance), distortion).rate
        np.testing.assert_allclose(rate, limit, rtol=1e-9)


def test_what_is_not_sent_costs_nothing_and_disturbs_nothing():
    weights, step, deviation = gaussian(10_000), np.full(10_000, 0.5), np.ones(10_000)
    step[7000:] = np.inf
    found = trellis.quantize(weights, step, deviation=deviation)
    step[8000:], deviation[8000:], weights[8000:] = 0.5, 0.25, 0.0
    other = trellis.quantize(weights, step, deviation=deviation)
    assert other.rate == found.rate
    np.testing.assert_array_equal(other.labels, found.labels)
    np.testing.assert_array_equal(other.weights_hat, found.weights_hat)
    assert not np.any(found.labels[7000:])
    assert not np.any(found.weights_hat[7000:])


@pytest.mark.parametrize("shape", ["gaussian", "laplace"])
def test_offsets_are_centroids(shape):
    weights = getattr(np.random.default_rng(0), {"gaussian": "normal"}.get(shape, shape))(size=20_000)
    found = trellis.quantize(weights, 1.2 * weights.std())
    plain = trellis.dequantize(found.labels, found.scale, np.zeros_like(found.offsets))
    error, before = (np.mean((weights - x) ** 2) for x in (found.weights_hat, plain))
    assert error <= before
    if shape == "laplace":
        assert error < 0.98 * before
        assert found.entropy < found.rate - 0.01  # its frequencies are not a Gaussian's
        means, q, k = (np.asarray(x) for x in (found.weights_hat, found.states % 2, found.labels))
        for quantizer, label in [(0, 0), (0, 1), (0, -1), (1, 0), (1, -1)]:
            cell = (q == quantizer) & (k == label)
            # Rounded to 128ths of a step.
            np.testing.assert_allclose(means[cell], weights[cell].mean(), atol=float(found.scale) / 250)


def test_rate_and_entropy_are_their_formulas():
    importance, deviation, weights = linear_model(10_000, 3)
    steps = trellis.steps(1e-3, importance)
    found = trellis.quantize(weights, steps, deviation=deviation)
    np.testing.assert_allclose(found.rate - found.side, lengths(found).mean(), rtol=1e-12)
    entropy, contexts, labels = 0.0, np.asarray(found.contexts), np.asarray(found.labels)
    for context in np.unique(contexts):
        counts = np.unique(labels[contexts == context], return_counts=True)[1]
        entropy -= np.sum(counts * np.log2(counts / counts.sum()))
    np.testing.assert_allclose(10_000 * found.entropy, entropy, rtol=1e-11)
    np.testing.assert_array_equal(found.contexts % 2, found.states % 2)
    octaves = np.log2(deviation / steps)
    np.testing.assert_array_equal(found.contexts // 2, np.where(found.spread > 0, np.floor(16 * octaves) + 17, 0))


# The decoder ---------------------------------------------------------------------------------------------------------


def decode(labels, scale, offsets, states):
    state, most, values = 0, offsets.shape[1] // 2, []
    for label, unit in zip(labels.ravel().tolist(), np.broadcast_to(scale, labels.shape).ravel(), strict=True):
        q = state % 2
        values.append(unit * (2 * label + q + int(offsets[q, min(max(label, -most), most) + most]) / 128))
        state = follow(state, label % 2, states)
    return np.array(values).reshape(labels.shape)


@pytest.mark.parametrize("states", [8, 256])
def test_labels_alone_give_the_weights_bit_for_bit(states):
    if states == 8:
        importance, deviation, weights = linear_model(10_000, 2)
        found = trellis.quantize(weights, trellis.steps(1e-2, importance), deviation=deviation)
    else:
        found = trellis.quantize(gaussian(20_000, 2), 0.7, states=states)
    labels, scale, offsets = (np.array(x) for x in (found.labels, found.scale, found.offsets))
    np.testing.assert_array_equal(trellis.dequantize(labels, scale, offsets, states=states), found.weights_hat)
    np.testing.assert_array_equal(decode(labels, scale, offsets, states), found.weights_hat)
    labels[0] += 1  # a wrong label leads astray
    wrong = trellis.dequantize(labels, scale, offsets, states=states)
    assert np.mean(wrong[5000:] != found.weights_hat[5000:]) > 0.1


# Transformations and errors ------------------------------------------------------------------------------------------

BATCH = [np.stack([gaussian(40, seed) for seed in range(3)]), np.array([0.2, 0.7, 1.1]), np.array([1.0, 0.9, 1.2])]


def known(weights, step, deviation):
    return trellis.quantize(weights, step, deviation=deviation)


def test_jit_and_vmap_change_nothing():
    assert_transforms_agree(known, *BATCH)
    found = jax.vmap(known)(*BATCH)
    decoded = jax.jit(jax.vmap(trellis.dequantize))(found.labels, found.scale, found.offsets)
    np.testing.assert_array_equal(decoded, found.weights_hat)
    assert_transforms_agree(trellis.steps, np.array([0.1, 1.0]), np.array([[1.0, 2.0], [0.0, 4.0]]))


def test_twice_the_same_and_in_any_unit():
    weights = gaussian(20_000)
    first, again = trellis.quantize(weights, 0.5), trellis.quantize(weights, 0.5)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    larger = trellis.quantize(8 * weights, 4.0)
    np.testing.assert_array_equal(larger.labels, first.labels)
    np.testing.assert_array_equal(larger.weights_hat, 8 * first.weights_hat)
    assert larger.rate == first.rate


@pytest.mark.parametrize("weights", [np.zeros((2, 3)), np.full((2, 3), -3.0), np.float64(2.0)])
def test_few_and_equal_weights(weights):
    found = trellis.quantize(weights, 0.1)
    np.testing.assert_allclose(found.weights_hat, weights, atol=0.3)
    assert np.isfinite(found.rate)
    np.testing.assert_array_equal(trellis.dequantize(found.labels, found.scale, found.offsets), found.weights_hat)


def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact():
    items = [batch[1] for batch in BATCH]
    for argument, bad in [(0, np.full(40, np.nan)), (1, 0.0), (1, 1e-12), (2, -1.0)]:
        spoiled = [bad if place == argument else item for place, item in enumerate(items)]
        assert_only_bad_items_are_nan(known, BATCH, spoiled, 1)


ONES = np.ones(3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: trellis.quantize(ONES, 0.0), ValueError, "step must be > 0"),
        (lambda: trellis.quantize(ONES, np.nan), ValueError, "step must be >= 0"),
        (lambda: trellis.quantize(ONES, np.ones(2)), ValueError, "step must be a number or of shape (3,)"),
        (lambda: trellis.quantize(ONES, 1e-12), ValueError, "enlarge step"),
        (lambda: trellis.quantize(ONES * np.inf, 1.0), ValueError, "weights must be finite"),
        (lambda: trellis.quantize(ONES, 1.0, states=6), ValueError, "states must be one of 4, 8"),
        (lambda: trellis.quantize(ONES, 1.0, deviation=-1.0), ValueError, "deviation must be >= 0"),
        (lambda: trellis.quantize(ONES, 1.0, passes=0), ValueError, "passes must be a whole number"),
        (lambda: trellis.dequantize(ONES, 1.0, np.zeros((2, 9), int)), TypeError, "labels must be whole numbers"),
        (lambda: trellis.dequantize(ONES.astype(int), 1.0, np.zeros((2, 4), int)), ValueError, "offsets must have two"),
        (lambda: trellis.dequantize(ONES.astype(int), ONES[:2], np.zeros((2, 9), int)), ValueError, "scale must be"),
        (lambda: trellis.steps(0.0), ValueError, "level must be > 0"),
        (lambda: trellis.steps(1.0, -ONES), ValueError, "importance must be >= 0"),
        (lambda: trellis.steps(1.0, states=2), ValueError, "states must be one of"),
        (lambda: trellis.loss(512), ValueError, "states must be one of"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)


@pytest.mark.parametrize("states", [8, 256])
def test_bytes_give_the_same_weights_at_about_the_rate_that_was_told(states):
    weights = jax.random.normal(jax.random.key(3), (20_000,))
    found = trellis.quantize(weights, trellis.steps(1 / 16, states=states).astype(jnp.float32), states=states)
    data = bitstream.encode(trellis.packed(found, states=states))
    np.testing.assert_array_equal(bitstream.dequantize(bitstream.decode(data)), found.weights_hat)
    assert abs(8 * len(data) / weights.size - float(found.rate)) < 40 * 8 / weights.size  # the header
