"""Steps of uniform quantizers that follow a common water level of the weighted error, and how they are stored."""

import functools

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile
from rdtheory.results import Steps
from rdtheory.schemes.quantize.sizes import adaptive_bits

__all__ = ["balance", "entries", "positive", "steps", "store"]

BALANCING = 200  # rounds of row and column scaling
PER_OCTAVE = 2  # stored ratios of steps are powers of 2^(1/2): rounding to them costs 0.014 bit per weight


def steps(
    importance: Float[ArrayLike, "r c"], level: Float[ArrayLike, ""], *, rows: bool = False, columns: bool = False
) -> Steps:
    r"""Steps of a uniform quantizer that take the fewest bits at a weighted error of `level` per weight, at high rate.

    A step Δ leaves the error Δ²/12 and takes log(1/Δ) bits up to a constant. So of all steps s_i t_j,

    .. math:: \max \sum_{ij}\log(s_i t_j) \quad\text{with}\quad \sum_{ij} I_{ij} s_i^2 t_j^2/12 = rc\,\theta

    has even errors: the mean of I Δ²/12 is θ in each row that has a step of its own, and in each such column. One step
    for all, or for each row or each column, has the closed form Δ = √(12 θ / mean I); rows and columns together are
    the balancing of a matrix (Sinkhorn), exact at once where I_ij = α_i β_j.

    Parameters
    ----------
    importance : I >= 0 of each weight of a layer, (r, c). Rows and columns of zeros get an infinite step.
    level : θ > 0, the weighted squared error of one weight.
    rows, columns : whether each row, each column has a step of its own; static.

    Returns
    -------
    Steps : ``rows`` (r, 1) and ``columns`` (1, c), whose product is Δ.

    Raises
    ------
    ValueError : a negative importance, a level that is not positive.

    References
    ----------
    Gish & Pierce (1968); Sinkhorn & Knopp (1967).

    Examples
    --------
    >>> found = steps(jnp.array([[1.0], [4.0]]), 1 / 12, rows=True)
    >>> print(found.rows.ravel(), found.columns)
    [1.  0.5] [[1.]]
    """
    matrix, ok = _checks.nonnegative("importance", importance, ndim=2)
    theta, level_ok = positive("level", level)
    return _checks.poison(_steps(matrix, theta, bool(rows), bool(columns)), ok & level_ok)


@functools.partial(_compile.jit, static_argnums=(2, 3))
def _steps(matrix: Array, level: Array, rows: bool, columns: bool) -> Steps:
    found, factor = balance(matrix, rows, columns), jnp.sqrt(12 * level)
    if columns and not rows:
        return Steps(found.rows, found.columns * factor)
    return Steps(found.rows * factor, found.columns)


def balance(matrix: Array, rows: bool, columns: bool) -> Steps:
    """Steps at which I s² t² has mean 1: over all, in each row, in each column, as asked.

    Examples
    --------
    >>> print(balance(jnp.array([[1.0, 4.0]]), False, True).columns)
    [[1.  0.5]]
    """
    # In units of the largest importance, whose square need not be a number.
    unit = jnp.max(matrix)
    unit = jnp.where(unit > 0, unit, 1.0)
    matrix = matrix / unit

    def even(errors: Array, axis: int) -> Array:
        return _inverse(jnp.mean(errors, axis=axis, keepdims=True))

    by_row, by_column = jnp.ones((matrix.shape[0], 1), matrix.dtype), jnp.ones((1, matrix.shape[1]), matrix.dtype)
    if rows and columns:

        def turn(_: Array, squares: tuple[Array, Array]) -> tuple[Array, Array]:
            by_column = even(matrix * squares[0], 0)
            return even(matrix * by_column, 1), by_column

        by_row, by_column = lax.fori_loop(0, BALANCING, turn, (even(matrix, 1), by_column))
    elif columns:
        by_column = even(matrix, 0)
    else:
        by_row = even(matrix if rows else jnp.broadcast_to(jnp.mean(matrix), matrix.shape), 1)
    # 0 stood for what does not matter, which needs no step.
    s, t = (jnp.where(square > 0, jnp.sqrt(square), jnp.inf) for square in (by_row, by_column))
    return Steps(s, t / jnp.sqrt(unit)) if columns and not rows else Steps(s / jnp.sqrt(unit), t)


