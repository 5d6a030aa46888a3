"""What jit and vmap must not change. Comparisons are in NumPy: each operation on JAX arrays would be compiled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def stack(results):
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *results)


def assert_close(got, wanted, *, rtol=1e-12, atol=1e-13):
    """Leaf by leaf; flags and counts exactly."""
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jnp.floating):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(a, b)


@functools.lru_cache(maxsize=32)
def compiled_batch(function):
    """One compilation for all tests of the function: pass them the same object."""
    return jax.jit(jax.vmap(function))


def assert_transforms_agree(function, *batches, rtol=1e-12, atol=1e-13):
    """`jit`, `vmap` and both give what the plain loop over the items of the batches gives."""
    items = list(zip(*batches, strict=True))
    loop = stack([function(*item) for item in items])
    assert_close(jax.jit(function)(*items[0]), jax.tree.map(lambda leaf: leaf[0], loop), rtol=rtol, atol=atol)
    batches = jax.device_put(list(batches))
    assert_close(jax.vmap(function)(*batches), loop, rtol=rtol, atol=atol)
    assert_close(compiled_batch(function)(*batches), loop, rtol=rtol, atol=atol)


def assert_only_bad_items_are_nan(function, good, bad, index, *, rtol=1e-12, atol=1e-13):
    """Item `index` replaced by something invalid: NaN and False there, the same bits everywhere else."""
    good = [np.asarray(batch) for batch in good]
    spoiled = [batch.copy() for batch in good]
    for batch, value in zip(spoiled, bad, strict=True):
        batch[index] = value
    clean, dirty = compiled_batch(function)(*good), compiled_batch(function)(*spoiled)
    others = np.arange(len(good[0])) != index
    for a, b in zip(map(np.asarray, jax.tree.leaves(dirty)), map(np.asarray, jax.tree.leaves(clean)), strict=True):
        np.testing.assert_array_equal(a[others], b[others])
        if jnp.issubdtype(a.dtype, jnp.floating):
            assert np.isnan(a[index]).all(), f"{a[index]} in the invalid item"
        elif a.dtype == np.bool_:
            assert not a[index].any()
    alone = stack([function(*item) for keep, item in zip(others, zip(*good, strict=True), strict=True) if keep])
    assert_close(jax.tree.map(lambda leaf: np.asarray(leaf)[others], dirty), alone, rtol=rtol, atol=atol)
