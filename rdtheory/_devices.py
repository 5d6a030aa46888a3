"""Where arrays are: computing goes to them, and what goes by the host is put back."""

import jax
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike


def place(*values: ArrayLike) -> jax.sharding.Sharding | None:
    """Where an array among the values was put on purpose; what goes by the host has to be put back there."""
    arrays = (value for value in values if isinstance(value, Array) and not isinstance(value, Tracer))
    return next((array.sharding for array in arrays if array.committed), None)


def is_spread(value: ArrayLike) -> bool:
    """Whether a concrete array is held by several devices."""
    return isinstance(value, Array) and not isinstance(value, Tracer) and len(value.sharding.device_set) > 1


def gathered(*arrays: Array) -> tuple[Array, ...]:
    """The same on the first of the devices that hold them, if all belong to this process."""
    if not all(is_spread(array) and array.is_fully_addressable for array in arrays):
        return arrays
    return jax.device_put(arrays, min(arrays[0].devices(), key=lambda device: device.id))
