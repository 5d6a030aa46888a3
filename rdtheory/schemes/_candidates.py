"""What both ways of simulating a channel share: the candidates, the ratio of the two laws, the length of an index."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import zeta
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from rdtheory import _checks

__all__ = ["LARGEST", "bump", "candidate", "code_length", "power_law_bits"]

LARGEST = 2**30  # number of a candidate, so that it does not overflow 32 bits
NOISELESS = 1e-13  # share of the noise in an output component below which it is rounding, and I infinite


def code_length(index: Int[ArrayLike, "..."], information: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Bits of an index under the power law that suits the information it carries.

    .. math:: -\log P(K), \quad P(k) = k^{-\lambda}/\zeta(\lambda), \quad
              \lambda = 1 + \frac{1}{I + e^{-1}\log e + 1} .

    An arithmetic coder spends that; an index alone, in whole bits, takes less than one bit more (Shannon code). The
    theorem for `encode` is E log K <= I + e⁻¹ log e + 1, from which E bits <= I + log(I + 1) + 4. For
    `encode_components` E log K <= I + 1 + log e, because K <= (r + 1)/S_K there, E log(1 + 1/r) <= 1, and
    E log(1/S_K) <= log e; its bits are measured to be within the same bound.

    Parameters
    ----------
    index : K >= 1, any shape.
    information : I >= 0, bits, broadcast with it. Where it is 0, the index is always 1 and takes no bits.

    Returns
    -------
    bits : NaN for index 0.

    Raises
    ------
    ValueError : a negative information.

    References
    ----------
    Li & El Gamal (2018), proof of Theorem 1.

    Examples
    --------
    >>> print(code_length(jnp.array([1, 2, 100]), 5.0))
    [ 2.83167226  3.98479431 10.49284936]
    """
    bits, ok = _checks.finite("information", information)
    _, v = _checks.look(bits)
    ok &= _checks.holds((v >= 0).all(), lambda: f"information must be >= 0, got {bits}")
    return _checks.poison(power_law_bits(_checks.stored(index), bits), ok)


def candidate(key: Array, number: Array, m: int) -> Array:
    """Each has a key of its own, so that the decoder need not draw the others."""
    return jax.random.normal(jax.random.fold_in(key, number), (m,))


def bump(shares: Array, a: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Height, center and curvature of ln r = height - curvature (z - center)²/2; ρ, at most 1; and whether r is finite.

    Without noise it is not, and ρ = 1 stands in for it.
    """
    noisy = shares > NOISELESS
    carried = jnp.where(noisy & (1 - shares > 1e-12), 1 - shares, 0.0)
    shares = 1 - carried
    center = a / jnp.where(carried > 0, carried, 1.0)  # of no curvature no center counts
    return 0.5 * a * center - 0.5 * jnp.log(shares), center, carried / shares, shares, noisy


def power_law_bits(index: Array, information: Array) -> Array:
    power = 1 + 1 / (information + 1 / (math.e * math.log(2)) + 1)
    bits = power * jnp.log2(jnp.maximum(index, 1)) + jnp.log2(zeta(power, 1.0))
    return jnp.where(index > 0, jnp.where(information > 0, bits, 0.0), jnp.nan)
