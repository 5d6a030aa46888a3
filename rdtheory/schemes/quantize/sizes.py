"""How many bits a quantized layer takes, every piece of side information among them."""

import functools
import math

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import gammaln
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from rdtheory import _checks, _compile
from rdtheory.results import CodedSize

__all__ = ["ENTRY_BITS", "adaptive_bits", "coded_size", "size_of", "size_of_counts", "total_size"]

LN2 = math.log(2)
ENTRY_BITS = 32.0  # of a value of a codebook, stored as float32
RANGE_BITS = 32.0  # least and largest label


def coded_size(
    labels: Int[ArrayLike, "..."],
    *,
    levels: int | None = None,
    codebook_bits: Float[ArrayLike, ""] = 0.0,
    scale_bits: Float[ArrayLike, ""] = 0.0,
) -> CodedSize:
    r"""Bits that the labels of n quantized weights take, with all that a decoder must be told.

    An adaptive arithmetic coder needs no table of frequencies: with the estimate (c + ½)/(n + K/2) of Krichevsky and
    Trofimov after each label, K labels of counts c take

    .. math:: -\log\left[\frac{\Gamma(K/2)}{\Gamma(n + K/2)} \prod_k \frac{\Gamma(c_k + 1/2)}{\Gamma(1/2)}\right]
              = n H(c/n) + \text{about } \tfrac{K-1}{2}\log n

    bits, which is counted here: ``labels`` is n H, ``frequencies`` the rest.

    Parameters
    ----------
    labels : whole numbers, any shape.
    levels : how many labels there are, from 0; without it they are taken to run from the least to the largest that
        occurs, and ``alphabet`` counts 32 bits that say so.
    codebook_bits, scale_bits : bits of side information.

    Returns
    -------
    CodedSize : ``rate`` and ``fixed_rate`` in bits per weight, the rest in bits.

    Raises
    ------
    ValueError : labels that are not whole numbers or not below `levels`, negative numbers of bits.

    References
    ----------
    Krichevsky & Trofimov (1981).

    Examples
    --------
    >>> size = coded_size(jnp.array([0, 1, 0, 1]), levels=2, codebook_bits=64.0)
    >>> print(size.labels, size.codebook, size.fixed_rate)
    4.0 64.0 17.0
    """
    found = _checks.stored(labels)
    if not jnp.issubdtype(found.dtype, jnp.integer) or found.size == 0:
        raise ValueError(f"labels must be whole numbers, at least one, got shape {found.shape} of {found.dtype}")
    codebook, codebook_ok = _checks.nonnegative("codebook_bits", codebook_bits)
    scales, scales_ok = _checks.nonnegative("scale_bits", scale_bits)
    ok = codebook_ok & scales_ok
    if levels is not None:
        levels = _checks.count("levels", levels, 1)
        _, seen = _checks.look(found)
        ok &= _checks.holds(
            ((seen >= 0) & (seen < levels)).all(), lambda: f"labels must lie in 0 to {levels - 1}, got {found}"
        )
    return _checks.poison(size_of(found, levels=levels, codebook_bits=codebook, scale_bits=scales), ok)


@functools.partial(_compile.jit, static_argnames="levels", brief=True)
def size_of(
    labels: Array, *, levels: int | None = None, codebook_bits: ArrayLike = 0.0, scale_bits: ArrayLike = 0.0
) -> CodedSize:
    """`coded_size` of arguments that were checked.

    Examples
    --------
    >>> print(size_of(jnp.array([3, 3, 3, 3])).labels)
    0.0
    """
    dtype = jnp.zeros(()).dtype
    if levels is not None:
        counts, alphabet, range_bits = jnp.zeros(levels, dtype).at[labels.ravel()].add(1.0), float(levels), 0.0
    else:
        ordered = jnp.sort(labels.ravel())
        new = jnp.concatenate([jnp.zeros(1, int), jnp.cumsum(ordered[1:] != ordered[:-1])])
        counts = jnp.zeros(labels.size, dtype).at[new].add(1.0)  # of each label that occurs, then zeros
        alphabet, range_bits = (ordered[-1] - ordered[0] + 1).astype(dtype), RANGE_BITS
    return size_of_counts(counts, alphabet, jnp.array([codebook_bits, scale_bits, range_bits], dtype))


