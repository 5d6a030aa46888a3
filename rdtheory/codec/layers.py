"""Which arrays are layers and which inputs are theirs; what these say of inputs never seen."""

import difflib
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rdtheory import _checks
from rdtheory.codec import prior
from rdtheory.codec.container import FLOATS, matrix
from rdtheory.models import calibration
from rdtheory.results import ShrunkMoments

ENOUGH = 10  # inputs for each dimension
ALONE = 0.1  # of the power of all weights: what has more is an outlier
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
    prior: prior.Prior
    components: prior.Components  #: of the prior, under the moments of all inputs
    power: float  #: E ‖Wᵀx‖², measured as distortions are


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
    given = {name: _inputs(name, inputs[source]) for name, source in paired.items()}
    ways = _ways({name: arrays[name].shape for name in paired}, given, wanted.outputs_first)
    return [_layer(name, arrays[name], given[name], ways[name], wanted) for name in paired]


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


def _inputs(name: str, given: Any) -> np.ndarray:
    """Rows (n, m), or moments (m, m): a matrix that is its own transpose."""
    if isinstance(given, ShrunkMoments):
        given = given.moments
    found = np.asarray(given)
    if found.ndim != 2 or not found.size:
        raise ValueError(
            f"inputs of {name!r} must be of shape (examples, inputs), or moments (m, m), got {found.shape}"
        )
    return found


def _are_moments(given: np.ndarray) -> bool:
    return given.shape[0] == given.shape[1] and bool(np.allclose(given, given.T, rtol=1e-6, atol=0))


def _ways(
    shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, np.ndarray], outputs_first: bool | None
) -> dict[str, bool]:
    """Whether outputs stand first in each array: as told, as the width of its inputs says, or as in other arrays."""
    possible = {}
    for name, shape in shapes.items():
        m = given[name].shape[1]
        either = [False] * (math.prod(shape[:-1] or shape) == m) + [True] * (
            len(shape) > 1 and math.prod(shape[1:]) == m
        )
        possible[name] = [way for way in either if outputs_first in (None, way)]
        if not possible[name]:
            order = {None: "", True: " with outputs first", False: " with inputs first"}[outputs_first]
            raise ValueError(
                f"inputs of {name!r} must be of as many columns as its weights of shape {shape} have inputs{order}, "
                f"got {given[name].shape}"
            )
    seen = {ways[0] for name, ways in possible.items() if len(ways) == 1 and len(shapes[name]) > 1}
    for name, ways in possible.items():
        if len(ways) > 1 and len(seen) != 1:
            raise ValueError(
                f"weights {name!r} are square, {shapes[name]}, and do not say whether inputs or outputs come first: "
                "say it (--inputs-first as in x·W, or --outputs-first as PyTorch stores them; outputs_first= in Python)"
            )
    return {name: ways[0] if len(ways) == 1 else next(iter(seen)) for name, ways in possible.items()}


def _layer(name: str, array: np.ndarray, given: np.ndarray, outputs_first: bool, wanted: Wanted) -> Layer:
    weights = np.asarray(_checks.weights(f"weights {name!r}", array)[0]).astype(float)
    weights = np.ascontiguousarray(matrix(weights, outputs_first))
    _checks.finite(f"inputs of {name!r}", given)
    held_out = None
    if _are_moments(given):
        moments = whole = np.asarray(_checks.covariance(f"moments of {name!r}", given)[0], float)
    else:
        _enough(name, given, wanted.few)
        known, unseen = calibration.split(len(given), wanted.held_out)
        moments = calibration.moments(given[known], shrinkage=wanted.shrinkage).moments
        whole = calibration.moments(given, shrinkage=0.0).moments
        held_out = given[unseen] if len(unseen) else None
    fitted = prior.fit(weights)
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
        components=prior.components(fitted, whole),
        power=0.0,
    )
    return found._replace(power=measured(found, np.zeros_like(weights))[0])


def _enough(name: str, given: np.ndarray, few: bool) -> None:
    """Whether that many inputs say anything of others."""
    n, m = len(given), int(np.count_nonzero(given.any(axis=0)))
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


def _told(name: str, weights: np.ndarray, fitted: prior.Prior) -> None:
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
    elif fitted.divergence > UNLIKE:
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
