"""What meets the weights: beside blocks of the whole importance, loops over positions, and sums written by hand."""

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from rdtheory import importance
from rdtheory.models import _moments, _uses

rng = np.random.default_rng(21)
N = 6


def normal(*shape):
    return rng.normal(size=shape)


def product(found, part=0):
    """A ⊗ B in the row-major order of the matrix."""
    return np.kron(found.inputs[part], found.outputs[part])


def block(apply, leaf, x, found, **options):
    """The whole importance of a leaf, in the order of its matrix."""
    order = found.layout[0].ravel()
    return np.asarray(importance.full(apply, leaf, x, **options))[np.ix_(order, order)]


# Dense layers --------------------------------------------------------------------------------------------------------

SQUARE = {"first": normal(3, 3), "second": normal(3, 3), "last": normal(2, 3), "shift": normal(2)}


def linear(params, x):
    """A linear network, in which every block is a Kronecker product; square layers as given, and transposed."""
    hidden = jnp.einsum("oi,ni->no", params["second"], x @ params["first"])
    return hidden @ params["last"].astype(jnp.float32).astype(x.dtype).reshape(3, 2, order="F") + params["shift"][None]


def test_the_blocks_of_a_linear_network_are_found_whatever_the_orientation():
    x = normal(N, 3)
    found = importance.moments(linear, SQUARE, x, batch_size=4)
    for name in ("first", "second", "last"):

        def alone(leaf, x, name=name):
            return linear({**SQUARE, name: leaf}, x)

        wanted = block(alone, SQUARE[name], x, found[name])
        np.testing.assert_allclose(product(found[name]), wanted, rtol=1e-5, atol=1e-7)  # one leaf goes through float32
    # A square layer that was stored transposed does not pass for one that was not.
    np.testing.assert_array_equal(importance.to_matrices(SQUARE["first"], found["first"])[0], SQUARE["first"])
    np.testing.assert_array_equal(importance.to_matrices(SQUARE["second"], found["second"])[0], SQUARE["second"].T)
    assert "add" in found["shift"].reason
    assert found["shift"].layout.shape == (0, 0, 0)
    assert [found[name].rows.tolist() for name in ("first", "last")] == [[N], [N]]
    rescaled = importance.from_matrices(
        2 * importance.to_matrices(SQUARE["last"], found["last"]), SQUARE["last"], found["last"]
    )
    np.testing.assert_array_equal(rescaled, 2 * SQUARE["last"])


def attention(params, x):
    """A block of a transformer, one head of width 2 a token of three, and one output."""
    q, k, v = (jnp.einsum("nti,iho->ntho", x, params[name]) for name in ("q", "k", "v"))
    scores = jax.nn.softmax(jnp.einsum("ntho,nsho->nhts", q, k), axis=-1)
    mixed = jnp.einsum("nhts,nsho->ntho", scores, v)
    out = jnp.einsum("ntho,hoi->nti", mixed, params["o"]) + x
    return jnp.tanh(jax.checkpoint(lambda y: y @ params["up"])(out)) @ params["down"]


def test_the_heads_of_an_attention_block():
    params = {name: normal(4, 2, 3) for name in "qkv"} | {"o": normal(2, 3, 4), "up": normal(4, 5), "down": normal(5)}
    x = normal(N, 1, 4)  # one token: rows do not mix
    found = importance.moments(lambda w, x: attention(w, x)[:, 0], params, x[:1])
    assert {name: one.layout.shape for name, one in found.items()} == {
        "q": (1, 4, 6), "k": (1, 4, 6), "v": (1, 4, 6), "o": (1, 6, 4), "up": (1, 4, 5), "down": (1, 5, 1),
    }  # fmt: skip
    # One input, one output: every block is the outer product of a gradient, and that of an outer product.
    for name in ("v", "o", "up"):

        def alone(leaf, x, name=name):
            return attention({**params, name: leaf}, x)[:, 0]

        np.testing.assert_allclose(
            product(found[name]), block(alone, params[name], x[:1], found[name]), rtol=1e-9, atol=1e-12
        )
    assert np.all(found["q"].outputs == 0)  # a softmax over one token


