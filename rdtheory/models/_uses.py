"""Where the weights of a model meet its activations: dense, convolution and embedding uses in the traced program.

A leaf is followed as an array of positions, one for each of its entries: what reshapes, transposes or cuts the leaf
does the same to the positions. Where they meet activations they are a matrix (m inputs, k outputs) of positions,
whatever the orientation and the shape that the weights are stored in.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import ClosedJaxpr
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import PyTree

UNROLLED = 64  # steps of a scan that are looked into one by one
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "remat2": "jaxpr", "checkpoint": "jaxpr", "closed_call": "call_jaxpr"}


class Use(NamedTuple):
    """One place where a leaf meets activations, as `parts` matrices: more than one in grouped convolutions."""

    leaf: int
    layout: np.ndarray  #: (parts, m, k), positions in the raveled leaf
    kind: str  #: "dense", "convolution" or "embedding"
    inputs: Callable[[Array], Array]  #: activations of one example as (parts, rows, m), or as tokens (rows,)
    outputs: Callable[[Array], Array]  #: what is in the shape of the results, as (parts, rows, k)
    made: jax.ShapeDtypeStruct  #: of the results
    channels: int  #: of a convolution, first in m; taps follow


class Held(NamedTuple):
    """A value, and the positions that it has in a leaf if it is nothing but weights."""

    value: Array
    leaf: int = -1
    positions: np.ndarray | None = None
    varies: bool = False  #: with the inputs of the model


class Trail(NamedTuple):
    """What was met on the way."""

    uses: list[Use]
    activations: list[Array]  #: of each use
    others: dict[int, str]  #: for a leaf, what else it is used by
    probes: Sequence[Array] | None  #: to be added to the results of each use


def find(program: ClosedJaxpr, params: PyTree, inputs: PyTree) -> tuple[list[Use], dict[int, str]]:
    """All uses in the order in which they are computed, and what else each leaf, by number, is used by."""
    trail = Trail([], [], {}, None)
    jax.eval_shape(lambda w, x: run(program, w, x, trail), params, inputs)
    return trail.uses, trail.others


def trace(apply: Callable, params: PyTree, inputs: PyTree) -> ClosedJaxpr:
    """The program of one example, which has a leading axis of 1; shapes and dtypes are enough."""
    program = jax.make_jaxpr(apply)(params, inputs)
    needed, _ = dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars), instantiate=True)
    return ClosedJaxpr(needed, program.consts)


def run(program: ClosedJaxpr, params: PyTree, inputs: PyTree, trail: Trail) -> list[Array]:
    """The outputs; the trail is written on the way."""
    weights = [
        Held(leaf, number, np.arange(leaf.size, dtype=np.int32).reshape(leaf.shape))
        for number, leaf in enumerate(jax.tree.leaves(params))
    ]
    held = [*weights, *(Held(leaf, varies=True) for leaf in jax.tree.leaves(inputs))]
    return [out.value for out in _walk(program.jaxpr, list(map(Held, program.consts)), held, trail)]


def _walk(jaxpr, consts: Sequence[Held], arguments: Sequence[Held], trail: Trail) -> list[Held]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))

    def read(atom) -> Held:
        return Held(atom.val) if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        held = [read(atom) for atom in equation.invars]
        known.update(zip(equation.outvars, _step(equation, held, trail), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _step(equation, held: list[Held], trail: Trail) -> list[Held]:
    """The results of one equation."""
    name, params = equation.primitive.name, equation.params
    varies = any(one.varies for one in held)
    if all(one.positions is None for one in held):
        return [Held(value, varies=varies) for value in _evaluate(equation, held)]
    if name in CALLS:
        inner = params[CALLS[name]]
        return _walk(getattr(inner, "jaxpr", inner), list(map(Held, getattr(inner, "consts", ()))), held, trail)
    if name == "scan" and params["length"] <= UNROLLED:
        return _scan(params, held, trail)
    if name in REARRANGED and (positions := held[0].positions) is not None:
        moved = REARRANGED[name](positions, params)
        if moved is not None:
            values = _evaluate(equation, held)
            return [Held(value, held[0].leaf, place) for value, place in zip(values, moved, strict=True)]
    meet = MEETINGS.get(name)
    made = equation.outvars[0].aval
    use = meet(held, params, jax.ShapeDtypeStruct(made.shape, made.dtype)) if meet else None
    results = _evaluate(equation, held)
    if use is None:
        for one in held:
            if one.positions is not None:
                trail.others.setdefault(one.leaf, name)
    else:
        trail.uses.append(use)
        trail.activations.append(next(one.value for one in held if one.positions is None))
        if trail.probes is not None:
            results = [results[0] + trail.probes[len(trail.uses) - 1]]
    return [Held(value, varies=varies) for value in results]


def _evaluate(equation, held: Sequence[Held]) -> list[Array]:
    bound = equation.primitive.get_bind_params(equation.params)
    functions, bound = bound if isinstance(bound, tuple) else ((), bound)  # before JAX 0.8
    with equation.ctx.manager:
        results = equation.primitive.bind(*functions, *(one.value for one in held), **bound)
    return results if equation.primitive.multiple_results else [results]


def _scan(params: dict, held: list[Held], trail: Trail) -> list[Held]:
    """Step by step, for a stack of weights is as many matrices."""
    fixed, carried, length = params["num_consts"], params["num_carry"], params["length"]
    body, carry, stacks = params["jaxpr"], held[fixed : fixed + carried], held[fixed + carried :]
    made = []
    for step in range(length)[:: -1 if params["reverse"] else 1]:
        here = [
            one._replace(value=one.value[step], positions=None if one.positions is None else one.positions[step])
            for one in stacks
        ]
        results = _walk(body.jaxpr, list(map(Held, body.consts)), [*held[:fixed], *carry, *here], trail)
        carry = results[:carried]
        made.append(results[carried:])
    in_order = zip(*made[:: -1 if params["reverse"] else 1], strict=True)
    stacked = [
        Held(jnp.stack([one.value for one in rows]), varies=any(one.varies for one in rows)) for rows in in_order
    ]
    return [*carry, *stacked]


# What rearranges weights ---------------------------------------------------------------------------------------------


def _broadcast(positions: np.ndarray, params: dict) -> list[np.ndarray]:
    shape, axes = params["shape"], params["broadcast_dimensions"]
    full = np.ones(len(shape), int)
    full[list(axes)] = positions.shape
    return [np.broadcast_to(positions.reshape(full), shape)]


def _cut(positions: np.ndarray, params: dict) -> list[np.ndarray]:
    strides = params["strides"] or (1,) * positions.ndim
    return [positions[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]]


def _cast(positions: np.ndarray, params: dict) -> list[np.ndarray] | None:
    return [positions] if jnp.issubdtype(params["new_dtype"], jnp.floating) else None


REARRANGED = {
    "reshape": lambda p, params: [p.transpose(params["dimensions"] or range(p.ndim)).reshape(params["new_sizes"])],
    "transpose": lambda p, params: [p.transpose(params["permutation"])],
    "squeeze": lambda p, params: [np.squeeze(p, tuple(params["dimensions"]))],
    "rev": lambda p, params: [np.flip(p, params["dimensions"])],
    "split": lambda p, params: np.split(p, np.cumsum(params["sizes"])[:-1], params["axis"]),
    "copy": lambda p, params: [p],
    "copy_p": lambda p, params: [p],
    "sharding_constraint": lambda p, params: [p],
    "broadcast_in_dim": _broadcast,
    "slice": _cut,
    "convert_element_type": _cast,
}


# Where they meet activations -----------------------------------------------------------------------------------------


def _dense(held: list[Held], params: dict, made: jax.ShapeDtypeStruct) -> Use | None:
    contracted, shared = params["dimension_numbers"]
    if all(one.positions is not None for one in held):
        return None
    side = 0 if held[0].positions is not None else 1
    weights = held[side]
    layout = _in_order(weights.positions, contracted[side], shared[side])
    batch, _, k = layout.shape
    together = batch > 1 and bool(np.all(layout == layout[:1]))  # one matrix for all of the batch

    def inputs(x: Array) -> Array:
        rows = jnp.swapaxes(_in_order(x, contracted[1 - side], shared[1 - side]), 1, 2)
        return rows.reshape(1, -1, rows.shape[2]) if together else rows

    def outputs(y: Array) -> Array:
        rows = y.reshape(batch, -1, k) if side == 1 else jnp.swapaxes(y.reshape(batch, k, -1), 1, 2)
        return rows.reshape(1, -1, k) if together else rows

    return _use(weights.leaf, layout[:1] if together else layout, "dense", inputs, outputs, made)


def _in_order(x, contracted: Sequence[int], shared: Sequence[int]):
    """Axes as (shared, contracted, free), each flattened."""
    free = [axis for axis in range(x.ndim) if axis not in (*contracted, *shared)]
    sizes = [math.prod(x.shape[axis] for axis in axes) for axes in (shared, contracted, free)]
    return x.transpose(*shared, *contracted, *free).reshape(sizes)


def _convolution(held: list[Held], params: dict, made: jax.ShapeDtypeStruct) -> Use | None:
    unmet, (_, leaf, positions, _) = held[0].positions, held[1]
    if unmet is not None or positions is None or params["batch_group_count"] != 1:
        return None
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    out_axis, in_axis, *taps = numbers.rhs_spec
    kernel = positions.transpose(in_axis, *taps, out_axis)
    channels, window = kernel.shape[0], kernel.shape[1:-1]
    layout = np.moveaxis(kernel.reshape(channels * math.prod(window), groups, -1), 1, 0)

    def inputs(x: Array) -> Array:
        patches = lax.conv_general_dilated_patches(
            x.transpose(numbers.lhs_spec),
            window,
            params["window_strides"],
            params["padding"],
            lhs_dilation=params["lhs_dilation"],
            rhs_dilation=params["rhs_dilation"],
            precision=lax.Precision.HIGHEST,
        )
        return _by_group(jnp.moveaxis(patches, 1, -1), groups)

    def outputs(y: Array) -> Array:
        return _by_group(jnp.moveaxis(y.transpose(numbers.out_spec), 1, -1), groups)

    return _use(leaf, layout, "convolution", inputs, outputs, made, channels)


def _by_group(features_last: Array, groups: int) -> Array:
    return jnp.moveaxis(features_last.reshape(-1, groups, features_last.shape[-1] // groups), 1, 0)


def _embedding(held: list[Held], params: dict, made: jax.ShapeDtypeStruct) -> Use | None:
    (_, leaf, positions, _), tokens = held
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    axes = numbers.collapsed_slice_dims
    # What always takes the same rows only puts weights in another order.
    if not tokens.varies or positions is None or len(axes) != 1 or axes != numbers.start_index_map:
        return None
    rows = np.moveaxis(positions, axes[0], 0)
    if tuple(np.delete(sizes, axes[0])) != rows.shape[1:] or numbers.operand_batching_dims:
        return None
    layout, clipped = rows.reshape(1, len(rows), -1), "CLIP" in str(params["mode"]).upper()

    def inputs(tokens: Array) -> Array:
        flat = tokens.reshape(-1)
        # Above the vocabulary is what is dropped.
        return jnp.clip(flat, 0, len(rows) - 1) if clipped else jnp.where(flat < 0, len(rows), flat)

    def outputs(y: Array) -> Array:
        last = range(y.ndim - len(numbers.offset_dims), y.ndim)
        return jnp.moveaxis(y, numbers.offset_dims, last).reshape(1, -1, layout.shape[2])

    return _use(leaf, layout, "embedding", inputs, outputs, made)


def _use(
    leaf: int,
    layout: np.ndarray,
    kind: str,
    inputs: Callable,
    outputs: Callable,
    made: jax.ShapeDtypeStruct,
    channels: int = 0,
) -> Use | None:
    """None where a weight is more than once in the matrices."""
    if np.bincount(layout.ravel()).max() > 1:
        return None
    return Use(leaf, layout, kind, inputs, outputs, made, channels)


MEETINGS = {"dot_general": _dense, "conv_general_dilated": _convolution, "gather": _embedding}
