import functools
import itertools
from typing import NamedTuple

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from rdtheory import importance
from rdtheory.models import _kronecker
from tests import long
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

rng = np.random.default_rng(5)
N, LN2 = 23, np.log(2)


class Convolutional(NamedTuple):
    kernel: jax.Array
    dense: jax.Array


def relu(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["kernel"] + params["hidden"]["bias"][None, :])
    return hidden @ params["output"] + params["shift"][None, :]


def smooth(params, x):
    hidden = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"][None, :])
    return hidden @ params["output"] + params["shift"][None, :]


def convolutional(params, x):
    hidden = jax.lax.conv_general_dilated(x, params.kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.tanh(hidden).reshape(len(x), -1) @ params.dense


MLP = jax.tree.map(
    jnp.asarray,
    {
        "hidden": {"kernel": rng.normal(size=(4, 5)), "bias": rng.normal(size=5)},
        "output": rng.normal(size=(5, 3)),
        "shift": rng.normal(size=3),
    },
)
CONVOLUTIONAL = Convolutional(jnp.asarray(rng.normal(size=(2, 2, 2, 3))), jnp.asarray(rng.normal(size=(12, 3))))
FLAT, IMAGES = jnp.asarray(rng.normal(size=(N, 4))), jnp.asarray(rng.normal(size=(N, 3, 3, 2)))
LABELS = jnp.asarray(rng.integers(3, size=N))
MODELS = {"relu": (relu, MLP, FLAT), "smooth": (smooth, MLP, FLAT), "conv": (convolutional, CONVOLUTIONAL, IMAGES)}
EVERY_MODEL = pytest.mark.parametrize("name", list(MODELS))


@functools.partial(jax.jit, static_argnums=(0, 1))
def hessian_of(distortion, apply, params, x, *parameters):
    """Half the Hessian at ŵ = w of the distortion as the definition has it, flat."""
    flat, unravel = ravel_pytree(params)
    outputs = apply(params, x)
    return jax.hessian(lambda w: distortion(outputs, apply(unravel(w), x), *parameters))(flat) / 2


def squared(f, g):
    return jnp.mean(jnp.sum((f - g) ** 2, axis=1))


def divergence(f, g, temperature=1.0):
    """KL in bits."""
    p, q = jax.nn.log_softmax(f / temperature), jax.nn.log_softmax(g / temperature)
    return jnp.mean(jnp.sum(jnp.exp(p) * (p - q), axis=1)) / LN2


def assert_relative(got, wanted, tolerance):
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert np.max(np.abs(got - wanted)) <= tolerance * np.max(np.abs(wanted))


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


# Definitions ---------------------------------------------------------------------------------------------------------


@EVERY_MODEL
def test_the_jacobian_importance_is_half_the_hessian_of_the_squared_error(name):
    wanted = hessian_of(squared, *MODELS[name])
    assert_relative(importance.full(*MODELS[name]), wanted, 1e-10)
    assert_relative(flat(importance.diagonal(*MODELS[name])), np.diagonal(wanted), 1e-10)


@EVERY_MODEL
@pytest.mark.parametrize("kind", ["fisher", "ggn"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_fisher_and_ggn_are_half_the_hessian_of_the_divergence_in_bits(name, kind, temperature):
    wanted = hessian_of(divergence, *MODELS[name], temperature)
    options = {"kind": kind, "temperature": temperature}
    assert_relative(importance.full(*MODELS[name], **options), wanted, 1e-10)
    assert_relative(flat(importance.diagonal(*MODELS[name], **options)), np.diagonal(wanted), 1e-10)


@pytest.mark.parametrize("kind", ["jacobian", "fisher", "ggn", "gradient"])
def test_random_directions_are_within_their_errors(kind):
    apply, params, x = MODELS["smooth"]
    labels = LABELS if kind == "gradient" else None
    exact = flat(importance.diagonal(apply, params, x, kind=kind, labels=labels))
    found = importance.sampled(apply, params, x, jax.random.key(2), samples=40, kind=kind, labels=labels, batch_size=5)
    assert np.all(np.abs(flat(found.importance) - exact) <= 3 * flat(found.standard_error) + 1e-14)
    assert np.all(flat(found.standard_error) < exact)


def test_the_quadratic_form_is_the_distortion_of_a_small_change():
    apply, params, x = MODELS["smooth"]
    w, unravel = ravel_pytree(params)
    step = 1e-4 * rng.normal(size=w.shape)
    for kind, distortion in [("jacobian", squared), ("fisher", divergence)]:
        matrix = importance.full(apply, params, x, kind=kind)
        true = distortion(apply(params, x), apply(unravel(w + step), x))
        np.testing.assert_allclose(step @ matrix @ step / true, 1, atol=5e-3)  # third order


@pytest.mark.parametrize("name", ["relu", "smooth"])
def test_a_relu_networks_ggn_diagonal_is_the_hessian_diagonal_of_its_loss_anywhere(name):
    apply, params, x = MODELS[name]
    w, unravel = ravel_pytree(params)

    def loss(w):
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(apply(unravel(w), x)), LABELS[:, None], axis=1)) / LN2

    # In each single weight a ReLU network is piecewise linear, so what the GGN leaves out has no diagonal.
    wanted = np.diagonal(jax.jit(jax.hessian(loss))(w)) / 2
    found = [flat(importance.diagonal(apply, params, x, kind=kind)) for kind in ("ggn", "fisher")]
    if name == "relu":
        for diagonal in found:
            assert_relative(diagonal, wanted, 1e-10)
    else:
        assert np.max(np.abs(found[0] - wanted)) > 1e-2 * np.max(np.abs(wanted))


@functools.partial(jax.jit, static_argnums=0)
def single_gradients(apply, params, x, temperature):
    def loss(w, x, y):
        return -jax.nn.log_softmax(apply(w, x[None])[0] / temperature)[y]

    return jax.lax.map(lambda item: jax.grad(loss)(params, *item), (x, LABELS))


@EVERY_MODEL
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_gradient_importance_is_a_sum_over_single_examples(name, temperature):
    apply, params, x = MODELS[name]
    gradients = single_gradients(apply, params, x, temperature)
    squares = [flat(jax.tree.map(lambda leaf, i=i: leaf[i], jax.device_get(gradients))) ** 2 for i in range(N)]
    found = importance.diagonal(apply, params, x, kind="gradient", labels=LABELS, temperature=temperature)
    assert_relative(flat(found), sum(squares) / N / (2 * LN2), 1e-12)


def test_the_gradient_importance_is_fisher_on_average_over_the_models_own_labels():
    apply, params, x = MODELS["relu"]
    one = x[:1]
    p = np.asarray(jax.nn.softmax(apply(params, one)[0]))
    by_label = [importance.full(apply, params, one, kind="gradient", labels=jnp.array([y])) for y in range(3)]
    mean = sum(p[y] * np.asarray(by_label[y]) for y in range(3))
    assert_relative(mean, importance.full(apply, params, one, kind="fisher"), 1e-12)


@pytest.mark.parametrize("logits", [[800.0, 0.0, -5.0], [0.0, 0.0, 900.0], [30.0, 30.0, -30.0], [0.0, 40.0, 0.0]])
def test_sure_predictions_lose_no_digits(logits):
    fisher, ggn = (
        importance.full(lambda w, x: w[None, :] + 0 * x, jnp.array(logits), jnp.zeros((1, 3)), kind=kind)
        for kind in ("fisher", "ggn")
    )
    assert jnp.isfinite(fisher).all()
    np.testing.assert_allclose(ggn, fisher, rtol=1e-10, atol=1e-30)


# Any tree, any shape, any batch --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "batch_size"), [("relu", 1), ("conv", 5), ("smooth", 100)])
def test_the_batch_size_changes_nothing(name, batch_size):
    apply, params, x = MODELS[name]
    for kind in ("jacobian", "gradient"):
        options = {"kind": kind, "labels": LABELS}
        default, batched = (importance.diagonal(apply, params, x, **options, batch_size=b) for b in (None, batch_size))
        assert jax.tree.structure(default) == jax.tree.structure(params)
        assert_relative(flat(batched), flat(default), 1e-13)
    factors = [importance.kronecker(apply, params, x, batch_size=b) for b in (None, batch_size)]
    one, other = (flat(tree) for tree in factors)
    assert_relative(one[~np.isnan(one)], other[~np.isnan(other)], 1e-9)


def test_one_output_may_be_a_vector():
    w, x = jnp.asarray(rng.normal(size=4)), FLAT
    np.testing.assert_allclose(importance.full(lambda w, x: x @ w, w, x), x.T @ x / N, rtol=1e-13)


def test_an_equinox_model_by_its_parts():
    model = equinox.nn.MLP(4, 3, 5, 1, key=jax.random.key(0), dtype=float)
    params, static = equinox.partition(model, equinox.is_inexact_array)

    def apply(params, x):
        return jax.vmap(equinox.combine(params, static))(x)

    wanted = np.diagonal(hessian_of(squared, apply, params, FLAT))
    assert_relative(flat(importance.diagonal(apply, params, FLAT)), wanted, 1e-10)
    with pytest.raises(TypeError, match="params.*must be an array.*equinox.partition"):
        importance.diagonal(apply, model, FLAT)


def test_tokens_are_inputs_too():
    tokens = jnp.asarray(rng.integers(6, size=(N, 2)))
    counts = importance.diagonal(lambda w, x: w[x].sum(axis=1), jnp.zeros((6, 3)), tokens)
    wanted = np.mean([[np.sum(row == t) ** 2 for t in range(6)] for row in np.asarray(tokens)], axis=0)
    np.testing.assert_allclose(counts, np.tile(wanted[:, None], 3), rtol=1e-14)


# Kronecker factors ---------------------------------------------------------------------------------------------------


def block(apply, params, x, **options):
    return np.asarray(importance.full(apply, params, x, **options))


def best_residual(matrix, a, b):
    """Van Loan and Pitsianis: the rearranged block's singular values past the first."""
    values = np.linalg.svd(matrix.reshape(a, b, a, b).transpose(0, 2, 1, 3).reshape(a * a, b * b))[1]
    return np.linalg.norm(values[1:]) / np.linalg.norm(values)


def test_independent_inputs_and_output_gradients_give_an_exact_product_in_one_sweep():
    # Every row of X with every row of S: the gradient of W is x (s J)ᵀ, with x and s independent.
    rows, scales = rng.normal(size=(7, 3)), rng.normal(size=(5, 4))
    pairs = jnp.asarray([np.concatenate(pair) for pair in itertools.product(rows, scales)])
    mix = jnp.asarray(rng.normal(size=(4, 2)))

    def apply(w, x):
        return (x[:, :3] @ w * x[:, 3:]) @ mix

    w = jnp.zeros((3, 4))
    found = importance.kronecker(apply, w, pairs, sweeps=1, key=jax.random.key(0))
    wanted = np.kron(rows.T @ rows / 7, np.asarray(mix @ mix.T) * (scales.T @ scales / 5))
    assert_relative(np.kron(found.input_factor, found.output_factor), wanted, 1e-12)
    assert found.residual < 1e-12
    np.testing.assert_allclose(jnp.trace(found.input_factor), 3, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "leaf", "kind"),
    [
        ("relu", ("hidden", "kernel"), "jacobian"),
        ("smooth", ("output",), "jacobian"),
        ("smooth", ("output",), "fisher"),
        long("conv", (0,), "fisher"),
    ],
)
def test_the_factors_are_the_nearest_product(name, leaf, kind):
    apply, params, x = MODELS[name]
    w = params
    for part in leaf:
        w = w[part]

    def alone(w, x):
        if name == "conv":
            return apply(params._replace(**{params._fields[leaf[0]]: w}), x)
        return apply(
            {**params, "hidden": {**params["hidden"], "kernel": w}} if len(leaf) == 2 else {**params, "output": w}, x
        )

    matrix, (a, b) = block(alone, w, x, kind=kind), (w.size // w.shape[-1], w.shape[-1])
    best = best_residual(matrix, a, b)

    def residual(**options):
        found = importance.kronecker(alone, w, x, kind=kind, **options)
        lost = np.linalg.norm(matrix - np.kron(found.input_factor, found.output_factor)) / np.linalg.norm(matrix)
        return lost, found

    lost, found = residual(sweeps=60, key=jax.random.key(1))
    np.testing.assert_allclose(lost, best, rtol=1e-6, atol=1e-13)  # 0 for the last layer of a regression
    np.testing.assert_allclose(found.residual, lost, rtol=0.5, atol=1e-13)  # 16 probes
    assert np.linalg.eigvalsh(found.input_factor)[0] > -1e-12
    assert np.linalg.eigvalsh(found.output_factor)[0] > -1e-12
    two, _ = residual()
    assert best <= two * (1 + 1e-12) + 1e-13
    assert two <= 1.02 * best + 1e-13
    # A leaf of a tree is treated as it is alone, and what is not of this leaf changes nothing.
    of_tree = importance.kronecker(apply, params, x, kind=kind, sweeps=60)
    for part in leaf:
        of_tree = of_tree[part]
    assert_relative(of_tree.output_factor, found.output_factor, 1e-9)


def test_a_vector_has_its_full_block():
    apply, params, x = MODELS["relu"]
    found = importance.kronecker(apply, params, x, key=jax.random.key(0))["hidden"]["bias"]
    wanted = block(
        lambda b, x: apply({**params, "hidden": {**params["hidden"], "bias": b}}, x), params["hidden"]["bias"], x
    )
    np.testing.assert_array_equal(found.input_factor, [[1.0]])
    assert_relative(found.output_factor, wanted, 1e-12)
    assert found.residual < 1e-12


def test_outer_products_are_told_from_other_matrices():
    """Or what is cheap for them would be lost in silence."""
    g = rng.normal(size=(6, 4, 1)) * rng.normal(size=(6, 1, 3))
    g[2] = 0
    u, v, outer = _kronecker.vectors(jnp.asarray(g))
    assert outer
    np.testing.assert_allclose(u[:, :, None] * v[:, None, :], g, rtol=1e-14)
    # An entry off by 1e-15 of its matrix is rounding, one off by 1e-13 is not, in one matrix of six.
    for off, wanted in ((1e-15, True), (1e-13, False)):
        moved = g.copy()
        moved[4, 1, 1] += off * np.linalg.norm(g[4])
        assert bool(_kronecker.vectors(jnp.asarray(moved))[2]) == wanted


@pytest.mark.parametrize("outer", [True, False])
def test_outer_products_are_summed_like_other_matrices(outer):
    g = rng.normal(size=(6, 4, 1)) * rng.normal(size=(6, 1, 3)) if outer else rng.normal(size=(6, 4, 3))
    g[2] = 0
    inner, shares = rng.normal(size=(3, 3)), rng.uniform(size=6)
    wanted = np.einsum("s,sab,bc,sdc->ad", shares, g, inner, g)
    np.testing.assert_allclose(
        _kronecker.product(*map(jnp.asarray, (g, inner, shares))), wanted, rtol=1e-12, atol=1e-13
    )


def test_a_model_that_ignores_its_weights_has_no_importance():
    found = importance.kronecker(lambda w, x: x + 0 * jnp.sum(w), jnp.ones((2, 3)), FLAT, key=jax.random.key(0))
    assert all(jnp.all(leaf == 0) for leaf in found)


# As published --------------------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def published(apply, params, x, kind, size):
    """A plain loop over batches."""

    def loss(w, x, y):
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(apply(w, x)), y[:, None], axis=1))

    def mean_probability(w, x, c):
        return jnp.mean(jax.nn.softmax(apply(w, x))[:, c])

    total = jax.tree.map(jnp.zeros_like, params)
    for start in range(0, len(x), size):
        part, y = x[start : start + size], LABELS[start : start + size]
        if kind == "gradient":
            terms = [jax.tree.map(lambda g: g**2, jax.grad(loss)(params, part, y))]
        else:
            terms = [
                jax.tree.map(
                    lambda g, c=c, part=part: g**2 / mean_probability(params, part, c),
                    jax.grad(mean_probability)(params, part, c),
                )
                for c in range(3)
            ]
        for term in terms:
            total = jax.tree.map(jnp.add, total, term)
    return jax.tree.map(lambda leaf: leaf / leaf.mean(), total)


