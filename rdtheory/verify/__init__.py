"""Each theorem as a numerical check with its error bar.

A check is a function of a random key and of whether to be quick; it returns rows of evidence. `run` runs them, `report`
writes what they found.
"""

import functools
import sys
from collections.abc import Iterator, Sequence
from types import FunctionType
from typing import NamedTuple

import jax
from jax import Array
from jax.typing import ArrayLike
from threadpoolctl import threadpool_limits

from rdtheory import _compile, _lanes
from rdtheory.verify import (
    codes,
    compression,
    discrete,
    linear,
    products,
    real_data,
    relu,
    second_demands,
    successive,
)
from rdtheory.verify.rows import Row

__all__ = ["CHECKS", "Outcome", "key_of", "name", "run", "title"]


Check = FunctionType  # (key, quick) -> list[Row]

CHECKS: tuple[Check, ...] = (
    discrete.coin,
    discrete.critical_slope,
    discrete.hamming,
    discrete.erasure,
    discrete.inverse,
    discrete.capacity,
    discrete.gaussian,
    discrete.laplacian,
    discrete.exponential,
    successive.laplacian_refinement,
    second_demands.shannon_gap,
    second_demands.demands,
    second_demands.bottlenecks,
    linear.vector_gaussian,
    linear.linear_rate,
    linear.linear_bound,
    linear.linear_channel,
    linear.shannon_bound,
    products.inner_products,
    relu.golden,
    relu.relu_distortion,
    relu.relu_importance,
    relu.relu_theorem,
    relu.relu_optimality,
    relu.relu_layer,
    compression.compressed_rules,
    real_data.digits_linear,
    real_data.diabetes_linear,
    real_data.breast_cancer_linear,
    real_data.digits_relu,
    compression.importance_proxy,
    codes.scalar_quantizers,
    codes.entropy_codes,
    codes.block_codes,
    codes.channel_codes,
    successive.successive_codes,
    successive.linear_refinement,
    codes.layer_codes,
    products.product_codes,
    codes.linear_codes,
)
# What compiles much of the same stays in one process; what takes longest comes first.
TOGETHER = (
    (codes, products, successive),
    (relu, real_data),
    (second_demands,),
    (compression,),
    (discrete,),
    (linear,),
)


class Outcome(NamedTuple):
    """What came of one check."""

    check: str
    rows: list[Row]
    not_run: str  #: why it could not be run, with the remedy; empty if it was


def name(check: Check) -> str:
    """The name of a check on the command line.

    Examples
    --------
    >>> name(linear.linear_bound)
    'linear-bound'
    """
    return check.__name__.replace("_", "-")


def title(check: Check) -> str:
    """What a check shows, in one line.

    Examples
    --------
    >>> title(linear.linear_bound)
    "The paper's lower bound: tight, then loose, then negative."
    """
    return (check.__doc__ or "").splitlines()[0]


def key_of(check: Check, seed: int) -> Array:
    """The random key of a check: it depends on the seed and on its place in `CHECKS`, not on what else is run.

    Examples
    --------
    >>> bool((key_of(linear.linear_rate, 0) == key_of(linear.linear_rate, 1)).all())
    False
    """
    return _key(seed, CHECKS.index(check))


def run(
    checks: Sequence[Check], *, seed: int = 0, quick: bool = False, processes: int = 1, start: _lanes.Start = "spawn"
) -> Iterator[Outcome]:
    """Run checks and yield their outcomes as they come.

    Parameters
    ----------
    checks : taken from `CHECKS`.
    seed : of the random keys.
    quick : fewer samples and fewer repetitions of the same checks.
    processes : at most so many, this one included.
    start : how the others begin, as `multiprocessing` calls it. By "spawn" they import what is run: a script keeps its
        own work under ``if __name__ == "__main__"``. "fork" spares that, where nothing of JAX has run before.

    Examples
    --------
    >>> [outcome] = run([discrete.coin], quick=True)
    >>> all(row.holds for row in outcome.rows)
    True
    """
    groups = [[check for check in checks if sys.modules[check.__module__] in modules] for modules in TOGETHER]
    settings = {name: jax.config.read(name) for name in ("jax_enable_x64", "jax_disable_most_optimizations")}
    work = functools.partial(_outcome, seed=seed, quick=quick, settings=settings)
    yield from _lanes.results(work, list(filter(None, groups)), processes, start)


@functools.partial(_compile.jit, brief=True)
def _key(seed: ArrayLike, place: ArrayLike) -> Array:
    return jax.random.fold_in(jax.random.key(seed), place)


def _outcome(check: Check, seed: int, quick: bool, settings: dict[str, bool]) -> Outcome:
    for setting, value in settings.items():
        if jax.config.read(setting) != value:  # in a process of our own, begun for this
            jax.config.update(setting, value)
    try:
        # More threads for each matrix wait for each other in a loop: the fits of scikit-learn take four times as long.
        with threadpool_limits(limits=1, user_api="blas"):
            return Outcome(name(check), check(key_of(check, seed), quick), "")
    except ModuleNotFoundError as missing:
        if not (missing.name or "").startswith("sklearn"):
            raise
        return Outcome(name(check), [], "needs scikit-learn: pip install 'rdtheory[data]'")
