"""One pass of Adam over shuffled batches, compiled."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from rdtheory import _compile
from rdtheory.models._examples import Apply


def squares(outputs: Array, targets: Array) -> Array:
    """Squared error of each row."""
    return jnp.sum((outputs - targets) ** 2, axis=1)


def adam(learning_rate: ArrayLike, steps: int):
    """The optimizer; its step falls from `learning_rate` to zero along half a cosine."""
    import optax

    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps))


@functools.partial(_compile.jit, brief=True)
def start(params: Any):
    """The optimizer's state before the first step, the same for every step's size."""
    return adam(0.0, 1).init(params)


@functools.partial(_compile.jit, static_argnums=(0, 1, 2, 3))
def epoch(
    score: Callable,
    apply: Apply,
    batch_size: int,
    total: int,
    state: tuple,
    x: Array,
    y: Array,
    key: Array,
    number: ArrayLike,
    rate: Array,
) -> tuple[tuple, Array]:
    """One pass over the examples, shuffled as its number says: the new state, and the mean loss on the way."""
    import optax

    steps = len(x) // batch_size
    order = jax.random.permutation(jax.random.fold_in(key, number), len(x))
    batches = order[: steps * batch_size].reshape(steps, batch_size)
    optimizer = adam(rate, total)

    def step(state: tuple, batch: Array) -> tuple[tuple, Array]:
        params, moments = state
        loss, gradient = jax.value_and_grad(lambda params: score(apply(params, x[batch]), y[batch]).mean())(params)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), loss

    state, losses = lax.scan(step, state, batches)
    return state, losses.mean()
