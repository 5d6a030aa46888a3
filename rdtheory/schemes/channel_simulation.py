r"""Channel simulation: a number from which the decoder makes weights distributed exactly as the test channel has them.

Encoder and decoder draw the same candidates Ŵ₁, Ŵ₂, ... from the output law P of the channel; the encoder, who knows w,
sends the number K of one whose law is Q = P(Ŵ|W=w). No long block is needed: it takes at most
I(W;Ŵ) + log(I(W;Ŵ) + 1) + 4 bits on average, and the mean distortion is that of the channel. With r = dQ/dP,

- `encode` describes a vector as a whole: at times T₁ < T₂ < ... of a Poisson process, K minimizes T_K / r(Ŵ_K);
- `encode_components` describes independent weights one by one: each candidate is accepted with the largest probability
  that does not distort Q.

For given w either looks at max r candidates on average. For Gaussian weights log2 max r has mean I + ½ log2(e) for each
component that is described, and max r itself has none: most searches take about 2^I, a few take far more. So a search
is cut at `limit`, and then it yields no index, since the best candidate so far would be biased.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray

from rdtheory import _checks, _compile, _progress
from rdtheory.results import GaussianChannel, SimulatedChannel
from rdtheory.schemes._candidates import LARGEST, bump, candidate, code_length, power_law_bits
from rdtheory.schemes._greedy_rejection import decode_components, encode_components

__all__ = ["code_length", "decode", "decode_components", "encode", "encode_components"]

PIECE = 256  # candidates held at a time


@_progress.doing("channel_simulation.encode")
def encode(
    key: PRNGKeyArray,
    channel: GaussianChannel,
    weight_cov: Float[ArrayLike, "m m"],
    weights: Float[ArrayLike, " m"],
    *,
    limit: int = 2**22,
) -> SimulatedChannel:
    r"""The Poisson functional representation: one index for a weight vector.

    The points (Tᵢ, Ŵᵢ) are a Poisson process of intensity dt · P, so (Tᵢ/r(Ŵᵢ), Ŵᵢ) is one of intensity dt · Q, and the
    first of its points is distributed as Q. The search ends when Tᵢ / max r exceeds the least Tᵢ/r(Ŵᵢ) so far. In the
    basis that makes both laws independent, with variances 1 under P and ρ_k under Q, ln r is a parabola in each
    component, and I = -½ Σ log2 ρ_k.

    Parameters
    ----------
    key : shared with the decoder, a new one for each weight vector.
    channel : gain and noise covariance, (m, m) each; with noise in every output that depends on the weights.
    weight_cov : (m, m), symmetric positive semidefinite; Σ_W. It sets P = N(0, G Σ_W Gᵀ + N); the output is exact for
        any weights, the length for those of this covariance.
    weights : (m,).
    limit : candidates looked at before giving up, at most 2³⁰, static.

    Returns
    -------
    SimulatedChannel
        ``index`` K from 1, ``bits`` by `code_length`, ``candidates`` looked at, ``found``. Cut at the limit: index 0,
        bits NaN, found False. So it is too for a channel without noise, whose rate is infinite. On vectors of which
        few are hard, `jax.lax.map` is faster than `jax.vmap`, which searches until the last is found. Exact up to
        rounding: a component with 1 - ρ_k < 1e-12 is drawn from P.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance, values that are not finite.

    References
    ----------
    Li & El Gamal (2018), strong functional representation lemma; Flamich, Havasi & Hernández-Lobato (2022), A* coding.

    Examples
    --------
    >>> cov = jnp.eye(1)
    >>> channel = GaussianChannel(0.75 * cov, 0.25 * 0.75 * cov)  # D = 0.25, I = 1 bit
    >>> sent = encode(jax.random.key(0), channel, cov, jnp.array([1.5]))
    >>> print(sent.index, f"{sent.bits:.2f} bits", decode(jax.random.key(0), channel, cov, sent.index))
    1 1.65 bits [1.09842075]
    """
    gain, noise, w, ok = _channel(channel, weight_cov)
    x, x_ok = _checks.finite("weights", weights, shape=(len(w),))
    limit = _checks.count("limit", limit, 1, LARGEST)
    return _checks.poison(_encode(key, gain, noise, w, x, limit), ok & x_ok)


def decode(
    key: PRNGKeyArray, channel: GaussianChannel, weight_cov: Float[ArrayLike, "m m"], index: Int[ArrayLike, ""]
) -> Float[Array, " m"]:
    """The candidate of that number; no other is drawn.

    Parameters
    ----------
    key, channel, weight_cov : as the encoder had them.
    index : from `encode`.

    Returns
    -------
    weights_hat : (m,), distributed as by `gaussian_channel.sample`; NaN for index 0.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance.

    Examples
    --------
    >>> decode(jax.random.key(0), GaussianChannel(jnp.eye(2) / 2, jnp.eye(2) / 4), jnp.eye(2), 3).shape
    (2,)
    """
    gain, noise, w, ok = _channel(channel, weight_cov)
    return _checks.poison(_decode(key, gain, noise, w, _checks.stored(index)), ok)


def _output_root(gain: Array, noise: Array, w: Array) -> tuple[Array, Array, Array]:
    """Root and inverse root of the covariance of P, and the projection on what it leaves out.

    The root is the symmetric one of the correlations: of the bases that would do, rounding must not choose another for
    the decoder.
    """
    cov = gain @ w @ gain.T + noise
    deviations = jnp.sqrt(jnp.maximum(jnp.diagonal(cov), 0.0))
    unit = jnp.where(deviations > 0, 1 / jnp.where(deviations > 0, deviations, 1.0), 0.0)
    powers, axes = jnp.linalg.eigh(unit[:, None] * cov * unit[None, :])
    present = powers > 8 * len(w) * jnp.finfo(w.dtype).eps * powers[-1]
    roots = jnp.sqrt(jnp.where(present, powers, 1.0))
    seen = axes * jnp.where(present, 1.0, 0.0)[None, :]
    root, inverse = (seen * roots[None, :]) @ seen.T, (seen / roots[None, :]) @ seen.T
    return deviations[:, None] * root, inverse * unit[None, :], jnp.eye(len(w)) - seen @ seen.T


@functools.partial(_compile.jit, static_argnums=5)
def _encode(key: Array, gain: Array, noise: Array, w: Array, weights: Array, limit: int) -> SimulatedChannel:
    _, whiten, absent = _output_root(gain, noise, w)
    shares, basis = jnp.linalg.eigh(whiten @ noise @ whiten.T + absent)
    _, center, curvature, shares, noisy = bump(shares, basis.T @ whiten @ gain @ weights)
    clock, draw = jax.random.split(key)
    start = jnp.zeros((), jnp.arange(1).dtype)

    def look(state: tuple[Array, ...]) -> tuple[Array, ...]:
        seen, now, best, index, _ = state
        numbers = seen + 1 + jnp.arange(PIECE)
        times = now + jnp.cumsum(jax.random.exponential(jax.random.fold_in(clock, seen), (PIECE,)))
        candidates = jax.vmap(lambda number: candidate(draw, number, len(w)))(numbers)
        below = 0.5 * (candidates @ basis - center[None, :]) ** 2 @ curvature  # ln r below its maximum, all that counts
        scores = jnp.where(numbers <= limit, jnp.log(times) + below, jnp.inf)
        i = jnp.argmin(scores)
        index, best = jnp.where(scores[i] < best, numbers[i], index), jnp.minimum(scores[i], best)
        needed = seen + jnp.sum(jnp.log(times) <= best)  # the times of those that might have been better
        return seen + PIECE, times[-1], best, index, needed

    def undecided(state: tuple[Array, ...]) -> Array:
        return (jnp.log(state[1]) <= state[2]) & (state[0] < limit)

    *_, index, needed = lax.while_loop(undecided, look, (start, jnp.zeros(()), jnp.full((), jnp.inf), start, start))
    found = jnp.all(noisy) & (needed < limit)
    index = jnp.where(found, index, 0)
    bits = power_law_bits(index, -0.5 * jnp.sum(jnp.log2(shares)))
    return SimulatedChannel(index, bits, jnp.minimum(needed, limit), found)


@_compile.jit
def _decode(key: Array, gain: Array, noise: Array, w: Array, index: Array) -> Array:
    _, draw = jax.random.split(key)
    return jnp.where(index > 0, _output_root(gain, noise, w)[0] @ candidate(draw, index, len(w)), jnp.nan)


def _channel(channel: GaussianChannel, weight_cov: ArrayLike) -> tuple[Array, Array, Array, _checks.Flag]:
    w, w_ok = _checks.covariance("weight_cov", weight_cov)
    gain, gain_ok = _checks.finite("channel.gain", channel.gain, shape=w.shape)
    noise, noise_ok = _checks.covariance("channel.noise_cov", channel.noise_cov, size=len(w))
    return gain, noise, w, w_ok & gain_ok & noise_ok