@pytest.mark.parametrize(
    "times",
    [lambda x, w: x @ w, lambda x, w: jnp.moveaxis(lax.dot_general(w, x, (((0,), (2,)), ((), ()))), 0, 2)],
    ids=["from the right", "from the left"],
)
def test_tokens_add_up(times):
    """Of several tokens, A is the mean of x xᵀ, B the sum of the gradients' squares, each found by hand."""
    w, x, t = normal(3, 4), normal(N, 5, 3), normal(5, 4)
    found = importance.moments(lambda w, x: jnp.sum(times(x, w) * t[None], axis=(1, 2)), w, x)
    np.testing.assert_allclose(found.inputs[0], np.einsum("nti,ntj->ij", x, x) / (5 * N), rtol=1e-12)
    np.testing.assert_allclose(found.outputs[0], t.T @ t, rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-12)  # the gradients are those of every example
    assert found.rows == 5 * N


@pytest.mark.parametrize("kind", ["fisher", "ggn", "gradient"])
def test_kinds_are_those_of_the_importance(kind):
    w, x, labels = normal(3, 2), normal(1, 3), np.array([1])
    options = {"kind": kind, "temperature": 2.0, "labels": labels if kind == "gradient" else None}
    found = importance.moments(lambda w, x: x @ w, w, x, **options)
    np.testing.assert_allclose(product(found), block(lambda w, x: x @ w, w, x, found, **options), rtol=1e-9)
    assert np.all(np.isinf(found.standard_error))  # one example says nothing about others


# Convolutions --------------------------------------------------------------------------------------------------------

CONVOLUTIONS = {
    "plain": ((N, 5, 4, 2), (3, 2, 2, 3), ("NHWC", "HWIO", "NHWC"), {"padding": "SAME", "window_strides": (1, 1)}),
    "groups": ((N, 4, 3, 3), (6, 2, 2, 2), ("NCHW", "OIHW", "NCHW"),
               {"padding": "VALID", "window_strides": (1, 1), "feature_group_count": 2}),
    "line": ((N, 9, 2), (2, 2, 3), ("NWC", "WIO", "NWC"),
             {"padding": [(2, 1)], "window_strides": (2,), "rhs_dilation": (3,)}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CONVOLUTIONS))
def test_convolutions_by_their_patches(name):
    shape, kernel, numbers, options = CONVOLUTIONS[name]
    w, x = normal(*kernel), normal(*shape)

    def convolve(w, x):
        return lax.conv_general_dilated(x, w, dimension_numbers=numbers, **options)

    t = normal(1, *jax.eval_shape(convolve, w, x).shape[1:])
    found = importance.moments(lambda w, x: jnp.sum((convolve(w, x) * t).reshape(len(x), -1), axis=1), w, x)
    groups = options.get("feature_group_count", 1)
    assert found.layout.shape[0] == groups
    # Patches without a convolution: the derivative of the results by each weight, which does not depend on the weights.
    by_weight = np.asarray(jax.jacobian(convolve)(w, x)).reshape(*convolve(w, x).shape, -1)
    feature = numbers[2].index("C")
    by_weight, t = np.moveaxis(by_weight, feature, -2), np.moveaxis(t, feature, -1).reshape(-1, found.layout[:, 0].size)
    for part in range(groups):
        here, first = found.layout[part], part * found.layout.shape[2]
        patches = by_weight[..., first, :][..., here[:, 0]].reshape(-1, len(here))
        again = by_weight[..., first + 1, :][..., here[:, 1]].reshape(-1, len(here))
        np.testing.assert_array_equal(patches, again)
        np.testing.assert_allclose(found.inputs[part], patches.T @ patches / len(patches), rtol=1e-10, atol=1e-12)
        mine = t[:, first : first + here.shape[1]]
        np.testing.assert_allclose(found.outputs[part], mine.T @ mine, rtol=1e-10, atol=1e-12)
    assert found.rows.tolist() == [N * len(t)] * groups