@pytest.mark.parametrize("kind", ["gradient", "fisher"])
def test_as_published_squares_the_mean_of_a_batch(kind):
    apply, params, x = MODELS["relu"]
    found = importance.as_published(apply, params, x, LABELS, kind=kind)
    assert_relative(flat(found), flat(published(apply, params, x, kind, 10)), 1e-12)
    single = importance.diagonal(apply, params, x, kind=kind, labels=LABELS)
    single = jax.tree.map(lambda leaf: leaf / leaf.mean(), jax.device_get(single))
    of_one = importance.as_published(apply, params, x, LABELS, kind=kind, batch_size=1)
    assert_relative(flat(of_one), flat(single), 1e-12)
    assert np.max(np.abs(flat(found) - flat(single))) > 0.1 * np.max(flat(single))


@pytest.mark.parametrize("kind", ["fisher", "ggn", "gradient", "as published"])
def test_a_class_that_is_ruled_out_is_as_if_it_were_not_there(kind):
    def without(w, x):
        return jnp.tanh(x @ w)[:, :2]

    def masked(w, x):
        return jnp.concatenate([without(w, x), jnp.full((len(x), 1), -jnp.inf)], axis=1)

    function, kind = (importance.as_published, "fisher") if kind == "as published" else (importance.diagonal, kind)
    labels = LABELS % 2 if kind == "gradient" else None
    found, wanted = (function(apply, WEIGHTS[0], FLAT, labels=labels, kind=kind) for apply in (masked, without))
    assert_relative(found, wanted, 1e-12)


