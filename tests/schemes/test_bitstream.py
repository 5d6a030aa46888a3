import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from rdtheory import bitstream, networks, prune, quantize, scalar
from rdtheory.results import CodedLayer, Quantized
from rdtheory.schemes.bitstream import entropy, layer, models, plans
from rdtheory.schemes.trellis import state_machine

STEP = np.float32(0.25)
EIGHT_STATES = np.array([5, 2], np.int32)


def gaussian_labels(n, step, seed=0):
    return np.round(np.random.default_rng(seed).normal(size=n) / step).astype(np.int32)


def assert_same(got, wanted):
    """Containers, order of keys, shapes, dtypes and every bit of labels, parts and weights."""
    assert type(got) is type(wanted)
    if isinstance(wanted, dict):
        assert list(got) == list(wanted)
        got, wanted = list(got.values()), list(wanted.values())
    if isinstance(wanted, Quantized | CodedLayer):
        for a, b in zip(got, wanted, strict=True):
            assert (a is None) == (b is None)
            if b is not None:
                b = np.asarray(b)
                assert (a.shape, a.dtype) == (b.shape, b.dtype)
                assert a.tobytes() == b.tobytes()
        a, b = bitstream.dequantize(got), bitstream.dequantize(wanted)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
    elif wanted is not None:
        assert len(got) == len(wanted)
        for a, b in zip(got, wanted, strict=True):
            assert_same(a, b)


def examples():
    """One of each kind of array."""
    rng = np.random.default_rng(3)
    labels = gaussian_labels((20, 30), 0.3)
    wide = labels.astype(np.int64)
    wide[0, 0], wide[3, 4], wide[5, 6] = 2**63 - 1, -(2**63), 5 * 10**9
    rows = np.repeat(np.arange(4, dtype=np.uint8), 5)[:, None]
    offsets = np.array([3, 2, 0, -2, -3], np.int8)
    return {
        "scalar": Quantized(labels, STEP),
        "double": Quantized(labels.astype(np.int16), np.float64(0.1), offsets=offsets),
        "rows": Quantized(labels, np.exp2(rng.integers(0, 3, size=(20, 1))), classes=rows),
        "columns": Quantized(labels, rng.random((1, 30), dtype=np.float32) + 1, classes=np.int32(2)),
        "codebook": Quantized(np.abs(labels).astype(np.uint8) % 4, codebook=np.array([-1.5, 0.1, 0.2, 3.0])),
        "scaled": Quantized(np.abs(labels) % 4, np.ones((20, 1), np.float16), np.arange(4, dtype=np.float16)),
        "trellis": Quantized(labels, STEP, None, np.stack([offsets, offsets + np.int8(1)]), None, EIGHT_STATES),
        "trellis in rows": Quantized(labels, STEP, classes=rows, taps=EIGHT_STATES),
        "whole": Quantized(labels),
        "whole trellis": Quantized(labels, classes=rows, taps=np.array([166, 121], np.int32)),
        "unnamed trellis": Quantized(labels, taps=np.array([0, 4095], np.int32)),
        "far": Quantized(wide, np.float64(0.1)),
        "far trellis": Quantized(wide, np.float64(0.1), taps=EIGHT_STATES),
        "zeros": Quantized(np.zeros((100, 100), np.int8), STEP),
        "one": Quantized(np.array(7), STEP),
        "not described": Quantized(labels, np.where(np.arange(30) < 5, np.inf, 1.0)[None, :]),
    }