def test_a_large_fan_in_has_channels_and_taps(monkeypatch):
    shape, kernel, numbers, options = CONVOLUTIONS["plain"]
    w, x = normal(*kernel), normal(*shape)

    def apply(w, x):
        return lax.conv_general_dilated(x, w, dimension_numbers=numbers, **options).reshape(len(x), -1)

    whole = importance.moments(apply, w, x).inputs[0].reshape(2, 6, 2, 6)
    monkeypatch.setattr(_moments, "LIMIT", 8)
    (channels, taps), *_ = importance.moments(lambda w, x: apply(w, x), w, x)
    wanted = np.einsum("ctdt->cd", whole), np.einsum("ctcu->tu", whole)
    np.testing.assert_allclose(channels[0], wanted[0], rtol=1e-10)
    np.testing.assert_allclose(taps[0], wanted[1] / np.trace(wanted[0]), rtol=1e-10, atol=1e-14)
    flat = importance.moments(lambda w, x: x.reshape(len(x), -1) @ w, normal(40, 2), x)
    np.testing.assert_allclose(flat.inputs[0], np.mean(x.reshape(N, -1) ** 2, axis=0), rtol=1e-12)


def test_a_matrix_is_kept_of_fan_ins_up_to_8192():
    for m, kept in ((8192, (1, 8192, 8192)), (8193, (1, 8193))):
        rows, shares = jax.ShapeDtypeStruct((1, 1, 1, m), float), jax.ShapeDtypeStruct((1,), float)
        assert jax.eval_shape(_moments._second, rows, shares).shape == kept


# Tables, stacks, weights used twice ----------------------------------------------------------------------------------

TOKENS = rng.integers(0, 5, size=(N, 3))


def test_a_table_has_the_frequencies_of_its_rows():
    table, t = normal(5, 2), normal(3, 2)
    found = importance.moments(lambda w, ids: jnp.sum(jnp.take(w, ids, axis=0) * t[None], axis=(1, 2)), table, TOKENS)
    np.testing.assert_allclose(found.inputs, np.bincount(TOKENS.ravel(), minlength=5)[None] / TOKENS.size)
    np.testing.assert_allclose(found.outputs[0], t.T @ t, rtol=1e-12)
    columns = importance.moments(lambda w, ids: w[:, ids[:, 0]].T, normal(2, 5), TOKENS)
    np.testing.assert_allclose(columns.inputs, np.bincount(TOKENS[:, 0], minlength=5)[None] / N)
    np.testing.assert_array_equal(columns.layout[0], np.arange(10).reshape(2, 5).T)


def nearest(products):
    """By the singular vectors of the whole rearranged matrix, with the trace of the sum."""
    pairs = [(np.diag(a) if a.ndim == 1 else a, b) for a, b in products]
    u, s, v = np.linalg.svd(sum(np.outer(a.ravel(), b.ravel()) for a, b in pairs))
    best = np.kron(u[:, 0].reshape(pairs[0][0].shape), s[0] * v[0].reshape(pairs[0][1].shape))
    return best * sum(np.trace(a) * np.trace(b) for a, b in pairs) / np.trace(best)


def test_tied_weights_are_added_up():
    table = normal(5, 2)

    def apply(params, ids):
        return jnp.tanh(params["in"][ids].sum(axis=1)) @ params["out"].T

    apart = importance.moments(apply, {"in": table, "out": table}, TOKENS)
    together = importance.moments(lambda w, ids: apply({"in": w, "out": w}, ids), table, TOKENS)
    assert apart["out"].layout.shape == (1, 2, 5)
    turned = apart["out"].outputs[0], apart["out"].inputs[0]
    wanted = nearest([(apart["in"].inputs[0], apart["in"].outputs[0]), turned])
    np.testing.assert_allclose(product(together), wanted, rtol=1e-9, atol=1e-12)
    assert together.rows == TOKENS.size + N
    assert together.kinds == "embedding, dense"
    twice = importance.moments(lambda w, x: jnp.tanh(x @ w) @ w, normal(3, 3), normal(N, 3))
    assert twice.rows == 2 * N


