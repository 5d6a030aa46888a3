"""A small network in one call: every number beside one that is computed here from its definition."""

import csv
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd
from rdtheory import network
from rdtheory.network import layers as made

rng = np.random.default_rng(9)
N, TOKENS, WIDE = 400, 40, 32
PARAMS = {
    "table": rng.normal(size=(TOKENS, WIDE)).astype(np.float32),
    "up": (rng.normal(size=(WIDE, WIDE)) / 6).astype(np.float32),  # stored transposed
    "down": (rng.normal(size=(WIDE, 34)) / 6).astype(np.float32),
    "bias": rng.normal(size=34).astype(np.float32),
}
INPUTS = rng.integers(TOKENS, size=(N, 2))


def apply(params, tokens):
    x = params["table"][tokens].sum(axis=1)
    hidden = jax.nn.relu(x @ params["up"].T)
    return hidden @ params["down"] + params["bias"][None]


@pytest.fixture(scope="module")
def found():
    return network.report(apply, PARAMS, INPUTS, bits=4.0, kind="fisher")


def test_what_is_compared(found):
    assert found.layers == ("down", "table", "up")
    assert found.kinds == ("inputs", "table", "inputs")
    assert found.shapes.tolist() == [[1, WIDE, 34], [1, WIDE, TOKENS], [1, WIDE, WIDE]]
    assert found.skipped == ("bias",)
    assert found.skipped_weights == 34
    assert found.examples.tolist() == [320, 80]
    np.testing.assert_allclose(found.rows_per_input, [320 / WIDE, np.inf, 320 / WIDE])
    # Of 32 inputs a group is all of them: a scale for 32 weights.
    np.testing.assert_allclose(found.bits[:5, 0], [8.5, 4.5, 5.0, 4.5, 9.0])
    assert abs(found.total_bits[-1] - 4) < 0.1


def test_losses_are_those_on_inputs_held_out(found):
    """The eight-bit format, with arrays written out."""
    out = np.arange(4, N, 5)
    w_hat = {name: rd.formats.integers(leaf, 8).weights_hat for name, leaf in PARAMS.items() if name != "bias"}
    w_hat["up"] = rd.formats.integers(PARAMS["up"].T, 8).weights_hat.T
    w_hat["table"] = rd.formats.integers(PARAMS["table"].T, 8).weights_hat.T
    x = PARAMS["table"].astype(float)[INPUTS[out]].sum(axis=1)
    hidden = np.maximum(x @ PARAMS["up"].T, 0)
    for j, seen, error, whole in (
        (0, hidden, PARAMS["down"] - w_hat["down"], PARAMS["down"]),
        (2, x, (PARAMS["up"] - w_hat["up"]).T, PARAMS["up"].T),
    ):
        lost, power = np.sum((seen @ error) ** 2, axis=1), np.sum((seen @ whole) ** 2, axis=1)
        np.testing.assert_allclose(found.relative[0, j], lost.sum() / power.sum(), rtol=1e-3)
        # A bootstrap of the ratio.
        draws = rng.integers(len(out), size=(2000, len(out)))
        spread = np.std(lost[draws].sum(axis=1) / power[draws].sum(axis=1))
        np.testing.assert_allclose(found.relative_error[0, j], spread, rtol=0.15)
    f, g = (np.asarray(apply(w, INPUTS[out]), float) for w in (PARAMS, {**w_hat, "bias": PARAMS["bias"]}))
    p, q = (np.asarray(jax.nn.log_softmax(values)) for values in (f, g))
    divergence = np.sum(np.exp(p) * (p - q), axis=1) / np.log(2)
    np.testing.assert_allclose(found.measured[0], divergence.mean(), rtol=1e-3)
    np.testing.assert_allclose(found.measured_error[0], divergence.std(ddof=1) / np.sqrt(80), rtol=1e-2)
    np.testing.assert_allclose(found.agreement[0], np.mean(f.argmax(axis=1) == g.argmax(axis=1)))
    np.testing.assert_allclose(found.power, np.mean(np.sum(f**2, axis=1)), rtol=1e-5)


def test_second_order_says_what_happens_where_changes_are_small(found):
    ratios = np.delete(found.predicted / found.measured, found.formats.index("half pruned"))
    assert np.all((0.8 < ratios) & (ratios < 1.25))


