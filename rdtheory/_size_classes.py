"""Small arrays padded to one of few sizes, so that few programs are ever compiled.

A program is compiled for one shape, which takes longer than most of them run. What is appended must change
nothing: a variance of zero, a letter of no mass. It is left out of the result again. All of that on the host, where
nothing is compiled.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from rdtheory import _checks, _devices

Result = TypeVar("Result")
LARGEST = 64  # size up to which that is done: above, programs run longer than they are compiled


def size_class(count: int) -> int:
    """Least of 8, 16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, ... that is not below `count`.

    The larger, the closer: what is computed grows with the cube of a size, and what is compiled does not.
    """
    power = max(8, 1 << (count - 1).bit_length())
    step = power if power < 64 else power // 4 if power <= 128 else power // 8
    return step * -(-count // step)


def classes(shape: tuple[int, ...], *arguments: ArrayLike) -> tuple[int, ...]:
    """`shape` with each size raised to its class; as it is if large, or if an argument is traced or spread."""
    if max(shape) > LARGEST or _checks.look(*arguments)[0] is jnp:
        return shape
    return tuple(size_class(size) for size in shape)


def pad(x: Array | np.ndarray, shape: tuple[int, ...], value: ArrayLike = 0.0) -> Array | np.ndarray:
    """`x` with `value` appended along each axis, up to `shape`."""
    if x.shape == shape:
        return x
    padded = np.full(shape, value, x.dtype)
    padded[tuple(map(slice, x.shape))] = x
    place = _devices.place(x)
    return padded if place is None else jax.device_put(padded, place)


def cut(result: Result, **shapes: tuple[int, ...]) -> Result:
    """`result` with some fields cut to the shapes that their last axes had before these were padded."""
    fields = {field: _corner(getattr(result, field), shape) for field, shape in shapes.items()}
    return result._replace(**fields)  # ty: ignore[missing-attribute]


def _corner(x: Array, shape: tuple[int, ...]) -> Array:
    if x.shape[x.ndim - len(shape) :] == shape:
        return x
    corner = (..., *map(slice, shape))
    return x[corner] if isinstance(x, Tracer) else jax.device_put(np.asarray(x)[corner], _devices.place(x))
