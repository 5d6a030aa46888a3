"""Entropy, divergence and mutual information of finite distributions, in bits."""

import math

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import entr, rel_entr
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks

__all__ = ["divergence", "entropy", "mutual_information"]

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
    return _checks.poison(jnp.sum(entr(p)) / LN2, ok)


def divergence(pmf: Float[ArrayLike, " n"], reference_pmf: Float[ArrayLike, " n"]) -> Float[Array, ""]:
    r"""Kullback-Leibler divergence :math:`D(p\|r) = \sum_x p_x \log(p_x / r_x)` in bits.

    Infinite where `pmf` has mass that `reference_pmf` lacks.

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
    return _checks.poison(jnp.sum(rel_entr(p, r)) / LN2, p_ok & r_ok)


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
    joint = p[:, None] * q
    return _checks.poison(jnp.sum(rel_entr(joint, p[:, None] * jnp.sum(joint, axis=0)[None, :])) / LN2, p_ok & q_ok)