def test_a_stack_of_layers_is_as_many_matrices():
    stack, x = normal(3, 4, 4), normal(N, 4)

    def scanned(w, x):
        return lax.scan(lambda h, w: (jax.nn.relu(h @ w), None), x, w, reverse=True)[0]

    def unrolled(w, x):
        for layer in w:
            x = jax.nn.relu(x @ layer)
        return x

    found = importance.moments(scanned, stack, x)
    wanted = importance.moments(unrolled, list(stack[::-1]), x)[::-1]
    order = np.argsort(found.layout[:, 0, 0])
    assert importance.to_matrices(stack, found)[order].tolist() == stack.tolist()
    for part, one in zip(order, wanted, strict=True):
        np.testing.assert_allclose(product(found, part), product(one), rtol=1e-10, atol=1e-14)


# Samples, batches, structures ----------------------------------------------------------------------------------------


def test_random_directions_are_right_on_average_and_say_how_far_off():
    w, x = normal(3, 40), normal(400, 3)

    def apply(w, x):
        return jnp.tanh(x @ w) @ jnp.asarray(np.vander(np.linspace(0.1, 1, 40), 40))

    for kind in ("jacobian", "fisher", "ggn"):
        exact = importance.moments(apply, w, x, kind=kind)
        found = importance.moments(apply, w, x, kind=kind, samples=2, key=jax.random.key(3))
        np.testing.assert_array_equal(found.inputs, exact.inputs)
        off = np.trace(found.outputs[0]) - np.trace(exact.outputs[0])
        assert abs(off) < 3 * found.standard_error[0]
        assert exact.standard_error[0] < found.standard_error[0] < 0.2 * np.trace(exact.outputs[0])
    again = importance.moments(apply, w, x, kind="ggn", samples=2, key=jax.random.key(3))
    np.testing.assert_array_equal(again.outputs, found.outputs)


def test_batches_may_come_one_after_another():
    w, x = {"w": normal(4, 2)}, {"a": normal(7, 3), "b": normal(7, 1).astype(np.float32)}

    def apply(w, x):
        return jnp.tanh(jnp.concatenate([x["a"], x["b"].astype(float)], axis=1) @ w["w"])

    whole = importance.moments(apply, w, x)["w"]
    batches = (jax.tree.map(lambda leaf, i=i: leaf[i : i + 3], x) for i in (0, 3, 6))
    parts, cut = importance.moments(apply, w, batches)["w"], importance.moments(apply, w, x, batch_size=3)["w"]
    for found in (parts, cut):
        for one, wanted in zip(found[:5], whole[:5], strict=True):
            np.testing.assert_allclose(one, wanted, rtol=1e-12, atol=1e-14)


def test_weights_keep_their_precision():
    w, x = jnp.ones((3, 2), jnp.bfloat16), jnp.ones((2, 3), jnp.float32)
    found = importance.moments(lambda w, x: x @ w.astype(x.dtype), w, x, kind="fisher", temperature=2.0)
    np.testing.assert_array_equal(found.inputs[0], np.ones((3, 3)))
    matrices = importance.to_matrices(w, found)
    assert matrices.dtype == importance.from_matrices(matrices, w, found).dtype == jnp.bfloat16


def test_layers_of_equinox_store_outputs_first():
    layer = equinox.nn.Linear(3, 3, key=jax.random.key(0))
    params, static = equinox.partition(layer, equinox.is_array)
    found = importance.moments(lambda w, x: jax.vmap(equinox.combine(w, static))(x), params, normal(N, 3))
    np.testing.assert_array_equal(importance.to_matrices(layer.weight, found.weight)[0], layer.weight.T)


