import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd
from rdtheory import _checks
from rdtheory.results import WaterFilling


def flag_under_jit(check, value):
    return bool(jax.jit(lambda x: check("it", x)[1])(jnp.asarray(value)))


PAIR = [0.25, 0.75]
CASES = [
    (_checks.pmf, PAIR, True),
    (_checks.pmf, [0.5, 0.5 + 1e-9], True),
    (_checks.pmf, [0.5, 0.5 + 1e-6], False),
    (_checks.pmf, [-1e-300, 1.0], False),
    (_checks.pmf, [np.inf, 1.0], False),
    (_checks.pmf, [np.nan, 1.0], False),
    (_checks.stochastic_matrix, [PAIR, [1.0, 0.0]], True),
    (_checks.stochastic_matrix, [PAIR, [1.0, 0.1]], False),
    (_checks.stochastic_matrix, [PAIR, [np.nan, 1.0]], False),
    (_checks.nonnegative, 0.0, True),
    (_checks.nonnegative, -0.0, True),
    (_checks.nonnegative, -1e-300, False),
    (_checks.nonnegative, np.inf, False),
    (_checks.nonnegative, np.nan, False),
    (_checks.covariance, [[1.0, 0.5], [0.5, 1.0]], True),
    (_checks.covariance, [[1.0, 1.0], [1.0, 1.0]], True),
    (_checks.covariance, [[0.0, 0.0], [0.0, 0.0]], True),
    (_checks.covariance, [[1.0, 1e-12], [0.0, 1.0]], True),
    (_checks.covariance, [[1.0, 2.0], [2.0, 1.0]], False),
    (_checks.covariance, [[1.0, 0.5], [0.4, 1.0]], False),
    (_checks.covariance, [[-1.0, 0.0], [0.0, 1.0]], False),
    (_checks.covariance, [[np.nan, 0.0], [0.0, 1.0]], False),
    (_checks.covariance, [[np.inf, 0.0], [0.0, 1.0]], False),
]


@pytest.mark.parametrize(("check", "value", "valid"), CASES)
def test_a_check_decides_alike_eagerly_and_under_jit(check, value, valid):
    assert flag_under_jit(check, value) == valid
    if valid:
        assert bool(check("it", np.array(value))[1])
    else:
        with pytest.raises(ValueError, match="it must|row of it"):
            check("it", np.array(value))


@pytest.mark.parametrize(("check", "value", "valid"), CASES)
def test_a_check_decides_item_by_item_under_vmap(check, value, valid):
    values = jnp.stack([jnp.asarray(value), jnp.asarray(value)])
    np.testing.assert_array_equal(jax.vmap(lambda x: jnp.asarray(check("it", x)[1]))(values), [valid, valid])


def test_a_pmf_comes_back_normalized():
    p, _ = _checks.pmf("it", np.array([0.1, 0.2, 0.7], np.float32))
    assert p.dtype == jnp.float64
    np.testing.assert_allclose(p.sum(), 1, rtol=0, atol=1e-16)


def test_a_covariance_comes_back_symmetric():
    cov, _ = _checks.covariance("it", np.array([[1.0, 0.5 + 1e-12], [0.5, 1.0]]))
    np.testing.assert_array_equal(cov, cov.T)


def test_a_covariance_off_by_rounding_passes_at_any_scale():
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    for scale in [1e-200, 1.0, 1e200]:
        cov = (vectors * np.array([0, 0, 0, 1.0, 2.0, 3.0])) @ vectors.T * scale
        assert bool(_checks.covariance("it", cov)[1])


@pytest.mark.parametrize(
    ("distortion", "D", "valid"),
    [
        ([[1.0, 2.0], [0.5, 0.25]], 0.625, True),
        ([[1.0, 2.0], [0.5, 0.25]], 0.625 * (1 - 1e-15), True),
        ([[1.0, 2.0], [0.5, 0.25]], 0.62, False),
        ([[0.0, 1.0], [1.0, 0.0]], 0.0, True),
        ([[0.0, 1.0], [1.0, 0.0]], np.inf, True),
        ([[0.0, 1.0], [1.0, 0.0]], -1e-9, False),
        ([[0.0, 1.0], [1.0, 0.0]], np.nan, False),
    ],
)
def test_a_distortion_is_reachable_from_the_least_on(distortion, D, valid):
    p, d = jnp.array([0.5, 0.5]), jnp.array(distortion)
    assert bool(jax.jit(lambda D: _checks.reachable("D", D, p, d)[1])(D)) == valid
    if not valid:
        with pytest.raises(ValueError, match="D must be"):
            _checks.reachable("D", D, p, d)


