"""A table of values of R(D), each with the digits that are proved: for tests of other programs, and to be cited."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from importlib.resources import files
from typing import NamedTuple

from rdtheory.rigor.enclosure import decimal
from rdtheory.rigor.named import prove

DIGITS = 30  # of discrete sources

PROBLEMS = [
    ("1/2,1/2", "hamming", ("0.01", "0.11", "1/4")),
    ("0.7,0.3", "hamming", ("0.01", "0.1", "0.25")),
    ("0.9,0.1", "hamming", ("0.01", "0.05")),
    ("0.5,0.3,0.2", "hamming", ("0.05", "0.2", "0.45")),
    ("fair:6", "hamming", ("0.1", "0.5")),
    ("fair:26", "hamming", ("0.25",)),
    ("0.6,0.3,0.1", "erasure", ("0.1", "0.3", "0.5")),
    ("fair:4", "erasure", ("0.5",)),
    ("1/2,1/2", "0,1,1/5;1,0,1/5", ("0.05", "0.15")),
    ("0.4,0.6", "0,1;3,0", ("0.1", "0.3")),
    ("0.5,0.3,0.2", "squared", ("0.1", "0.3")),
    ("fair:8", "absolute", ("0.1", "0.5", "1")),
    ("fair:8", "squared", ("0.1", "0.5", "2")),
    ("binomial:20,1/2", "absolute", ("0.5", "1")),
    ("binomial:20,1/2", "squared", ("0.5", "1", "2")),
    ("geometric:1/2,20", "hamming", ("0.1",)),
    ("geometric:1/2,20", "absolute", ("0.25", "0.5")),
    ("geometric:3/4,40", "squared", ("0.5", "2")),
    ("poisson:1,12", "absolute", ("0.1", "0.5")),
    ("poisson:4,16", "absolute", ("0.5", "1")),
    ("poisson:4,16", "squared", ("0.5", "2")),
    ("uniform:-1,1", "squared", ("0.155", "0.0705", "1/12", "0.016", "0.004")),
    ("laplace:1", "squared", ("1", "0.5")),
    ("mixture:1/2,-1,1/5;1/2,1,1/5", "squared", ("0.02", "0.1", "0.5")),
    ("mixture:0.3,-1,0.3;0.7,1,0.5", "squared", ("0.05", "0.3")),
    ("gaussian:1", "squared", ("1/16", "1/2")),
]


class Reference(NamedTuple):
    """One value of the table; source and distortion as `rdtheory prove` takes them."""

    source: str
    distortion: str
    D: str  #: exact
    rate: str  #: R(D) in bits per symbol; the true value is within one unit of the last digit


def reference() -> list[Reference]:
    """The table of reference values that comes with the package.

    Returns
    -------
    list of Reference
        ``source``, ``distortion`` and ``D`` are exact, in the words of ``rdtheory prove``; ``rate`` is in bits.

    Examples
    --------
    >>> value = next(row for row in reference() if row.source == "0.7,0.3" and row.D == "0.1")
    >>> print(value.rate)
    0.412295305641411396971229893859
    """
    text = files("rdtheory.rigor").joinpath("reference.csv").read_text(encoding="utf-8")
    return [Reference(**row) for row in csv.DictReader(io.StringIO(text))]


def proved_row(source: str, distortion: str, D: str) -> Reference:
    """A row of the table, proved anew."""
    return Reference(source, distortion, D, decimal(prove(source, distortion, D, DIGITS), places=DIGITS))


def proved(progress: Callable[[Reference], None] = lambda row: None) -> str:
    """The whole table as CSV, proved anew: minutes."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(Reference._fields)
    for source, distortion, targets in PROBLEMS:
        for D in targets:
            row = proved_row(source, distortion, D)
            progress(row)
            writer.writerow(row)
    return stream.getvalue()
