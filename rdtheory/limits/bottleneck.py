r"""The information bottleneck curve: how many bits about X must be kept to retain a given number of bits about Y.

It is the rate-distortion function of X under d(x, r) = KL(p(·|x) ‖ r), where the reproduction r may be any law of Y:
I(T;Y) = I(X;Y) - D. The dual bound must hold for all laws r, not only those in use:

    c(r) = Σ_x (p_x / z_x) 2^(-s KL(p(·|x) ‖ r)) <= 1.

For up to four letters `certify` bounds its maximum, by branch and bound on the simplex of laws. Gaussian X and Y have a
formula.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.special import rel_entr, xlogy
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _progress
from rdtheory.limits import certify
from rdtheory.limits._arguments import TOL
from rdtheory.limits.convex import primal_dual
from rdtheory.limits.gaussian import pour
from rdtheory.results import Bottleneck, GaussianBottleneck

__all__ = ["curve", "gaussian", "rate_at"]

LN2 = math.log(2)
ROUNDS = 10
NEGLIGIBLE = 1e-60  # probability, below which a letter is left to the certificate: Newton's matrix would be singular
SPREAD = 48  # candidate laws besides those of the source letters
POINTS = 17  # of a curve, unless asked for others
SUMMITS = 12  # local maxima of c added in each round


@_progress.doing("bottleneck.rate_at")
def rate_at(
    joint_pmf: Float[ArrayLike, "n k"],
    relevance: Float[ArrayLike, ""],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = ROUNDS,
) -> Bottleneck:
    r"""Least I(X;T) of a description T of X that keeps a given I(T;Y); two-sided for up to four letters Y.

    Solves

    .. math:: \min_{P(t|x)} I(X;T) \quad\text{subject to}\quad I(T;Y) \ge \text{relevance},\qquad T - X - Y.

    Each round solves the convex program on a finite set of laws r by an interior point, then moves every law uphill on
    c(r). **For |Y| <= 4** the answer is certified from both sides, over all r: for binary Y mostly to `tol`, for three
    or four letters to 1e-9 to 1e-4 bit, but for a relevance near I(X;Y), and X and Y that are nearly independent, where
    the gap is wide. **For |Y| > 4 only the upper bound is certified**: ``rate - gap`` is then the
    relevance itself (data processing), so the gap is large and ``converged`` False unless that bound is tight.

    Parameters
    ----------
    joint_pmf : (n, k), ``[x, y]`` = P(x, y); sums to 1.
    relevance : bits, between 0 and I(X;Y). One that is I(X;Y) up to the rounding of that, or above it by 1e-13, is
        meant to be I(X;Y), and counts as kept where I(T;Y) is I(X;Y) up to rounding.
    tol : certified gap in bits at which to stop.
    max_steps : rounds after which to stop anyway.

    Returns
    -------
    Bottleneck
        ``rate`` in bits with the least I(X;T) in [rate - gap, rate], ``relevance``, ``gap``, ``slope``, ``converged``,
        ``steps``, ``cluster_pmf`` and ``cluster_laws``. No derivative is promised.

    Raises
    ------
    ValueError : a joint pmf that does not sum to 1, a relevance above I(X;Y).
    RuntimeError : JAX is not in float64.

    References
    ----------
    Tishby, Pereira & Bialek (1999); Witsenhausen & Wyner (1975) for the convex analysis; Harremoës & Tishby (2007) for
    the distortion.

    Examples
    --------
    A fair coin seen through a channel that errs with probability 0.1: I(X;T) = 1 - h(a), I(T;Y) = 1 - h(a * 0.1).

    >>> joint = jnp.array([[0.45, 0.05], [0.05, 0.45]])
    >>> point = rate_at(joint, 0.278071905112638)  # 1 - h(0.2), a = 0.125
    >>> print(point.rate.round(8), point.converged)
    0.45643556 True
    """
    _checks.require_x64("bottleneck.rate_at")
    wanted, wanted_ok = _checks.nonnegative("relevance", relevance)
    joint, _, ok = _joint(joint_pmf, "relevance", wanted)
    return _checks.poison(_rate_at(joint, wanted, tol, max_steps), ok & wanted_ok & _checks.stopping(tol, max_steps))


@_progress.doing("bottleneck.curve")
def curve(
    joint_pmf: Float[ArrayLike, "n k"],
    relevances: Float[ArrayLike, " r"] | None = None,
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = ROUNDS,
) -> Bottleneck:
    r"""Points of the information bottleneck curve: the least I(X;T) at each of several I(T;Y).

    Each is that of `rate_at`, with its certificate, and the curve is convex: between two points it is below their
    chord.

    Parameters
    ----------
    joint_pmf : (n, k), ``[x, y]`` = P(x, y); sums to 1.
    relevances : (r,) bits, each between 0 and I(X;Y); 17 of equal distance from 0 to I(X;Y) unless given. At I(X;Y)
        itself the curve is infinitely steep, and the gap wide.
    tol, max_steps : of each point, as for `rate_at`.

    Returns
    -------
    Bottleneck
        With a leading axis (r,).

    Raises
    ------
    ValueError : as for `rate_at`.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Tishby, Pereira & Bialek (1999).

    Examples
    --------
    >>> joint = jnp.array([[0.45, 0.05], [0.05, 0.45]])
    >>> points = curve(joint, jnp.array([0.0, 0.278071905112638, 0.5310044064107188]))
    >>> print(points.rate.round(6), points.converged)
    [0.       0.456436 1.      ] [ True  True  True]
    """
    _checks.require_x64("bottleneck.curve")
    if relevances is None:
        joint, total, ok = _joint(joint_pmf, "relevances", np.zeros(1))
        wanted, wanted_ok = jax.device_put(total) * np.linspace(0, 1, POINTS), np.True_
    else:
        wanted, wanted_ok = _checks.nonnegative("relevances", relevances, ndim=1)
        joint, _, ok = _joint(joint_pmf, "relevances", wanted)
    return _checks.poison(_curve(joint, wanted, tol, max_steps), ok & wanted_ok & _checks.stopping(tol, max_steps))


def gaussian(
    x_cov: Float[ArrayLike, "m m"],
    y_cov: Float[ArrayLike, "k k"],
    cross_cov: Float[ArrayLike, "m k"],
    relevance: Float[ArrayLike, ""],
) -> GaussianBottleneck:
    r"""Information bottleneck of jointly Gaussian vectors: least I(X;T) at I(T;Y) = `relevance`, in closed form.

    With ρ the canonical correlations, the singular values of :math:`\Sigma_X^{-1/2}\Sigma_{XY}\Sigma_Y^{-1/2}`, the
    pairs of canonical variables are independent, and of one of them R bits keep :math:`-\tfrac12\log[1 - \rho^2 (1 -
    2^{-2R})]` bits of the other. At a common slope dI(X;T)/dI(T;Y) = s that is reverse water-filling of the
    :math:`c_i = -\log(1 - \rho_i^2)`, twice what a pair has in common,

    .. math:: I(X;T) = \sum_i \tfrac12\log^+\frac{2^{c_i} - 1}{2^L - 1}, \qquad I(T;Y) = \sum_i \tfrac12 (c_i - L)^+,
        \qquad s = \frac{1}{1 - 2^{-L}},

    so a pair is described from s > 1/ρ² on. No T does better, Gaussian or not.

    Parameters
    ----------
    x_cov, y_cov : (m, m) and (k, k), symmetric positive semidefinite.
    cross_cov : (m, k), E X Yᵀ of centered vectors.
    relevance : bits, between 0 and I(X;Y) = Σ c / 2.

    Returns
    -------
    GaussianBottleneck
        ``rate`` in bits, ``slope``, ``correlations`` in descending order and ``rates``, the bits of each pair. The c of
        a pair that determines each other up to rounding is taken for 53 bits. Differentiable in `relevance`.

    Raises
    ------
    ValueError : shapes disagree, a covariance is indefinite, a canonical correlation is above one, or the relevance
        above I(X;Y).

    References
    ----------
    Chechik, Globerson, Tishby & Weiss (2005), Information bottleneck for Gaussian variables; Globerson & Tishby (2004)
    that Gaussian T are optimal.

    Examples
    --------
    >>> found = gaussian(jnp.eye(1), jnp.eye(1), jnp.array([[0.8]]), 0.4)
    >>> print(f"{found.rate:.6f} bits keep 0.4 of {-jnp.log2(1 - 0.8**2) / 2:.6f}; slope {found.slope:.4f}")
    0.789055 bits keep 0.4 of 0.736966; slope 2.6795
    """
    x, x_ok = _checks.covariance("x_cov", x_cov)
    y, y_ok = _checks.covariance("y_cov", y_cov)
    cross, cross_ok = _checks.finite("cross_cov", cross_cov, shape=(x.shape[0], y.shape[0]))
    wanted, wanted_ok = _checks.nonnegative("relevance", relevance)
    found, largest, total = _gaussian(x, y, cross, wanted)
    _, rho, most, bits = _checks.look(largest, total, wanted)
    ok = _checks.holds(rho <= 1 + 1e-6, lambda: f"cross_cov does not go with x_cov and y_cov: a correlation is {rho}")
    within = _checks.holds(bits <= most * (1 + 1e-12), lambda: f"relevance must be at most I(X;Y) = {most}, got {bits}")
    return _checks.poison(found, x_ok & y_ok & cross_ok & wanted_ok & ok & within)


@_compile.jit
def _gaussian(x: Array, y: Array, cross: Array, relevance: Array) -> tuple[GaussianBottleneck, Array, Array]:
    def whitening(cov: Array) -> Array:
        # In units of each deviation, so that components of very different scales are all seen.
        variances = jnp.diagonal(cov)
        inverse = jnp.where(variances > 0, 1 / jnp.sqrt(jnp.where(variances > 0, variances, 1.0)), 0.0)
        values, vectors = jnp.linalg.eigh(inverse[:, None] * cov * inverse[None, :])
        kept = values > len(cov) * jnp.finfo(cov.dtype).eps * jnp.max(values)
        root = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, values, 1.0)), 0.0)
        return inverse[:, None] * vectors * root[None, :]

    rho = jnp.linalg.svd(whitening(x).T @ cross @ whitening(y), compute_uv=False)
    c = jnp.where(rho > 0, -jnp.log2(jnp.maximum((1 - rho) * (1 + rho), jnp.finfo(rho.dtype).eps / 2)), 0.0)
    total = jnp.sum(c) / 2
    level = jnp.maximum(pour(c, 2 * jnp.maximum(total - relevance, 0.0)), 0.0)
    described = c > level

    def log_expm1(bits: Array) -> Array:
        return bits + jnp.log2(-jnp.expm1(-LN2 * bits))

    rates = jnp.where(described, 0.5 * (log_expm1(jnp.where(described, c, 1.0)) - log_expm1(level)), 0.0)
    found = GaussianBottleneck(jnp.sum(rates), relevance, -1 / jnp.expm1(-LN2 * level), rho, rates)
    return found, jnp.max(rho), total


def _joint(
    joint_pmf: ArrayLike, name: str, relevances: ArrayLike
) -> tuple[Array, Array | np.ndarray | np.generic, _checks.Flag]:
    """The joint law, its I(X;Y), and whether all is well: no relevance asked for may be above that."""
    shape = _checks.array("joint_pmf", joint_pmf, 2).shape
    _, given = _checks.look(joint_pmf)
    flat, ok = _checks.pmf("joint_pmf", given.reshape(-1))
    xp, values, bits = _checks.look(flat, relevances)
    values = values.reshape(shape)
    product = values.sum(axis=1, keepdims=True) * values.sum(axis=0, keepdims=True)
    ratio = xp.where(values > 0, values / xp.where(values > 0, product, 1), 1)
    total = xp.where(values > 0, values * xp.log2(ratio), 0).sum()
    within = _checks.holds(
        (bits <= total + 1e-13).all(), lambda: f"{name} must be at most I(X;Y) = {total} bits, got {bits}"
    )
    return jax.device_put(values), total, ok & within


@_compile.jit
def _curve(joint: Array, relevances: Array, tol: Array, max_steps: Array) -> Bottleneck:
    return lax.map(lambda relevance: _rate_at(joint, relevance, tol, max_steps), relevances)


@_compile.jit
def _rate_at(joint: Array, relevance: Array, tol: Array, max_steps: Array) -> Bottleneck:
    n = joint.shape[0]
    p = jnp.sum(joint, axis=1)
    used, counts = p > 0, p > NEGLIGIBLE
    laws = jnp.where(used[:, None], joint / jnp.where(used, p, 1.0)[:, None], jnp.sum(joint, axis=0)[None, :])
    # Not of the joint pmf and the product: that may be flushed to zero where the joint is not.
    information = p @ jnp.sum(rel_entr(laws, jnp.sum(joint, axis=0)[None, :]), axis=1) / LN2
    allowed = jnp.maximum(information - relevance, 0.0)
    log_p = jnp.log(jnp.where(used, p, 1.0))
    candidates = _first_candidates(laws)

    def round_(state):
        r, best, steps = state
        divergences = jnp.sum(rel_entr(laws[:, None, :], r[None, :, :]), axis=2)  # nats
        finite = jnp.isfinite(divergences)
        bounded = jnp.where(finite, divergences, 0.0)
        terms = counts[:, None] & finite

        def constraints(unknowns: Array) -> Array:
            exponents = (log_p + unknowns[:-1])[:, None] - unknowns[-1] * bounded
            return jnp.append(primal_dual.log_sum_exp(exponents, terms, 0), -unknowns[-1])

        def judged(unknowns: Array, multipliers: Array) -> tuple[Array, tuple[Array, Array, Array]]:
            s = jnp.maximum(unknowns[-1], 0.0)
            weights = jnp.maximum(multipliers[:-1], jnp.finfo(p.dtype).tiny)
            q = weights / jnp.sum(weights)
            kernel = jnp.where(finite, jnp.exp(-s * bounded), 0.0)
            z = jnp.where(used, kernel @ q, 1.0)
            c = (p / z) @ kernel
            spent = (p / z) @ (bounded * kernel) @ q
            # On this set of laws; over all laws and with rounding `certify` has the word.
            return jnp.log(jnp.max(c)) - q @ xlogy(c, c) + s * jnp.abs(allowed * LN2 - spent), (q, s, z)

        begin = jnp.append(jnp.zeros(n), 2.0)
        start = begin.at[:-1].add(-1.0 - jnp.max(constraints(begin)[:-1]))
        multipliers = jnp.append(jnp.full(r.shape[0], 1 / r.shape[0]), 1e-2)
        objective = jnp.append(-p, allowed * LN2)
        (q, s, z), _ = primal_dual.minimize(
            objective, constraints, start, multipliers, judged, 0.02 * tol, jnp.asarray(60)
        )
        kernel = jnp.where(finite, jnp.exp(-s * bounded), 0.0)
        lower, upper, _ = certify.bottleneck(joint, relevance, kernel * q[None, :], -jnp.log2(z), s)
        gap = upper - lower
        now = Bottleneck(upper, relevance, gap, s, gap <= tol, steps, q, r)
        better = (now.gap < best.gap) | ((now.gap == best.gap) & (now.rate < best.rate)) | (steps == 0)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), now, best)
        # Earlier summits stay: a dual that forgets its constraints cycles. The oldest round makes room in the end.
        summits = _summits(jnp.where(used, p / z, 0.0), s, laws, r)
        kept = lax.dynamic_update_slice(r, summits, (candidates.shape[0] + SUMMITS * (steps % ROUNDS), 0))
        return kept, best, steps + 1

    def go_on(state) -> Array:
        _, best, steps = state
        return (best.gap > tol) & (steps < max_steps)

    first = jnp.concatenate([candidates, jnp.tile(candidates[:1], (SUMMITS * ROUNDS, 1))])
    unknown = jnp.full((), jnp.inf)
    zero = jnp.zeros((), int)
    empty = Bottleneck(unknown, relevance, unknown, unknown, jnp.asarray(False), zero, jnp.ones(first.shape[0]), first)
    _, best, steps = lax.while_loop(go_on, round_, (first, empty, zero))
    return best._replace(steps=steps)


def _first_candidates(laws: Array) -> Array:
    """The letters' own laws, and others between them: graded towards both ends for binary Y, else on the chords."""
    n, k = laws.shape
    if k == 2:
        low, high = jnp.min(laws[:, 1]), jnp.max(laws[:, 1])
        inner = low + (high - low) * (1 - jnp.cos(jnp.pi * (jnp.arange(SPREAD) + 0.5) / SPREAD)) / 2
        return jnp.concatenate([laws, jnp.stack([1 - inner, inner], axis=1)])
    pairs = np.array([(i, j) for i in range(n) for j in range(i)] or [(0, 0)])
    pairs = pairs[np.linspace(0, len(pairs) - 1, min(len(pairs), 2 * SPREAD)).astype(int)]
    chords = [share * laws[pairs[:, 0]] + (1 - share) * laws[pairs[:, 1]] for share in (0.2, 0.5, 0.8)]
    return jnp.concatenate([laws, *chords])


