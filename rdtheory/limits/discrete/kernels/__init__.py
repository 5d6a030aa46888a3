"""What a solver asks of a distortion, whatever it is made of: a matrix, a uniform grid, a plane, two lists of points.

Over all letters it answers four questions,

    facts(p)               what makes a problem of it: the least distortion, the best letter, the largest excess
    view(problem, letters) the excess distortion of some letters
    price(problem, s, w)   Σ_x w K(x, y) for every letter y, and a bound on the error of a transform
    peaks(c, count)        letters of largest c, one of each neighborhood

and says which letters to begin with (`first`), which smaller problem is like it (`coarser`) and how much of c above
one costs a lower bound (`overshoot`). A view, at a slope, is a kernel of four operations, `times`, `transposed`,
`inverse` and `sums`. No solver needs to know more; what is constant is said by

    storable   whether the kernel of all letters may be kept
    terms      how many terms an entry is the sum of
    axes       in how many dimensions Shannon's lower bound tells a slope to begin with; 0 where it does not
    drops      whether column generation lets go letters without mass
"""

from jax import Array

from rdtheory.distortion import Grid, Samples
from rdtheory.limits.discrete.kernels.grid import Lattice, Shifted
from rdtheory.limits.discrete.kernels.matrix import Matrix
from rdtheory.limits.discrete.kernels.plane import Columns, Plane, PlaneKernel, is_plane
from rdtheory.limits.discrete.kernels.samples import Cloud, Streamed
from rdtheory.limits.discrete.kernels.stored import Facts, Scaled, Stored, Table, kept

Distortion = Matrix | Lattice | Plane | Cloud
__all__ = [
    "Cloud",
    "Columns",
    "Distortion",
    "Facts",
    "Lattice",
    "Matrix",
    "Plane",
    "PlaneKernel",
    "Scaled",
    "Shifted",
    "Stored",
    "Streamed",
    "Table",
    "kept",
    "of",
]


def of(distortion: Array | Grid | Samples) -> Distortion:
    """What the solvers see of a distortion; a grid of squares of several axes is a plane, if its values are known."""
    if isinstance(distortion, Grid):
        return Plane(distortion.offsets) if is_plane(distortion.offsets) else Lattice(distortion.offsets)
    return Cloud(*distortion) if isinstance(distortion, Samples) else Matrix(distortion)
