"""A model to bytes and back: its layers by `feedback`, all else bit for bit.

A layer f(x) = xᵀ W, W (inputs, outputs), loses d(W, Ŵ) = tr (W - Ŵ)ᵀ Σ (W - Ŵ) of its squared outputs, Σ = E x xᵀ. It
is coded in the moments of inputs for calibration; what is lost is measured on inputs that were held out, and the water
level is looked for at which that is what was asked for.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from rdtheory import _checks, _progress
from rdtheory.codec import container
from rdtheory.codec.container import Coded
from rdtheory.codec.layers import Layer, Wanted, layers, measured
from rdtheory.limits import gaussian
from rdtheory.results import CodedLayer, Compressed, CompressedLayer, ShrunkMoments, WeightMoments
from rdtheory.schemes import bitstream, feedback, trellis
from rdtheory.schemes.bitstream.layer_values import NOT_SENT
from rdtheory.schemes.feedback.quantizer import LARGEST
from rdtheory.schemes.trellis import code

__all__ = ["compress", "decompress"]

TRIES = 16
CLOSE = 0.03  # octaves of the distortion below what was asked for, hundredths of a bit
FURTHEST = 6.0  # octaves of the level in one step
NARROW = 0.01  # octaves of the level
WASTE = 0.12  # bits above R(D), about
NEAR = 1.0  # octaves of the level from where labels end
LOGARITHMS = 1000.0  # of levels


class Attempt(NamedTuple):
    """A layer at one level."""

    coded: CodedLayer
    weights_hat: np.ndarray  #: (m, k), as they are decoded
    distortion: float
    standard_error: float


def compress(
    params: PyTree,
    inputs: PyTree,
    *,
    relative: float | None = None,
    bits: float | None = None,
    distortion: float | None = None,
    states: int = 8,
    held_out: float = 0.2,
    shrinkage: float | None = None,
    outputs_first: bool | None = None,
    few: bool = False,
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[str], object] | None = None,
) -> Compressed:
    r"""Bytes that stand for the weights of a model, with its layers in few bits.

    A layer is an array of `params` that has inputs. Its outputs x·W change by D, and have the power P,

    .. math:: D = \operatorname{tr}(W-\hat W)^\top\Sigma(W-\hat W), \quad P = \operatorname{tr}W^\top\Sigma W, \quad
              \Sigma = E\,xx^\top .

    One of three is asked for:

    - `relative`: each layer loses at most this share of its outputs' power, D/P;
    - `bits`: all layers together take at most so many for each of their weights, and Σ D/P is as small as it gets, by
      one water level in units of each layer's power;
    - `distortion`: Σ D is at most this, by one water level for all layers.

    All other arrays come back bit for bit. A fifth of the inputs is held out; every distortion is measured on these.

    Parameters
    ----------
    params : arrays of weights, a pytree or a dict by name. In a tree an array is named by its path, "0/kernel".
    inputs : for each layer x (n, m), one a row, or their second moments (m, m), in a tree of the same paths or a dict
        by name; one array if there is one layer. Or what `importance.moments` returns, of which tables, arrays used in
        several ways and those beyond 8192 inputs are kept as they are. A layer is a matrix of m inputs and k outputs,
        whichever come first, or an array that is one if all axes of inputs are taken together, as the kernel of a
        convolution.
    states : of the code, see `feedback.quantize`; 256 take 0.04 bit less than 8, and longer.
    held_out : share of the inputs that distortions are measured on. With moments, or 0, the distortion is that of the
        moments which the layer is coded for: too small where they are of few inputs.
    shrinkage : of the moments, in [0, 1]; by the rule of `calibration.moments` if it is not given.
    outputs_first : how square layers stand; needed only if no other layer says it.
    few : whether fewer inputs than dimensions are allowed.
    metadata : what a file of arrays says of itself; it comes back where `rdtheory decompress` writes safetensors.
    progress : called with a line of text before each piece of work; otherwise a terminal shows it.

    Returns
    -------
    Compressed : ``data`` is what `decompress` takes.

    Raises
    ------
    TypeError : a layer that is not floating, an array of a dtype that is not known.
    ValueError : inputs of no array, shapes that do not go together, too few inputs, numbers that are not finite, an
        indefinite matrix, not one of the three, one that is out of reach: then it says what can be reached.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> params = {"kernel": rng.normal(size=(16, 2000)), "bias": np.zeros(2000)}
    >>> found = compress(params, {"x": rng.normal(size=(500, 16)) * np.geomspace(1, 0.1, 16)}, relative=0.01)
    >>> print(found.distortion <= 0.01 * found.layers[0].power, found.kept)
    True ('bias',)
    >>> print(f"{found.rate:.2f} bits per weight, {found.rate - found.bound:.2f} above R(D)")
    2.88 bits per weight, 0.15 above R(D)
    """
    _checks.require_x64("compress")
    asked = {"relative": relative, "bits": bits, "distortion": distortion}
    told = {name: value for name, value in asked.items() if value is not None}
    if len(told) != 1:
        raise ValueError(f"give one of relative, bits and distortion, got {', '.join(told) or 'none'}")
    ((way, target),) = told.items()
    if not (math.isfinite(target) and target > 0):
        raise ValueError(f"{way} must be > 0 and finite, got {target}")
    if states != 1:
        trellis.loss(states)  # raises
    arrays, structure = _named("params", params)
    known = layers(arrays, _named("inputs", inputs)[0], Wanted(held_out, shrinkage, outputs_first, few))
    with _progress.doing("compress", shown=progress is None) as tell:
        said = progress or tell
        if way == "relative":
            parts = [_at_distortion([layer], target * layer.power, states, said) for layer in known]
            attempts = [attempt for part in parts for attempt in part]
        elif way == "distortion":
            attempts = _at_distortion(known, target, states, said)
        else:
            attempts = _at_rate(known, target, states, said)
        said("writing")
        return _result(arrays, structure, known, attempts, metadata)


def decompress(data: bytes, like: PyTree | None = None) -> PyTree:
    """The weights that `compress` put there, those that it measured, bit for bit.

    Parameters
    ----------
    data : what `compress` or the command wrote.
    like : a pytree, as the one that was compressed: the weights come back in its structure.

    Returns
    -------
    weights : NumPy arrays, a dict by name unless `like` is given.

    Raises
    ------
    ValueError : data that is damaged or of another structure; a leaf of `like` that is not there, or of another shape.

    Examples
    --------
    >>> decompress(b"RD")
    Traceback (most recent call last):
    ValueError: the bitstream is cut off: it has 2 bytes
    """
    arrays, _ = container.unpack(data)
    if like is None:
        return arrays
    wanted, structure = _named("like", like)
    for name, array in wanted.items():
        if name not in arrays or arrays[name].shape != array.shape:
            there = f"of shape {arrays[name].shape}" if name in arrays else "not there"
            raise ValueError(f"like has an array {name!r} of shape {array.shape}, which in the data is {there}")
    return jax.tree.unflatten(structure, [arrays[name] for name in wanted])


def _named(name: str, tree: PyTree) -> tuple[dict[str, Any], Any]:
    """Leaves by their paths, and the structure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_are_moments)
    found = {}
    for path, leaf in leaves:
        place = jax.tree_util.keystr(path, simple=True, separator="/") or name
        if place in found:
            raise ValueError(f"{name} has two arrays of the name {place!r}")
        found[place] = leaf if _are_moments(leaf) else _checks.native(np.asarray(leaf))
    if not found:
        raise ValueError(f"{name} must hold at least one array")
    return found, structure


