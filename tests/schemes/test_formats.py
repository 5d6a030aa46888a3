"""Formats beside cases made by hand, and GPTQ beside its definition: the least error, one weight at a time."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rdtheory import formats

rng = np.random.default_rng(4)


def test_a_group_has_its_own_scale():
    w = np.array([[7.5, 0.75], [-7.5, -0.75], [1.2, 0.0], [100.0, 75.0], [-60.0, 12.0]])
    found = formats.integers(w, 4, 3)
    scale = np.float64(np.float16(0.1)), np.float64(np.float16(200 / 15))
    # The largest is half a step beyond the last label; its negative is not.
    wanted = [[7, 7 * scale[0]], [-8, -8 * scale[0]], [1, 0], [7 * scale[1], 70], [-4 * scale[1], 10]]
    np.testing.assert_allclose(found.weights_hat, wanted, rtol=1e-12)
    assert found.bits == 4 * 10 + 16 * 4  # two groups for each of two outputs
    whole = formats.integers(w, 8)
    assert whole.bits == 8 * 10 + 16 * 2
    assert np.all(np.abs(whole.weights_hat - w) <= np.array([[200, 150]]) / 255 * 1.001)


def test_nf4_is_made_of_quantiles():
    """As its authors make it."""
    offset = 0.9677083
    positive = stats.norm.ppf(np.linspace(offset, 0.5, 9)[:-1])
    negative = -stats.norm.ppf(np.linspace(offset, 0.5, 8)[:-1])
    wanted = np.sort(np.concatenate([positive, [0.0], negative])) / positive.max()
    np.testing.assert_allclose(formats.NF4, wanted, atol=1e-7)
    w = rng.normal(size=(70, 3))
    found = formats.normal_floats(w)
    for start in (0, 64):
        part = w[start : start + 64]
        points = np.multiply.outer(np.array(formats.NF4), np.abs(part).max(axis=0))
        best = np.take_along_axis(points, np.abs(points[:, None] - part[None]).argmin(axis=0), axis=0)
        np.testing.assert_allclose(found.weights_hat[start : start + 64], best, rtol=1e-6)
    assert found.bits == 4 * 210 + 32 * 6


def by_definition(w, sigma, bits, group):
    """Round one input, then move those that follow to where they cost least, by solving for them."""
    w, w_hat, m = w.copy(), np.zeros_like(w), len(w)
    for i in range(m):
        if i % group == 0:
            scale = (2 * np.abs(w[i : i + group]).max(axis=0) / (2**bits - 1)).astype(np.float16).astype(float)
        w_hat[i] = scale * np.clip(np.round(w[i] / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if i + 1 < m:
            rest = np.linalg.solve(sigma[i + 1 :, i + 1 :], sigma[i + 1 :, i : i + 1])
            w[i + 1 :] += rest @ (w[i : i + 1] - w_hat[i : i + 1])
    return w_hat


def test_gptq_moves_what_follows_to_where_it_costs_least():
    w, x = rng.normal(size=(7, 4)), rng.normal(size=(30, 7)) @ rng.normal(size=(7, 7))
    x[:, 2] = 0
    sigma = x.T @ x / 30
    damped = sigma + np.diag(np.where(np.arange(7) == 2, 1.0, 0.01 * np.mean(np.diagonal(sigma))))
    seen = w * (np.arange(7) != 2)[:, None]
    found = formats.gptq(w, sigma, 4, 3)
    np.testing.assert_allclose(found.weights_hat, by_definition(seen, damped, 4, 3), rtol=1e-9)
    assert np.all(found.weights_hat[2] == 0)
    assert found.bits == 4 * 28 + 16 * 12

    def lost(w_hat):
        return np.sum((w - w_hat) * (sigma @ (w - w_hat)))

    assert lost(found.weights_hat) < lost(formats.integers(w, 4, 3).weights_hat)


def test_half_of_the_weights_is_left():
    w = rng.normal(size=(5, 3)).astype(np.float32)
    found = formats.half_zero(w)
    kept = found.weights_hat != 0
    assert kept.sum() == 8
    assert np.abs(w[kept]).min() > np.abs(w[~kept]).max()
    assert found.bits == 16 * 8 + 15
    assert found.weights_hat.dtype == np.float32


def test_zeros_stay_zeros():
    for found in (formats.integers(np.zeros((3, 2)), 4), formats.normal_floats(np.zeros((3, 2))),
                  formats.gptq(np.zeros((3, 2)), np.eye(3)), formats.half_zero(np.zeros((3, 2)))):  # fmt: skip
        assert np.all(found.weights_hat == 0)
    assert np.all(formats.gptq(np.ones((3, 2)), np.zeros((3, 3))).weights_hat == 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: formats.integers(np.ones(3), 4), "weights must be a matrix"),
        (lambda: formats.integers(np.ones((3, 1)), 1), "bits must be a whole number"),
        (lambda: formats.integers(np.ones((3, 1)), 17), "bits must be .* at most 16"),
        (lambda: formats.integers(np.ones((3, 1)), 4, 0), "group must be .* at least 1"),
        (lambda: formats.normal_floats(np.ones((3, 1)), 0), "group must be .* at least 1"),
        (lambda: formats.gptq(np.ones((3, 1)), np.eye(3), 1), "bits must be .* at least 2"),
        (lambda: formats.gptq(np.ones((3, 1)), np.eye(3), 17), "bits must be .* at most 16"),
        (lambda: formats.gptq(np.ones((3, 1)), np.eye(3), 4, 0), "group must be .* at least 1"),
        (lambda: formats.integers(np.full((3, 1), 1e8), 4), "no scale in float16"),
        (lambda: formats.integers(np.full((3, 1), 1e-9), 4), "no scale in float16"),
        (lambda: formats.half_zero(np.full((3, 1), 1e8)), "65,504"),
        (lambda: formats.normal_floats(np.full((3, 1), np.nan)), "finite"),
        (lambda: formats.gptq(np.ones((3, 1)), np.eye(2)), "moments must be"),
        (lambda: formats.gptq(np.ones((3, 1)), np.ones((3, 3)), damping=0.0), "singular"),
        (lambda: formats.gptq(np.ones((3, 1)), np.eye(3), damping=-1.0), "damping must be"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_low_precision_comes_back():
    assert formats.integers(jnp.ones((4, 2), jnp.bfloat16), 8).weights_hat.dtype == jnp.bfloat16