def layers():
    """Layers of scalar labels and of a trellis; what is not sent, several kinds of outputs, labels far off."""
    labels = gaussian_labels((20, 30), 0.3)
    base, flat, silent = np.array(0.375, np.float32), np.zeros((1, 20), np.int32), np.array(-(2**15), np.int32)
    kinds = (np.arange(30) % 3 == 0).astype(np.uint8)
    unheard = np.stack([np.arange(20) % 5 == 1, np.arange(20) % 10 == 1])
    exponents = np.where(unheard, silent, np.arange(40, dtype=np.int32).reshape(2, 20) % 7)
    far = labels.copy()
    far[0, 0], far[3, 4], far[5, 6] = 2**26 - 1, -(2**26) + 1, 9999
    seed = np.array(2**32 - 1, np.uint32)
    return {
        "plain layer": CodedLayer(labels, base, flat),
        "dithered layer": CodedLayer(labels.astype(np.int8), base.astype(float), flat, seed=np.array(7, np.uint32)),
        "trellis layer": CodedLayer(labels, base, flat, seed=seed, taps=EIGHT_STATES),
        "layer of kinds": CodedLayer(
            np.where(unheard[kinds].T, 0, labels), base, exponents, kinds, seed=seed, taps=EIGHT_STATES
        ),
        "far layer": CodedLayer(far, base, flat),
        "far trellis layer": CodedLayer(far, base, flat, seed=seed, taps=EIGHT_STATES),
        "silent layer": CodedLayer(np.zeros((2, 3), np.int16), base, np.full((1, 2), silent)),
        "long layer": CodedLayer(gaussian_labels((2, 1300), 0.3), base, flat[:, :2], taps=EIGHT_STATES),
    }


EXAMPLES = {**examples(), **layers()}
LENGTHS = {
    "scalar": 308,
    "double": 318,
    "rows": 348,
    "columns": 431,
    "codebook": 202,
    "scaled": 186,
    "trellis": 318,
    "trellis in rows": 318,
    "whole": 303,
    "whole trellis": 313,
    "unnamed trellis": 307,
    "far": 339,
    "far trellis": 341,
    "zeros": 19,
    "one": 17,
    "not described": 329,
    "plain layer": 323,
    "dithered layer": 330,
    "trellis layer": 333,
    "layer of kinds": 331,
    "far layer": 438,
    "far trellis layer": 449,
    "silent layer": 22,
    "long layer": 1265,
}  # bytes, when they were written first
GOLDEN = (
    "5244022b030201610d150264080000003f18020102021800016201020019150264099a9999999999b93f0506021800487f6c"
    "fb0cfe402ed9c2b942dc71ba88c96133ecff755c016cd92cad8d3219af149c6ae3a18a4da81054f71af4d7cbeae75839fb2d"
    "c883e42ed20e23353f1212eada6a700c9989514239458129818316b12e30ab89210094c026e92be057aac163826d4fa8da0a"
    "c817e02316cf839725e915e2700591d333372bf31e881f54dabe9b6324c2c80378448a2a81d7ba658e2f224fa2e8d6c9ddfe"
    "47caecdcc1ed99ebbf0db3ab09ef42e7220f1e7d9ff8cf976547a4f9f4e8a5c0"
)
GOLDEN_LAYERS = (
    "524402600103840115018804080000c03e04000002000006001d00840114031e09000000000000d83f05ffffffff0f020202"
    "000202021c04220000202a240100840116031e080000c03e01ffffffff0f020202000202021c04220008e802c0018e027302"
    "f02d805c5cd87fb0481780e8ffffff6ce33f7dfb4b508156f7327d315c6d82ca25007e9707bebd159c3ecc5aac23e1f33f68"
    "1c0cbf1c44a352dd29a92de7ff77bffa6aecc30a18ec65858b6ed9c2c2103a2997b491f5e4836dcab0ff72a02d1261accc56"
    "6c2e392b4efe25298197d036680a1f92b11d286fa0a7a770c9c253b3a5aa17d48a913d60e5a073d1a32f0d15a1b852f7d707"
    "7106e3b1b7f182d1e689cf949c4362b8add37d889de0352b0d041bc7dd464475873a2d732ccad4d709121d429a"
)


def layers_written_once():
    """A trellis that begins anew, a trellis and scalar labels with dither, kinds, what is not sent, labels far off."""
    base, seed, rare = np.array(0.375, np.float32), np.array(2**32 - 1, np.uint32), np.zeros((1, 520), np.int16)
    rare[:, 100::97] = 1
    kinds = (np.arange(30) % 3 == 0).astype(np.uint8)
    exponents = np.array([[0, 3, -(2**15)], [9, -5, 1]], np.int32)
    labels = (np.arange(90).reshape(3, 30) ** 2 % 13 - 6).astype(np.int8)
    labels[2, kinds == 0] = 0
    far = labels.astype(np.int32)
    far[0, :2] = 2**26 - 1, -9999
    return [
        CodedLayer(rare, base, exponents[:1, :1], taps=EIGHT_STATES),
        CodedLayer(labels, base.astype(float), exponents, kinds, seed, EIGHT_STATES),
        CodedLayer(far, base, exponents, kinds, seed),
    ]


