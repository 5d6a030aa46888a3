"""Shannon's lower bound for a discrete source."""

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import entr
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile
from rdtheory.limits import _arguments
from rdtheory.limits.discrete.arithmetic import LN2, excess_over, scaled_kernel, times, unit_of
from rdtheory.results import ShannonBound

__all__ = ["shannon_lower_bound"]

U = 2.0**-53
HALVINGS = 100
SLOPES = 2.0**-80, 2.0**80  # looked at, in bits per unit of the largest excess


def shannon_lower_bound(
    source_pmf: Float[ArrayLike, " n"], distortion_matrix: Float[ArrayLike, "n m"], distortion: Float[ArrayLike, ""]
) -> ShannonBound:
    r"""Shannon's lower bound for a discrete source, of any distortion matrix.

    .. math:: R(D) \ge H(X) - \phi(D), \qquad \phi(D) = \min_{s\ge0}\, s\,\Delta + \log\max_y \sum_x 2^{-s e_{xy}},

    e = d - min d over each row, Δ what D allows of it. If the columns of d are permutations of each other, as those of
    a difference distortion modulo n, φ(D) is the greatest entropy of a noise of mean distortion D, and the bound is
    R(D) where some reproduction makes the source that noise plus something independent. For any other matrix it is
    what the dual of R(D) gives for λ in proportion to 1/p, and so is a lower bound all the same.

    Parameters
    ----------
    source_pmf : (n,), sums to 1. Letters of mass zero do not count.
    distortion_matrix : (n, m), >= 0; may be infinite.
    distortion : D, at least Σ p min d.

    Returns
    -------
    ShannonBound
        ``rate`` in bits per symbol, not clipped; ``slope`` s, ``entropy`` H(X), ``noise_entropy`` φ(D), ``error`` of
        rounding. No derivative is promised.

    Raises
    ------
    ValueError : as for `rate_at`.

    References
    ----------
    Shannon (1959); Berger (1971), section 4.3; Gray (1973) for when it is tight.

    Examples
    --------
    Tight for a coin, and for a loaded die while all its sides are shown.

    >>> bound = shannon_lower_bound(jnp.array([0.7, 0.3]), 1 - jnp.eye(2), 0.1)
    >>> print(f"{bound.rate:.9f} = {bound.entropy:.6f} - {bound.noise_entropy:.6f}")
    0.412295306 = 0.881291 - 0.468996
    """
    _checks.require_x64("discrete.shannon_lower_bound")
    p, d, ok = _arguments.source(source_pmf, distortion_matrix)
    D, D_ok = _checks.reachable("distortion", distortion, p, d)
    return _checks.poison(_bound(p, d, D), ok & D_ok)


@_compile.jit
def _bound(p: Array, d: Array, D: Array) -> ShannonBound:
    # notation: e excess distortion in units of a power of two, A the most that D may allow of it
    used, n = p > 0, len(p)
    floor = jnp.where(used, jnp.min(d, axis=1), 0.0)
    excess = excess_over(p, d, floor)
    unit = unit_of(jnp.max(jnp.where(jnp.isfinite(excess), excess, 0.0)))
    e, least = excess / unit, p @ (floor / unit)
    A = jnp.maximum(D / unit - least, 0.0) + jnp.where(least == 0, 0.0, 2 * U * ((n + 16) * least + D / unit))

    def columns(s: Array) -> tuple[Array, Array]:
        kernel = jnp.where(used[:, None], scaled_kernel(e, s), 0.0)
        return kernel, jnp.sum(kernel, axis=0)

    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        s = jnp.sqrt(low * high)
        kernel, c = columns(s)
        y = jnp.argmax(c)
        spent = jnp.sum(jnp.where(kernel[:, y] > 0, kernel[:, y] * e[:, y], 0.0)) / c[y]
        return jnp.where(spent > A, s, low), jnp.where(spent > A, high, s)

    _, s = lax.fori_loop(0, HALVINGS, halve, tuple(jnp.asarray(end) for end in SLOPES))
    entropy, log_c = jnp.sum(entr(p)) / LN2, jnp.log2(jnp.max(columns(s)[1]))
    paid = times(s, A)
    # Of a power 2^-v counts v 2^-v < 1 times the rounding of v, and c is at least one.
    error = 2 * U * (n + 16) * (entropy + paid + log_c + 2)
    slope = s / unit
    return ShannonBound(entropy - paid - log_c - error, D, slope, entropy, paid + log_c, error)
