"""Validation of pytrees at the boundary: as `_checks`, leaf by leaf."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from rdtheory import _checks
from rdtheory._checks import Flag


def tree(name: str, value: PyTree) -> tuple[PyTree, Flag]:
    """A pytree of finite real arrays; a leaf that is not one is named by its path."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(value)
    if not leaves:
        raise ValueError(f"{name} must hold at least one array, got {value!r}")
    arrays, ok = [], np.True_
    for path, leaf in leaves:
        where = name + jax.tree_util.keystr(path)
        if callable(leaf):
            raise TypeError(
                f"{where} must be an array of real numbers, got {type(leaf).__name__}; split what is not weights off "
                "first (equinox.partition does, with equinox.combine inside the model function)"
            )
        x, x_ok = _checks.finite(where, leaf)
        arrays.append(x)
        ok = ok & x_ok
    return jax.tree.unflatten(structure, arrays), ok


def like(name: str, value: PyTree, other_name: str, other: PyTree) -> None:
    """Raise unless `value` has the structure and the shapes of `other`."""
    if jax.tree.structure(value) != jax.tree.structure(other):
        raise ValueError(
            f"{name} must have the structure of {other_name}, {jax.tree.structure(other)}, "
            f"got {jax.tree.structure(value)}"
        )
    for (path, leaf), wanted in zip(
        jax.tree_util.tree_flatten_with_path(value)[0], jax.tree.leaves(other), strict=True
    ):
        if jnp.shape(leaf) != jnp.shape(wanted):
            where = name + jax.tree_util.keystr(path)
            raise ValueError(f"{where} must have shape {jnp.shape(wanted)} as in {other_name}, got {jnp.shape(leaf)}")