def test_reachable_does_not_look_at_rows_without_mass():
    p, d = jnp.array([1.0, 0.0]), jnp.array([[0.0, 1.0], [jnp.inf, jnp.inf]])
    assert bool(_checks.reachable("D", 0.0, p, d)[1])


def test_poison_spoils_floats_with_nan_and_flags_with_false():
    result = WaterFilling(jnp.array(1.0), jnp.array(True), jnp.array([1.0, 2.0]), jnp.array(0.0))
    clean = jax.jit(_checks.poison)(result, jnp.array(True))
    np.testing.assert_array_equal(clean.distortions, result.distortions)
    spoiled = jax.jit(_checks.poison)(result, jnp.array(False))
    assert jnp.isnan(spoiled.rate)
    assert jnp.isnan(spoiled.distortions).all()
    assert not spoiled.water_level


@pytest.mark.parametrize("value", ["text", None, [1.0, "text"], np.array([1j]), object()])
def test_what_is_not_real_is_a_type_error(as_user, value):
    with pytest.raises(TypeError, match="it must"):
        _checks.array("it", value)


def test_long_arrays_are_summarized_in_messages():
    p = np.full(100, 0.01)
    p[3] = -1.0
    with pytest.raises(ValueError, match=r"got an array of shape \(100,\) with smallest entry -1 and largest 0.01"):
        _checks.pmf("it", p)
    with pytest.raises(ValueError, match="and 1 NaN"):
        _checks.pmf("it", np.where(p < 0, np.nan, p))


def test_a_long_array_of_nan_gets_its_message():
    with pytest.raises(ValueError, match="all NaN"):
        _checks.pmf("it", np.full(100, np.nan))


def test_a_matrix_that_is_all_infinite_in_a_row_names_the_row():
    p, d = jnp.array([0.5, 0.0, 0.5]), jnp.full((3, 2), jnp.inf).at[0].set(0.0)
    with pytest.raises(ValueError, match="row 2 has none"):
        _checks.distortion_matrix("d", d, p)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: rd.rate_at(np.array([0.3, 0.7]), 1 - np.eye(2), x).rate,
        lambda x: rd.linear.rate(np.eye(3), np.eye(3), x).rate,
        lambda x: rd.relu.distortion(x * np.ones(3), np.zeros(3), np.eye(3)),
    ],
)
def test_an_invalid_item_of_a_batch_that_is_not_compiled_is_nan(function):
    found = np.asarray(jax.vmap(function)(jnp.array([0.1, jnp.nan, 0.2])))
    assert np.isnan(found).tolist() == [False, True, False]
    np.testing.assert_allclose(found[[0, 2]], [function(0.1), function(0.2)], rtol=1e-12)


def test_what_would_lose_a_mask_is_refused_by_name():
    with pytest.raises(TypeError, match="it must"):
        _checks.pmf("it", np.ma.array([0.5, 0.25, 0.25], mask=[0, 0, 1]))


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", np.longdouble, ">i2", ">i4", ">i8", ">u4"])
def test_other_byte_orders_and_long_numbers_are_read_as_the_kind_they_are(as_user, dtype):
    value = np.array([[3, 1], [1, 3]], dtype)
    wanted = np.array([[3.0, 1.0], [1.0, 3.0]])
    for given in (value, list(value)):
        found = _checks.array("it", given)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(_checks.covariance("it", value)[0], wanted)
    large = (np.arange(2**17) % 1000).astype(dtype)
    np.testing.assert_array_equal(_checks.array("it", large), np.arange(2**17) % 1000)
    stored = _checks.stored(value)
    assert stored.dtype == np.dtype(dtype).newbyteorder("=") if value.itemsize <= 8 else stored.dtype == np.float64
    np.testing.assert_array_equal(stored, wanted)


