r"""R(D) of sources on the real line, certified for the continuous source and not for a grid.

For a density f, a slope s and K(u) = 2^(-s ρ(u)), any function λ(x) > 0 gives, for every D',

    R(D') ≥ -s D' + ∫ f log λ - log sup_y ∫ f(x) λ(x) K(x - y) dx,

with the supremum over all real y. Points y_j with masses q_j give λ = 1/z, z(x) = Σ q_j K(x - y_j), and the channel
q_j K(x - y_j) / z(x), whose rate bounds R from above. So a result needs three things beside the masses: integrals with
a stated error, a bound of the supremum over all y and not only over points looked at, and the far ends of the source.

- Integrals: Gauss-Legendre panels as wide as the kernel; the error is what halving all of them changes.
- Supremum: Taylor polynomials with a remainder from Cauchy's estimate, bounded by their Bernstein coefficients.
- Far ends: mass beyond the panels kept gets λ = 1 below, and a reproduction drawn from q blindly above.

That is squared error. For other ρ(x - y) K may have a kink, so `difference` works on equal cells instead, with the
reproductions on their edges: λ is constant on cells, and that K falls on either side of zero bounds the supremum.

Shannon's lower bound, in `shannon`, needs neither points nor a slope: where it is the better one it is the lower bound.

All of it runs on the host in NumPy: the kernel reaches a few widths only, so all is banded, and nothing compiles.
"""

from rdtheory.limits.continuous.points import ContinuousRate, band, curve, rate_at
from rdtheory.limits.continuous.shannon import shannon_gap, shannon_lower_bound
from rdtheory.limits.continuous.transitions import ContinuousTransitions, transitions

__all__ = [
    "ContinuousRate",
    "ContinuousTransitions",
    "band",
    "curve",
    "rate_at",
    "shannon_gap",
    "shannon_lower_bound",
    "transitions",
]
