"""How many bits a block of n symbols needs: two bounds at every n, and the approximation between or beside them.

A code maps a block to one of M codewords. It must leave no more than `excess_probability` ε of the blocks with a
distortion, averaged over the block, above D:

    P[d(Xⁿ, X̂ⁿ) > D] <= ε.

R(D) is what suffices as n grows. At finite n the least log2(M)/n lies between a converse, which holds for every code,
and an achievability, which some code attains; both are computed at their M, a whole number.
"""

from rdtheory.limits.finite_blocklength.bounds import bernoulli, gaussian, linear_model, parallel_gaussians
from rdtheory.limits.finite_blocklength.lengths import least_length

__all__ = ["bernoulli", "gaussian", "least_length", "linear_model", "parallel_gaussians"]