def size_of_counts(counts: Array, alphabet: ArrayLike, side: Array) -> CodedSize:
    """`size_of` from how often each label occurs, zeros allowed, and the bits of codebook, scales and alphabet.

    Examples
    --------
    >>> print(size_of_counts(jnp.array([2.0, 2.0, 0.0]), 2, jnp.zeros(3)).labels)
    4.0
    """
    n = jnp.sum(counts)
    entropy = jnp.sum(counts * jnp.log2(n / jnp.where(counts > 0, counts, 1.0)))
    half = jnp.asarray(alphabet, counts.dtype) / 2
    adaptive = gammaln(n + half) - gammaln(half) - jnp.sum(gammaln(counts + 0.5) - gammaln(0.5))
    learning = jnp.maximum(adaptive / LN2 - entropy, 0.0)
    rate = (entropy + learning + jnp.sum(side)) / n
    return CodedSize(rate, jnp.log2(2 * half) + jnp.sum(side) / n, entropy, learning, *side)


def total_size(sizes: list[CodedSize], counts: list[int]) -> CodedSize:
    """Size of several layers of `counts` weights together.

    Examples
    --------
    >>> one = size_of(jnp.array([0, 1]), levels=2)
    >>> print(total_size([one, one], [2, 2]).labels)
    4.0
    """
    n = sum(counts)
    parts = list(zip(*sizes, strict=True))
    rates = [sum(rate * (count / n) for rate, count in zip(part, counts, strict=True)) for part in parts[:2]]
    return CodedSize(*rates, *(sum(part) for part in parts[2:]))


def adaptive_bits(magnitudes: Array, classes: Array, coded: Array) -> tuple[Array, Array]:
    """Bits of whole numbers >= 0 under an adaptive coder that keeps each class apart: their entropy, and what is spent.

    A number is told in unary, "is it 0? is it 1? ...", and each answer is coded with the Krichevsky-Trofimov estimate
    from the answers to that question so far in its class. No table, no largest number and no alphabet need be sent;
    the classes, and which numbers are `coded` at all, are known to the decoder.

    Parameters
    ----------
    magnitudes, classes : (n,) integers.
    coded : (n,) booleans.

    Examples
    --------
    >>> print(adaptive_bits(jnp.array([0, 0, 1, 1]), jnp.array([0, 0, 5, 5]), jnp.ones(4, bool))[0])
    0.0
    """
    n, dtype = len(magnitudes), jnp.zeros(()).dtype
    apart = jnp.iinfo(jnp.int32).max  # the class of what is not coded
    c, m = lax.sort((jnp.where(coded, classes, apart).astype(jnp.int32), magnitudes), num_keys=2)
    first = jnp.ones(1, bool)
    new_class = jnp.concatenate([first, c[1:] != c[:-1]])
    new = new_class | jnp.concatenate([first, m[1:] != m[:-1]])
    # How many there are in the run of each number, and in its class; and where that class begins.
    run, group = jnp.cumsum(jnp.stack([new, new_class]), axis=1) - 1
    here, together = (jnp.zeros(n, dtype).at[i].add(1.0)[i] for i in (run, group))
    place = jnp.arange(n)
    left = together - (place - jnp.full(n, n).at[group].min(place)[group])  # of the class, those not smaller
    skipped = jnp.where(new_class, m, m - jnp.roll(m, 1) - 1)  # questions that all answered no

    # Bits of yes and no answers in any order: log B(1/2, 1/2) - log B(yes + 1/2, no + 1/2). One call of gammaln,
    # because that is most of what there is to compile.
    yes, no = jnp.stack([here, jnp.zeros_like(left)]), jnp.stack([left - here, left])
    both, of_yes, of_no = gammaln(jnp.stack([yes + no + 1, yes + 0.5, no + 0.5]))
    answers = (both - of_yes - of_no + math.log(math.pi)) / LN2
    bits = answers[0] + skipped * answers[1]
    begins = new & (c != apart)
    entropy = jnp.sum(jnp.where(begins, here * jnp.log2(together / here), 0.0))
    return entropy, jnp.sum(jnp.where(begins, bits, 0.0))
