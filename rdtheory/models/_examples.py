"""Examples of a model, checked: rows of inputs with what belongs to them, and the outputs that the model makes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from rdtheory import _checks

Apply = Callable[[Any, Array], Array]


def rows(inputs: ArrayLike, name: str = "inputs") -> tuple[Array, _checks.Flag]:
    """Inputs (n, m), finite, in the precision they have: in float64, all images of a data set could fill the memory."""
    dtype = getattr(inputs, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        return _checks.finite(name, inputs, 2)
    x = _checks.stored(inputs)
    if x.ndim != 2 or 0 in x.shape:
        _checks.array(name, x, 2)
    xp, v = _checks.look(x)
    return x, _checks.holds(xp.isfinite(v).all(), lambda: f"{name} must be finite, got infinity or NaN among them")


def classes(labels: ArrayLike, n: int, outputs: int, name: str = "labels") -> tuple[Array, _checks.Flag]:
    """Class numbers (n,) below `outputs`."""
    y = _checks.stored(labels)
    if y.shape != (n,) or not jnp.issubdtype(y.dtype, jnp.integer):
        raise ValueError(f"{name} must be {n} class numbers, one per input, got shape {y.shape}, dtype {y.dtype}")
    _, v = _checks.look(y)
    return y, _checks.holds(
        ((v >= 0) & (v < outputs)).all(),
        lambda: f"{name} must be from 0 to {outputs - 1}, one for each output, got {np.min(v)} to {np.max(v)}",
    )


def outputs(apply: Apply, params: Any, x: Array) -> int:
    """How many outputs the model has for each row; nothing is computed."""
    made = shapes(apply, params, x)
    shape = getattr(made, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != len(x):
        found = type(made).__name__ if shape is None else f"shape {shape}"
        raise ValueError(f"apply(params, inputs) must be one row of outputs for each of {len(x)} inputs, got {found}")
    return shape[1]


def shapes(apply: Apply, params: Any, x: Array | jax.ShapeDtypeStruct) -> Any:
    """Shape and dtype of what the model makes of a batch; a model of one example is told how to become one of many."""
    try:
        return jax.eval_shape(apply, params, x)
    except (TypeError, ValueError) as error:
        try:
            jax.eval_shape(apply, params, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
        except Exception:
            raise error from None  # of the model itself
        raise ValueError(
            f"apply(params, inputs) must take a batch, here of shape {x.shape}, but takes one example only; "
            "jax.vmap(apply, in_axes=(None, 0)) takes many"
        ) from error
