"""The block length that a given excess over R(D) asks for."""

import functools
from collections.abc import Callable

from rdtheory import _checks
from rdtheory.results import BlockLength

__all__ = ["least_length"]

LONGEST = 2**20


def least_length(bounds: Callable, excess_rate: float, *, longest: int = LONGEST) -> BlockLength:
    r"""How many symbols a block needs for a rate of R(D) + `excess_rate`, between two lengths about which it is proved.

    Solves, for the converse and the achievability in place of the least rate R(n, D, ε),

    .. math:: \min\{n : R(n, D, \varepsilon) \le R(D) + \text{excess}\} \approx
        V \left(\frac{Q^{-1}(\varepsilon)}{\text{excess}}\right)^2,

    by doubling and bisection. Both bounds fall with n but for ripples: the number of codewords is whole, and for
    Bernoulli the number of errors. So `too_short` is a length that is proved to be too short, next to one that is not
    proved so, and `enough` one that is proved to be enough, next to one that is not: what is proved holds for these two
    lengths themselves.

    Parameters
    ----------
    bounds : a function, the bounds at a block length n, as ``lambda n: finite_blocklength.gaussian(n, 0.25, 0.01)``.
    excess_rate : > 0, bits per symbol above R(D).
    longest : beyond it is not looked.

    Returns
    -------
    BlockLength
        ``too_short``, ``enough`` and, of the normal approximation, which proves nothing, ``approximation``.

    Raises
    ------
    ValueError : the excess is not positive; a block of `longest` symbols is not proved to be enough.

    References
    ----------
    Kostina & Verdú (2012), "Fixed-length lossy compression in the finite blocklength regime", for the bounds.

    Examples
    --------
    >>> from rdtheory.limits.finite_blocklength import gaussian
    >>> found = least_length(lambda n: gaussian(n, 0.25, 0.01), 0.1)
    >>> print(found.too_short, found.enough, found.approximation)
    528 609 564
    """
    excess = float(_checks.array("excess_rate", excess_rate, 0))
    _checks.holds(excess > 0, lambda: f"excess_rate must be > 0, got {excess_rate}")
    longest = _checks.count("longest", longest, 1)

    at = functools.cache(bounds)

    def last_not_met(bound: str) -> tuple[int, int]:
        return _last(lambda n: not getattr(at(n), bound) <= at(n).rate + excess, longest)

    too_short, _ = _last(lambda n: at(n).converse > at(n).rate + excess, longest)  # a bound that is NaN proves nothing
    unsure, enough = last_not_met("achievability")
    if unsure == longest:
        raise ValueError(f"excess_rate {excess} is not proved to be met by {longest} symbols; ask for more, or longer")
    return BlockLength(too_short, enough, last_not_met("normal_approximation")[1])


def _last(true: Callable[[int], bool], longest: int) -> tuple[int, int]:
    """Neighbors n and n + 1 of which the first is `true` and the second is not; 0 counts as true."""
    low, high = 0, 1
    while high < longest and true(high):
        low, high = high, min(2 * high, longest)
    if high == longest and true(high):
        return longest, longest + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if true(middle) else (low, middle)
    return low, high
