"""Second moments of what meets a matrix of weights, and of the gradients of what it makes, added up over examples.

notation: at one use of W (m, k) an example has rows x_t and gradients g_t of c · f in W's results. Its importance
E Σ_c vec(Σ_t x_t g_tᵀ) vec(·)ᵀ is taken for A ⊗ B, A = mean of x xᵀ over all rows, B = E Σ_c Σ_t g_t g_tᵀ: exact where
inputs and gradients are independent and rows are uncorrelated (Martens & Grosse 2015; Grosse & Martens 2016).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import PyTree

from rdtheory import _checks, _compile
from rdtheory.models import _gradients, _uses
from rdtheory.results import WeightMoments

LIMIT = 8192  # rows of a matrix of moments that is stored: 512 MiB in float64
HELD = 2**24  # numbers of a batch: activations and gradients


Side = np.ndarray | tuple[np.ndarray, np.ndarray]  # a matrix, a diagonal, or the two factors of a Kronecker product


class Sums(NamedTuple):
    """Of one use, over examples."""

    inputs: Side  #: (p, m, m), (p, m), or channels (p, c, c) and taps (p, t, t)
    outputs: np.ndarray  #: (p, k, k) or (p, k)
    traces: np.ndarray  #: (n, p), of the outputs' moments of each example


def batches(
    inputs: PyTree | Iterator[PyTree], kind: str, labels: ArrayLike | None
) -> Iterator[tuple[PyTree, np.ndarray]]:
    """Checked inputs with their labels, all at once or as they come."""
    if isinstance(inputs, Iterator):
        if kind == "gradient" or labels is not None:
            raise ValueError("labels go with an array of inputs, not with an iterator of batches: take kind 'fisher'")
        for batch in map(checked, inputs):
            yield batch, np.zeros(len(jax.tree.leaves(batch)[0]), int)
        return
    whole = checked(inputs)
    n = len(jax.tree.leaves(whole)[0])
    if kind != "gradient":
        yield whole, np.zeros(n, int)
        return
    y = np.asarray(labels)
    if y.shape != (n,) or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"kind 'gradient' needs labels, {n} class numbers, got shape {y.shape}, dtype {y.dtype}")
    yield whole, y


def checked(inputs: PyTree) -> PyTree:
    """Arrays with one leading axis of examples; floating ones are finite."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(inputs)
    if not leaves:
        raise ValueError(f"inputs must hold at least one array, got {inputs!r}")
    arrays = []
    for path, leaf in leaves:
        x = _checks.native(leaf if hasattr(leaf, "dtype") else np.asarray(leaf))
        name = "inputs" + jax.tree_util.keystr(path)
        if x.ndim < 1 or len(x) == 0:
            raise ValueError(f"{name} must have shape (n, ...), one row for each example, got {x.shape}")
        if jnp.issubdtype(x.dtype, jnp.floating):
            known = np.asarray(x)
            if not np.isfinite(known.astype(float) if known.dtype.kind not in "f" else known).all():
                raise ValueError(f"{name} must be finite, got infinity or NaN among them")
        arrays.append(x)
    counts = {len(x) for x in arrays}
    if len(counts) > 1:
        raise ValueError(f"inputs must have as many examples in every array, got {sorted(counts)}")
    return jax.tree.unflatten(structure, arrays)


