"""Published numbers beside what is proved: python benchmarks/published.py writes docs/benchmarks/published.csv.

All under squared error. What is proved is an interval; where the points of a reproduction are is found and not proved.
"""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import scipy

import rdtheory as rd
from rdtheory.limits.continuous import ContinuousRate
from rdtheory.sources import Source

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "published.csv"
NATS = math.log(2)
TOL = 1e-10  # bits
UNIFORM = "uniform on [−20, 20]"
CRITICAL = (0.0039, 0.0116, 0.0274, 0.0725)  # nats, for two points and more


class Row(NamedTuple):
    """A published number; its last digit is one `unit`."""

    source: str
    quantity: str
    printed: float
    unit: float
    low: float
    high: float

    @property
    def remark(self) -> str:
        """Whether what is proved rounds to what was printed, or how far away it is at least."""
        off = max(self.low - self.printed, self.printed - self.high)
        if max(self.printed - self.low, self.high - self.printed) <= self.unit / 2:
            return "holds"
        return f"off by {off:.2g}" if off > self.unit / 2 else "holds but for the last digit"

    def cells(self) -> list[str]:
        """As text, what is proved to the digits that both ends share and one more."""
        digits = max(1 - math.floor(math.log10(self.high - self.low)), 0)
        ends = math.floor(self.low * 10**digits) / 10**digits, math.ceil(self.high * 10**digits) / 10**digits
        places = -round(math.log10(self.unit))
        proved = f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"
        return [self.source, self.quantity, f"{self.printed:.{places}f}", proved, self.remark]


def rates() -> list[Row]:
    """R(D) in nats, of the uniform source on [-8, 8]."""
    found = rd.continuous.curve(rd.sources.uniform(-8.0, 8.0), np.array([4.0, 8.0]), tol=TOL)
    printed = {4: 0.7360, 8: 0.4243}
    ends = np.stack([found.lower, found.upper]).T * NATS
    name = "uniform on [−8, 8]"
    return [
        Row(name, f"R({D}), nats", value, 1e-4, *interval)
        for (D, value), interval in zip(printed.items(), ends, strict=True)
    ]


def critical_slopes() -> list[Row]:
    """Where the uniform source on [-20, 20] gets its points."""
    found = rd.continuous.transitions(
        rd.sources.uniform(-20.0, 20.0), np.array([0.003, 0.0045, 0.015, 0.025, 0.04]) / NATS
    )
    assert np.array_equal(found.fewest, found.most) and np.array_equal(found.fewest[:, 1], [2, 3, 4, 5])
    ends = np.stack([found.low, found.high]).T * NATS
    return [
        Row(UNIFORM, f"slope where {points} points come, nats", printed, 1e-4, *interval)
        for points, printed, interval in zip(range(2, 6), CRITICAL, ends, strict=True)
    ]


def one_bit() -> tuple[Row, ContinuousRate]:
    """The distortion of the uniform source on [0, 1] at one bit, and the reproduction there."""
    source = rd.sources.uniform(0.0, 1.0)
    D = _root(lambda D: rd.continuous.rate_at(source, D, tol=TOL).upper - 1, 0.01, 0.03)
    ends = D * (1 - 1e-6), D * (1 + 1e-6)
    before, after = (rd.continuous.rate_at(source, end, tol=TOL) for end in ends)
    assert before.lower > 1 > after.upper
    return Row("uniform on [0, 1]", "D at 1 bit", 0.0173, 1e-4, *ends), after


def one_nat() -> tuple[Row, ContinuousRate]:
    """The distortion of a normal law, cut to [-3, 3], at the slope of one nat, and the reproduction there.

    R is convex: where a chord is steeper than the slope its left end has less distortion, and on the other side more.
    """
    source = cut_normal()
    slope, h = 1 / NATS, 1e-5
    D = _root(lambda D: rd.continuous.rate_at(source, D, tol=TOL).slope - slope, 0.3, 0.6)
    left, middle, right = (rd.continuous.rate_at(source, at, tol=TOL) for at in (D - h, D, D + h))
    assert left.lower - middle.upper > slope * h > middle.upper - right.lower
    row = Row("normal, cut to [−3, 3]", "D at a slope of 1 nat", 0.4995, 1e-4, D - h, D + h)
    return row, middle


def cut_normal() -> Source:
    """N(0, 1) on [-3, 3]."""
    return rd.sources.from_log_density(lambda x: -0.5 * x**2, (-3.0, 3.0), breaks=(0.0,))


def _root(function: Callable[[float], object], low: float, high: float) -> float:
    return scipy.optimize.brentq(lambda x: float(function(x)), low, high, xtol=1e-11)


def _places(source: str, when: str, printed: list[float], unit: float, point: ContinuousRate) -> list[str]:
    """Points that were found, at a rate that is proved to the last digit: good evidence, and no proof of the places."""
    y = np.asarray(point.points)
    shown = ", ".join(f"{place:g}" for place in printed)
    off = float(np.max(np.abs(y - printed)))
    remark = "holds" if off <= unit / 2 else f"off by {off:.2g}"
    return [source, f"points {when}", shown, "found: " + ", ".join(f"{place:.4f}" for place in y), remark]


def main() -> None:
    """Write the table."""
    jax.config.update("jax_enable_x64", True)
    (at_bit, bit), (at_nat, nat) = one_bit(), one_nat()
    lines = [
        at_bit.cells(),
        _places(at_bit.source, "at 1 bit", [0.2, 0.5, 0.8], 0.1, bit),
        at_nat.cells(),
        _places(at_nat.source, "at a slope of 1 nat", [-1.09, -0.18, 0.18, 1.09], 0.01, nat),
        *(row.cells() for row in rates() + critical_slopes()),
    ]
    with OUT.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["source", "what", "printed", "proved", "remark"], *lines])


if __name__ == "__main__":
    main()
