"""The states that the labels of a trellis code lead through, and what the entropy coder may know of them."""

import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = ["contexts", "states", "transitions"]

WAYS = 3  # of making contexts of states


def transitions(taps) -> np.ndarray:
    """The next state from each state, for an even label and for an odd one: (states, 2).

    Examples
    --------
    >>> print(transitions((2, 2)).tolist())  # the four states of the standard H.266
    [[0, 2], [2, 0], [1, 3], [3, 1]]
    """
    feedback, driven = (int(tap) for tap in taps)
    state = np.arange(2 ** max(feedback.bit_length(), driven.bit_length(), 1))
    even = (state >> 1) ^ ((state & 1) * feedback)
    return np.stack([even, even ^ driven], axis=1)


def states(labels, taps):
    """The state before each label, in row-major order, in the shape of the labels."""
    flat = labels.ravel()
    if not isinstance(flat, np.ndarray):

        def step(state, label):
            return (state >> 1) ^ ((state & 1) * taps[0]) ^ ((label & 1) * taps[1]), state

        return lax.scan(step, jnp.zeros((), jnp.int32), flat.astype(jnp.int32), unroll=8)[1].reshape(labels.shape)
    following = transitions(taps).tolist()
    path = itertools.accumulate((flat[:-1] & 1).tolist(), lambda state, odd: following[state][odd], initial=0)
    return np.fromiter(path, np.int64, count=len(flat)).reshape(labels.shape)


def contexts(taps, way: int) -> tuple[np.ndarray, np.ndarray]:
    """The context of each state, and the quantizer q of each context.

    A context is the state's quantizer (way 0), that and the quantizers of the next states (1), or the state itself (2).

    Examples
    --------
    >>> print(*contexts((2, 2), 0), *contexts((2, 2), 1))
    [0 1 0 1] [0 1] [0 1 2 3] [0 1 0 1]
    """
    following = transitions(taps)
    state = np.arange(len(following))
    own = (state & 1, (state & 1) | (following & 1) @ np.array([2, 4]), state)[way]
    kinds, place = np.unique(own, return_inverse=True)
    return place, kinds & 1
