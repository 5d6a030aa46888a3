"""Validation at the boundary: the public function checks, the jitted core trusts.

Shapes and dtypes always raise. Values raise when they are concrete; under ``jit``, ``vmap`` or ``grad`` they
cannot be looked at, so each check also returns a flag, and `poison` turns the results of that item into NaN.
Concrete values are looked at with NumPy: no dispatch, nothing to compile; unless they are spread over devices.
"""

import functools
import operator
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.typing import ArrayLike

from rdtheory._devices import is_spread

Result = TypeVar("Result")
Flag = Array | np.bool_
LARGE = 2**16  # entries
TINY = float(np.finfo(float).tiny)
ORDINARY = 1e8  # beside entries up to this nothing is lost that is above 1e-299
ON_HOST = (np.ndarray, np.generic, float, int)


def require_x64(function: str) -> None:
    """Raise unless JAX computes in float64, without which a certificate of 1e-9 bit means nothing."""
    if jnp.result_type(float) != jnp.float64:
        local = "jax.enable_x64" if hasattr(jax, "enable_x64") else "jax.experimental.enable_x64"
        raise RuntimeError(
            f"{function} certifies its result and needs float64, but JAX is running in float32. "
            'Before any other JAX call, run: jax.config.update("jax_enable_x64", True); '
            f"or, for some calls only: with {local}(True):"
        )


def array(name: str, value: ArrayLike, ndim: int | None = None, *, shape: tuple[int, ...] | None = None) -> Array:
    """`value` as a floating array, with the number of axes or the exact shape asked for."""
    return _on_device(_read(name, value, ndim, shape=shape))


def _read(
    name: str, value: ArrayLike, ndim: int | None = None, *, shape: tuple[int, ...] | None = None
) -> Array | np.ndarray:
    """`array`, but what is no array of JAX yet stays on the host, where checks look at it."""
    result = _given(name, value, ndim, shape=shape)
    floating = jnp.result_type(float)
    if result.dtype == floating:
        return result
    _, known = look(result)
    with np.errstate(over="ignore"):
        return known.astype(floating)


