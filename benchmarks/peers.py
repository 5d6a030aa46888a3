"""What else a user could pick, run for real. Two shapes:

`Stepper`: an iteration that can be stopped anywhere, so that it can be given, for nothing, the number of steps after
which its goal is met (`oracle.py`). All of these make the same iterates, those of Blahut-Arimoto from the uniform law.

`solve(p, d, slope, tol) -> q`: a program that stops by itself.
"""

import contextlib
import functools
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

LN2 = np.log(2)


class Stepper(NamedTuple):
    name: str
    start: Callable[[np.ndarray, np.ndarray, float], Any]  # p, d, slope -> state
    advance: Callable[[Any, int], Any]  # state, steps -> state
    law: Callable[[Any], np.ndarray]  # state -> q
    own_stop: Callable[[np.ndarray, np.ndarray, float], np.ndarray] | None = None  # as its users run it -> q
    on_device: bool = False  # takes JAX arrays


# NumPy ----------------------------------------------------------------------------------------------------------------


def _cached(p, d, slope):
    return p, d, np.exp2(-slope * d), np.full(d.shape[1], 1 / d.shape[1])


def _textbook_step(state):
    """Channel, marginal, distortion: the three lines of a textbook, on a kernel made once."""
    p, d, a, q = state
    channel = a * q
    channel /= channel.sum(axis=1, keepdims=True)
    return (p, d, a, p @ channel), p @ np.sum(channel * d, axis=1)


def _textbook(state, steps):
    for _ in range(steps):
        state, _ = _textbook_step(state)
    return state


def _textbook_stop(p, d, slope, tol=1e-8, limit=10_000):
    """Stops when the distortion stops moving."""
    state, before = _cached(p, d, slope), np.inf
    for _ in range(limit):
        state, distortion = _textbook_step(state)
        if abs(before - distortion) < tol:
            break
        before = distortion
    return state[-1]


def _scaled(p, d, slope):
    a = np.exp2(-slope * (d - d.min(axis=1, keepdims=True)))
    return p, a, np.full(a.shape[1], 1 / a.shape[1]), np.inf


def _two_matvecs(state, steps):
    """q ← q Aᵀ(p / A q) with our certificate as its stopping rule: the plain algorithm at its best."""
    p, a, q, gap = state
    for _ in range(steps):
        c = (p / (a @ q)) @ a
        gap = np.log2(c.max()) - np.sum(q * c * np.log2(np.maximum(c, 1e-300)))
        q = q * c
    return p, a, q, gap


# JAX, as research code writes it --------------------------------------------------------------------------------------


@jax.jit
def _log_domain(log_a, p, log_q, steps):
    """Log-domain channel by logsumexp, nothing underflows; the number of steps is not part of the compilation."""

    def step(_, log_q):
        log_channel = jax.nn.log_softmax(log_q[None, :] + log_a, axis=1)
        return jax.nn.logsumexp(log_channel + jnp.log(p)[:, None], axis=0)

    return jax.lax.fori_loop(0, steps, step, log_q)


def _jax_start(p, d, slope):
    log_q = jnp.full(d.shape[1], -np.log(d.shape[1]))
    return jnp.asarray(p), jax.block_until_ready(-LN2 * slope * jnp.asarray(d)), log_q


def _jax_advance(state, steps):
    p, log_a, log_q = state
    return p, log_a, _log_domain(log_a, p, log_q, steps).block_until_ready()


# dit ------------------------------------------------------------------------------------------------------------------


def _dit():
    try:
        from dit.rate_distortion import blahut_arimoto
    except ImportError:
        return None
    return blahut_arimoto


def _dit_start(p, d, slope):
    return p, d, slope, np.full(d.shape, 1 / d.shape[1])


def _dit_advance(state, steps):
    """Its own loop, its stopping rule switched off for as many steps as are asked for."""
    from dit.rate_distortion import blahut_arimoto as module

    p, d, slope, channel = state
    with mock.patch.object(np, "isclose", lambda *_: False):
        _, joint = module._blahut_arimoto(p, slope, channel, lambda *_: d, max_iters=steps)
    return p, d, slope, joint / p[:, None]


def dit_default(p, d, slope, restarts: int = 100):
    """As documented: 100 starts of at most 100 steps, each until the distortion is close to the one before."""
    _, joint = _dit().blahut_arimoto(p, slope, lambda *_: d, restarts=restarts)
    return joint.sum(axis=0)


# Conic ----------------------------------------------------------------------------------------------------------------


def clarabel(p, d, slope, tol):
    """Least -Σ p log(A q) over the simplex with exponential cones, modeled in cvxpy."""
    import cvxpy

    a = np.exp2(-slope * (d - d.min(axis=1, keepdims=True)))
    q = cvxpy.Variable(a.shape[1], nonneg=True)
    problem = cvxpy.Problem(cvxpy.Minimize(-p @ cvxpy.log(a @ q)), [cvxpy.sum(q) == 1])
    accuracy = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tol / 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": the checker says by how much
        problem.solve(solver="CLARABEL", **accuracy)
    law = np.maximum(q.value, 0)
    return law / law.sum()


def quickest_blas(p, d, slope):
    """A context in which NumPy's matvecs use one thread or all, whichever is quicker just now.

    On a busy machine, threads that wait for each other can cost a factor of thirty, which is no fault of a peer.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext
    state = _scaled(p, d, slope)
    _two_matvecs(state, 1)
    times = {}
    for threads in (1, None):
        with threadpool_limits(limits=threads, user_api="blas"):
            begin = time.perf_counter()
            _two_matvecs(state, 10 if d.size < 10**6 else 3)
            times[threads] = time.perf_counter() - begin
    return functools.partial(threadpool_limits, limits=min(times, key=times.get), user_api="blas")


CLARABEL_LARGEST = 256  # letters; at 1024 a solution takes minutes


@functools.cache
def available() -> dict[str, str | None]:
    """Peer -> why it cannot be run, None if it can."""
    missing = {}
    for name, module in (("dit", "dit"), ("clarabel", "cvxpy"), ("clarabel", "clarabel")):
        try:
            __import__(module)
            missing.setdefault(name, None)
        except ImportError:
            missing[name] = f"{module} is not installed (pip install 'rdtheory[bench]')"
    return missing


def on_device(problem) -> tuple[jax.Array, jax.Array]:
    """The problem as code in JAX has it, before any clock starts; NumPy's code has it in NumPy's arrays."""
    return jax.block_until_ready((jnp.asarray(problem.p), jax.device_put(problem.d)))


def steppers() -> list[Stepper]:
    found = [
        Stepper("NumPy two-matvec", _scaled, _two_matvecs, lambda state: state[2]),
        Stepper("NumPy textbook", _cached, _textbook, lambda state: state[-1], _textbook_stop),
        Stepper("JAX log-domain", _jax_start, _jax_advance, lambda state: np.exp(np.asarray(state[2])), on_device=True),
    ]
    if available()["dit"] is None:
        found.append(Stepper("dit", _dit_start, _dit_advance, lambda state: state[0] @ state[3], dit_default))
    return found
