"""What is checked of a source, whatever its distortion is made of."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from rdtheory import _checks, _compile
from rdtheory.distortion import Grid, Samples
from rdtheory.limits import _arguments
from rdtheory.limits.discrete import kernels


def source(
    source_pmf: ArrayLike, distortion: ArrayLike | Grid | Samples
) -> tuple[Array, Array | Grid | Samples, _checks.Flag]:
    """Checked source and distortion; the letters of samples without mass are put elsewhere."""
    if not isinstance(distortion, Grid | Samples):
        return _arguments.source(source_pmf, distortion)
    p, p_ok = _checks.pmf("source_pmf", source_pmf)
    letters, _ = kernels.of(distortion).shape
    if len(p) != letters:
        raise ValueError(f"source_pmf has {len(p):,} letters, the distortion is between {letters:,}")
    # Made by hand, it was not checked; and NaN flags what was traced when it was made.
    ok = p_ok & _checks.no_nan("distortion_matrix", *jax.tree.leaves(distortion))
    return p, distortion if isinstance(distortion, Grid) else without_dead_letters(p, distortion), ok


def without_dead_letters(p: Array, d: Samples) -> Samples:
    """Samples of mass zero put where one with mass is.

    They change nothing; but far from every reproduction all kernels are zero there, and their ratios are not numbers.
    """
    if not isinstance(p, Tracer) and bool(jnp.all(p > 0)):
        return d
    return d._replace(source=jnp.where((p > 0)[:, None], d.source, d.source[jnp.argmax(p)]))


def reachable(distortion: ArrayLike, p: Array, d: Array | Grid | Samples) -> tuple[Array, _checks.Flag]:
    """A distortion that some channel reaches."""
    floor = _floor(p, d)[:, None] if isinstance(d, Grid | Samples) else d
    return _checks.reachable("distortion", distortion, p, floor)


@_compile.jit
def _floor(p: Array, d: Grid | Samples) -> Array:
    return kernels.of(d).facts(p).floor
