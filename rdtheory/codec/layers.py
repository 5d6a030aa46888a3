"""Which arrays are layers and which inputs are theirs; what these say of inputs never seen."""

import difflib
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rdtheory import _checks
from rdtheory.codec.container import FLOATS, matrix
from rdtheory.models import calibration
from rdtheory.network.gaussian_prior import components, prior
from rdtheory.results import LayerPrior, ShrunkMoments, WeightMoments

ENOUGH = 10  # inputs for each dimension
ALONE = 0.1  # of the power of all weights: what has more is an outlier
MANY = 256  # weights that tell a law
UNLIKE = 0.2  # bits of divergence from a Gaussian that are told


class Layer(NamedTuple):
    """One array of weights as a matrix, and its inputs."""

    name: str
    weights: np.ndarray  #: (m, k), float64
    dtype: np.dtype
    shape: tuple[int, ...]
    outputs_first: bool
    moments: np.ndarray  #: Σ (m, m), of calibration, shrunk
    held_out: np.ndarray | None  #: rows (h, m); None if moments were given, or nothing was to be held out
    prior: LayerPrior
    variances: np.ndarray  #: (k · m,), of the components that the prior has under the moments of all inputs
    power: float  #: E ‖Wᵀx‖², measured as distortions are


class Given(NamedTuple):
    """What is known of a layer's inputs."""

    values: np.ndarray  #: rows (n, m), or second moments (m, m)
    are_moments: bool
    count: float  #: of rows; NaN if moments do not say it
    outputs_first: bool | None  #: how the weights stand, if it is known


class Wanted(NamedTuple):
    """How inputs are used."""

    held_out: float  #: share of them
    shrinkage: float | None  #: of their moments; None: by the rule of Ledoit and Wolf
    outputs_first: bool | None  #: how weights stand; None: as the widths of inputs say
    few: bool  #: fewer inputs than dimensions are allowed


def layers(arrays: Mapping[str, np.ndarray], inputs: Mapping[str, Any], wanted: Wanted) -> list[Layer]:
    """The arrays that have inputs, with these.

    Raises
    ------
    TypeError : a layer that is not floating.
    ValueError : inputs of no array, or of another width; a square layer of which nothing says which axis is that of the
        inputs; too few inputs; numbers that are not finite.

    Examples
    --------
    >>> (found,) = layers({"w": np.ones((2, 3)), "b": np.ones(3)}, {"x": np.eye(2)}, Wanted(0.2, None, None, False))
    >>> print(found.name, found.power)
    w 6.0
    """
    paired = _paired(arrays, inputs)
    given = {name: _given(name, arrays[name], inputs[source]) for name, source in paired.items()}
    known = {name: one for name, one in given.items() if one is not None}
    if not known:
        raise ValueError(
            "no array is a layer that can be coded: of tables and of sums of uses moments do not say enough"
        )
    ways = _ways({name: arrays[name].shape for name in known}, known, wanted.outputs_first)
    return [_layer(name, arrays[name], known[name], ways[name], wanted) for name in known]


def measured(layer: Layer, weights_hat: np.ndarray) -> tuple[float, float]:
    """The distortion with its standard error; by the moments, and NaN, if no inputs were held out."""
    if layer.held_out is not None:
        found = calibration.distortion(layer.weights, weights_hat, layer.held_out)
        return float(found.distortion), float(found.standard_error)
    lost = layer.weights - weights_hat
    return float(np.sum((layer.moments @ lost) * lost)), math.nan