def test_a_pmf_is_summed_as_precisely_as_it_is_stored():
    # Off by as much as single precision is: sound in any byte order of it, and wrong in double.
    p = np.array([0.3, 0.7 + 1e-5])
    for dtype in ("<f4", ">f4"):
        np.testing.assert_allclose(_checks.pmf("it", p.astype(dtype))[0], p / p.sum(), rtol=1e-7)
    for dtype in ("<f8", ">f8", np.longdouble):
        with pytest.raises(ValueError, match="it must sum to 1"):
            _checks.pmf("it", p.astype(dtype))


def test_labels_and_indices_may_be_of_any_byte_order(as_user):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(5, 3)), np.array([0, 2, 1, 1, 0])

    def apply(w, x):
        return x @ w

    w = rng.normal(size=(3, 3))
    for call in (
        lambda y: rd.evaluation.accuracy(apply, w, x.astype(y.dtype.str.replace("i", "f")), y),
        lambda y: rd.importance.diagonal(apply, w, x, kind="gradient", labels=y),
        lambda y: rd.training.fit(apply, w, x, y, key=jax.random.key(0), epochs=1, progress=False).params,
        lambda y: rd.training.train(jax.random.key(0), x, y, 2, steps=1).output,
        lambda y: rd.quantize.coded_size(y).rate,
        lambda y: rd.bitstream.dequantize(rd.bitstream.decode(rd.bitstream.encode(rd.results.Quantized(labels=y)))),
    ):
        np.testing.assert_array_equal(call(labels.astype(">i8")), call(labels))


COIN, WRONG, LAPLACE = [0.7, 0.3], 1 - np.eye(2), rd.sources.laplace(1.0)
STUMBLES = {
    "swapped: the matrix first": (lambda: rd.rate_at(WRONG, COIN, 0.1), ValueError, "the source comes first"),
    "swapped: the number second": (lambda: rd.rate_at(COIN, 0.1, WRONG), ValueError, "got the number 0.1"),
    "a joint pmf": (lambda: rd.rate_at(WRONG / 2, WRONG, 0.1), ValueError, "side_information.conditional_rate_at"),
    "samples, one a row": (lambda: rd.rate_at(np.eye(3) - 0.5, WRONG, 0.1), ValueError, "distortion.samples"),
    "samples in a list": (lambda: rd.rate_at([0.3, -1.2], WRONG, 0.1), ValueError, "sources.from_samples"),
    "rows of different lengths": (lambda: rd.rate_at([[0.3], [0.2, 0.5]], WRONG, 0.1), TypeError, "real numbers"),
    "a pmf for a source": (lambda: rd.continuous.rate_at(COIN, 0.2), TypeError, "rdtheory.rate_at"),
    "a source for a pmf": (lambda: rd.rate_at(LAPLACE, 0.2), TypeError, "continuous.rate_at"),
    "a source for a pmf in a curve": (lambda: rd.curve(LAPLACE, WRONG, [1.0]), TypeError, "continuous.rate_at"),
    "a function": (lambda: rd.rate_at(COIN, lambda x, y: abs(x - y), 0.1), TypeError, "tabulate it: np.array"),
}


@pytest.mark.parametrize("stumble", STUMBLES)
def test_who_takes_one_thing_for_another_is_told_the_function_that_is_meant(as_user, stumble):
    call, error, said = STUMBLES[stumble]
    with pytest.raises(error, match=said):
        call()


def test_the_remedies_that_messages_name_work():
    joint, samples = np.diag([0.7, 0.3]), np.array([-1.0, 0.0, 2.0])
    assert rd.side_information.conditional_rate_at(joint, WRONG, 0.1).rate < 1e-9
    assert rd.continuous.rate_at(rd.sources.from_samples(samples), 5.0).upper == 0
    table = np.array([[abs(x - y) for y in (0, 1)] for x in (0, 1)])
    np.testing.assert_array_equal(table, WRONG)


@pytest.mark.parametrize(
    ("entries", "sound"),
    [([0.0, np.inf, 2.0], True), ([np.inf, 1e-295], False), ([1e-200, 1e150], False), ([0.0, 0.0], True)],
)
def test_what_is_traced_is_checked_as_what_is_known_is(entries, sound):
    entries = np.array([entries])
    assert bool(jax.jit(lambda v: _checks.no_flush("d", v))(jnp.asarray(entries))) == sound
    if sound:
        assert _checks.no_flush("d", entries)
    else:
        with pytest.raises(ValueError, match="entries of d"):
            _checks.no_flush("d", entries)
