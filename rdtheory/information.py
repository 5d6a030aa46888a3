"""Entropy, divergence and mutual information of finite distributions, in bits.

All are differentiable, on the simplex: what is normalized is not changed by a factor. At a mass of zero a derivative is
that to the right, which may be infinite; only reverse mode (`jax.grad`) keeps it apart from those of the other masses.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks

__all__ = ["divergence", "entropy", "mutual_information", "mutual_information_of_joint"]

LN2 = math.log(2)


def entropy(pmf: Float[ArrayLike, " n"]) -> Float[Array, ""]:
    r"""Entropy :math:`H(p) = -\sum_x p_x \log p_x` in bits.

    Parameters
    ----------
    pmf : (n,), nonnegative, sums to 1.

    Raises
    ------
    ValueError : not a probability mass function.

    Examples
    --------
    >>> print(entropy(jnp.array([0.5, 0.25, 0.25])))
    1.5
    """
    p, ok = _checks.pmf("pmf", pmf)
    one = jnp.ones_like(p)
    return _checks.poison(-jnp.sum(_surplus(one, p, one)), ok)


def divergence(pmf: Float[ArrayLike, " n"], reference_pmf: Float[ArrayLike, " n"]) -> Float[Array, ""]:
    r"""Kullback-Leibler divergence :math:`D(p\|r) = \sum_x p_x \log(p_x / r_x)` in bits.

    Infinite where `pmf` has mass that `reference_pmf` lacks; there it has no derivative.

    Parameters
    ----------
    pmf, reference_pmf : (n,), nonnegative, sum to 1.

    Raises
    ------
    ValueError : different lengths, or not probability mass functions.

    Examples
    --------
    >>> print(divergence(jnp.array([1.0, 0.0]), jnp.array([0.25, 0.75])))
    2.0
    """
    p, p_ok = _checks.pmf("pmf", pmf)
    r, r_ok = _checks.pmf("reference_pmf", reference_pmf)
    _checks.array("reference_pmf", r, shape=p.shape)
    return _checks.poison(jnp.sum(_surplus(jnp.ones_like(p), p, r)), p_ok & r_ok)


def mutual_information(source_pmf: Float[ArrayLike, " n"], channel: Float[ArrayLike, "n m"]) -> Float[Array, ""]:
    r"""Mutual information :math:`I(X;Y) = \sum_x p_x D(Q_{\cdot|x} \| pQ)` in bits.

    Parameters
    ----------
    source_pmf : (n,), the law of X.
    channel : (n, m), ``channel[x, y]`` = P(y given x).

    Raises
    ------
    ValueError : shapes disagree, or a row that is not a probability mass function.

    Examples
    --------
    >>> print(mutual_information(jnp.array([0.5, 0.5]), jnp.eye(2)))
    1.0
    """
    p, p_ok = _checks.pmf("source_pmf", source_pmf)
    q, q_ok = _checks.stochastic_matrix("channel", channel)
    _checks.array("channel", q, shape=(p.shape[0], q.shape[1]))
    weight, output = (jnp.broadcast_to(x, q.shape) for x in (p[:, None], (p @ q)[None, :]))
    # An output that never occurs: the first to send it, with mass t, would be known by it, p t log(t / p t).
    new = (q == 0) & (output == 0)
    told = _surplus(weight, jnp.where(new, 1.0, q), jnp.where(new, 1.0, output))
    by_new = jnp.where(new, -weight * jnp.log2(jnp.where(weight > 0, weight, 1.0)), 0.0)
    return _checks.poison(jnp.sum(told + by_new * q), p_ok & q_ok)


def mutual_information_of_joint(joint_pmf: Float[ArrayLike, "n m"]) -> Float[Array, ""]:
    r"""Mutual information :math:`I(X;Y) = \sum_{xy} p_{xy} \log\frac{p_{xy}}{p_x p_y}` of a joint law, in bits.

    Parameters
    ----------
    joint_pmf : (n, m), ``[x, y]`` = P(x, y), nonnegative; sums to 1.

    Raises
    ------
    ValueError : not a probability mass function.

    Examples
    --------
    >>> print(mutual_information_of_joint(jnp.array([[0.5, 0.0], [0.0, 0.5]])))
    1.0
    """
    shape = _checks.array("joint_pmf", joint_pmf, 2).shape
    flat, ok = _checks.pmf("joint_pmf", jnp.reshape(_checks.stored(joint_pmf), -1))
    joint = flat.reshape(shape)
    p, of_y = jnp.sum(joint, axis=1), jnp.sum(joint, axis=0)
    # By P(y given x), as the product of two small masses may be flushed to zero.
    laws = joint / jnp.where(p > 0, p, 1.0)[:, None]
    weight, output = (jnp.broadcast_to(x, shape) for x in (p[:, None], of_y[None, :]))
    return _checks.poison(jnp.sum(_surplus(weight, laws, output)), ok)


@jax.custom_jvp
def _surplus(weight: Array, mass: Array, other: Array) -> Array:
    """Terms weight · mass · log(mass / other), and 0 where either factor is."""
    there = (weight > 0) & (mass > 0)
    ratio = jnp.where(there, mass, 1.0) / jnp.where(there, other, 1.0)
    return weight * mass * jnp.log2(ratio)


@_surplus.defjvp
def _surplus_jvp(values: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    weight, mass, other = values
    # Each derivative as its limit; that in a mass of zero is infinite, where the other has any and the weight some.
    by_weight = _surplus(jnp.ones_like(weight), mass, other)
    ratio = jnp.where(other > 0, mass / other, jnp.inf)
    by_mass = jnp.where(weight > 0, weight * (jnp.log2(ratio) + 1 / LN2), 0.0)
    by_other = jnp.where((weight > 0) & (mass > 0), -weight * mass / other / LN2, 0.0)
    return _surplus(*values), by_weight * tangents[0] + by_mass * tangents[1] + by_other * tangents[2]