def weights_as_stated(leaf):
    """Of a coded layer, in whole numbers and fractions, one after the other."""
    (m, k), weights, state = leaf.labels.shape, [], 0
    size = -(-k // -(-k // 512))
    for number, label in enumerate(leaf.labels.ravel().tolist()):
        i, j = divmod(number, k)
        state, place = 0 if j % size == 0 else state, 16 * label
        if leaf.taps is not None:
            place += 8 * (state % 2)
            state = (state // 2) ^ (state % 2 * int(leaf.taps[0])) ^ (label % 2 * int(leaf.taps[1]))
        if leaf.seed is not None:
            x = (number + int(leaf.seed) * 0x9E3779B9) % 2**32
            for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
                x = (x ^ x >> shift) * factor % 2**32
            place -= x >> (28 if leaf.taps is None else 27)
        exponent = int(leaf.exponents[0 if leaf.kinds is None else leaf.kinds[j], i])
        eighth = round(2 ** (exponent % 8 / 8) * 2048) / 2048
        step = 0.0 if exponent == -(2**15) else float(leaf.base) * eighth * 2.0 ** (exponent // 8)
        weights.append(step * place / 16)
    return np.reshape(weights, (m, k)).astype(leaf.base.dtype)


# What comes back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_decoding_gives_every_bit_back(name):
    data = bitstream.encode(EXAMPLES[name])
    assert_same(bitstream.decode(data), EXAMPLES[name])
    assert bitstream.encode(EXAMPLES[name]) == data
    assert len(data) <= LENGTHS[name]


def test_trees_of_arrays_come_back_as_they_were():
    tree = {"z": [EXAMPLES["scalar"], None, ()], "a": ({"ω": EXAMPLES["codebook"]}, EXAMPLES["rows"]), "": []}
    assert_same(bitstream.decode(bitstream.encode(tree)), tree)
    assert_same(bitstream.decode(bitstream.encode(None)), None)


def test_named_tuples_come_back_as_tuples_of_the_same_leaves():
    params = networks.mlp([4, 6, 3]).init(jax.random.key(0))
    coded = jax.tree.map(lambda w: scalar.quantize(w, 0.25), params)
    decoded = bitstream.decode(bitstream.encode(coded))
    assert [type(layer) for layer in decoded] == [tuple, tuple]
    leaves = [jax.tree.leaves(tree, is_leaf=lambda leaf: isinstance(leaf, Quantized)) for tree in (decoded, coded)]
    back = jax.tree.unflatten(jax.tree.structure(params), map(bitstream.dequantize, leaves[0]))
    jax.tree.map(np.testing.assert_array_equal, back[1].weights, bitstream.dequantize(coded[1].weights))
    with pytest.raises(TypeError, match=r"tree\['a'\] must be Quantized.*got Pruned"):
        bitstream.encode({"a": prune.magnitude(params, 0.5)})


def test_arrays_of_jax_are_taken_too():
    labels = jnp.asarray(gaussian_labels(50, 0.5))
    back = bitstream.decode(bitstream.encode(Quantized(labels, jnp.array(0.5))))
    np.testing.assert_array_equal(back.labels, labels)
    assert isinstance(back.labels, np.ndarray)


WHOLE = st.one_of(st.integers(-4, 4), st.integers(-(2**63), 2**63 - 1))


@settings(max_examples=12, deadline=None)
@given(
    st.lists(WHOLE, min_size=1, max_size=40),
    st.lists(st.integers(0, 3), min_size=40, max_size=40),
    st.sampled_from([None, (0, 0), (2, 2), (5, 2), (166, 121)]),
    st.booleans(),
)
def test_any_labels_come_back(labels, classes, taps, apart):
    group = np.array(classes[: len(labels)], np.uint8) if apart else None
    leaf = Quantized(np.array(labels), STEP, classes=group, taps=None if taps is None else np.array(taps, np.int32))
    back = bitstream.decode(bitstream.encode(leaf))
    for part in ("labels", "classes", "taps"):
        np.testing.assert_array_equal(getattr(back, part), getattr(leaf, part))


def test_classes_that_a_decoder_knows_are_not_sent():
    leaf, labels = EXAMPLES["rows"], gaussian_labels((20, 30), 0.3)
    other = Quantized(labels, STEP, classes=np.random.default_rng(0).integers(0, 4, size=(20, 30)))
    tree, known = [leaf, {"b": other}], [leaf.classes, other.classes]
    sent, short = bitstream.encode(tree), bitstream.encode(tree, send_classes=False)
    assert len(short) < len(sent) - 600 * 2 / 8 + 30  # two bits each for 600 of them
    assert_same(bitstream.decode(short, known), tree)
    for given_classes, message in [
        ((), "does not hold the classes"),
        (known[:1], "the classes are not those"),
        ([known[0], (other.classes + 1) % 4], "the classes are not those"),
        ([*known, known[0]], "the classes are not those"),
        ([known[0], other.classes.ravel()], "the classes are not those"),  # their shape is that of the labels
    ]:
        with pytest.raises(ValueError, match=message):
            bitstream.decode(short, given_classes)
    with pytest.raises(ValueError, match="stream holds the classes"):
        bitstream.decode(sent, known)


def test_a_long_codebook_after_much_work_comes_back():
    codebook = np.arange(1, 4501).astype(np.uint16).view(np.float16)
    tree = [Quantized(np.zeros(8_000_000, np.int8)), Quantized(np.array([0]), codebook=codebook)]
    assert_same(bitstream.decode(bitstream.encode(tree)), tree)


def test_a_stream_written_once_stays_readable():
    tree = bitstream.decode(bytes.fromhex(GOLDEN))
    labels = (np.arange(200) ** 2 % 13 - 6).astype(np.int16).reshape(2, 100)
    classes = np.array([[0], [1]], np.uint8)
    trellis = Quantized(labels, np.float64(0.1), None, np.array([[1, 0, -1], [2, 0, 1]], np.int8), None, EIGHT_STATES)
    wanted = {"a": Quantized(labels, np.float32(0.5), classes=classes), "b": [None, trellis]}
    assert_same(tree, wanted)
    assert bitstream.encode(wanted).hex() == GOLDEN


def test_layers_written_once_stay_readable():
    assert_same(bitstream.decode(bytes.fromhex(GOLDEN_LAYERS)), layers_written_once())
    assert bitstream.encode(layers_written_once()).hex() == GOLDEN_LAYERS


# Weights --------------------------------------------------------------------------------------------------------------


def test_weights_of_a_trellis_code_follow_its_states():
    labels = np.array([[1, -2, 3], [0, 0, -1]])
    offsets = np.array([[64, 0, -64], [32, 16, -32]], np.int8)
    state, wanted = 0, []
    for k in labels.ravel().tolist():  # the recursion as it is stated, one label at a time
        q = state % 2
        wanted.append(0.5 * (2 * k + q + offsets[q, min(max(k, -1), 1) + 1] / 128))
        state = (state // 2) ^ (q * 5) ^ (k % 2 * 2)
    leaf = Quantized(labels, np.float64(0.5), offsets=offsets, taps=EIGHT_STATES)
    np.testing.assert_array_equal(bitstream.dequantize(leaf), np.reshape(wanted, (2, 3)))


@pytest.mark.parametrize("number", range(3))
def test_weights_of_layers_follow_steps_states_and_dither(number):
    leaf = layers_written_once()[number]
    np.testing.assert_array_equal(bitstream.dequantize(leaf), weights_as_stated(leaf))


@pytest.mark.parametrize(
    "name", ["scalar", "double", "rows", "codebook", "scaled", "trellis", "whole trellis", "not described"]
)
def test_weights_under_jit_are_the_same_up_to_rounding(name):
    leaf = EXAMPLES[name]
    # Products of half-precision numbers may be rounded once less.
    tolerance = 1e-3 if name == "scaled" else 1e-6
    np.testing.assert_allclose(jax.jit(bitstream.dequantize)(leaf), bitstream.dequantize(leaf), rtol=tolerance, atol=0)


def test_weights_are_differentiable_in_the_step():
    leaf = EXAMPLES["double"]
    slope = jax.grad(lambda step: jnp.sum(bitstream.dequantize(leaf._replace(step=step))))(0.1)
    np.testing.assert_allclose(slope, np.sum(bitstream.dequantize(leaf)) / 0.1, rtol=1e-12)


def test_offsets_of_unsigned_labels_and_of_small_ones():
    offsets = np.arange(-127, 128).astype(np.int8)
    for dtype in (np.uint8, np.int8):
        labels = np.array([0, 1, 127], dtype)
        np.testing.assert_array_equal(
            bitstream.dequantize(Quantized(labels, np.float64(1), offsets=offsets)), [0, 1 + 1 / 128, 127 + 127 / 128]
        )


# Bits -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [3.0, 1.0, 0.3, 0.05, 0.004])
def test_gaussian_labels_take_their_entropy_and_forty_bytes(step):
    n = 100_000
    labels = gaussian_labels(n, step)
    law = norm.cdf((labels + 0.5) * step) - norm.cdf((labels - 0.5) * step)
    ideal = -np.sum(np.log2(law))  # with the true law, which nobody need send
    assert len(bitstream.encode(Quantized(labels, STEP))) <= ideal / 8 + 40


def test_labels_of_a_codebook_take_what_an_adaptive_coder_would():
    values = jax.random.t(jax.random.key(0), 3.0, (2000,))
    found = quantize.kmeans(values, 16)
    leaf = Quantized(found.labels, codebook=found.codebook.astype(jnp.float32))
    data = bitstream.encode(leaf)
    assert len(data) <= found.size.rate * 2000 / 8 + 30  # that rate counts labels, learning and codebook, no header
    np.testing.assert_array_equal(
        bitstream.dequantize(bitstream.decode(data)), found.codebook.astype(jnp.float32)[found.labels]
    )


def test_classes_of_different_spread_are_coded_apart():
    rng = np.random.default_rng(0)
    spread = np.exp2(np.repeat(np.arange(8), 2500) / 2)
    labels = np.round(rng.normal(size=20_000) * spread).astype(np.int32)
    law = norm.cdf((labels + 0.5) / spread) - norm.cdf((labels - 0.5) / spread)
    classes = np.repeat(np.arange(8, dtype=np.uint8), 2500)
    together, apart = (8 * len(bitstream.encode(Quantized(labels, STEP, classes=c))) for c in (None, classes))
    assert apart <= -np.sum(np.log2(law)) + 8 * 60
    assert together > apart + 20_000 * 0.1


def test_what_is_certain_costs_nothing():
    zeros = np.zeros(10**6, np.int8)
    assert len(bitstream.encode(Quantized(zeros, STEP))) < 30
    labels = np.concatenate([zeros, gaussian_labels(1000, 0.5).astype(np.int8)])
    classes = np.repeat(np.array([0, 1], np.uint8), [10**6, 1000])
    assert len(bitstream.encode(Quantized(labels, STEP, classes=classes))) < 1000 * 3.1 / 8 + 60
    one = zeros.copy()
    one[12345] = 1
    assert len(bitstream.encode(Quantized(one, STEP))) < 40


def test_contexts_that_ask_more_work_than_they_save_bytes_are_not_used():
    """Known the state, a label here takes one bit; but a table for each of 256 states takes 148 kB of padding."""
    rng, taps, state, labels = np.random.default_rng(0), np.array([166, 121], np.int32), 0, []
    following = state_machine.transitions(taps)
    for bit in rng.integers(0, 2, 20_000):
        labels.append(2 * state + bit)
        state = following[state, bit]
    labels[-2:] = [-10_000, 10_000]
    leaf = Quantized(np.array(labels, np.int16), taps=taps)
    data = bitstream.encode(leaf)
    assert_same(bitstream.decode(data), leaf)
    assert len(data) < 20_000 * 11 / 8  # a density for 512 labels, whatever the state


@pytest.mark.parametrize("size", [2, 3, 100, 2**16 + 1])
def test_frequencies_are_whole_and_sum_to_a_power_of_two(size):
    rng = np.random.default_rng(size)
    for weights in (rng.integers(0, 2**38, size), np.eye(1, size, dtype=np.int64)[0], np.zeros(size, np.int64)):
        found = entropy.normalized(weights)
        assert found.dtype == np.int64
        assert found.min() >= 1
        assert found.sum() == 2**24


def test_the_coder_spends_what_the_frequencies_say():
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 2**30, 50)
    frequencies, symbols, operations = entropy.normalized(weights), rng.integers(0, 50, 100_000), []
    entropy.put(operations, symbols, frequencies)
    stated = entropy.bits(np.bincount(symbols, minlength=50), frequencies)
    np.testing.assert_allclose(8 * len(entropy.packed(operations)), stated, rtol=1e-5, atol=16)


def test_numbers_of_any_length_are_escaped_and_come_back():
    powers = 2 ** np.arange(63)
    values = np.concatenate([[0, 2**63 - 1, -(2**63)], powers, -powers, powers - 1])
    operations = []
    plans.put_escaped(operations, values)
    coder = entropy.opened(entropy.packed(operations))
    np.testing.assert_array_equal(plans.take_escaped(coder, len(values)), values)
    assert coder.is_empty()


@pytest.mark.parametrize("zone", [0, 3, 8, models.POINTWISE])
def test_densities_are_those_of_a_rounded_gaussian(zone):
    shape, scale, labels = 3, 64 + 32, np.arange(-20, 21)  # 2^-(x/4)²: of deviation 4/√(2 ln 2)
    found = models.frequencies((models.SHAPED, shape, zone, scale), -20, 41) / 2**24
    above = np.arange(21) + 0.5 + zone / 16  # where the cells of 0, 1, ... end: the middle one is wider on either side
    wanted = np.diff(norm.cdf(np.concatenate([-above[::-1], above]) * np.sqrt(2 * np.log(2)) / 4))
    wanted = 2.0 ** -((labels / 4) ** 2) if zone == models.POINTWISE else wanted
    np.testing.assert_allclose(found, wanted / wanted.sum(), atol=2e-5)


def test_the_work_of_a_layer_is_that_of_its_tables_and_labels():
    """As `decode` states it: 8 (K + 512) for a table of K entries, 4 for a label of a trellis code."""
    for scales in ([64], [layer.BROAD - 1, layer.BROAD], [70, 130, 200]):
        laws = layer._laws(layer.GAUSSIAN, np.array(scales))
        assert layer._work(laws, 1000) == sum(8 * (len(table) + 512) for table in laws.tables) + 4 * 1000


def test_powers_of_two_are_right():
    x = np.linspace(0, 29, 1000)
    np.testing.assert_allclose(entropy.halved(x), 2.0 ** (30 - x), rtol=1e-9, atol=1)
    np.testing.assert_allclose([entropy.power(k) for k in range(-70, 300)], 2 ** (np.arange(-70, 300) / 16), rtol=1e-14)


def test_a_million_labels_are_fast():
    for leaf in (
        Quantized(gaussian_labels(10**6, 0.3), STEP),
        Quantized(gaussian_labels(10**6, 0.3), STEP, classes=np.arange(10**6) % 16),
    ):
        start = time.process_time()
        data = bitstream.encode(leaf)
        assert time.process_time() - start < 2
        np.testing.assert_array_equal(bitstream.decode(data).labels, leaf.labels)


@pytest.mark.long
def test_ten_million_labels():
    labels = gaussian_labels(10**7, 0.3)
    np.testing.assert_array_equal(bitstream.decode(bitstream.encode(Quantized(labels, STEP))).labels, labels)
    rare = np.zeros(10**7, np.int8)
    rare[7] = -1
    data = bitstream.encode(Quantized(rare, STEP))
    assert len(data) < 25_000  # padded to what a decoder believes
    np.testing.assert_array_equal(bitstream.decode(data).labels, rare)
