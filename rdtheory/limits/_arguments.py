"""What the functions of `limits` check of their arguments, and how they hand them on."""

import jax
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.typing import ArrayLike

from rdtheory import _checks

TOL = 1e-9  # bits
MAX_STEPS = 10_000


def source(source_pmf: ArrayLike, distortion_matrix: ArrayLike) -> tuple[Array, Array, _checks.Flag]:
    """Checked source and distortion matrix."""
    p, p_ok = _checks.pmf("source_pmf", source_pmf)
    d, d_ok = _checks.distortion_matrix("distortion_matrix", distortion_matrix, p)
    return p, d, p_ok & d_ok


def constants(*values) -> list:
    """Arrays, or tuples of them, that no derivative passes through."""
    return [jax.tree.map(_constant, value) for value in values]


def _constant(leaf: ArrayLike) -> ArrayLike:
    if isinstance(leaf, Tracer):
        return lax.stop_gradient(leaf)
    return leaf if isinstance(leaf, Array) else np.asarray(leaf)  # a compiled function takes either
