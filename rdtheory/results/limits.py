"""What the functions of `limits` return."""

from typing import NamedTuple

from jax import Array
from jaxtyping import Bool, Float, Int


class RateDistortion(NamedTuple):
    """A point of a discrete source's rate-distortion function, with its certificate.

    R(distortion) lies in [rate - gap, rate], whether or not the iteration converged.
    """

    rate: Float[Array, "..."]  #: bits per source symbol; an upper bound of R(distortion)
    distortion: Float[Array, "..."]  #: D, in the units of the distortion matrix
    gap: Float[Array, "..."]  #: bits, >= 0; includes an allowance for floating-point rounding
    slope: Float[Array, "..."]  #: s = -dR/dD of the certifying line, bits per unit of distortion
    converged: Bool[Array, "..."]  #: gap <= tol
    steps: Int[Array, "..."]  #: iterations made
    reproduction_pmf: Float[Array, "... m"]  #: q; the test channel is q A / z, see `discrete.test_channel`
    segment: Float[
        Array, "... 2"
    ]  #: distortions between which R is known to be straight, with that slope; mostly [D, D]
    method: Int[Array, "..."]  #: which algorithm found it, an index into `discrete.METHODS`


class Band(NamedTuple):
    """What is known of R(D) at some distortions: lower <= R(D) <= upper."""

    lower: Float[Array, "..."]  #: bits per source symbol; no code does better
    upper: Float[Array, "..."]  #: bits per source symbol; infinite where nothing is known


class ShannonBound(NamedTuple):
    """Shannon's lower bound: no code of distortion at most D has a lower rate, with every error already subtracted."""

    rate: Float[Array, "..."]  #: bits per source symbol; not clipped, so it can be negative where it says nothing
    distortion: Float[Array, "..."]  #: D, the one asked for
    slope: Float[Array, "..."]  #: s of the noise of the greatest entropy, 2^(-s ρ), bits per unit of distortion
    entropy: Float[Array, "..."]  #: bits, of the source: h(X), or H(X) of a discrete one
    noise_entropy: Float[Array, "..."]  #: bits, the greatest of a noise that spends D
    error: Float[Array, "..."]  #: bits, of quadrature and rounding; rate = entropy - noise_entropy - error


class Transitions(NamedTuple):
    """Slopes between which the optimal reproduction of a discrete source gains or loses letters."""

    low: Float[Array, " t"]  #: bits per unit of distortion; each transition lies in [low, high]
    high: Float[Array, " t"]  #: bits per unit of distortion
    before: RateDistortion  #: the points at `low`
    after: RateDistortion  #: the points at `high`
    support_before: Int[Array, "t m"]  #: at `low`: 1 used by every optimal law, 0 by none, -1 neither is proved
    support_after: Int[Array, "t m"]  #: likewise at `high`
    decided: Bool[Array, " t"]  #: neither is -1 anywhere


class Lagrangian(NamedTuple):
    """The least of I(X;Y) + slope · E d(X,Y): it lies in [value - gap, value]."""

    value: Float[Array, "..."]  #: bits per source symbol; differentiable in the source, the distortion and the slope
    gap: Float[Array, "..."]  #: bits, >= 0
    converged: Bool[Array, "..."]  #: gap <= tol


class Capacity(NamedTuple):
    """The capacity of a discrete memoryless channel: it lies in [rate - gap, rate]."""

    rate: Float[Array, "..."]  #: bits per channel use; an upper bound of the capacity
    gap: Float[Array, "..."]  #: bits, >= 0; `input_pmf` attains at least rate - gap
    converged: Bool[Array, "..."]  #: gap <= tol
    steps: Int[Array, "..."]  #: iterations made
    input_pmf: Float[Array, "... n"]  #: the input distribution found


class WaterFilling(NamedTuple):
    """Rate-distortion function of independent (or decorrelated) Gaussian components."""

    rate: Float[Array, "..."]  #: bits per vector
    water_level: Float[Array, "..."]  #: θ, the distortion of each component that is described at all
    distortions: Float[Array, "... m"]  #: min(θ, variance) of each component; they sum to min(D, total variance)
    rounding: Float[Array, "..."]  #: bits; the exact rate lies within so many of `rate`, in whatever precision


class LinearBound(NamedTuple):
    """A lower bound on the rate of any compressor of a linear model."""

    rate: Float[Array, "..."]  #: bits per weight vector; not clipped, so it can be negative where it is loose
    water_level: Float[Array, "..."]  #: μ, the common level of λ_i D_i
    weight_distortions: Float[Array, "... m"]  #: D_i, the squared error allowed to each weight
    rounding: Float[Array, "..."]  #: bits, in whatever precision; ``rate - rounding`` is a lower bound beyond doubt


class CapacityCost(NamedTuple):
    """The capacity of a discrete memoryless channel under an input cost: C(budget) lies in [rate - gap, rate]."""

    rate: Float[Array, "..."]  #: bits per channel use; an upper bound of C(budget)
    spent: Float[Array, "..."]  #: mean cost of `input_pmf`, at most the budget
    gap: Float[Array, "..."]  #: bits, >= 0; `input_pmf` attains at least rate - gap
    slope: Float[Array, "..."]  #: s = dC/dB of the certifying line, bits per unit of cost; infinite at the least cost
    converged: Bool[Array, "..."]  #: gap <= tol
    steps: Int[Array, "..."]  #: iterations made
    input_pmf: Float[Array, "... n"]  #: the input distribution found


