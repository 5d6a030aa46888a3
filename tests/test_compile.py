"""Functions that `_compile.jit` compiled are called inside other transformations."""

import jax
import jax.numpy as jnp

from rdtheory import _compile


@_compile.jit
def product(x, y):
    return x * y


def test_arrays_from_outside_an_outer_jit_are_no_sign_of_the_top():
    x = jnp.asarray(3.0)
    assert product(x, x) == 9
    assert jax.jit(lambda y: y + product(x, x))(1.0) == 10
    assert jax.grad(lambda y: product(x, y))(x) == 3
    assert (jax.vmap(lambda y: product(x, y) + product(x, x))(jnp.arange(2.0)) == jnp.array([9.0, 12.0])).all()
