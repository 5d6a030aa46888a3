"""Validation of pytrees at the boundary: as `_checks`, leaf by leaf."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from rdtheory import _checks
from rdtheory._checks import Flag


def tree(name: str, value: PyTree, read: Callable = _checks.weights) -> tuple[PyTree, Flag]:
    """A pytree of finite floating arrays, as `read` takes them; a leaf that is not one is named by its path."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(value)
    if not leaves:
        raise ValueError(f"{name} must hold at least one array, got {value!r}")
    arrays, ok = [], np.True_
    for path, leaf in leaves:
        where = name + jax.tree_util.keystr(path)
        # A counter, a flag or an index is no weight: what becomes of it is not for a compressor to say.
        kind = getattr(leaf, "dtype", type(leaf))
        if not jnp.issubdtype(kind, jnp.floating):
            raise TypeError(
                f"{where} must be an array of floating numbers, got {getattr(kind, '__name__', kind)}; split what is "
                "not weights off first (equinox.partition does, with equinox.combine inside the model function), and "
                "turn weights to float"
            )
        x, x_ok = read(where, leaf)
        arrays.append(x)
        ok = ok & x_ok
    return jax.tree.unflatten(structure, arrays), ok


def beside(name: str, value: PyTree, other_name: str, other: PyTree) -> tuple[PyTree, Flag]:
    """Finite numbers >= 0 in the structure and the shapes of `other`."""
    if jax.tree.structure(value) != jax.tree.structure(other):
        raise ValueError(
            f"{name} must have the structure of {other_name}, {jax.tree.structure(other)}, "
            f"got {jax.tree.structure(value)}"
        )
    leaves, structure = jax.tree_util.tree_flatten_with_path(value)
    arrays, ok = [], np.True_
    for (path, leaf), wanted in zip(leaves, jax.tree.leaves(other), strict=True):
        where = name + jax.tree_util.keystr(path)
        if jnp.shape(leaf) != jnp.shape(wanted):
            raise ValueError(f"{where} must have shape {jnp.shape(wanted)} as in {other_name}, got {jnp.shape(leaf)}")
        x, x_ok = _checks.nonnegative(where, leaf, jnp.ndim(wanted))
        arrays.append(x)
        ok = ok & x_ok
    return jax.tree.unflatten(structure, arrays), ok
