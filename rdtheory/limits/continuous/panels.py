"""Gauss-Legendre panels that resolve a density, and then a kernel.

A panel is halved until the rule of 16 nodes agrees with itself on the two halves for ∫ f and ∫ f log f, so a kink
between panels, an algebraic singularity or a heavy tail costs a few dozen graded panels and no accuracy.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rdtheory.sources import Source

ORDER = 16
NODES, WEIGHTS = np.polynomial.legendre.leggauss(ORDER)
FINEST = 1000  # halvings: towards a pole at zero as far as numbers go
NARROWEST = 2.0**-44  # relative to its place: the outermost nodes of half of it are not rounded to its ends
MOST = 200_000  # panels
LEAST = 1e-290  # no panel is halved to less
OF_SUPPORT, OF_THE_WAY = 5e-6, 5e-4  # between looks for what is hidden: of a finite support, of the way to the peak
AT_A_TIME = 2**15  # looks
STANDS_OUT = 0.1  # nats; between neighboring nodes no smooth density rises or falls by so much and comes back
MATTERS = 1e-14  # mass
JUMPS = 1e-3  # of the greatest value in a panel; no smooth density is so far from the polynomial through its nodes
AT_ONCE = 64  # places where something is found
BISECTIONS = 60
EPS = np.finfo(float).eps
TOWARDS_END = 16.0 ** -np.arange(10)  # of the way from the end to the outermost node
EXTRAPOLATION = np.polynomial.legendre.legvander((1 + NODES[0]) * TOWARDS_END - 1, ORDER - 1) @ np.linalg.inv(
    np.polynomial.legendre.legvander(NODES, ORDER - 1)
)


class Panels(NamedTuple):
    """Intervals that resolve a density."""

    left: np.ndarray
    right: np.ndarray
    mass: np.ndarray  # ∫ f over each, the whole being one
    log_scale: float  # log of the integral of the density as given, nats
    error: float  # of the whole mass and of the entropy in nats: what the last halving still changed


def rule(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights, (panels, 16)."""
    half = (right - left) / 2
    return left[:, None] + half[:, None] * (1 + NODES), half[:, None] * WEIGHTS


