"""Gauss-Legendre panels that resolve a density, and then a kernel.

A panel is halved until the rule of 16 nodes agrees with itself on the two halves for ∫ f and ∫ f log f, so a kink
between panels, an algebraic singularity or a heavy tail costs a few dozen graded panels and no accuracy.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

ORDER = 16
NODES, WEIGHTS = np.polynomial.legendre.leggauss(ORDER)
FINEST = 1000  # halvings: towards a pole at zero as far as numbers go
NARROWEST = 2.0**-44  # relative to its place: the outermost nodes of half of it are not rounded to its ends
MOST = 200_000  # panels
LOOKS, FEWEST = 2**17, 32  # between all nodes, for what is hidden there, and between two of them at least
STANDS_OUT = 0.1  # nats; between neighboring nodes no smooth density rises or falls by so much and comes back
MATTERS = 1e-14  # mass
AT_ONCE = 16  # places where something is found


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
        middle = left + (right - left) / 2
        halves = np.stack([np.stack([left, middle], 1), np.stack([middle, right], 1)], 2).reshape(-1, 2)
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


def hidden(log_density: Callable[[np.ndarray], np.ndarray], panels: Panels) -> np.ndarray:
    """New edges about peaks and holes between the nodes, where there are any that a closer look can see.

    The rule and its halves agree where none has a node in it, so only looking helps. From a place found edges lead away
    in doubling steps, so that the rules see how wide it is.
    """
    x, _ = rule(panels.left, panels.right)
    x = np.unique(x)
    low, high = x[:-1, None], x[1:, None]
    looks = max(LOOKS // len(x), FEWEST)
    between = low + (high - low) * (np.arange(looks) + 0.5) / looks
    log_f = log_density(x)
    above, below = np.maximum(log_f[1:], log_f[:-1])[:, None], np.minimum(log_f[1:], log_f[:-1])[:, None]
    seen = log_density(between)
    with np.errstate(invalid="ignore"):
        out = np.maximum(seen - above, below - seen) > STANDS_OUT
        out &= (high - low) * np.exp(np.maximum(seen, above) - panels.log_scale) > MATTERS
    gaps = np.nonzero(out.any(axis=1))[0]
    if not gaps.size:
        return np.empty(0)
    mass = np.where(out, np.exp(np.maximum(seen, above) - panels.log_scale), 0.0)[gaps] * (high - low)[gaps]
    edges = []
    for gap, one in sorted(zip(gaps, mass, strict=True), key=lambda pair: -pair[1].max())[:AT_ONCE]:
        place = between[gap, int(np.argmax(one))]
        steps = (x[gap + 1] - x[gap]) * 2.0 ** np.arange(-8 - math.ceil(math.log2(looks)), 1)
        edges.append(np.concatenate([place - steps, [place], place + steps]))
    found = np.concatenate(edges)
    return found[(found > panels.left[0]) & (found < panels.right[-1])]


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
