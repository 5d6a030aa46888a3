"""The cheapest path through a trellis, by dynamic programming over many pieces of the sequence at once."""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rdtheory.schemes.trellis.code import successors

__all__ = ["cheapest", "length", "search"]

LANES = 8192  # states times pieces: what a processor works on in one step of the scan
SHORTEST = 512  # weights in a piece: far more than it takes for paths to merge


def length(n: int, states: int) -> int:
    """Weights in a piece, an even number, of a sequence of n."""
    pieces = max(LANES // states, 1)
    return max(-(-n // pieces), SHORTEST) + 1 & ~1


def search(metrics: Array, before: Array, turn: Array, states: int) -> tuple[Array, Array]:
    """States and cosets, (n,) each, of a path from state 0 that is the cheapest between the places where it is held.

    Parameters
    ----------
    metrics : (4, n), the price of each weight in the cosets 0 to 3: of quantizer coset mod 2, label ⌊coset/2⌋ mod 2.
    before : (n,), the states of some path, through which the new one goes where pieces meet; state 0 throughout is one.
        A sequence of one piece is held nowhere.
    turn : at odd turns pieces begin in the middle of those of even turns, so that from the second turn on the path is
        held only where it was the best.
    """
    n = metrics.shape[1]
    size = length(n, states)
    pieces = -(-n // size)
    if pieces == 1:
        path, cosets = cheapest(metrics[:, :, None], jnp.zeros(1, jnp.int32), jnp.full(1, -1), states)
        return path[:, 0], cosets[:, 0]
    # With one piece more than needed there is room for either turn. Beyond the ends even labels are free, odd ones
    # impossible: the path stays in state 0 before the beginning.
    pieces += 1
    lead = jnp.where(turn % 2 == 1, size // 2, 0)
    free = jnp.array([0.0, 0.0, jnp.inf, jnp.inf], metrics.dtype)[:, None]
    padded = lax.dynamic_update_slice(jnp.broadcast_to(free, (4, pieces * size)), metrics, (0, lead))
    joints = jnp.arange(pieces + 1) * size - lead
    inside = (joints > 0) & (joints < n)
    held = jnp.where(inside, before[jnp.where(inside, joints, 0)], 0)
    table = padded.reshape(4, pieces, size).transpose(0, 2, 1)
    found = cheapest(table, held[:-1], jnp.where(inside, held, -1)[1:], states)
    path, cosets = (lax.dynamic_slice(x.T.reshape(pieces * size), (lead,), (n,)) for x in found)
    return path, cosets


def cheapest(table: Array, starts: Array, ends: Array, states: int) -> tuple[Array, Array]:
    """The cheapest path of each piece, (length, pieces), from its start to its end, if that is not -1.

    The metrics are (4, length, pieces); pieces are the fast axis.
    """
    half = states // 2
    before = _predecessors(states)
    costs = jnp.where(np.arange(states)[:, None] == starts[None, :], 0.0, jnp.inf).astype(table.dtype)

    def extend(costs: Array, now: Array) -> tuple[Array, Array]:
        # A state of the lower half follows even states, one of the upper half odd states: quantizers 0 and 1.
        price = jnp.repeat(now, half, axis=0, total_repeat_length=2 * states).reshape(2, states, -1)
        by_even, by_odd = costs[before[:, 0]] + price[0], costs[before[:, 1]] + price[1]
        return jnp.minimum(by_even, by_odd), by_odd < by_even

    costs, odd = lax.scan(extend, costs, table.transpose(1, 0, 2))
    last = jnp.where(ends < 0, jnp.argmin(costs, axis=0).astype(jnp.int32), ends)
    lookup = jnp.asarray(before.ravel(), jnp.int32)

    def retrace(state: Array, chosen: Array) -> tuple[Array, tuple[Array, Array]]:
        branch = jnp.take_along_axis(chosen, state[None, :], axis=0)[0].astype(jnp.int32)
        previous = lookup[2 * state + branch]
        return previous, (previous, 2 * branch + (previous & 1))

    return lax.scan(retrace, last, odd, reverse=True)[1]


def _predecessors(states: int) -> np.ndarray:
    """The state from which an even and an odd label lead to each state, (states, 2)."""
    following = successors(states)
    before = np.empty((states, 2), np.int32)
    for branch in (0, 1):
        before[following[:, branch], branch] = np.arange(states)
    return before