# What is not found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("apply", "reason"),
    [
        (lambda w, x: x @ w + jnp.sum(w**2), "integer_pow"),
        (lambda w, x: x @ (w @ w), "dot_general"),
        (lambda w, x: x @ jnp.exp(w), "exp"),
        (lambda w, x: lax.while_loop(lambda c: c[1] < 2, lambda c: (c[0] @ w, c[1] + 1), (x, 0))[0], "while"),
        (lambda w, x: x @ w[jnp.array([0, 0, 1]), jnp.array([0, 1, 2])][:, None], "gather"),
        (lambda w, x: x @ w[jnp.array([2, 0, 1])], "gather"),
        (lambda w, x: x @ jnp.broadcast_to(w[:, :1], (3, 2)), "dot_general"),
        (lambda w, x: x @ w[:, :2] @ w[:2], "different shapes"),
        (lambda w, x: x @ w[:, :2] + x @ w[:, 1:], "overlap"),
        (lambda w, x: x, "do not depend"),
    ],
)
def test_what_is_used_otherwise_is_said(apply, reason):
    w, x = jnp.eye(3), jax.ShapeDtypeStruct((1, 3), float)
    uses, others = _uses.find(_uses.trace(apply, w, x), w, x)
    nothing = [_moments.Sums(np.zeros(use.layout.shape[:2]), np.zeros(use.layout.shape[::2]), np.zeros((1, 1)))
               for use in uses]  # fmt: skip
    (found,) = _moments.of_leaves(1, uses, others, nothing, 1)
    assert reason in found.reason


X = normal(N, 3)


def dense(w, x):
    return x @ w


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: importance.moments(dense, np.eye(3), {}), ValueError, "inputs must hold at least one array"),
        (lambda: importance.moments(dense, np.eye(3), iter(())), ValueError, "at least one example"),
        (lambda: importance.moments(dense, np.eye(3), X * np.nan), ValueError, "inputs must be finite"),
        (lambda: importance.moments(dense, np.eye(3), (X, X[:2])), ValueError, r"as many examples.*\[2, 6\]"),
        (lambda: importance.moments(dense, np.eye(3), X, kind="hessian"), ValueError, "kind must be one of"),
        (lambda: importance.moments(dense, np.eye(3), X, samples=1), ValueError, "drawn with a key"),
        (lambda: importance.moments(dense, np.eye(3), X, samples=0), ValueError, "samples must be .* at least 1"),
        (lambda: importance.moments(dense, np.eye(3), X, batch_size=0), ValueError, "batch_size must be .* at least 1"),
        (lambda: importance.moments(dense, np.eye(3), X, kind="gradient"), ValueError, "needs labels"),
        (lambda: importance.moments(dense, np.eye(3), iter([X]), kind="gradient"), ValueError, "labels go with"),
        (lambda: importance.moments(dense, np.ones((3, 1)), X, kind="fisher"), ValueError, "at least two classes"),
        (lambda: importance.moments(dense, np.arange(9).reshape(3, 3), X), TypeError, "floating"),
        (lambda: importance.moments(lambda w, x: jnp.log(-x**2 - 1) @ w, np.eye(3), X), ValueError, "not finite"),
        (lambda: importance.moments(lambda w, x: x @ jnp.tile(w, (1, 2000)), np.eye(3), X), ValueError, "6,000"),
        (lambda: importance.moments(lambda w, x: (x @ w).sum(), np.eye(3), X), ValueError, "one row of outputs"),
        (lambda: jax.jit(lambda w: importance.moments(dense, w, X).rows)(np.eye(3)), TypeError, "on the host"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_matrix_behind_a_reshape_is_the_one_that_is_used():
    kernel, x = np.random.default_rng(0).normal(size=(2, 3, 4)), np.random.default_rng(1).normal(size=(20, 6))
    found = importance.moments(lambda w, x: x @ w.reshape(-1, 4), kernel, x)
    np.testing.assert_array_equal(importance.to_matrices(kernel, found)[0], kernel.reshape(6, 4))
    np.testing.assert_allclose(found.inputs[0], x.T @ x / 20)