# Transformations and errors ------------------------------------------------------------------------------------------

WEIGHTS = jnp.asarray(rng.normal(size=(3, 4, 3)))


def one_layer(w, x):
    return jnp.tanh(x @ w)


@pytest.mark.parametrize("function", ["diagonal", "full", "kronecker"])
def test_jit_and_vmap_over_the_weights_change_nothing(function):
    key = {"key": jax.random.key(0)} if function == "kronecker" else {}

    def call(w):
        return getattr(importance, function)(one_layer, w, FLAT, kind="fisher", **key)

    assert_transforms_agree(call, WEIGHTS, rtol=1e-10, atol=1e-12)
    assert_only_bad_items_are_nan(call, [WEIGHTS], [WEIGHTS[1] * jnp.nan], 1, rtol=1e-10, atol=1e-12)


def test_published_importances_under_jit_and_vmap():
    assert_transforms_agree(lambda w: importance.as_published(one_layer, w, FLAT, LABELS), WEIGHTS, rtol=1e-10)


class Unhashable:
    __hash__ = None

    def __call__(self, w, x):
        return x @ w


W, TALL = np.zeros((4, 3)), np.zeros((9000, 1))


def thin(w, x):
    return x @ w[:4]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: importance.diagonal(one_layer, W, FLAT, kind="hessian"), ValueError, "kind must be one of.*'hessian'"),
        (lambda: importance.diagonal(Unhashable(), W, FLAT), TypeError, "apply must be a function.*Unhashable"),
        (lambda: importance.diagonal(one_layer, {}, FLAT), ValueError, "params must hold at least one array"),
        (lambda: importance.diagonal(one_layer, {"a": jnp.tanh}, FLAT), TypeError, r"params\['a'\] must be an array"),
        (lambda: importance.diagonal(one_layer, W * np.nan, FLAT), ValueError, "params must be finite"),
        (lambda: importance.diagonal(one_layer, W, FLAT.at[0, 0].set(jnp.nan)), ValueError, "inputs must be finite"),
        (lambda: importance.diagonal(one_layer, W, 1.0), ValueError, "inputs must have shape"),
        (lambda: importance.diagonal(one_layer, W, FLAT[:0]), ValueError, "inputs must have shape"),
        (lambda: importance.diagonal(lambda w, x: x.sum() * w, W, FLAT), ValueError, "apply.* must give"),
        (lambda: importance.diagonal(lambda w, x: x @ w[:, 0], W, FLAT, kind="fisher"), ValueError, "two classes"),
        (lambda: importance.diagonal(one_layer, W, FLAT, kind="gradient"), ValueError, "needs labels"),
        (lambda: importance.diagonal(one_layer, W, FLAT, kind="gradient", labels=LABELS[:3]), ValueError, "labels"),
        (lambda: importance.diagonal(one_layer, W, FLAT, kind="gradient", labels=LABELS + 1), ValueError, "0 to 2"),
        (lambda: importance.diagonal(one_layer, W, FLAT, temperature=0.0), ValueError, "temperature must be > 0"),
        (lambda: importance.diagonal(one_layer, W, FLAT, batch_size=0), ValueError, "batch_size"),
        (lambda: importance.kronecker(one_layer, W, FLAT, sweeps=0), ValueError, "sweeps"),
        (lambda: importance.sampled(one_layer, W, FLAT, jax.random.key(0), samples=0), ValueError, "samples"),
        (lambda: importance.full(thin, TALL, FLAT), ValueError, "9,000 weights.*take kronecker"),
        (lambda: importance.kronecker(thin, TALL, FLAT), ValueError, "8,192 rows"),
        (lambda: importance.as_published(one_layer, W, FLAT, kind="jacobian"), ValueError, "kind must be 'gradient'"),
        (lambda: importance.as_published(one_layer, W, FLAT), ValueError, "needs labels"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error, match=message):
        call()
