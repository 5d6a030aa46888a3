"""Proofs: enclosures of R(D) in ball arithmetic, which no rounding can make false.

A solver in floating point states a gap, and believes its own sums. Here a second program, which shares none of its
code, takes a solver's answer for a guess and proves two bounds from it, every operation rounded outwards by
python-flint (an extra: ``pip install 'rdtheory[proofs]'``). `enclose` checks a result; `rate_at` goes on to as many
digits as one asks for; `continuous_rate_at` does densities under squared error. On the command line: ``rdtheory
prove``.

What is proved holds for exact numbers: a float is the binary number that it is, a string like ``"0.1"`` or ``"1/3"``
is the rational that it says, and masses are divided by their exact sum. What it rests on: FLINT, and a few
lines of algebra, in `rdtheory.rigor.bounds` and, for densities, in `rdtheory.rigor.moments`.

>>> from rdtheory import rigor
>>> print(rigor.decimal(rigor.rate_at(["0.7", "0.3"], [[0, 1], [1, 0]], "0.1"), places=30))
0.412295305641411396971229893859
"""

from rdtheory.rigor.continuous import continuous_rate_at
from rdtheory.rigor.densities import Density, gaussian_mixture, laplace, uniform
from rdtheory.rigor.discrete import enclose, rate_at
from rdtheory.rigor.enclosure import Enclosure, decimal
from rdtheory.rigor.table import Reference, reference

__all__ = [
    "Density",
    "Enclosure",
    "Reference",
    "continuous_rate_at",
    "decimal",
    "enclose",
    "gaussian_mixture",
    "laplace",
    "rate_at",
    "reference",
    "uniform",
]