def _given(
    name: str, value: ArrayLike, ndim: int | None = None, *, shape: tuple[int, ...] | None = None
) -> Array | np.ndarray:
    """Real numbers in the precision they came in."""
    try:
        result = _as_array(value)
    except (TypeError, ValueError) as error:
        remedy = _remedy(name, value)
        raise TypeError(f"{name} must be an array of real numbers, got {type(value).__name__}{remedy}") from error
    if not any(jnp.issubdtype(result.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise TypeError(f"{name} must hold real numbers, got dtype {result.dtype}")
    if shape is not None and result.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {result.shape}")
    if ndim is not None and result.ndim != ndim:
        expected = ("a scalar (for several at once, use jax.vmap)", "a vector", "a matrix")[ndim]
        if {ndim, result.ndim} == {1, 2}:
            expected += " (np.diag turns one into the other)"
        raise ValueError(f"{name} must be {expected}, got an array of shape {result.shape}")
    if 0 in result.shape:
        raise ValueError(f"{name} must not be empty, got shape {result.shape}")
    return result


def _remedy(name: str, value: object) -> str:
    """What to do with what is no array, where it can be told."""
    if callable(value) and "matrix" in name:
        return "; tabulate it: np.array([[f(x, y) for y in reproductions] for x in letters])"
    if hasattr(value, "log_density"):
        return "; for a source on the real line call continuous.rate_at(source, distortion)"
    return ""


def _as_array(value: ArrayLike) -> Array | np.ndarray:
    leaves = jax.tree.leaves(value if isinstance(value, list | tuple) else [value])
    # JAX refuses what would lose a mask, or is in no precision of its own.
    if not all(isinstance(leaf, ON_HOST) and not isinstance(leaf, np.ma.MaskedArray) for leaf in leaves):
        return jnp.asarray(value)
    large = isinstance(value, np.ndarray) and value.size > LARGE
    known = native(value if large else np.array(value))  # a copy: what is put on a CPU may stay where it is
    return known if known.dtype.kind in "fiub" else jnp.asarray(known)


def native(value):
    """NumPy's numbers of another byte order, or of more than 64 bits, as JAX has that kind; anything else as it is."""
    dtype = getattr(value, "dtype", None)
    wanted = dtype if dtype is None else _native(dtype)
    with np.errstate(over="ignore"):
        return value if wanted == dtype else value.astype(wanted)


def _native(dtype):
    known = isinstance(dtype, np.dtype) and dtype.kind in "fiu" and not (dtype.isnative and dtype.itemsize <= 8)
    return np.dtype(f"{dtype.kind}{min(dtype.itemsize, 8)}") if known else dtype


def stored(value: ArrayLike) -> Array:
    """`value` as an array of JAX of the same kind and precision, as labels and indices are taken."""
    return _on_device(_as_array(value))


def _on_device(value: Array | np.ndarray, beside: ArrayLike | None = None) -> Array:
    if isinstance(value, Array):
        return value
    # Not `jnp.asarray`, which is compiled for each shape.
    return jax.device_put(value, beside.sharding if isinstance(beside, Array) and beside.committed else None)


def holds(condition: ArrayLike, message: Callable[[], str]) -> Flag:
    """`condition` as a flag; raises ``ValueError(message())`` where it is concrete and false."""
    if isinstance(condition, Tracer):
        return condition
    if not bool(condition):
        raise ValueError(message())
    return np.True_


def nonnegative(name: str, value: ArrayLike, ndim: int = 0, *, finite: bool = True) -> tuple[Array, Flag]:
    """An array of numbers >= 0, without NaN, and finite unless said otherwise."""
    x = _read(name, value, ndim)
    xp, v = look(x)
    ok = (v >= 0).all() & (xp.isfinite(v).all() if finite else True)
    return _on_device(x), holds(ok, lambda: f"{name} must be >= 0{' and finite' if finite else ''}, got {_show(x)}")


def finite(
    name: str, value: ArrayLike, ndim: int | None = None, *, shape: tuple[int, ...] | None = None
) -> tuple[Array, Flag]:
    """An array of real numbers without NaN or infinity."""
    x = _read(name, value, ndim, shape=shape)
    xp, v = look(x)
    return _on_device(x), holds(xp.isfinite(v).all(), lambda: f"{name} must be finite, got {_show(x)}")


def pmf(name: str, value: ArrayLike, ndim: int = 1) -> tuple[Array, Flag]:
    """A probability mass function of one or two letters, normalized once more so that rounding in its sum is gone."""
    if name == "source_pmf" and _is_matrix(value):
        shape = _given(name, value).shape
        raise ValueError(f"{name} must be a vector of probabilities, got shape {shape}{_meant(value)}")
    x = _read(name, value, ndim)
    # The sum of a pmf stored in float32 is off by about its epsilon, whatever we compute in.
    tolerance = float(np.sqrt(_epsilon(value)))
    xp, v = look(x)
    total = v.sum()
    remedy = "; for samples call continuous.rate_at(sources.from_samples(samples), D)" if name == "source_pmf" else ""
    ok = holds((v >= 0).all() & xp.isfinite(v).all(), lambda: f"{name} must be >= 0 and finite, got {_show(x)}{remedy}")
    ok &= holds(
        abs(total - 1) <= tolerance,
        lambda: f"{name} must sum to 1, but sums to {float(total):.12g}; divide it by its sum if that was meant",
    )
    return _on_device(_normalized(v, total) if xp is jnp else v / total, value), ok


def _is_matrix(value: ArrayLike) -> bool:
    rows = isinstance(value, list) and bool(value) and isinstance(value[0], list | tuple | np.ndarray | Array)
    return rows or getattr(value, "ndim", None) == 2


def _meant(value: ArrayLike) -> str:
    """Which function takes a matrix in place of a pmf."""
    if isinstance(value, Tracer):
        return ""
    x = np.asarray(value)
    if not (x >= 0).all():
        return (
            "; for samples, one a row, give each the mass 1/n and call distortion.samples(samples, reproductions) for "
            "the distortion"
        )
    if abs(x.sum() - 1) < 1e-6:
        return (
            "; for a joint pmf call side_information.conditional_rate_at or wyner_ziv_rate_at, or sum it over one axis "
            "for the source alone"
        )
    return "; the source comes first, then the distortion matrix"


def stochastic_matrix(name: str, value: ArrayLike) -> tuple[Array, Flag]:
    """A channel (n, m) whose rows are probability mass functions, each normalized once more."""
    x = _read(name, value, 2)
    tolerance = float(np.sqrt(_epsilon(value)))
    xp, v = look(x)
    totals = v.sum(axis=1, keepdims=True)
    ok = holds((v >= 0).all() & xp.isfinite(v).all(), lambda: f"{name} must be >= 0 and finite, got {_show(x)}")
    ok &= holds(
        (abs(totals - 1) <= tolerance).all(),
        lambda: f"each row of {name} must sum to 1, but the sums are {_show(totals[:, 0])}",
    )
    return _on_device(_normalized(v, totals) if xp is jnp else v / totals, value), ok


@jax.custom_jvp
def _normalized(v: Array, total: Array) -> Array:
    """The quotient, where a derivative that is infinite in a mass of zero, as that of entropy, spoils no other."""
    return v / total


@_normalized.defjvp
def _normalized_jvp(values: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (v, total), (dv, dtotal) = values, tangents
    p = v / total
    # Not p · dtotal / total, whose transpose multiplies what is infinite by the zero p.
    return p, dv / total - jnp.where(p > 0, p * jnp.broadcast_to(dtotal / total, p.shape), 0.0)


def weights(
    name: str, value: ArrayLike, ndim: int | None = None, *, shape: tuple[int, ...] | None = None
) -> tuple[Array, Flag]:
    """Finite weights in the precision they came in: what is made of them is to have it, whatever is computed inside."""
    x = _given(name, value, ndim, shape=shape)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{name} must be floating, got dtype {x.dtype}; if these are weights, turn them to float first")
    if isinstance(x, np.ndarray):
        with np.errstate(over="ignore"):
            x = x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False)
    xp, v = look(x)
    return _on_device(x), holds(xp.isfinite(v).all(), lambda: f"{name} must be finite, got {_show(x)}")


def no_nan(name: str, *values: Array) -> Flag:
    """Numbers, infinite ones too."""
    xp, *known = look(*values)
    sound = [~xp.isnan(value).any() for value in known]
    return holds(xp.stack(sound).all(), lambda: f"{name} must not hold NaN")


def distortion_matrix(name: str, value: ArrayLike, source_pmf: Array | np.ndarray) -> tuple[Array, Flag]:
    """A distortion matrix (n, m), entries in [0, inf], with a finite entry in each row that has mass."""
    if hasattr(value, "_fields"):
        raise TypeError(
            f"{name} must be a matrix here, got {type(value).__name__}; curve, rate_at, distortion_at and lagrangian "
            "take distortions that are never stored"
        )
    if isinstance(value, int | float | np.number) or (isinstance(value, Array) and value.ndim == 0):
        raise ValueError(
            f"{name} must be a matrix, got the number {value}; it is the second argument, and numbers follow"
        )
    d = _read(name, value, 2)
    if d.shape[0] != source_pmf.shape[0]:
        raise ValueError(
            f"{name} must have one row per source letter: source_pmf has {source_pmf.shape[0]} letters, "
            f"{name} has shape {d.shape}"
        )
    xp, v, p = look(d, source_pmf)
    least = v.min(axis=1)
    ok = holds((least >= 0).all(), lambda: f"{name} must be >= 0 (infinity is allowed, NaN is not), got {_show(d)}")
    ok &= no_flush(name, v)
    dead = xp.isinf(least) & (p > 0)
    ok &= holds(
        ~dead.any(),
        lambda: (
            f"{name} must have a finite entry in every row of positive probability; row {int(dead.argmax())} has none"
        ),
    )
    return _on_device(d), ok


def no_flush(name: str, v: Array | np.ndarray) -> Flag:
    """That no distortion or cost gets lost beside others, or all: arithmetic flushes what is below 2e-308 to zero."""
    largest, smallest = _extremes(v)
    ok = holds(
        (largest == 0) | (largest >= 1e-290),
        lambda: f"the finite entries of {name} are at most {float(largest):.1e}; measure it in a smaller unit",
    )
    return ok & holds(
        (largest <= ORDINARY) | (smallest >= 1e-300 * largest),
        lambda: (
            f"the entries of {name} are between {float(smallest):.1e} and {float(largest):.1e}, too far apart; write "
            "inf for what is forbidden and 0 for what costs nothing"
        ),
    )


def _extremes(v: Array | np.ndarray) -> tuple[Array | np.floating, Array | np.floating]:
    """The largest finite entry, and the smallest that is not flushed; of ordinary ones zero, for it takes longer."""
    if isinstance(v, Array):
        return _extremes_compiled(v)
    largest = v.max()  # one reading and no copy, for these may be large
    if not np.isfinite(largest):
        largest = np.where(np.isfinite(v), v, 0.0).max()
    return largest, np.min(v, where=v >= TINY, initial=np.inf) if largest > ORDINARY else np.float64(0)


@jax.jit
def _extremes_compiled(v: Array) -> tuple[Array, Array]:
    highest = jnp.max(v)
    largest = lax.cond(jnp.isfinite(highest), lambda: highest, lambda: jnp.max(jnp.where(jnp.isfinite(v), v, 0.0)))
    smallest = lax.cond(
        largest > ORDINARY, lambda: jnp.min(v, where=v >= TINY, initial=jnp.inf), lambda: jnp.zeros((), v.dtype)
    )
    return largest, smallest


def squares(x: Array, y: Array) -> Flag:
    """That squared distances of reproductions from the source, one a row, are neither flushed nor infinite."""
    xp, v, w = look(x, y)
    apart = xp.maximum(v.max(axis=0), w.max(axis=0)) - xp.minimum(v.min(axis=0), w.min(axis=0))
    furthest = apart.max(initial=0.0)
    return holds(
        (furthest == 0) | ((furthest > 1e-145) & (furthest < 1e150)),
        lambda: (
            f"source and reproduction are up to {float(furthest):.1e} apart, of which the square is lost; measure both "
            "in another unit"
        ),
    )


def covariance(name: str, value: ArrayLike, size: int | None = None) -> tuple[Array, Flag]:
    """A symmetric positive semidefinite matrix (m, m), symmetrized once more."""
    x = _read(name, value, 2)
    if x.shape[0] != x.shape[1] or (size is not None and x.shape[0] != size):
        expected = "square" if size is None else f"{(size, size)} to match the other arguments"
        raise ValueError(f"{name} must be {expected}, got shape {x.shape}")
    xp, v = look(x)
    epsilon = _epsilon(value)
    ok = holds(xp.isfinite(v).all(), lambda: f"{name} must be finite, got {_show(x)}")
    scale = abs(v).max()
    asymmetry = abs(v - v.T).max()
    ok &= holds(
        asymmetry <= np.sqrt(epsilon) * scale,
        lambda: f"{name} must be symmetric, but differs from its transpose by {float(asymmetry):.3g}",
    )
    symmetric = (v + v.T) / 2
    # NaN would make LAPACK raise or stall, and is flagged already.
    known, tolerance = xp.where(xp.isfinite(symmetric), symmetric, 0.0), 100 * x.shape[0] * epsilon * scale
    if xp is np and _has_root(known, float(tolerance)):
        return _on_device(symmetric), ok
    smallest = xp.linalg.eigvalsh(known)[0]
    ok &= holds(
        smallest >= -tolerance,
        lambda: f"{name} must be positive semidefinite, but has the eigenvalue {float(smallest):.6g}",
    )
    return _on_device(symmetric), ok


def reachable(name: str, value: ArrayLike, source_pmf: Array | np.ndarray, matrix: Array) -> tuple[Array, Flag]:
    """A distortion that some channel attains: at least Σ_x p_x min_y d(x, y)."""
    x, ok = nonnegative(name, value, finite=False)
    xp, v, p, d = look(x, source_pmf, matrix)
    least = (p * xp.where(p > 0, d.min(axis=1), 0.0)).sum()
    # A distortion equal to the least one up to the rounding of either sum is meant to be that.
    return x, ok & holds(
        v >= least * (1 - 8 * len(p) * jnp.finfo(p.dtype).eps),
        lambda: f"{name} must be at least {least!s}, the cost of the best reproduction of every letter, got {v!s}",
    )


def stopping(tol: ArrayLike, max_steps: ArrayLike) -> Flag:
    """When an iteration is to stop: a tolerance >= 0 in bits and at least one step."""
    if type(tol) is float and type(max_steps) is int and 0 <= tol < np.inf and max_steps >= 1:
        return np.True_  # as arrays they would take a tenth of the time of a small problem
    _, ok = nonnegative("tol", tol)
    if not jnp.issubdtype(jnp.result_type(max_steps), jnp.integer):
        raise TypeError(f"max_steps must be a whole number, got {max_steps!r}")
    steps, steps_ok = nonnegative("max_steps", max_steps)
    return ok & steps_ok & holds(steps >= 1, lambda: f"max_steps must be at least 1, got {max_steps}")


def of_letters(function: Callable) -> Callable:
    """A function of a discrete source, which names the other one to who gives it a source on the real line."""

    @functools.wraps(function)
    def named(*arguments, **options):
        if arguments and hasattr(arguments[0], "log_density"):
            raise TypeError(f"source_pmf must be an array of real numbers, got Source{_remedy('', arguments[0])}")
        return function(*arguments, **options)

    return named


def count(name: str, value: int, low: int, high: int | None = None) -> int:
    """A whole number that is known before anything is compiled: it decides shapes."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        upper = "" if high is None else f" and at most {high}"
        raise ValueError(f"{name} must be a whole number, at least {low}{upper} (static under jit), got {value!r}")
    return number


def fraction(name: str, value: float) -> float:
    """A share in (0, 1] that is known before anything is compiled: it decides shapes."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value <= 1:
        raise ValueError(
            f"{name} must be a number in (0, 1], the share of all weights (static under jit), got {value!r}"
        )
    return float(value)


def poison(result: Result, ok: Flag) -> Result:
    """`result` where `ok`; elsewhere NaN in each floating leaf and False in each boolean one."""
    if isinstance(ok, np.bool_):  # every check was on a concrete value, and passed
        return result

    def leaf(x: Array) -> Array:
        bad = False if x.dtype == jnp.bool_ else jnp.nan if jnp.issubdtype(x.dtype, jnp.floating) else 0
        return jnp.where(ok, x, jnp.asarray(bad, x.dtype))

    return jax.tree.map(leaf, result)


def look(*values: ArrayLike):
    """The module to compute with, then the values: NumPy if all are concrete (no dispatch, no compilation).

    Values spread over several devices stay where they are: some may be in another process.
    """
    if any(isinstance(value, Tracer) or is_spread(value) for value in values):
        return jnp, *values
    return np, *(np.asarray(value) for value in values)


def _has_root(matrix: np.ndarray, tolerance: float) -> bool:
    """Whether matrix + tolerance · I has a Cholesky factor, found out in a twentieth of the time of its eigenvalues."""
    try:
        np.linalg.cholesky(matrix + tolerance * np.eye(len(matrix)))
    except np.linalg.LinAlgError:
        return False
    return True


def _epsilon(value: ArrayLike) -> float:
    dtype = jax.dtypes.canonicalize_dtype(_native(value.dtype) if hasattr(value, "dtype") else float)
    return float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else float(jnp.finfo(jnp.float32).eps)


def _show(value: ArrayLike) -> str:
    xp, x = look(value)
    if x.size <= 8 and xp is np:
        return np.array2string(x, precision=6, separator=", ").replace("\n", "")
    if xp.isnan(x).all():
        return f"an array of shape {x.shape} that is all NaN"
    found = f"an array of shape {x.shape} with smallest entry {xp.nanmin(x):.6g} and largest {xp.nanmax(x):.6g}"
    return found + (f", and {xp.isnan(x).sum()} NaN" if xp.isnan(x).any() else "")
