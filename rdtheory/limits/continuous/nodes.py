"""A source on the line as a kernel of a given width needs it: resolved nodes, and its far ends.

notation: w kernel width, (2 s ln 2)^(-1/2) at the slope s; x, p nodes and their masses.
"""

import math
from typing import NamedTuple

import numpy as np

from rdtheory.limits.continuous.panels import ORDER, divide, rule

LN2 = math.log(2)
REACH = 9.0  # kernel widths: beyond them K < e^-40
PANEL = 1.25  # kernel widths
HEAVY = 2_000  # kernel widths; more are not resolved, and the ends are dealt with by `Tail`
MOST = 200_000
JUNCTIONS = (1e-9, 1e-8, 1e-7)  # f w at the ends of the core, about the rate lost there
LONG = 5_000  # kernel widths; of a core beyond them the next junction is taken, or a round takes half a minute
ABANDONED = 1e-14  # mass, and θ times distortion, given up far out


class Tail(NamedTuple):
    """The far ends of a source with heavy tails: there x is sent to x plus Gaussian noise of the kernel's width.

    For this channel the output law is f itself where it is smooth, so the rate is Shannon's bound; what is lost is of
    the order of f w at the end of the core. In the dual λ = 1 / (f N), N = ∫ K, so that c = 1 there.
    """

    x: np.ndarray
    p: np.ndarray
    log_f: np.ndarray
    noisy_log_f: np.ndarray  # E log f(x + w Z), f held at its end values beyond either end of the tail
    rim: int  # the first so many are within 18 widths of the core, at its resolution
    rim_weights: np.ndarray  # of the quadrature
    budget: float  # mass that the output law spends on the ends
    width: float


class Nodes(NamedTuple):
    """The part of a source that is resolved, and what is left of it outside."""

    x: np.ndarray
    p: np.ndarray
    panel: np.ndarray  # which panel each node belongs to; λ is smooth on each
    left: np.ndarray  # of the panels; empty for atoms
    right: np.ndarray
    outside: float  # mass
    outside_x: np.ndarray
    outside_p: np.ndarray
    tail: Tail | None  # in place of what is outside


def width_of(slope: float) -> float:
    """Kernel width."""
    return 1 / math.sqrt(2 * LN2 * slope)


def nodes_at(log_density, panels, width: float, center: float) -> Nodes:
    """Panels no wider than the kernel asks for, without the far ends that carry nothing."""

    def density(x):
        return np.exp(log_density(x))

    def cost(left, right, mass):
        far = np.maximum(np.abs(left - center), np.abs(right - center))
        with np.errstate(over="ignore"):
            return mass * (1 + 0.5 * (far / width) ** 2)

    def kept(cost):
        order = np.argsort(cost)
        dropped = order[np.cumsum(cost[order]) <= ABANDONED / 2]
        keep = np.ones(len(cost), bool)
        keep[dropped] = False
        return keep

    first = kept(cost(panels.left, panels.right, panels.mass))
    if np.sum((panels.right - panels.left)[first]) > HEAVY * width:
        return _heavy(log_density, panels, width)
    left, right = divide(panels.left[first], panels.right[first], PANEL * width)
    x, w = rule(left, right)
    p = w * density(x)
    second = kept(cost(left, right, p.sum(1)))
    xo, wo = rule(panels.left[~first], panels.right[~first])
    outside_x = np.concatenate([xo.ravel(), x[~second].ravel()])
    outside_p = np.concatenate([(wo * density(xo)).ravel(), p[~second].ravel()])
    x, p, left, right = x[second], p[second], left[second], right[second]
    panel = np.repeat(np.arange(len(left)), ORDER)
    outside = max(1 - float(p.sum()), 0.0) + panels.error
    return Nodes(x.ravel(), p.ravel(), panel, left, right, outside, outside_x, outside_p, None)


def _heavy(log_density, panels, width: float) -> Nodes:
    """A core that ends where the density is low, a rim, and tails."""
    first, last = float(panels.left[0]), float(panels.right[-1])

    x, _ = rule(panels.left, panels.right)
    x = x.ravel()
    a, b = -math.inf, math.inf
    for junction in JUNCTIONS:
        high = np.nonzero(log_density(x) + math.log(width) > math.log(junction))[0]
        low_end, high_end = (int(high[0]), int(high[-1])) if len(high) else (len(x) // 2, len(x) // 2)
        low = float(x[low_end - 1]) if low_end > 0 else first
        up = float(x[high_end + 1]) if high_end + 1 < len(x) else last
        if up - low > (b - a) / 2:  # light tails: little is to be won
            break
        a, b = low, up
        if (b - a) / width <= LONG:
            break
    if (b - a) / width > MOST:
        raise ValueError(
            f"the source spreads over {(b - a) / width:.1e} widths of the kernel at this distortion, and {MOST} are "
            "the most that are resolved: ask for a larger distortion, or treat far components one by one"
        )
    rim = 2 * REACH * width
    cuts = np.array([a - rim, a, b, b + rim])
    edges = np.unique(np.concatenate([panels.left, panels.right[-1:], cuts]))
    edges = edges[(edges >= first) & (edges <= last)]
    left, right = edges[:-1], edges[1:]
    inside = (left >= a) & (right <= b)
    near = ~inside & (left >= a - rim) & (right <= b + rim)
    left_in, right_in = divide(left[inside], right[inside], PANEL * width)
    x, w = rule(left_in, right_in)
    p = (w * np.exp(log_density(x))).ravel()
    rim_x, rim_w = rule(*divide(left[near], right[near], PANEL * width))
    far_x, far_w = rule(left[~inside & ~near], right[~inside & ~near])
    tail_x, tail_w = np.append(rim_x.ravel(), far_x.ravel()), np.append(rim_w.ravel(), far_w.ravel())
    log_f = log_density(tail_x)
    noise, share = np.polynomial.hermite_e.hermegauss(20)
    moved = tail_x[:, None] + width * noise
    moved = np.where((tail_x > b)[:, None], np.clip(moved, b, last), np.clip(moved, first, a))
    noisy = np.sum(np.where(share > 0, log_density(moved) * share, 0.0), axis=1) / share.sum()
    tail_p = tail_w * np.exp(log_f)
    ends = np.array([x for x, whole in ((a, first), (b, last)) if x != whole for x in (x, whole)])
    held = REACH * width * float(np.exp(log_density(ends)).sum()) if len(ends) else 0.0
    budget = float(tail_p.sum()) + panels.error + held
    tail = Tail(tail_x, tail_p, log_f, noisy, rim_x.size, rim_w.ravel(), budget, width)
    panel = np.repeat(np.arange(len(left_in)), ORDER)
    none = np.empty(0)
    outside = float(tail_p.sum()) + panels.error
    return Nodes(x.ravel(), p, panel, left_in, right_in, outside, none, none, tail)


def dual_nodes(nodes: Nodes, v: np.ndarray, width: float) -> tuple[Nodes, np.ndarray]:
    """The nodes with the rim, on which f λ is constant; unchanged without heavy tails."""
    tail = nodes.tail
    if tail is None:
        return nodes, v
    x = np.append(nodes.x, tail.x[: tail.rim])
    p = np.append(nodes.p, tail.p[: tail.rim])
    panel = np.append(nodes.panel, nodes.panel[-1] + 1 + np.arange(tail.rim) // ORDER)
    v = np.append(v, tail.rim_weights / (width * math.sqrt(2 * math.pi)))
    order = np.argsort(x, kind="stable")
    return nodes._replace(x=x[order], p=p[order], panel=panel[order]), v[order]