def store(shape: Steps, matrix: Array, rows: bool, columns: bool) -> tuple[Steps, Array, Array, Array]:
    """What is stored of steps: ratios, the factor at which the mean of I Δ² is 1, classes of steps, bits of the ratios.

    The ratios are powers of √2, coded one for each row and each column, after a bit for the rows and one for the
    columns that says whether the largest code stands for an infinite step; the factor, one number for the layer, is
    left to the caller to count.

    Examples
    --------
    >>> importance = jnp.array([[1.0], [17.0]])
    >>> ratios, _, classes, _ = store(balance(importance, True, False), importance, True, False)
    >>> print(ratios.rows.ravel(), classes.ravel())
    [4. 1.] [4 0]
    """
    (s, by_row), (t, by_column) = _powers(shape.rows, rows), _powers(shape.columns, columns)
    coded = jnp.concatenate([jnp.full(s.size, rows), jnp.full(t.size, columns)])
    of_columns = jnp.arange(s.size + t.size) >= s.size
    ratio_bits = adaptive_bits(jnp.concatenate([by_row.ravel(), by_column.ravel()]), of_columns, coded)[1]
    ratio_bits += rows + columns
    sizes = entries(Steps(s, t), 0.0)
    # No mean of squares of small numbers: importances are in units of the largest.
    unit = jnp.max(matrix)
    error = jnp.sum(matrix / jnp.where(unit > 0, unit, 1.0) * sizes**2) / jnp.maximum(jnp.sum(sizes > 0), 1)
    factor = jnp.where(error > 0, 1 / jnp.sqrt(jnp.where(error > 0, error, 1.0)) / jnp.sqrt(unit), jnp.inf)
    return Steps(s, t), factor, by_row + by_column, ratio_bits


def _powers(scale: Array, kept: bool) -> tuple[Array, Array]:
    """Scales as powers of √2, the least of them 1; and their exponents."""
    if not kept:
        return jnp.ones_like(scale), jnp.zeros(scale.shape, jnp.int32)
    finite = jnp.isfinite(scale)
    exponents = jnp.round(PER_OCTAVE * jnp.log2(jnp.where(finite, scale, 1.0))).astype(jnp.int32)
    least = jnp.min(jnp.where(finite, exponents, jnp.iinfo(jnp.int32).max))
    above = jnp.where(finite, exponents - least, 0)
    told = jnp.where(finite, above, jnp.max(above) + 1)  # one more than the largest: there is no step
    return jnp.where(finite, jnp.exp2(told.astype(scale.dtype) / PER_OCTAVE), jnp.inf), told


def entries(shape: Steps, otherwise: float) -> Array:
    """The step of every weight, (r, c); `otherwise` where there is none.

    Examples
    --------
    >>> print(entries(Steps(jnp.ones((1, 1)), jnp.array([[2.0, jnp.inf]])), 0.0))
    [[2. 0.]]
    """
    s, t = (jnp.where(jnp.isfinite(scale), scale, 1.0) for scale in shape)
    return jnp.where(jnp.isfinite(shape.rows) & jnp.isfinite(shape.columns), s * t, otherwise)


def positive(name: str, value: ArrayLike) -> tuple[Array, _checks.Flag]:
    """A number > 0.

    Examples
    --------
    >>> print(positive("level", 2.0)[0])
    2.0
    """
    x, ok = _checks.nonnegative(name, value)
    return x, ok & _checks.holds(_checks.look(x)[1] > 0, lambda: f"{name} must be > 0, got {x}")


def _inverse(x: Array) -> Array:
    """1/x, and 0 where x is 0."""
    return jnp.where(x > 0, 1 / jnp.where(x > 0, x, 1.0), 0.0)
