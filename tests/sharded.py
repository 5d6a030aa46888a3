"""What `test_sharding` runs, in one process or in several: solvers on a source spread over all devices there are.

python -m tests.sharded DEVICES [PROCESSES PROCESS PORT] prints the answers as JSON, and with LETTERS after these what
the devices exchange.
"""

import json
import math
import re
import sys

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import rdtheory as rd
from rdtheory import _devices
from rdtheory.limits.discrete.kernels import Matrix, matrix
from rdtheory.limits.discrete.matched_slope import SLOPE
from rdtheory.limits.discrete.plan import make_plan
from rdtheory.limits.discrete.solvers import columns

LETTERS = 64  # that column generation works with
# Of a size class, and no source that reads the same backwards: on one device nothing is padded or folded, either.
SIZES = {"all letters at once": (32, 16), "column generation": (224, 224), "fewer rows first": (1024, 192)}


def source(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian grid with absolute error: one optimum, in its interior."""
    x, y = np.linspace(-4, 4.5, n), np.linspace(-4, 4.5, m)
    p = np.exp(-(x**2) / 2)
    return p / p.sum(), np.abs(x[:, None] - y)


def answers(place=lambda *arrays: arrays) -> dict[str, dict[str, list]]:
    """Every solver, given the source as `place` puts it."""
    p, d = place(*source(*SIZES["all letters at once"]))
    results = {
        "blahut_arimoto": rd.blahut_arimoto(p, d, 8.0, tol=0.0, max_steps=100),
        "interior_point": rd.interior_point(p, d, 8.0),
        "rate_at": rd.rate_at(p, d, 0.3),
        "distortion_at": rd.distortion_at(p, d, 1.0),
    }
    p, d = place(*source(*SIZES["column generation"]))
    results["rate_at, column generation"] = rd.rate_at(p, d, 0.3)
    p, d = place(*source(*SIZES["fewer rows first"]))
    p, d = jax.numpy.asarray(p), jax.numpy.asarray(d) ** 2
    fewer = Matrix(d).coarser(p)
    assert fewer is not None
    assert _devices.is_spread(fewer[0]) == _devices.is_spread(fewer[1].entries) == (jax.process_count() > 1)
    # Spread out, no kernel is factored as a whole.
    (whole,) = place(np.zeros((1024, 1024)))
    methods = [stage.method for stage in make_plan(Matrix(jax.numpy.asarray(whole)), SLOPE)]
    assert ("square" in methods) == (jax.device_count() == 1)
    results["rate_at, fewer rows first"] = rd.rate_at(p, d, 0.3, tol=1e-7)
    # A source that is not spread as its matrix is, and a tolerance that is (of one process: others lack the source).
    alone = jax.process_count() == 1
    p, tol = (source(*SIZES["fewer rows first"])[0], jax.device_put(1e-7, _everywhere())) if alone else (p, 1e-7)
    results["rate_at, fewer rows first, a matrix alone"] = rd.rate_at(p, d, 0.3, tol=tol)
    keep = ("rate", "distortion", "gap", "reproduction_pmf", "converged", "steps", "method")
    return {name: {k: np.asarray(getattr(result, k)).tolist() for k in keep} for name, result in results.items()}


def _everywhere() -> NamedSharding:
    return NamedSharding(Mesh(jax.devices(), ("source",)), PartitionSpec())


def place(*arrays: np.ndarray) -> list[jax.Array]:
    """On all devices of all processes, the source letters dealt out; each process makes only its own share."""
    mesh = Mesh(jax.devices(), ("source",))
    sharding = NamedSharding(mesh, PartitionSpec("source"))
    return [jax.make_array_from_callback(x.shape, sharding, lambda share, x=x: x[share]) for x in arrays]


def collectives(n: int) -> dict[str, int]:
    """The most numbers that a program of column generation exchanges at once, of a source of n letters."""
    held = n // jax.device_count()
    p, d = (jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for x in place(*source(n, n)))
    guess, target = jax.ShapeDtypeStruct((n,), float), jax.ShapeDtypeStruct((), float)
    kind = jax.ShapeDtypeStruct((), int)  # whatever a point is asked for by

    def improved(p, d, guess, target, kind):
        prepared = columns.prepare(p, Matrix(d), target, kind=kind, store=False)
        return columns.improve(prepared, 1e-9, 1000, guess, size=LETTERS)

    def certified(p, d, guess, target, kind):
        prepared = columns.prepare(p, Matrix(d), target, kind=kind, store=False)
        return columns.certified(prepared, 1e-9, jax.numpy.arange(n), guess, target, size=LETTERS)

    def thinned(p, d, *_):
        return matrix._thinned(p, d, held=held, step=n // matrix.ROWS)

    found = {}
    for program in (thinned, improved, certified):
        text = jax.jit(program).lower(p, d, guess, target, kind).compile().as_text()
        exchanged = re.findall(r"= (.*?) (?:all-|collective-|reduce-scatter)[a-z-]*\(", text)
        shapes = [shape.split(",") for kinds in exchanged for shape in re.findall(r"\w\[([\d,]*)\]", kinds)]
        found[program.__name__] = max(math.prod(int(length) for length in shape if length) for shape in shapes)
    return found


def main(devices: int, processes: int = 1, process: int = 0, port: int = 0, letters: int = 0):
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", devices)
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", processes, process)
    assert jax.device_count() == devices * processes
    assert jax.local_device_count() == devices
    sys.stdout.write("\n" + json.dumps(collectives(letters) if letters else answers(place)))
    sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