def _paired(arrays: Mapping[str, np.ndarray], inputs: Mapping[str, Any]) -> dict[str, str]:
    """The name of the inputs of each layer: its own, or any if there is one of each."""
    if not inputs:
        raise ValueError("there are no inputs: give those of each layer under the name of its weights")
    if len(inputs) == 1 and not set(inputs) <= set(arrays):
        floating = {name: a.ndim for name, a in arrays.items() if _is_float(a)}
        alone = [name for name, ndim in floating.items() if ndim > 1] or [
            name for name, ndim in floating.items() if ndim
        ]
        if len(alone) == 1:
            return {alone[0]: next(iter(inputs))}
    for source in inputs:
        if source not in arrays:
            close = difflib.get_close_matches(source, arrays, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the arrays are named {_listed(arrays)}"
            raise ValueError(f"there are inputs named {source!r} and no weights of that name; {hint}")
        if not _is_float(arrays[source]):
            raise TypeError(
                f"weights {source!r} must be floating, of {', '.join(FLOATS)}, got dtype {arrays[source].dtype}; turn "
                "them to float first, or leave out their inputs: what has none is kept as it is"
            )
    return {name: name for name in arrays if name in inputs}


def _given(name: str, array: np.ndarray, found: Any) -> Given | None:
    """Rows, or a matrix that is its own transpose: moments. None of what is not one matrix."""
    if isinstance(found, WeightMoments):
        return _met(array, found)
    if isinstance(found, ShrunkMoments):
        return Given(np.asarray(found.moments), True, math.nan, None)
    values = np.asarray(found)
    if values.ndim != 2 or not values.size:
        raise ValueError(
            f"inputs of {name!r} must be of shape (examples, inputs), or moments (m, m), got {values.shape}"
        )
    square = values.shape[0] == values.shape[1]
    if square and np.allclose(values, values.T, rtol=1e-6, atol=0):
        return Given(values, True, math.nan, None)
    return Given(values, False, len(values), None)


def _met(array: np.ndarray, found: WeightMoments) -> Given | None:
    """The moments of an array that is one matrix, whose axes of inputs stand together; in the order of the array."""
    if len(found.layout) != 1 or isinstance(found.inputs, tuple) or np.ndim(found.inputs) != 3:
        return None
    _, m, k = found.layout.shape
    places = np.arange(array.size)
    for outputs_first, whole in ((False, places.reshape(m, k)), (True, places.reshape(k, m).T)):
        order = np.argsort(found.layout[0][:, 0])
        if np.array_equal(found.layout[0][order], whole):
            return Given(found.inputs[0][np.ix_(order, order)], True, float(found.rows[0]), outputs_first)
    return None


def _ways(
    shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Given], outputs_first: bool | None
) -> dict[str, bool]:
    """Whether outputs stand first in each array: as told, as the width of its inputs says, or as in other arrays."""
    possible = {}
    for name, shape in shapes.items():
        m, told = given[name].values.shape[1], given[name].outputs_first
        either = [False] * (math.prod(shape[:-1] or shape) == m) + [True] * (
            len(shape) > 1 and math.prod(shape[1:]) == m
        )
        possible[name] = [way for way in either if (outputs_first if told is None else told) in (None, way)]
        if not possible[name]:
            order = {None: "", True: " with outputs first", False: " with inputs first"}[outputs_first]
            raise ValueError(
                f"inputs of {name!r} must be of as many columns as its weights of shape {shape} have inputs{order}, "
                f"got {given[name].values.shape}"
            )
    seen = {ways[0] for name, ways in possible.items() if len(ways) == 1 and len(shapes[name]) > 1}
    for name, ways in possible.items():
        if len(ways) > 1 and len(seen) != 1:
            raise ValueError(
                f"weights {name!r} are square, {shapes[name]}, and do not say whether inputs or outputs come first: "
                "say it (--inputs-first as in x·W, or --outputs-first as PyTorch stores them; outputs_first= in Python)"
            )
    return {name: ways[0] if len(ways) == 1 else next(iter(seen)) for name, ways in possible.items()}


def _layer(name: str, array: np.ndarray, given: Given, outputs_first: bool, wanted: Wanted) -> Layer:
    weights = np.asarray(_checks.weights(f"weights {name!r}", array)[0]).astype(float)
    weights = np.ascontiguousarray(matrix(weights, outputs_first))
    values, held_out = given.values, None
    _checks.finite(f"inputs of {name!r}", values)
    _enough(name, given, wanted.few)
    if given.are_moments:
        moments = whole = np.asarray(_checks.covariance(f"moments of {name!r}", values)[0], float)
        if given.count > 0:
            moments = calibration.shrunk(whole, given.count).moments
    else:
        known, unseen = calibration.split(len(values), wanted.held_out)
        moments = calibration.moments(values[known], shrinkage=wanted.shrinkage).moments
        whole = calibration.moments(values, shrinkage=0.0).moments
        held_out = values[unseen] if len(unseen) else None
    fitted = prior(weights)
    _told(name, weights, fitted)
    found = Layer(
        name=name,
        weights=weights,
        dtype=array.dtype,
        shape=array.shape,
        outputs_first=outputs_first,
        moments=moments,
        held_out=held_out,
        prior=fitted,
        variances=components(whole, fitted),
        power=0.0,
    )
    return found._replace(power=measured(found, np.zeros_like(weights))[0])


def _enough(name: str, given: Given, few: bool) -> None:
    """Whether that many inputs say anything of others."""
    if math.isnan(given.count):
        return
    n, m = int(given.count), int(np.count_nonzero(given.values.any(axis=0)))
    told = f"inputs of {name!r} are {n:,} for {m:,} dimensions"
    if n < m and not few:
        raise ValueError(
            f"{told}, and say little of other inputs: give {m - n:,} more at least, better {ENOUGH * m - n:,}, or ask "
            "for it (--few; few=True in Python)"
        )
    if n < ENOUGH * m:
        warnings.warn(
            f"{told}: {ENOUGH * m - n:,} more, {ENOUGH} for each, would make the file smaller at the same distortion",
            stacklevel=2,
        )


def _told(name: str, weights: np.ndarray, fitted: LayerPrior) -> None:
    """What of the weights does not go with the prior."""
    powers = np.sum(weights**2)
    largest = np.abs(weights).max(initial=0.0)
    # Of n Gaussian weights the largest has 2 ln n times the mean square.
    if largest**2 > powers * max(ALONE, 20 * math.log(weights.size) / weights.size):
        warnings.warn(
            f"one weight of {name!r}, {largest:.3g}, has {largest**2 / powers:.0%} of their power: R(D) of Gaussian "
            "weights says little about them",
            stacklevel=2,
        )
    elif weights.size >= MANY and fitted.divergence > UNLIKE + fitted.divergence_error:
        warnings.warn(
            f"weights {name!r} are not Gaussian, even row by row and column by column (kurtosis {fitted.kurtosis:.3g}, "
            f"{fitted.divergence:.2g} bit of divergence): they may take less than R(D) of Gaussian ones",
            stacklevel=2,
        )


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.name in FLOATS


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    some = list(names)[:8]
    return ", ".join(map(repr, some)) + (", ..." if len(names) > len(some) else "")
