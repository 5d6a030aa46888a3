"""Three algorithms for one problem, the point of R(D) at a slope, each certified from both sides at every iterate.

For a source p, a distortion matrix d and a slope s, put A = 2^(-s d), z = A q, c = Aᵀ(p/z). The channel q A / z has
rate

    R_Q = -s D_Q - Σ p log z - Σ q c log c,

and for every distortion D' duality gives R(D') ≥ -s D' - Σ p log z - log max c. The distance between the two at D_Q
is the `gap`. It needs no convergence, so it is both the stopping rule and the error bar.
"""

from collections.abc import Callable

import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _progress, _size_classes
from rdtheory.limits import _derivatives
from rdtheory.limits._arguments import MAX_STEPS, TOL, constants, source
from rdtheory.limits.discrete.run import directly
from rdtheory.limits.discrete.solvers.blahut_arimoto import accelerated_at_slope, at_slope
from rdtheory.results import RateDistortion

__all__ = ["accelerated_blahut_arimoto", "blahut_arimoto", "interior_point"]


@_progress.doing("blahut_arimoto")
def blahut_arimoto(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"],
    slope: Float[ArrayLike, ""],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = MAX_STEPS,
) -> RateDistortion:
    r"""Point of R(D) at a given slope, by Blahut-Arimoto, with its certificate.

    Solves

    .. math:: \min_{Q}\; I(X;Y) + s\,\mathbb E\,d(X,Y), \qquad q \leftarrow q \circ A^\top\!\big(p/(Aq)\big),

    and stops when the certified gap is at most `tol`. Convergence is linear, and sublinear at a slope where the
    support of q changes: there the result comes back with ``converged=False`` and a gap that still holds.

    Parameters
    ----------
    source_pmf : (n,), sums to 1; letters of mass zero change nothing.
    distortion_matrix : (n, m), >= 0; infinite entries forbid a reproduction.
    slope : s >= 0, in bits per unit of distortion. Zero asks for the least distortion of rate zero, infinity for
        the least distortion at all.
    tol : certified gap in bits at which to stop.
    max_steps : steps after which to stop anyway.

    Returns
    -------
    RateDistortion
        ``rate`` in bits per symbol, ``distortion``, ``gap``, ``slope``, ``converged``, ``steps``, and
        ``reproduction_pmf`` (m,); this algorithm does not look for a ``segment``. No derivative is promised here and
        in the functions below, see `discrete.lagrangian`.

    Raises
    ------
    ValueError : a pmf that does not sum to 1, shapes that disagree, a negative or NaN entry.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Blahut (1972); Arimoto (1972); Csiszár (1974) for the bound.

    Examples
    --------
    >>> point = blahut_arimoto(jnp.array([0.5, 0.5]), 1 - jnp.eye(2), 2.0)
    >>> print(f"R({point.distortion:.3f}) = {point.rate:.9f} bits, certified to {point.gap:.0e}")
    R(0.200) = 0.278071905 bits, certified to 3e-14
    """
    return _at_slope("blahut_arimoto", _in_class(at_slope), source_pmf, distortion_matrix, slope, tol, max_steps)


@_progress.doing("accelerated_blahut_arimoto")
def accelerated_blahut_arimoto(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"],
    slope: Float[ArrayLike, ""],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = MAX_STEPS,
) -> RateDistortion:
    """Point of R(D) at a given slope, by Blahut-Arimoto steps with SQUAREM extrapolation.

    After every two steps q is extrapolated along the path they took, in log q; an extrapolation that raises the
    objective is undone. A step costs what a plain one costs, and where the plain ones converge slowly far fewer are
    needed. It stays first-order: `interior_point` is the one that always reaches the last digits.

    Parameters
    ----------
    source_pmf, distortion_matrix, slope, tol, max_steps : as for `blahut_arimoto`.

    Returns
    -------
    RateDistortion : as from `blahut_arimoto`, of the smallest gap on the way.

    Raises
    ------
    ValueError, RuntimeError : as for `blahut_arimoto`.

    References
    ----------
    Varadhan & Roland (2008), Simple and globally convergent methods for accelerating any EM algorithm.

    Examples
    --------
    >>> p, d = jnp.array([0.5, 0.3, 0.2]), 1 - jnp.eye(3)
    >>> bool(accelerated_blahut_arimoto(p, d, 1.8).steps < blahut_arimoto(p, d, 1.8).steps)
    True
    """
    return _at_slope(
        "accelerated_blahut_arimoto",
        _in_class(accelerated_at_slope),
        source_pmf,
        distortion_matrix,
        slope,
        tol,
        max_steps,
    )


@_progress.doing("interior_point")
def interior_point(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"],
    slope: Float[ArrayLike, ""],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = MAX_STEPS,
) -> RateDistortion:
    r"""Point of R(D) at a given slope, by a primal-dual interior point, with its certificate.

    Solves the same problem as `blahut_arimoto` in the form

    .. math:: \min_{q \ge 0}\; -\sum_x p_x \log (Aq)_x + \sum_y q_y

    (its optimum sums to one by itself) by Mehrotra's predictor-corrector. A few dozen steps reach a gap of 1e-9 bit,
    at slopes where the support changes too, and about as many again at two slopes next to this one find out whether
    R(D) is straight there; each step factors a matrix of size min(n, m).

    Parameters
    ----------
    source_pmf, distortion_matrix, slope, tol, max_steps : as for `blahut_arimoto`.

    Returns
    -------
    RateDistortion
        as from `blahut_arimoto`. At the slope of a straight piece of R(D), ``segment`` is that piece and
        ``distortion`` some point of it. Where rounding stops the iteration first, the smallest gap found.

    Raises
    ------
    ValueError, RuntimeError : as for `blahut_arimoto`.

    References
    ----------
    Mehrotra (1992); Koenker & Mizera (2014) for the program, there of nonparametric maximum likelihood.

    Examples
    --------
    >>> point = interior_point(jnp.array([0.7, 0.3]), 1 - jnp.eye(2), np.log2(7 / 3))  # where the rate reaches zero
    >>> print(f"{point.gap < 1e-9}, while Blahut-Arimoto needs more than 10,000 steps")
    True, while Blahut-Arimoto needs more than 10,000 steps
    """
    return _at_slope("interior_point", directly, source_pmf, distortion_matrix, slope, tol, max_steps)


def _at_slope(
    name: str,
    core: Callable,
    source_pmf: ArrayLike,
    distortion_matrix: ArrayLike,
    slope: ArrayLike,
    tol: ArrayLike,
    max_steps: ArrayLike,
) -> RateDistortion:
    _checks.require_x64(name)
    p, d, ok = source(source_pmf, distortion_matrix)
    s, s_ok = _checks.nonnegative("slope", slope, finite=False)
    ok &= s_ok & _checks.stopping(tol, max_steps)
    found = _derivatives.none_of(core(*constants(p, d, s, tol, max_steps)), (p, d, s), _derivatives.REMEDY)
    return _checks.poison(found, ok)


def _in_class(core: Callable) -> Callable:
    """`core` on a problem with letters of no mass and letters that may not be used."""

    def solve(p: Array, d: Array, *others: ArrayLike) -> RateDistortion:
        shape = _size_classes.classes(d.shape, p, d, *others)
        found = core(_size_classes.pad(p, shape[:1]), _size_classes.pad(d, shape, np.inf), *others)
        return _size_classes.cut(found, reproduction_pmf=d.shape[1:])

    return solve