def _are_moments(leaf: Any) -> bool:
    return isinstance(leaf, ShrunkMoments | WeightMoments)


def _at_distortion(known: list[Layer], target: float, states: int, said: Callable[[str], object]) -> list[Attempt]:
    """At one level, D at most the target and close to it."""
    silent = [_silent(layer) for layer in known]
    if sum(attempt.distortion for attempt in silent) <= target:
        return silent

    def attempt(log_level: float) -> tuple[float, list[Attempt]] | None:
        found = _attempts(known, np.full(len(known), 2.0**log_level), states, said)
        if found is None:
            return None
        lost = sum(each.distortion for each in found)
        return math.log2(lost / target) if lost > 0 else -math.inf, found

    def ideal(log_level: float) -> float:
        return sum(float(np.minimum(layer.variances, 2.0**log_level).sum()) for layer in known) - target

    finest = max(_finest(layer, states) for layer in known)
    best, least = _largest(attempt, max(_root(ideal), finest + NEAR / 2), finest)
    if best is None:
        raise ValueError(
            f"a distortion of {target:.6g} is out of reach of {_listed(known)}: the least that labels and the "
            f"precision of the weights reached is {target * 2.0**least:.6g}"
        )
    return best


def _at_rate(known: list[Layer], target: float, states: int, said: Callable[[str], object]) -> list[Attempt]:
    """At levels in proportion to the power of each layer, the rate at most the target and close to it."""
    count = sum(layer.weights.size for layer in known)
    powers = np.array([layer.power for layer in known])

    def attempt(fineness: float) -> tuple[float, list[Attempt]]:
        found = _attempts(known, powers * 2.0**-fineness, states, said)
        if found is None:
            return math.inf, []
        return 2 * (8 * len(container.pack(_coded(known, found))) / count - target), found

    def ideal(fineness: float) -> float:
        bits = 0.0
        for layer in known:
            level = max(layer.power * 2.0**-fineness, 1e-300)
            bits += 0.5 * float(np.log2(np.maximum(layer.variances / level, 1.0)).sum())
        return bits / count - max(target - WASTE, target / 2)

    best, least = (
        _largest(attempt, _root(ideal), -math.inf) if powers.any() else ([_silent(layer) for layer in known], 0.0)
    )
    if best is None:
        raise ValueError(
            f"{target:g} bits per weight are out of reach of {_listed(known)}: the fewest that were reached are "
            f"{target + least / 2:.4g}"
        )
    return best


