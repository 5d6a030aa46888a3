"""Both bounds and the approximation, from the probabilities that the other modules compute."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtri
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile
from rdtheory.limits import closed_form
from rdtheory.limits.finite_blocklength import parallel, sphere_covering, type_counting
from rdtheory.limits.gaussian import fill
from rdtheory.limits.linear import component_variances
from rdtheory.results import FiniteBlocklength, NormalApproximation

__all__ = ["bernoulli", "gaussian", "linear_model", "parallel_gaussians"]

LOG_E = 1 / math.log(2)


def gaussian(
    n: int,
    distortion: Float[ArrayLike, ""],
    excess_probability: Float[ArrayLike, ""],
    *,
    variance: Float[ArrayLike, ""] = 1.0,
) -> FiniteBlocklength:
    r"""Rate of a block of n independent Gaussians under squared error.

    Converse: M balls of radius √(nD) must hold 1 - ε of the mass, and the least volume that does is a ball about zero,

    .. math:: \tfrac1n\log M \ge \tfrac12\log\frac{r^2}{D}, \qquad P[\|X^n\|^2 > n r^2] = \varepsilon .

    Achievability: M random codewords, uniform in the best ball about zero, fail with probability at most ε,

    .. math:: E\,(1 - h(\|X^n\|))^M \le \varepsilon,

    where h is the chance that one of them is within √(nD), a lens as a share of the ball. Kostina and Verdú draw them
    from the sphere of radius √(n(σ² - D)), which at small n reaches neither the shortest blocks nor the longest. For
    n = 1 intervals tile the line, and the bounds agree. The approximation is

    .. math:: R(n, D, \varepsilon) \approx R(D) + \sqrt{V/n}\,Q^{-1}(\varepsilon), \qquad V = \tfrac12\log^2 e,

    without any of the remainder, which is of the order of log(n)/n. The theorem is for D < σ². From there on rate and
    dispersion are given as 0, and only the bounds say what a block needs.

    Parameters
    ----------
    n : block length >= 1, static.
    distortion : D >= 0, squared error per symbol. D = 0 makes all but the dispersion infinite unless σ² = 0.
    excess_probability : ε in (0, 1).
    variance : σ² >= 0.

    Returns
    -------
    FiniteBlocklength
        In bits per symbol. Both bounds are rounded to the safe side by 1e-10 + 1e-14 n, relative, in ε and in M;
        special functions lose less, for D >= 1e-12 σ² and ε >= 1e-250. The expectation is bounded from above over a
        grid, which leaves no error of quadrature. No derivative is promised. The host takes 20 ms for n = 1000.

    Raises
    ------
    ValueError : no whole n >= 1, D < 0, ε outside (0, 1), a negative variance.

    References
    ----------
    Kostina & Verdú (2012), "Fixed-length lossy compression in the finite blocklength regime".

    Examples
    --------
    >>> found = gaussian(1000, 0.25, 0.01)
    >>> print(f"{found.converse:.4f} {found.normal_approximation:.4f} {found.achievability:.4f}")
    1.0733 1.0750 1.0777
    """
    _checks.require_x64("finite_blocklength.gaussian")
    n = _checks.count("n", n, 1)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    epsilon, epsilon_ok = _probability("excess_probability", excess_probability, strictly=True)
    v, v_ok = _checks.nonnegative("variance", variance)
    ok = D_ok & epsilon_ok & v_ok
    xp, d, power = _checks.look(D, v)
    share = jax.device_put(xp.where(power > 0, d / xp.where(power > 0, power, 1.0), xp.inf))
    bounds = _on_host(functools.partial(sphere_covering.bounds, n), ok, share, epsilon)
    dispersion = jax.device_put(xp.where(d < power, 0.5 * LOG_E**2, 0.0))
    return _checks.poison(_assemble(n, closed_form.gaussian(v, D), dispersion, epsilon, bounds), ok)


def bernoulli(
    n: int,
    p: Float[ArrayLike, ""],
    distortion: Float[ArrayLike, ""],
    excess_probability: Float[ArrayLike, ""],
) -> FiniteBlocklength:
    r"""Rate of a block of n coins of bias p, of which a share D may be wrong.

    Let ⟨n, k⟩ count the sequences within Hamming distance k of one of them, and let ones be the rarer symbol.
    Converse: M balls must hold the likeliest sequences, those with fewer than k ones and some of those with k,

    .. math:: M\,\langle n, \lfloor nD\rfloor\rangle \ge N, \qquad
              N = \min\{|S| : P[X^n \in S] \ge 1 - \varepsilon\} .

    Achievability: N codewords name them all; or M random ones, uniform over the sequences with at most so many ones,
    the best number, fail with probability at most ε,

    .. math:: E\,(1 - h(X^n))^M \le \varepsilon,

    where h is counted by types. For the fair coin it is ⟨n, ⌊nD⌋⟩/2ⁿ. The approximation is

    .. math:: R(n, D, \varepsilon) \approx R(D) + \sqrt{V/n}\,Q^{-1}(\varepsilon), \qquad
              V = p(1-p)\log^2\frac{1-p}{p},

    without any of the remainder, which is of the order of log(n)/n. For the fair coin, p = ½ exactly, V is 0 and the
    theorem another: R(D) + ½ log(n)/n, for 0 < D < ½, is returned there. From D >= min(p, 1-p) on rate and dispersion
    are given as 0, and only the bounds say what a block needs.

    Parameters
    ----------
    n : block length >= 1, static.
    p : in [0, 1]. At 0 and 1 nothing need be said.
    distortion : D >= 0, the share of wrong symbols. If nD is short of a whole number by 1e-12 of it or less, it counts
        as that number.
    excess_probability : ε in (0, 1).

    Returns
    -------
    FiniteBlocklength
        In bits per symbol. Both bounds are rounded to the safe side by a few 1e-10 + 1e-14 n, relative, in ε and in M;
        special functions lose less. So an ε that a code meets exactly may count as missed. No derivative is promised.
        The host computes them, in 0.1 s for n = 1000 and up to 1.5 s for n = 10⁴.

    Raises
    ------
    ValueError : no whole n >= 1, p outside [0, 1], D < 0, ε outside (0, 1).

    References
    ----------
    Kostina & Verdú (2012), "Fixed-length lossy compression in the finite blocklength regime".

    Examples
    --------
    >>> found = bernoulli(1000, 0.4, 0.11, 0.01)
    >>> print(f"{found.converse:.4f} {found.achievability:.4f} {found.normal_approximation:.4f}")
    0.4893 0.4919 0.4921
    """
    _checks.require_x64("finite_blocklength.bernoulli")
    n = _checks.count("n", n, 1)
    bias, p_ok = _probability("p", p)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    epsilon, epsilon_ok = _probability("excess_probability", excess_probability, strictly=True)
    ok = p_ok & D_ok & epsilon_ok
    bounds = _on_host(functools.partial(type_counting.bounds, n), ok, bias, D, epsilon)
    xp, b, d = _checks.look(bias, D)
    described = d < xp.minimum(b, 1 - b)
    odds = xp.where(described, b / xp.where(described, 1 - b, 1.0), 1.0)
    dispersion = jax.device_put(xp.where(described, b * (1 - b) * xp.log2(odds) ** 2, 0.0))
    third = jax.device_put(xp.where((b == 0.5) & (d > 0) & described, 0.5 * math.log2(n) / n, 0.0))
    found = _assemble(n, closed_form.bernoulli(bias, D), dispersion, epsilon, bounds, third)
    return _checks.poison(found, ok)


def linear_model(
    weight_cov: Float[ArrayLike, "m m"],
    input_cov: Float[ArrayLike, "m m"],
    distortion: Float[ArrayLike, ""],
    excess_probability: Float[ArrayLike, ""],
) -> NormalApproximation:
    r"""About how many bits one vector of m Gaussian weights needs, to meet `distortion` but for some draws of it.

    .. math:: R(D) + \sqrt V\,Q^{-1}(\varepsilon), \qquad V = \tfrac12\log^2 e\sum_k\min(1, \nu_k/\theta)^2,

    where ν are the eigenvalues of Σ_X^{1/2} Σ_W Σ_X^{1/2} and θ is the water level. V is the variance of the D-tilted
    information, to which a component below the water adds too. An approximation for many components, without terms of
    the order of log(m), and no bound. From D = Σ ν on rate and dispersion are given as 0.

    Parameters
    ----------
    weight_cov : (m, m), symmetric positive semidefinite; Σ_W.
    input_cov : (m, m), symmetric positive semidefinite; Σ_X.
    distortion : D >= 0, in squared output units, of the vector of weights.
    excess_probability : ε in (0, 1).

    Returns
    -------
    NormalApproximation
        In bits per weight vector. Differentiable in every argument for 0 < D where no ν_k equals θ.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance, D < 0, ε outside (0, 1).

    References
    ----------
    Kostina & Verdú (2012), applied to independent components that differ.

    Examples
    --------
    >>> found = linear_model(jnp.eye(2), jnp.diag(jnp.array([1.0, 4.0])), 1.0, 0.5)
    >>> print(f"{found.normal_approximation:.9f}, {found.dispersion:.9f}")
    2.000000000, 2.081368981
    """
    w, w_ok = _checks.covariance("weight_cov", weight_cov)
    x, x_ok = _checks.covariance("input_cov", input_cov, size=w.shape[0])
    D, D_ok = _checks.nonnegative("distortion", distortion)
    epsilon, epsilon_ok = _probability("excess_probability", excess_probability, strictly=True)
    return _checks.poison(_linear_model(w, x, D, epsilon), w_ok & x_ok & D_ok & epsilon_ok)


def parallel_gaussians(
    variances: Float[ArrayLike, " m"],
    distortion: Float[ArrayLike, ""],
    excess_probability: Float[ArrayLike, ""],
    *,
    copies: int = 1,
) -> FiniteBlocklength:
    r"""Rate of a block of independent Gaussians of different variances, as the weights of a linear layer are.

    Of m components there are c copies each, n = c m weights: a layer of c outputs has the components of `linear.rate`
    in each. Its total squared error may be c D, but for a share ε of the blocks. Converse, for every t:

    .. math:: M \ge 2^t\,(P[\jmath > t] - \varepsilon), \qquad \jmath = c R(D) + \frac{\log e}{2} \sum_k
        \min(1, \nu_k/\theta)\,(\chi^2_k - c),

    or by volume, of as many of the largest components as are best, where that is more. Achievability: codewords of the
    optimal law for a distortion a little less, with the probability that one is near bounded from below by Chebyshev's
    inequality. Both come near R(D) as 1/√n, as does the approximation

    .. math:: R(D) + \sqrt{V/c}\,Q^{-1}(\varepsilon), \qquad V = \tfrac12\log^2 e \sum_k \min(1, \nu_k/\theta)^2,

    per copy, which is theirs up to a factor of the second term. For components of one variance `gaussian` is sharper.

    Parameters
    ----------
    variances : (m,), >= 0; ν, as `linear.component_variances` gives them.
    distortion : D >= 0, of one copy of all components.
    excess_probability : ε in (0, 1).
    copies : c >= 1, static.

    Returns
    -------
    FiniteBlocklength
        In bits per weight, n = c m of them. Both bounds are rounded to the safe side, as those of `gaussian`. The
        achievability is infinite where blocks are too short for it. No derivative is promised.

    Raises
    ------
    ValueError : a negative variance, D < 0, ε outside (0, 1), no whole number of copies.

    References
    ----------
    Kostina & Verdú (2012), Theorems 7 and 10; Davies (1973) for sums of squares.

    Examples
    --------
    >>> found = parallel_gaussians(jnp.array([4.0, 1.0, 0.1]), 0.7, 0.01, copies=4000)
    >>> print(f"{found.converse:.4f} {found.normal_approximation:.4f} {found.achievability:.4f}")
    0.9295 0.9305 0.9762
    """
    _checks.require_x64("finite_blocklength.parallel_gaussians")
    copies = _checks.count("copies", copies, 1)
    v, v_ok = _checks.nonnegative("variances", variances, ndim=1)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    epsilon, epsilon_ok = _probability("excess_probability", excess_probability, strictly=True)
    ok = v_ok & D_ok & epsilon_ok
    bounds = _on_host(functools.partial(parallel.bounds, copies), ok, v, D, epsilon)
    m = v.shape[0]
    rate, dispersion, _ = _normal(v, D, epsilon)
    return _checks.poison(_assemble(m * copies, rate / m, dispersion / m, epsilon, bounds), ok)


@_compile.jit  # n is no shape: one compilation for all block lengths
def _assemble(
    n: ArrayLike, rate: Array, dispersion: Array, epsilon: Array, bounds: tuple[Array, Array], third: ArrayLike = 0.0
) -> FiniteBlocklength:
    """Of the normal approximation, `third` is the third term."""
    return FiniteBlocklength(rate, dispersion, rate - jnp.sqrt(dispersion / n) * ndtri(epsilon) + third, *bounds)


@_compile.jit
def _linear_model(weight_cov: Array, input_cov: Array, D: Array, epsilon: Array) -> NormalApproximation:
    return _normal(component_variances(weight_cov, input_cov), D, epsilon)


@_compile.jit
def _normal(variances: Array, D: Array, epsilon: Array) -> NormalApproximation:
    rate, level, *_ = fill(variances, D)
    above = variances >= level
    share = jnp.where(above, jnp.where(variances > 0, 1.0, 0.0), variances / jnp.where(above, 1.0, level))
    dispersion = jnp.where(D < jnp.sum(variances), 0.5 * LOG_E**2 * jnp.sum(share**2), 0.0)
    return NormalApproximation(rate, dispersion, rate - jnp.sqrt(dispersion) * ndtri(epsilon))


def _on_host(bounds: Callable, ok: _checks.Flag, *values: Array) -> tuple[Array, Array]:
    """Converse and achievability: at once where the values are at hand, else when the compiled function has them."""

    def at(*given: Array | np.ndarray) -> tuple[np.ndarray, ...]:
        known = (np.asarray(x, np.float64) for x in given)
        return tuple(np.asarray(x, np.float64) for x in bounds(*(x if x.ndim else float(x) for x in known)))

    if _checks.look(*values)[0] is np:
        return jax.device_put(at(*values))
    sound = [jnp.where(ok, x, 0.5) for x in values]  # an invalid item becomes NaN later
    return jax.pure_callback(at, 2 * (jax.ShapeDtypeStruct((), jnp.float64),), *sound, vmap_method="sequential")


def _probability(name: str, value: ArrayLike, *, strictly: bool = False) -> tuple[Array, _checks.Flag]:
    x = _checks.array(name, value, 0)
    _, v = _checks.look(x)
    ok = (v > 0) & (v < 1) if strictly else (v >= 0) & (v <= 1)
    where = "strictly between 0 and 1" if strictly else "between 0 and 1"
    return x, _checks.holds(ok, lambda: f"{name} must be {where}, got {float(x)}")
