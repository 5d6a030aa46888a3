"""Matrices filled up to one of few shapes, so that few are ever compiled."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from rdtheory import _compile, _devices, _size_classes
from rdtheory._size_classes import size_class
from rdtheory.limits.discrete.solvers import mirror
from rdtheory.results import RateDistortion

PADDED = 2**20  # entries up to which that is done


class Padded(NamedTuple):
    p: Array
    d: Array
    mirrored: bool  # whether the problem reads the same backwards


def pad(p: Array, d: Array, *, mirrored: bool = True) -> Padded:
    """With letters of no mass and letters that may not be used, so that few shapes are ever compiled.

    Not if spread over devices, whose shares are the caller's choice, nor under a transformation. Without `mirrored` it
    is not asked whether the problem reads the same backwards.
    """
    n, m = d.shape
    if mirrored and (d.size <= PADDED or n % 2 == m % 2 == 0) and mirror.is_mirrored(p, d):
        if d.size > PADDED:
            return Padded(p, d, True)
        n, m = (size_class(length + length % 2) for length in (n, m))
        padded, folded = mirror.about_middle(p, d, n, m), True
    else:
        shape = size_class(n), size_class(m)
        if d.size > PADDED or shape == d.shape or any(isinstance(x, Tracer) or _devices.is_spread(x) for x in (p, d)):
            return Padded(p, d, False)
        wide = _size_classes.pad(np.asarray(d), (n, shape[1]), np.inf)
        padded, folded = (_size_classes.pad(np.asarray(p), shape[:1]), _size_classes.pad(wide, shape)), False
    return Padded(*jax.device_put(padded, _devices.place(p, d)), folded)


def pad_pmf(q: Array, padded: Padded) -> Array:
    m = padded.d.shape[1]
    return mirror.scatter(q, m) if padded.mirrored else jnp.pad(q, (0, m - len(q)))


def pad_last(values: Array) -> np.ndarray:
    """The last one repeated: 13, 26, 52, 104, ... in all, just above the round numbers that people ask for."""
    length = 13
    while length < len(values):
        length *= 2
    return np.pad(np.asarray(values), (0, length - len(values)), mode="edge")


def unpad(result: RateDistortion, padded: Padded, m: int, count: int | None = None) -> RateDistortion:
    """With a reproduction pmf on the m letters that there were; of several points, the first `count`."""
    q = result.reproduction_pmf
    if q.shape[-1] == m and count in (None, len(q)):
        return result
    if isinstance(q, Tracer) or _devices.is_spread(q):
        return result._replace(reproduction_pmf=q[..., :m])
    if q.shape[-1] != m:
        q = mirror.gather(q, m) if padded.mirrored else np.asarray(q)[..., :m]
        result = result._replace(reproduction_pmf=jax.device_put(q, _devices.place(result.rate)))
    return result if count in (None, len(q)) else _first(result, count)


@partial(_compile.jit, brief=True, static_argnums=1)
def _first(result: RateDistortion, count: int) -> RateDistortion:
    # Little to compile beside what made the result, and a fifth of the time that the way by the host takes.
    return jax.tree.map(lambda leaf: leaf[:count], result)
