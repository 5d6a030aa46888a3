"""Checks beside R(D): Shannon's bound, a second demand and universality, the bottleneck, blocks of a linear model."""

import math

import numpy as np
from jax import Array
from scipy import stats

from rdtheory import sources
from rdtheory.limits import closed_form, continuous, discrete
from rdtheory.verify.rows import Row, agree, at_most

LN2 = math.log(2)


def shannon_gap(key: Array, quick: bool) -> list[Row]:
    """Shannon's lower bound: exact for some sources, below R(D) for all, and by how much."""
    rows = []
    for name, source, law in (
        ("Student, 5 degrees", sources.student_t(5.0), stats.t(5)),
        ("generalized Gaussian, 1.5", sources.generalized_gaussian(1.5, 1.0), stats.gennorm(1.5)),
    ):
        D = 0.1 * float(law.var())
        bound, point = continuous.shannon_lower_bound(source, D), continuous.rate_at(source, D)
        theory = float(law.entropy()) / LN2 - 0.5 * math.log2(2 * math.pi * math.e * D)
        rows.append(agree("h(X) - ½ log 2πeD", f"by quadrature, {name}", theory, bound.rate, 2 * bound.error))
        rows.append(at_most("Shannon's bound <= R(D)", f"certified R(D), {name}", bound.rate, point.upper))
        if name.startswith("generalized"):
            fisher = sources.generalized_gaussian_fisher_information(1.5, 1.0)
            most, gap = continuous.shannon_gap(fisher, D), point.upper - bound.rate
            rows.append(at_most("R(D) - Shannon's bound <= ½ log(1 + D J)", f"certified, {name}", gap, most))
            rows.append(at_most("that is loose by 10,000", f"10⁴ times the certified gap, {name}", 1e4 * gap, most))
    p, D = np.array([0.4, 0.3, 0.2, 0.1]), 0.2
    bound = discrete.shannon_lower_bound(p, 1 - np.eye(4), D)
    rows.append(agree("H(X) - φ(D) = R(D)", f"loaded die, D = {D}", closed_form.hamming(p, D), bound.rate, 1e-12))
    return rows
