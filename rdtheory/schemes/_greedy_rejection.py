"""Channel simulation by greedy rejection, weight by weight."""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import ndtr
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray

from rdtheory import _checks, _compile
from rdtheory.results import SimulatedChannel
from rdtheory.schemes._candidates import LARGEST, bump, candidate, power_law_bits

__all__ = ["decode_components", "encode_components"]


def encode_components(
    key: PRNGKeyArray,
    gains: Float[ArrayLike, " m"],
    noise_variances: Float[ArrayLike, " m"],
    weight_variances: Float[ArrayLike, " m"],
    weights: Float[ArrayLike, " m"],
    *,
    limit: int = 2**22,
) -> SimulatedChannel:
    r"""Greedy rejection: an index for each weight, each with a channel of its own.

    Candidate k is accepted with the largest probability β_k that does not choose any y more often than Q does,

    .. math:: \beta_k(y) = \frac{\min\{(r(y) - L_k)^+, S_k\}}{S_k}, \quad L_{k+1} = L_k + S_k, \quad
              S_k = Q(r \ge L_k) - L_k P(r \ge L_k),

    from L_1 = 0; S_k is the probability that k is reached. The sets r >= L are intervals here, which is why weights are
    taken one by one: m searches of 2^{I_k} candidates in place of one of 2^I, at the price of the logarithmic term and
    the 4 bits for each.

    Parameters
    ----------
    key : shared with the decoder, a new one for each weight vector.
    gains, noise_variances : (m,), Ŵ_k = g_k W_k + N(0, n_k): the diagonals of a channel whose matrices are diagonal.
    weight_variances : (m,), >= 0.
    weights : (m,).
    limit : candidates looked at for a weight before giving up, at most 2³⁰, static.

    Returns
    -------
    SimulatedChannel
        as from `encode`, each field (m,). ``candidates`` is the index itself, nothing beyond it is looked at. A weight
        of which the channel says nothing has index 1 and takes no bits.

    Raises
    ------
    ValueError : shapes disagree, a negative variance, values that are not finite.

    References
    ----------
    Harsha, Jain, McAllester & Radhakrishnan (2010); Flamich & Theis (2023) for continuous laws.

    Examples
    --------
    >>> laws = jnp.array([0.875, 0.5]), jnp.array([0.4375, 0.25]), jnp.array([4.0, 1.0])  # D = 0.5 each
    >>> sent = encode_components(jax.random.key(0), *laws, jnp.array([1.5, 0.3]))
    >>> print(sent.index, decode_components(jax.random.key(0), *laws, sent.index))
    [2 1] [ 1.40837356 -0.1163984 ]
    """
    g, n, w, ok = _diagonal(gains, noise_variances, weight_variances)
    x, x_ok = _checks.finite("weights", weights, shape=w.shape)
    limit = _checks.count("limit", limit, 1, LARGEST)
    return _checks.poison(_encode_components(key, g, n, w, x, limit), ok & x_ok)


def decode_components(
    key: PRNGKeyArray,
    gains: Float[ArrayLike, " m"],
    noise_variances: Float[ArrayLike, " m"],
    weight_variances: Float[ArrayLike, " m"],
    index: Int[ArrayLike, " m"],
) -> Float[Array, " m"]:
    """The candidates of those numbers, one for each weight.

    Parameters
    ----------
    key, gains, noise_variances, weight_variances : as the encoder had them.
    index : (m,), from `encode_components`.

    Returns
    -------
    weights_hat : (m,), distributed as by `gaussian_channel.sample`; NaN where the index is 0.

    Raises
    ------
    ValueError : shapes disagree, a negative variance.

    Examples
    --------
    >>> decode_components(jax.random.key(0), jnp.ones(2) / 2, jnp.ones(2) / 4, jnp.ones(2), jnp.array([3, 1])).shape
    (2,)
    """
    g, n, w, ok = _diagonal(gains, noise_variances, weight_variances)
    k = _checks.stored(index)
    if k.shape != w.shape:
        raise ValueError(f"index must have shape {w.shape}, got {k.shape}")
    return _checks.poison(_decode_components(key, g, n, w, k), ok)


@functools.partial(_compile.jit, static_argnums=5)
def _encode_components(key: Array, g: Array, n: Array, w: Array, weights: Array, limit: int) -> SimulatedChannel:
    deviations = jnp.sqrt(g**2 * w + n)
    safe = jnp.where(deviations > 0, deviations, 1.0)
    a = g * weights / safe
    height, center, curvature, shares, noisy = bump(jnp.where(deviations > 0, n / safe**2, 1.0), a)

    def search(key: Array, share: Array, a: Array, height: Array, center: Array, curvature: Array):
        draw, coin = jax.random.split(key)
        width, off = jnp.sqrt(2 / jnp.where(curvature > 0, curvature, 1.0)), jnp.abs(center - a)

        def look(state: tuple[Array, ...]) -> tuple[Array, ...]:
            k, level, reached, _ = state
            ratio = jnp.exp(height - 0.5 * curvature * (candidate(draw, k, 1)[0] - center) ** 2)
            accepted = jax.random.uniform(jax.random.fold_in(coin, k)) * reached < ratio - level
            level = level + reached
            half = width * jnp.sqrt(jnp.maximum(height - jnp.log(level), 0.0))
            under_p = ndtr(half - jnp.abs(center)) - ndtr(-half - jnp.abs(center))
            under_q = ndtr((half - off) / jnp.sqrt(share)) - ndtr((-half - off) / jnp.sqrt(share))
            return k + 1, level, jnp.maximum(under_q - level * under_p, 0.0), accepted

        first = jnp.ones((), jnp.arange(1).dtype), jnp.zeros(()), jnp.ones(()), jnp.zeros((), bool)
        k, *_, accepted = lax.while_loop(lambda state: ~state[3] & (state[0] <= limit), look, first)
        return k - 1, accepted

    candidates, accepted = jax.vmap(search)(jax.random.split(key, len(w)), shares, a, height, center, curvature)
    found = accepted & noisy
    index = jnp.where(found, candidates, 0)
    return SimulatedChannel(index, power_law_bits(index, -0.5 * jnp.log2(shares)), candidates, found)


@_compile.jit
def _decode_components(key: Array, g: Array, n: Array, w: Array, index: Array) -> Array:
    draws = jax.vmap(lambda key: jax.random.split(key)[0])(jax.random.split(key, len(w)))
    candidates = jax.vmap(lambda draw, k: candidate(draw, k, 1)[0])(draws, index)
    return jnp.where(index > 0, jnp.sqrt(g**2 * w + n) * candidates, jnp.nan)


def _diagonal(
    gains: ArrayLike, noise_variances: ArrayLike, weight_variances: ArrayLike
) -> tuple[Array, Array, Array, _checks.Flag]:
    w, w_ok = _checks.nonnegative("weight_variances", weight_variances, 1)
    g, g_ok = _checks.finite("gains", gains, shape=w.shape)
    n, n_ok = _checks.nonnegative("noise_variances", noise_variances, 1)
    _checks.array("noise_variances", n, shape=w.shape)
    return g, n, w, w_ok & g_ok & n_ok