def one_of(inputs: PyTree) -> PyTree:
    """Shapes of one example, with its axis."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), inputs)


def fitting(uses: Sequence[_uses.Use], directions: int) -> int:
    """How many examples may be held at a time, each with so many numbers for directions."""
    count = directions
    for use in uses:
        rows = math.prod(use.made.shape) // math.prod(use.layout.shape[::2])
        count += 2 * math.prod(use.made.shape) + (0 if use.kind == "embedding" else rows * use.layout.shape[1])
    return max(1, HELD // max(count, 1))


@partial(_compile.jit, static_argnames=("apply", "kind", "samples"))
def sums(
    apply: Callable, kind: str, samples: int, key: Array, data: tuple[PyTree, PyTree, Array, Array], shares: Array
) -> tuple[list, list]:
    """Inputs' sums, then outputs' sums with traces, of each use over one batch; 0 samples are all directions.

    Each example counts as often as its share says.
    """
    params, inputs, labels, temperature = data
    program = _uses.trace(apply, params, one_of(inputs))
    uses, _ = _uses.find(program, params, one_of(inputs))
    probes = [jnp.zeros(use.made.shape, use.made.dtype) for use in uses]

    def example(x: PyTree, label: Array, key: Array):
        def outputs(probes: list[Array]):
            trail = _uses.Trail([], [], {}, probes)
            (f,) = _uses.run(program, params, jax.tree.map(lambda leaf: leaf[None], x), trail)
            return f, trail.activations

        f, pull, activations = jax.vjp(outputs, probes, has_aux=True)
        return _gradients.drawn(kind, f, label, temperature, samples, key), pull, activations

    def direction(totals: list, c: Array):
        (gradients,) = jax.vmap(lambda pull, c: pull(c))(pulls, c)
        found = [_outputs(use, g, shares) for use, g in zip(uses, gradients, strict=True)]
        return jax.tree.map(jnp.add, totals, found), None

    each, pulls, activations = jax.vmap(example)(inputs, labels, jax.random.split(key, len(shares)))
    nothing = jax.eval_shape(lambda c: direction([(0.0, 0.0)] * len(uses), c)[0], each[:, 0])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nothing)
    made, _ = lax.scan(direction, zeros, jnp.moveaxis(each, 1, 0))
    given = [_inputs(use, x, shares) for use, x in zip(uses, activations, strict=True)]
    return given, made


def _inputs(use: _uses.Use, x: Array, shares: Array) -> Array | tuple[Array, Array]:
    m, rows = use.layout.shape[1], jax.vmap(use.inputs)(x)
    if use.kind == "embedding":
        counts = jnp.zeros(m, shares.dtype).at[rows].add(shares[:, None], mode="drop")
        return counts[None]
    if m > LIMIT and use.channels:
        patches = rows.reshape(*rows.shape[:3], use.channels // use.layout.shape[0], -1)
        weighted = shares[:, None, None, None, None] * patches
        return (
            _product("bptcw,bptdw->pcd", weighted, patches),
            _product("bptcw,bptcv->pwv", weighted, patches),
        )
    return _second(rows, shares)


def _outputs(use: _uses.Use, g: Array, shares: Array) -> tuple[Array, Array]:
    rows = jax.vmap(use.outputs)(g)
    return _second(rows, shares), jnp.sum(rows * rows, axis=(2, 3))


def _second(rows: Array, shares: Array) -> Array:
    """Σ over examples and rows of the products of all pairs of (b, p, t, s), of squares where they are too many."""
    weighted = shares[:, None, None, None].astype(rows.dtype) * rows
    ending = "bpts,bptu->psu" if rows.shape[3] <= LIMIT else "bpts,bpts->ps"
    return _product(ending, weighted, rows)


def _product(way: str, x: Array, y: Array) -> Array:
    return jnp.einsum(way, x, y, precision=lax.Precision.HIGHEST)


def collect(
    apply: Callable,
    kind: str,
    samples: int,
    key: Array,
    params: PyTree,
    data: Iterator[tuple[PyTree, np.ndarray]],
    temperature: Array,
    size: int | None,
) -> tuple[list[_uses.Use], dict[int, str], list[Sums], int]:
    """Uses, what else leaves are used by, sums in float64, and the number of examples."""
    totals, n, uses, others, most = [], 0, [], {}, 1
    for inputs, labels in data:
        count = len(labels)
        if not n:
            uses, others, shape = _found(apply, params, inputs, kind)
            directions = (samples or math.prod(shape)) * math.prod(shape)
            if directions > HELD:
                raise ValueError(
                    f"apply makes {math.prod(shape):,} outputs of each input, too many to take one after another: "
                    "samples=1, with a key, draws random directions instead"
                )
            most = size or fitting(uses, directions)
        if kind == "gradient" and not ((labels >= 0) & (labels < shape[-1])).all():
            raise ValueError(f"labels must be class numbers from 0 to {shape[-1] - 1}")
        width = min(most, count)
        for start in range(0, count, width):
            # A last batch is filled up with its last example, which then counts for nothing.
            places = np.arange(start, start + width)
            rows, shares = np.minimum(places, count - 1), jnp.asarray(places < count, jnp.result_type(float))
            part = jax.tree.map(lambda x, rows=rows: x[rows], inputs)
            key, mine = jax.random.split(key)
            found = sums(apply, kind, samples, mine, (params, part, labels[rows], temperature), shares)
            given, made = jax.tree.map(lambda x: np.asarray(x, float), jax.device_get(found))
            whole = [Sums(x, y, traces[: count - start]) for x, (y, traces) in zip(given, made, strict=True)]
            totals = [_added(*pair) for pair in zip(totals, whole, strict=True)] if n else whole
            n += min(width, count - start)
    if not n:
        raise ValueError("inputs must have at least one example, got none")
    return uses, others, totals, n


def _found(
    apply: Callable, params: PyTree, inputs: PyTree, kind: str
) -> tuple[list[_uses.Use], dict[int, str], tuple[int, ...]]:
    """Uses, what else leaves are used by, and the shape of the outputs."""
    program = _uses.trace(apply, params, one_of(inputs))
    shapes = [out.shape for out in program.out_avals]
    if len(shapes) != 1 or shapes[0][:1] != (1,):
        raise ValueError(
            f"apply(params, inputs) must give one row of outputs for each input; from one it gave {shapes}"
        )
    if kind != "jacobian" and (len(shapes[0]) < 2 or shapes[0][-1] < 2):
        raise ValueError(f"kind {kind!r} needs the logits of at least two classes, but apply gave {shapes[0]}")
    return *_uses.find(program, params, one_of(inputs)), shapes[0]


def _added(total: Sums, more: Sums) -> Sums:
    inputs, outputs = jax.tree.map(np.add, total[:2], more[:2])
    return Sums(inputs, outputs, np.concatenate([total.traces, more.traces]))


# One product for each matrix -----------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """One matrix at one use, in the order (inputs, outputs) of that use."""

    kind: str
    layout: np.ndarray
    inputs: Side
    outputs: Side
    traces: np.ndarray  # (n,)
    rows: int


def of_leaves(
    leaves: int, uses: Sequence[_uses.Use], others: dict[int, str], totals: Sequence[Sums], n: int
) -> list[WeightMoments]:
    """What is returned for each leaf, by number."""
    parts: list[list[_Part]] = [[] for _ in range(leaves)]
    for use, total in zip(uses, totals, strict=True):
        rows = n * math.prod(use.made.shape) // math.prod(use.layout.shape[::2])
        for i, layout in enumerate(use.layout):
            inputs = jax.tree.map(lambda x, i=i, rows=rows: x[i] / rows, total.inputs)
            if isinstance(inputs, tuple):  # of one matrix, A = channels ⊗ taps, with the trace that both have
                trace = np.trace(inputs[0])
                inputs = inputs[0], inputs[1] / trace if trace > 0 else inputs[1]
            parts[use.leaf].append(_Part(use.kind, layout, inputs, total.outputs[i] / n, total.traces[:, i], rows))
    return [_of_leaf(mine, others.get(number), n) for number, mine in enumerate(parts)]


def _of_leaf(parts: list[_Part], other: str | None, n: int) -> WeightMoments:
    if other is not None:
        return _missing(f"it is used by {other}, not only as a dense layer, a convolution or an embedding")
    if not parts:
        return _missing("the outputs do not depend on it")
    kinds = ", ".join(dict.fromkeys(part.kind for part in parts))
    matrices: dict[bytes, list[_Part]] = {}
    for part in parts:
        turned = part._replace(layout=part.layout.T, inputs=part.outputs, outputs=part.inputs)
        name = part.layout.tobytes() + str(part.layout.shape).encode()
        other_way = turned.layout.tobytes() + str(turned.layout.shape).encode()
        if other_way in matrices and name not in matrices:
            matrices[other_way].append(turned)
        else:
            matrices.setdefault(name, []).append(part)
    if any(len(same) > 1 and any(isinstance(x, tuple) for one in same for x in one[2:4]) for same in matrices.values()):
        return _missing(f"it is used more than once, as a convolution of a fan-in beyond {LIMIT:,}")
    products = [_sum(same) for same in matrices.values()]
    first = products[0]
    if any(jax.tree.map(np.shape, part[1:4]) != jax.tree.map(np.shape, first[1:4]) for part in products):
        return _missing("it is used as matrices of different shapes")
    layout = np.stack([part.layout for part in products])
    if np.bincount(layout.ravel()).max() > 1:
        return _missing("it is used as matrices that overlap")
    inputs, outputs = jax.tree.map(lambda *x: np.stack([*map(_semidefinite, x)]), *[part[2:4] for part in products])
    traces = np.stack([part.traces for part in products])
    error = np.std(traces, axis=1, ddof=1) / math.sqrt(n) if n > 1 else np.full(len(traces), np.inf)
    return WeightMoments(inputs, outputs, np.array([part.rows for part in products]), layout, error, kinds, "")


def _semidefinite(moments: np.ndarray) -> np.ndarray:
    """Moments without what rounding in float32 adds: of few rows their eigenvalues are a millionth below zero."""
    if moments.ndim < 2:
        return moments
    symmetric = (moments + moments.T) / 2
    if _has_root(symmetric):
        return symmetric
    values, vectors = np.linalg.eigh(symmetric)
    if values[0] >= -len(values) * np.finfo(float).eps * values[-1]:
        return symmetric
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return root @ root.T


def _has_root(matrix: np.ndarray) -> bool:
    """Whether there is a Cholesky factor, found out in a twentieth of the time of eigenvalues."""
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


def _missing(reason: str) -> WeightMoments:
    none = np.zeros((0, 0, 0))
    return WeightMoments(none, none, np.zeros(0, int), none.astype(np.int32), np.zeros(0), "", reason)


def _sum(same: list[_Part]) -> _Part:
    """Uses of one matrix added up, as the Kronecker product nearest to Σ A_u ⊗ B_u, with the trace of that.

    Of the matrix Σ vec(A_u) vec(B_u)ᵀ the singular vectors to the largest value are Σ α_u A_u and Σ β_u B_u; as
    products of semidefinite matrices are >= 0, so are α and β.
    """
    if len(same) == 1:
        return same[0]
    inputs, outputs = _alike([part.inputs for part in same]), _alike([part.outputs for part in same])
    traces, rows = np.sum([part.traces for part in same], axis=0), sum(part.rows for part in same)
    powers = np.array([_trace(x) * _trace(y) for x, y in zip(inputs, outputs, strict=True)])
    gram_x, gram_y = (np.array([[np.vdot(x, y) for y in side] for x in side]) for side in (inputs, outputs))
    if not powers.any():
        return same[0]._replace(inputs=inputs[0] * 0, outputs=outputs[0] * 0, traces=traces, rows=rows)
    values, vectors = np.linalg.eig(gram_y @ gram_x)
    alpha = np.abs(np.real(vectors[:, np.argmax(np.real(values))]))
    a, b = (np.tensordot(weights, np.stack(side), 1) for weights, side in ((alpha, inputs), (gram_x @ alpha, outputs)))
    a *= (_trace(inputs[0]) or 1.0) / _trace(a)
    b *= powers.sum() / (_trace(a) * _trace(b))
    return _Part(same[0].kind, same[0].layout, a, b, traces, rows)


def _alike(side: list) -> list[np.ndarray]:
    """All as matrices if one is."""
    full = any(x.ndim == 2 for x in side)
    return [np.diag(x) if full and x.ndim == 1 else x for x in side]


def _trace(x: np.ndarray) -> float:
    return float(np.trace(x) if x.ndim == 2 else np.sum(x))
