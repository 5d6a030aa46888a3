"""Squares of the gradients of batch means, which is what the authors' public code sums."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from rdtheory import _compile


@functools.partial(_compile.jit, static_argnames=("apply", "kind"))
def squares(apply: Callable, kind: str, params: PyTree, inputs: Array, labels: Array, temperature: Array) -> PyTree:
    def means(w: PyTree, x: Array, y: Array) -> Array:
        """Numbers whose gradients are squared and summed; the derivative of 2√p is ∇p/√p."""
        logs = jax.nn.log_softmax(apply(w, x) / temperature)
        if kind == "gradient":
            return -jnp.mean(jnp.take_along_axis(logs, y[:, None], axis=1), axis=0)
        masked = jnp.isneginf(logs).all(axis=0)[None, :]  # √p has no derivative there, and p none that is not zero
        roots = jnp.exp(jax.nn.logsumexp(jnp.where(masked, 0.0, logs), axis=0, b=1 / len(x)) / 2)
        return jnp.where(masked[0], 0.0, 2 * roots)

    def batch(total: PyTree, example: tuple[Array, Array]):
        out, pull = jax.vjp(lambda w: means(w, *example), params)

        def one(total: PyTree, c: Array):
            return jax.tree.map(lambda t, g: t + g * g, total, pull(c)[0]), None

        return jax.lax.scan(one, total, jnp.eye(len(out), dtype=out.dtype))[0], None

    return jax.lax.scan(batch, jax.tree.map(jnp.zeros_like, params), (inputs, labels))[0]
