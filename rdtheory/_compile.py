"""`jax.jit` for what is compiled more often than it is run: first answers should take a second, not several.

On a CPU, XLA's older code generator takes half of the time to compile that the newer one does, and what it makes is as
fast; code for a handful of letters is hardly slower without LLVM's optimizations, which are half of what is left, and
cutting it up for several threads costs more than they save. All are options of one compilation: the process's own flags
are left as they are.
"""

import functools
import math
from collections.abc import Callable

import jax
from jax.core import Tracer

OLDER = {"xla_cpu_use_fusion_emitters": False}
WHOLE = {"xla_cpu_parallel_codegen_split_count": 1, **OLDER}
PLAIN = {"xla_backend_optimization_level": 0, **WHOLE}
SOME = {"xla_backend_optimization_level": 1, **WHOLE}
SMALL = 2**10  # entries of all arguments together, up to which loops are too short to be worth optimizing


def jit(function: Callable, *, brief: bool = False, lengthy: float | int = math.inf, **static) -> Callable:
    """`function`, compiled.

    As by `jax.jit` inside other transformations and away from the CPU; elsewhere with options that make compilation
    short.

    Parameters
    ----------
    function : of arrays, and of what `static` names.
    brief : one call costs far less than compiling does, so that small arguments get no optimization.
    lengthy : from so many entries of all arguments together on, a call costs more than compiling does, so that it gets
        some optimization even where the process asked for none.
    static : ``static_argnames`` or ``static_argnums``, as in `jax.jit`.

    Examples
    --------
    >>> print(jit(lambda x: x + 1)(jnp.ones(())))
    2.0
    """
    whole = jax.jit(function, **static)
    older, plain, some = (jax.jit(function, compiler_options=options, **static) for options in (OLDER, PLAIN, SOME))

    @functools.wraps(function)
    def call(*args, **kwargs):
        if is_traced(args, kwargs) or not _takes_options():
            return whole(*args, **kwargs)
        entries = sum(getattr(leaf, "size", 1) for leaf in jax.tree.leaves((args, kwargs)))
        if jax.config.read("jax_disable_most_optimizations"):
            return (some if entries >= lengthy else plain)(*args, **kwargs)
        return (plain if brief and entries <= SMALL else older)(*args, **kwargs)

    return call


def is_traced(*values) -> bool:
    """Whether a transformation is under way: of these values, or an outer `jit` of anything.

    Under an outer `jit`, arrays from outside it are no tracers, but what is computed there is one.

    Examples
    --------
    >>> x = jnp.ones(3)
    >>> is_traced(x), jax.jit(lambda y: y + is_traced(x))(0)
    (False, Array(1, dtype=int64, weak_type=True))
    """
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values)) or isinstance(_here(), Tracer)


@jax.jit
def _here() -> int:
    return 0


@functools.cache
def _takes_options() -> bool:
    """Whether this is a CPU, and a jaxlib that knows the options: it is asked, for names come and go."""
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.jit(lambda: 0, compiler_options=PLAIN).lower().compile()
    except (jax.errors.JaxRuntimeError, ValueError):
        return False
    return True