def _largest(
    attempt: Callable[[float], tuple[float, list[Attempt]] | None], x: float, floor: float
) -> tuple[list[Attempt] | None, float]:
    """The largest x found at which what is attempted, which grows, is at most 0; and the least above 0 that it was.

    By the secant, for it grows about as x does. None: such an x is too small for anything, as those below the floor.
    """
    best, low, high, last = None, None, None, None
    for turn in range(TRIES):
        found = attempt(x)
        if found is None:
            floor = x
            if high is None:
                x += 2.0 ** (turn + 1)
                continue
        else:
            point = x, found[0]
            if found[0] <= 0:
                low, best = point, found[1]
            else:
                high = point
            if -CLOSE <= found[0] <= 0:
                break
            slope = 1.0
            if last is not None and abs(x - last[0]) > 0 and math.isfinite(last[1]) and math.isfinite(found[0]):
                slope = min(max((found[0] - last[1]) / (x - last[0]), 0.25), 1.5)
            last = point
        if low and high:
            (x0, y0), (x1, y1) = low, high
            if x1 - x0 < NARROW:
                break
            share = (-CLOSE / 2 - y0) / (y1 - y0) if math.isfinite(y1 - y0) else 0.5
            x = x0 + (x1 - x0) * min(max(share, 0.1), 0.9)
        elif low:
            x += min((-CLOSE / 2 - low[1]) / slope, FURTHEST)
        elif high:
            if high[0] - floor < min(high[1], NEAR):
                break  # for it does not fall faster than x
            x = max(high[0] - min((high[1] + CLOSE / 2) / slope, FURTHEST), (high[0] + floor) / 2)
    return best, high[1] if high else math.inf


def _root(increasing: Callable[[float], float]) -> float:
    """Where a function of the logarithm of a level, or of its fineness, is zero."""
    low, high = -LOGARITHMS, LOGARITHMS
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if increasing(middle) > 0 else (middle, high)
    return low


def _finest(layer: Layer, states: int) -> float:
    """About the logarithm of the level at which a weight is as many steps from zero as a label can say."""
    noise = 1 / 12 if states == 1 else code.noise(states)
    charged = layer.moments + 1e-12 * np.mean(np.diagonal(layer.moments)) * np.eye(len(layer.moments))
    if not layer.power or not np.any(charged):
        return -math.inf
    pivots = np.diagonal(np.linalg.cholesky(charged + np.diag(np.where(np.diagonal(charged) > 0, 0.0, 1.0)))) ** 2
    furthest = float(np.max(np.abs(layer.weights).max(axis=1) ** 2 * pivots))
    return math.log2(furthest * noise / LARGEST**2) if furthest else -math.inf