def test_our_code_is_nearest_to_the_limit(found):
    distance = found.total_bits - found.total_limit.bound
    assert np.argmin(distance) == len(found.formats) - 1
    # Layers of a thousand weights have much to say beside them; GPTQ is next.
    assert distance[-1] < 0.75 < 1.2 < np.min(distance[:-1])
    for limit in (found.limit, found.total_limit):
        both = np.isnan(limit.gap) ^ (limit.evidence == 0)
        assert both.all()
        assert np.all(limit.bound >= 0)


def test_the_water_level_has_the_rate_that_was_asked_for():
    moments = rd.importance.moments(apply, PARAMS, INPUTS)
    layers, _ = made.found(PARAMS, moments)
    level, variances = made.level(layers, 2.5)
    assert variances.size == sum(layer.weights.size for layer in layers)
    np.testing.assert_allclose(np.mean(np.maximum(0.5 * np.log2(variances / level), 0)), 2.5, rtol=1e-5)
    # What an error costs, with the whole of B, is the quadratic form of the two factors.
    error = rng.normal(size=(1, WIDE, 34))
    a, b = moments["down"].inputs[0], moments["down"].outputs[0]
    np.testing.assert_allclose(made.second_order(layers[0], error), np.trace(error[0].T @ a @ error[0] @ b), rtol=1e-9)


def test_files_hold_what_was_found(found, tmp_path):
    page, values, table = network.write(tmp_path / "new", found)
    read = json.loads(values.read_text())
    assert read["skipped"]["bias"].startswith("it is used by add")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == len(read["rows"]) == 4 * 6
    for row, other in zip(rows, read["rows"], strict=True):
        assert float(row["bits"]) == other["bits"]
    ours = next(row for row in rows if (row["layer"], row["format"]) == ("up", "our code"))
    np.testing.assert_allclose(float(ours["relative"]), found.relative[-1, 2])
    html = page.read_text()
    assert html.count("<table>") == 4
    assert re.search(r"<img [^>]*base64,", html)
    assert not list(tmp_path.glob("new/.report*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gradient"}, "kind must be"),
        ({"bits": 0}, "bits must be"),
        ({"held_out": 1.5}, "held_out must leave"),
        ({"batch_size": 0}, "batch_size"),
        ({"params": {**PARAMS, "table": PARAMS["table"] * np.nan}}, "params.*must be finite"),
        ({"params": rng.normal(size=(4, 4)), "apply": lambda w, x: x @ w, "inputs": rng.normal(size=(9, 4))},
         "no layers to compress: weights: it has matrices of 16 weights"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(as_user, options, message):
    arguments = {"apply": apply, "params": PARAMS, "inputs": INPUTS[:20], **options}
    with pytest.raises(ValueError, match=message):
        network.report(**arguments)


def test_a_table_that_is_used_again_is_a_table():
    """Also where its rows are few, and the logits that are ruled out are infinite."""

    def tied(table, tokens):
        logits = table[tokens].sum(axis=1) @ table.T
        return jnp.where(jnp.arange(TOKENS)[None] < 2, -jnp.inf, logits)

    found = network.report(tied, PARAMS["table"], INPUTS[:60], kind="fisher", samples=3, key=jax.random.key(0))
    assert found.layers == ("weights",)
    assert found.kinds == ("table",)
    assert np.all(found.relative_error == 0)
    assert np.all(np.isfinite(found.measured))


def test_a_network_of_zeros_has_nothing_to_describe():
    found = network.report(lambda w, x: x @ w, jnp.zeros((32, 40)), rng.normal(size=(50, 32)))
    assert np.all(found.total_limit.bound == 0)
    assert np.all(found.limit.gap[:, 0] == found.bits[:, 0])
    assert np.all(found.measured == 0)


def test_few_rows_in_single_precision_are_no_indefinite_moments():
    """Of 12 rows in float32 the moments of 64 inputs have eigenvalues of -1e-6 of the largest."""
    rng = np.random.default_rng(3)
    params = {"w": rng.normal(size=(64, 32)).astype(np.float32)}
    inputs = (100 * rng.normal(size=(15, 64))).astype(np.float32)
    found = rd.report(lambda w, x: x @ w["w"], params, inputs)
    assert np.all(found.limit.bound >= 0) and np.isfinite(found.measured).all()