def _uphill(weights: Array, s: Array, laws: Array, r: Array) -> Array:
    """Each law r moved to larger c: to the mean law of its posterior, or for binary Y by Newton if that is better."""

    def value(r: Array) -> tuple[Array, Array]:
        terms = weights[:, None] * jnp.exp(-s * jnp.sum(rel_entr(laws[:, None, :], r[None, :, :]), axis=2))
        return jnp.sum(terms, axis=0), terms

    def move(_, r: Array) -> Array:
        now, terms = value(r)
        mean = (terms / now[None, :]).T @ laws
        if r.shape[1] != 2:
            return jnp.where((now > 0)[:, None], mean, r)
        at = jnp.clip(r[:, 1], 1e-300, 1 - 1e-16)[None, :]
        slope = s * (laws[:, 1:] / at - laws[:, :1] / (1 - at))
        bend = slope**2 - s * (laws[:, 1:] / at**2 + laws[:, :1] / (1 - at) ** 2)
        first, second = jnp.sum(terms * slope, axis=0), jnp.sum(terms * bend, axis=0)
        step = jnp.clip(at[0] - first / second, jnp.min(laws[:, 1]), jnp.max(laws[:, 1]))
        newton = jnp.stack([1 - step, step], axis=1)
        options = jnp.stack([r, mean, newton])
        values = jnp.stack([now, value(mean)[0], value(newton)[0]])
        pick = jnp.argmax(jnp.where(jnp.isfinite(values), values, -1.0), axis=0)
        return jnp.take_along_axis(options, pick[None, :, None], axis=0)[0]

    moves = 12 if r.shape[1] == 2 else 200 if r.shape[1] <= certify.LETTERS else 40
    return lax.fori_loop(0, moves, move, r)


def _summits(weights: Array, s: Array, laws: Array, r: Array) -> Array:
    """The highest of the distinct local maxima of c that the laws r lead to."""
    r = _uphill(weights, s, laws, r)
    height = weights @ jnp.exp(-s * jnp.sum(rel_entr(laws[:, None, :], r[None, :, :]), axis=2))
    key = r @ jnp.sqrt(jnp.arange(2.0, r.shape[1] + 2))
    order = jnp.argsort(key)
    new = jnp.append(True, jnp.diff(key[order]) > 1e-7)
    _, highest = lax.top_k(jnp.where(new & jnp.isfinite(height[order]), height[order], -1.0), SUMMITS)
    return r[order[highest]]