def _attempts(
    known: list[Layer], levels: np.ndarray, states: int, said: Callable[[str], object]
) -> list[Attempt] | None:
    """All layers, each at its level; None where that is too small for labels."""
    found = []
    for number, (layer, level) in enumerate(zip(known, levels.tolist(), strict=True)):
        if not layer.power:
            found.append(_silent(layer))
            continue
        said(f"{layer.name}, {number + 1} of {len(known)}, water level {level:.3g}")
        given = layer.weights.astype(np.float32 if layer.dtype.itemsize <= 4 else float)
        try:
            made = feedback.quantize(given, layer.moments, level, states=states, seed=number)
        except ValueError as error:
            if "level" not in str(error):
                raise ValueError(f"{layer.name}: {error}") from error
            return None
        found.append(_attempt(layer, made.coded, np.asarray(made.weights_hat)))
    return found


def _attempt(layer: Layer, coded: CodedLayer, weights_hat: np.ndarray) -> Attempt:
    with np.errstate(over="ignore"):
        decoded = weights_hat.astype(layer.dtype)
    return Attempt(coded, decoded, *measured(layer, decoded.astype(float)))


def _silent(layer: Layer) -> Attempt:
    """Zeros, which nothing need be sent for."""
    m, k = layer.weights.shape
    coded = CodedLayer(
        labels=np.zeros((m, k), np.int32),
        base=np.array(1.0, np.float32 if layer.dtype.itemsize <= 4 else float),
        exponents=np.full((1, m), NOT_SENT, np.int32),
    )
    return _attempt(layer, coded, np.zeros((m, k)))


def _coded(known: list[Layer], attempts: list[Attempt]) -> dict[str, Coded]:
    return {
        layer.name: Coded(attempt.coded, layer.dtype, layer.shape, layer.outputs_first)
        for layer, attempt in zip(known, attempts, strict=True)
    }


def _result(
    arrays: dict[str, np.ndarray],
    structure: Any,
    known: list[Layer],
    attempts: list[Attempt],
    metadata: Mapping[str, str] | None,
) -> Compressed:
    coded = _coded(known, attempts)
    kept = tuple(name for name in arrays if name not in coded)
    data = container.pack(arrays | coded, metadata)
    alone = container.pack(coded) if kept or metadata else data
    weights_hat = dict(arrays)
    told = []
    for layer, attempt in zip(known, attempts, strict=True):
        sent = (attempt.coded.exponents != NOT_SENT).any()
        # Of these weights and these inputs the power is a sample: where nothing is sent it is not compared with R(D).
        bound = float(gaussian.fill(jnp.asarray(layer.variances), attempt.distortion).rate) if sent else 0.0
        weights_hat[layer.name] = container.unmatrix(attempt.weights_hat, layer.dtype, layer.shape, layer.outputs_first)
        told.append(
            CompressedLayer(
                name=layer.name,
                shape=layer.shape,
                rate=8 * len(bitstream.encode(attempt.coded)) / layer.weights.size,
                distortion=attempt.distortion,
                standard_error=attempt.standard_error,
                power=layer.power,
                bound=bound / layer.weights.size,
                kurtosis=float(layer.prior.kurtosis),
                divergence=float(layer.prior.divergence),
                held_out=0 if layer.held_out is None else len(layer.held_out),
            )
        )
    count = sum(layer.weights.size for layer in known)
    return Compressed(
        data=data,
        weights_hat=jax.tree.unflatten(structure, [weights_hat[name] for name in arrays]),
        distortion=sum(layer.distortion for layer in told),
        standard_error=sum(layer.standard_error for layer in told),  # of layers that may err together
        rate=8 * len(alone) / count,
        bound=sum(layer.bound * math.prod(layer.shape) for layer in told) / count,
        layers=tuple(told),
        kept=kept,
        before=sum(array.nbytes for array in arrays.values()),
    )


def _listed(known: list[Layer]) -> str:
    first = repr(known[0].name)
    return first if len(known) == 1 else f"{first} and {len(known) - 1} more"