class Bottleneck(NamedTuple):
    """A point of the information bottleneck curve: the least I(X;T) at this relevance lies in [rate - gap, rate]."""

    rate: Float[Array, "..."]  #: bits; an upper bound of the least I(X;T)
    relevance: Float[Array, "..."]  #: bits; the I(T;Y) asked for
    gap: Float[Array, "..."]  #: bits, >= 0; for more than four letters Y, rate - gap is only the relevance itself
    slope: Float[Array, "..."]  #: s = dI(X;T)/dI(T;Y) of the solver's line, bits per bit
    converged: Bool[Array, "..."]  #: gap <= tol
    steps: Int[Array, "..."]  #: rounds made
    cluster_pmf: Float[Array, "... t"]  #: q, the law of T
    cluster_laws: Float[Array, "... t k"]  #: r, P(Y given T) as the kernel 2^(-s KL(p(.|x)‖r_t)) uses it


class GaussianBottleneck(NamedTuple):
    """A point of the information bottleneck curve of jointly Gaussian vectors."""

    rate: Float[Array, "..."]  #: bits, the least I(X;T)
    relevance: Float[Array, "..."]  #: bits; the I(T;Y) asked for
    slope: Float[Array, "..."]  #: s = dI(X;T)/dI(T;Y), bits per bit
    correlations: Float[Array, "... r"]  #: ρ, canonical, descending
    rates: Float[Array, "... r"]  #: bits of each canonical pair that T describes


class ConstrainedRate(NamedTuple):
    """Least rate at a distortion and under a second constraint: it lies in [rate - gap, rate]."""

    rate: Float[Array, "..."]  #: bits per source symbol; an upper bound
    distortion: Float[Array, "..."]  #: the D asked for
    level: Float[Array, "..."]  #: the level of the second constraint asked for
    gap: Float[Array, "..."]  #: bits, >= 0; includes an allowance for floating-point rounding
    slope: Float[Array, "..."]  #: s = -dR/dD of the certifying plane, bits per unit of distortion
    level_slope: Float[Array, "..."]  #: the same for the level, bits per unit of it
    converged: Bool[Array, "..."]  #: gap <= tol
    steps: Int[Array, "..."]  #: iterations made
    reproduction_pmf: Float[Array, "... m"]  #: q of the certificate
    tilt: Float[Array, "... m"]  #: v of the certificate, bits: price of a letter, inf if barred; 0 without perception
    test_channel: Float[Array, "... n m"]  #: a channel that meets both constraints at this rate


class GaussianDemands(NamedTuple):
    """The least rate of a Gaussian source under two demands, and the jointly Gaussian X̂ that has it.

    X̂ = deviation · (correlation · X / σ + √(1 - correlation²) · N), with N of unit variance.
    """

    rate: Float[Array, ""]  #: bits per source symbol, -½ log(1 - correlation²); infinite where the demands are not met
    deviation: Float[Array, ""]  #: standard deviation of X̂
    correlation: Float[Array, ""]  #: of X and X̂


class WynerZiv(NamedTuple):
    """A point of the Wyner-Ziv function: the least rate at this distortion lies in [rate - gap, rate]."""

    rate: Float[Array, "..."]  #: bits per source symbol; an upper bound
    distortion: Float[Array, "..."]  #: the D asked for
    gap: Float[Array, "..."]  #: bits, >= 0; includes an allowance for floating-point rounding
    slope: Float[Array, "..."]  #: s = -dR/dD of the certifying line, bits per unit of distortion
    converged: Bool[Array, "..."]  #: gap <= tol
    steps: Int[Array, "..."]  #: iterations made
    strategies: Int[Array, "... t k"]  #: [t, y] = the letter that the decoder shows for index t when it sees y
    test_channel: Float[Array, "... n t"]  #: P(t given x), meets D at this rate
    potential: Float[Array, "... n"]  #: μ of the dual bound, bits
    side_weights: Float[Array, "... t k"]  #: log w of the dual bound, bits


class FiniteBlocklength(NamedTuple):
    """What a block of n symbols needs: the least rate of any code lies in [converse, achievability]."""

    rate: Float[Array, ""]  #: R(D) in bits per symbol, what infinite blocks need
    dispersion: Float[Array, ""]  #: V, bits² per symbol
    normal_approximation: Float[Array, ""]  #: bits per symbol; need not lie between the bounds
    converse: Float[Array, ""]  #: bits per symbol, >= 0: no code has less
    achievability: Float[Array, ""]  #: bits per symbol: a code with this much exists


class NormalApproximation(NamedTuple):
    """About what one block needs, by its rate-distortion function and its dispersion."""

    rate: Float[Array, ""]  #: R(D), bits per block
    dispersion: Float[Array, ""]  #: V, bits² per block
    normal_approximation: Float[Array, ""]  #: bits per block; an approximation, no bound


class LaplacianOutput(NamedTuple):
    """The optimal reproduction of a Laplacian: a mass at zero, and a Laplacian."""

    zeros: Float[Array, "..."]  #: probability that the reproduction is exactly zero, (D/b)² = 4^(-R)
    scale: Float[Array, "..."]  #: mean magnitude of the others, that of the source


class BlockLength(NamedTuple):
    """How long a block must be for a rate so much above R(D): at `too_short` no code has it, at `enough` one does."""

    too_short: int  #: a length at which the converse is above that rate; 0 if none was found
    enough: int  #: a length at which the achievability is at most that rate
    approximation: int  #: where the normal approximation comes down to it, about V (Q⁻¹(ε) / excess)²; no bound
