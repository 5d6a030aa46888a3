"""How many symbols, or weights, a code needs before R(D) is a fair guide: bounds from both sides."""

from rdtheory.limits.finite_blocklength.bounds import bernoulli, gaussian, linear_model

__all__ = ["bernoulli", "gaussian", "linear_model"]