def _halves(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Left and right ends of both halves of each, (2 panels, 2)."""
    middle = left + (right - left) / 2
    return np.stack([left, middle, middle, right], 1).reshape(-1, 2)


def resolve(
    log_density: Callable[[np.ndarray], np.ndarray],
    edges: np.ndarray,
    jitter: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Panels:
    """Panels between the edges, halved where the density asks for it.

    `jitter` says by how many nats its logarithm is off at random: what changes by less is no reason to halve.
    """
    left, right = edges[:-1], edges[1:]
    x, w = rule(left, right)
    values = log_density(x)
    finite = np.isfinite(values)
    if np.isnan(values).any() or (values == np.inf).any() or not finite.any():
        raise ValueError(
            "log_density must be a finite number or -inf wherever the density is looked at, and not all -inf"
        )
    shift = float(values[finite].max())
    done: list[np.ndarray] = []
    error = 0.0
    moments = _moments(values - shift, w)
    for depth in range(FINEST + 1):
        halves = _halves(left, right)
        x, w = rule(halves[:, 0], halves[:, 1])
        values = log_density(x)
        if np.isnan(values).any():
            raise ValueError("log_density is NaN somewhere inside its support")
        finer = _moments(values - shift, w)
        change = np.abs(finer.reshape(-1, 2, 2).sum(1) - moments).sum(1)
        total = sum(float(d[:, 2].sum()) for d in done) + float(np.abs(finer[:, 0]).sum())
        splittable = right - left > NARROWEST * np.maximum(np.abs(left), np.abs(right))
        rough = (change > 1e-16 * total) & splittable & (depth < FINEST)
        if jitter is not None and rough.any():
            off = (w * np.exp(values - shift) * jitter(x)).sum(1).reshape(-1, 2).sum(1)
            rough &= change > off
        if len(done) and sum(map(len, done)) + 2 * rough.sum() > MOST:
            rough[:] = False
        keep = ~rough
        error += float(change[keep].sum())
        done.append(np.stack([left, right, finer.reshape(-1, 2, 2).sum(1)[:, 0]], 1)[keep])
        if not rough.any():
            break
        pairs = np.repeat(rough, 2)
        left, right, moments = halves[pairs, 0], halves[pairs, 1], finer[pairs]
    table = np.concatenate(done)
    table = table[np.argsort(table[:, 0])]
    total = float(table[:, 2].sum())
    if not 0 < total < np.inf:
        raise ValueError(f"the density must have a finite positive integral, but it came out as {total}")
    return Panels(table[:, 0], table[:, 1], table[:, 2] / total, float(np.log(total) + shift), error / total)


class _Found(NamedTuple):
    """What a closer look has seen."""

    mass: float
    place: float
    near: float  # the least step away from it
    far: float  # the greatest


def hidden(source: Source, panels: Panels, jitter: Callable[[np.ndarray], np.ndarray], away: float) -> np.ndarray:
    """New edges about peaks, holes and jumps between the nodes, where there are any that a closer look can see.

    The rule and its halves agree where none has a node in it, so only looking helps. From a place found edges lead away
    in doubling steps, so that the rules see how wide it is. Panels too narrow to be halved are taken as they are.
    """
    size = np.maximum(np.maximum(np.abs(panels.left), np.abs(panels.right)), away)
    divisible = panels.right - panels.left > np.maximum(NARROWEST * size, LEAST)
    left, right, size = panels.left[divisible], panels.right[divisible], np.repeat(size[divisible], 2)
    left, right = _halves(left, right).T  # on which the rule was last
    x, _ = rule(left, right)

    def log_density(at: np.ndarray) -> np.ndarray:
        assert source.log_density is not None
        return source.log_density(at) - panels.log_scale

    values = log_density(x)
    found = []
    # What is seen beyond the outermost node is held against it alone: where panels meet there may be a jump.
    for side, node, end in ((slice(None), x[:, 0], left), (slice(None, None, -1), x[:, -1], right)):
        found += _jumps(log_density, values[:, side], node, end, size, jitter)
        first, second = values[:, side][:, :2].T
        with np.errstate(invalid="ignore"):
            slope = np.abs(first - second)
        bend = np.where(np.isfinite(slope), slope / 2, 0.0)
        low, high = np.minimum(node, end), np.maximum(node, end)
        found += _peaks(log_density, low, high, first - bend, first + bend, _looks(source, low, high), jitter)
    low, high, one, other = (part.ravel() for part in (x[:, :-1], x[:, 1:], values[:, :-1], values[:, 1:]))
    below, above = np.minimum(one, other), np.maximum(one, other)
    found += _peaks(log_density, low, high, below, above, _looks(source, low, high), jitter)
    edges = [np.empty(0)]
    for _, place, near, far in sorted(found, reverse=True)[:AT_ONCE]:
        steps = far * 2.0 ** np.arange(math.floor(math.log2(near / far)), 1)
        edges.append(np.concatenate([place - steps, [place], place + steps]))
    new = np.concatenate(edges)
    return new[(new > panels.left[0]) & (new < panels.right[-1])]


def _looks(source: Source, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How many are taken between two points, from how far apart: a share of the support and of the way to the peak."""
    assert source.log_density is not None
    peak = source.breaks[int(np.argmax(source.log_density(source.breaks)))]

    def passed(x: np.ndarray) -> np.ndarray:
        u = (x - peak) / source.scale
        return (x - peak) / (source.support[1] - source.support[0]) / OF_SUPPORT + np.where(
            np.abs(u) < 1, u, np.sign(u) * (1 + np.log(np.maximum(np.abs(u), 1)))
        ) / OF_THE_WAY

    return np.maximum(np.ceil(passed(high) - passed(low)), 1).astype(int)


def _peaks(
    log_density: Callable[[np.ndarray], np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    below: np.ndarray,
    above: np.ndarray,
    looks: np.ndarray,
    jitter: Callable[[np.ndarray], np.ndarray],
) -> list[_Found]:
    """Where between two points the logarithm of the density leaves what is expected there: peaks and holes."""
    found, width, until = [], high - low, np.cumsum(looks)
    first = 0
    while first < len(looks):
        begun = until[first] - looks[first]
        last = max(int(np.searchsorted(until, begun + AT_A_TIME, "right")), first + 1)
        of = np.repeat(np.arange(first, last), looks[first:last])
        x = low[of] + width[of] * ((begun + np.arange(len(of)) - (until - looks)[of] + 0.5) / looks[of])
        seen = log_density(x)
        with np.errstate(invalid="ignore", over="ignore"):
            out = np.maximum(seen - above[of], below[of] - seen) > STANDS_OUT
            mass = np.where(out, width[of] * np.exp(np.maximum(seen, above[of])), 0.0)
            k = np.nonzero(mass > MATTERS)[0]
            if k.size:
                k = k[np.maximum(seen - above[of], below[of] - seen)[k] > STANDS_OUT + jitter(x[k])]
        k = k[np.argsort(-mass[k], kind="stable")]
        k = k[np.unique(of[k], return_index=True)[1]]  # the greatest of each
        found += [_Found(float(mass[i]), float(x[i]), width[of[i]] / looks[of[i]] / 256, width[of[i]]) for i in k]
        first = last
    return found


def _jumps(
    log_density: Callable[[np.ndarray], np.ndarray],
    values: np.ndarray,
    node: np.ndarray,
    end: np.ndarray,
    size: np.ndarray,
    jitter: Callable[[np.ndarray], np.ndarray],
) -> list[_Found]:
    """Where between the outermost node of a panel and its end the density leaves the polynomial through its nodes.

    A jump there is so near to the end that no node of the rule or of its halves need be beyond.
    """
    x = end[:, None] + (node - end)[:, None] * TOWARDS_END
    rest = np.abs(x - end[:, None])
    with np.errstate(over="ignore", invalid="ignore"):
        f, seen = np.exp(values), log_density(x)
        off = np.abs(np.exp(seen) - f @ EXTRAPOLATION.T)
        out = (off > JUMPS * np.maximum(f.max(axis=1, keepdims=True), np.exp(seen))) & (off * rest > MATTERS)
        out &= rest > 4 * EPS * size[:, None]  # nearer it may be the other side of a break that is seen
        out[:, 0] = False  # the node itself
        panel, k = np.nonzero(out)
        certain = off[panel, k] > 2 * np.exp(seen[panel, k]) * jitter(x[panel, k]) if panel.size else panel > 0
    panel, which = np.unique(panel[certain], return_index=True)
    k = k[certain][which]
    a, b = x[panel, k - 1], x[panel, k]
    near = np.abs(a - b) / 256
    f_a, f_b = np.exp(seen[panel, k - 1]), np.exp(seen[panel, k])
    for _ in range(BISECTIONS if panel.size else 0):
        middle = a + (b - a) / 2
        beyond = (np.exp(log_density(middle)) > (f_a + f_b) / 2) == (f_b > f_a)
        a, b = np.where(beyond, a, middle), np.where(beyond, middle, b)
    mass = (off * rest)[panel, k]
    far = np.abs(node - end)[panel]
    return [_Found(*map(float, one)) for one in zip(mass, b, near, far, strict=True)]


def _moments(log_f: np.ndarray, w: np.ndarray) -> np.ndarray:
    """∫ f and ∫ f log f over each panel, (panels, 2)."""
    f = np.exp(log_f)
    return np.stack([(w * f).sum(1), (w * f * np.where(f > 0, log_f, 0.0)).sum(1)], 1)


def divide(left: np.ndarray, right: np.ndarray, width: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same panels cut into pieces no wider than `width`."""
    pieces = np.maximum(np.ceil((right - left) / width), 1).astype(int)
    index = np.repeat(np.arange(len(left)), pieces)
    k = np.arange(len(index)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    step = (right - left) / pieces
    a = left[index] + k * step[index]
    b = np.where(k + 1 == pieces[index], right[index], left[index] + (k + 1) * step[index])
    return a, b
