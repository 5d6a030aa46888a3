"""The same problems on the CPU and on an accelerator, in float64. Run: python benchmarks/accelerator.py --out TABLE.csv

Each figure is the median of warm calls, with what it cost to compile beside it. Where bytes that must be read or
operations that must be made are known, the least time they could take on that device is measured in the same run: a sum
over as many bytes, a product of matrices of as many operations. Eight minutes at most; what does not fit is left out
and named. Without an accelerator only the CPU's columns are there. --quick takes small sizes, to see that all runs.
"""

import argparse
import csv
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import rdtheory as rd

BUDGET = 8 * 60  # seconds, of everything
REPEATS, ENOUGH = 5, 10.0  # warm calls; seconds after which no more are made
PRODUCT = 2048  # rows of the matrices that the rate of operations is measured with


class Job(NamedTuple):
    """What is timed on each device, and what it cannot do without."""

    name: str
    make: Callable[[], Callable[[], object]]  # puts its data on the default device, returns the call
    bytes: float = 0.0  # that the call reads
    operations: float = 0.0  # of float64, that it makes


class Cost(NamedTuple):
    first: float  # seconds, with compilation
    warm: float  # seconds
    least: float  # seconds that its bytes and operations take; 0 if they are not known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a CSV file to write")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    begin = time.monotonic()
    devices = list({kind: jax.devices(kind)[0] for kind in ("cpu", jax.default_backend())}.values())
    rows = []
    for job in jobs(options.quick):
        costs: dict[str, Cost | str] = {}
        for device in reversed(devices):  # the accelerator first, for its time is lent
            left = BUDGET - (time.monotonic() - begin)
            costs[device.platform] = cost(job, device) if left > 0 else "no time left"
            gc.collect()
        rows.append((job.name, costs))
        print(job.name, costs, file=sys.stderr, flush=True)
    show(rows, devices)
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["what", *(f"{device.device_kind}: {name}" for device in devices for name in Cost._fields)])
            for name, costs in rows:
                found = [costs[device.platform] for device in devices]
                writer.writerow([name, *(f"{x:.3g}" for one in found if isinstance(one, Cost) for x in one)])


def jobs(quick: bool) -> list[Job]:
    """Dense steps against bandwidth, many small problems, a curve, an exhaustive search, a network's importance."""
    sizes, count, weights = ((256, 512), 100, 10**4) if quick else ((4096, 16384), 10**4, 10**6)
    steps = 100

    def dense(n: int) -> Callable:
        def make():
            x = jnp.linspace(-4, 4, n)
            p = jax.nn.softmax(-(x**2) / 2)
            d = (x[:, None] - x[None, :]) ** 2
            return lambda: rd.blahut_arimoto(p, d, 3.0, tol=0.0, max_steps=steps)

        return make

    def small():
        rng = np.random.default_rng(0)
        p, d = jnp.asarray(rng.dirichlet(np.ones(8), count)), jnp.asarray(rng.random((count, 8, 8)))
        solve = jax.jit(jax.vmap(lambda p, d: rd.interior_point(p, d, 8.0)))
        return lambda: solve(p, d)

    def curve():
        x = np.linspace(-4, 4, 512 // (4 if quick else 1)) + 0.1
        p, d = np.exp(-(x**2) / 2), (x[:, None] - x) ** 2
        p, d, slopes = jax.device_put((p / p.sum(), d, np.geomspace(0.5, 20, 50)))
        return lambda: rd.curve(p, d, slopes)

    def search():
        rng = np.random.default_rng(0)
        n = 10 if quick else 18
        w = rng.normal(size=n)
        hats = jnp.asarray(rd.candidates.pruned(w, n // 2))
        w, cov = jnp.asarray(w), jnp.eye(n)
        return lambda: rd.relu.optimality(w, hats, cov)

    def importance():
        width = int((weights / 2) ** 0.5)
        rng = np.random.default_rng(0)
        params = {"a": rng.normal(size=(width, width)) / width**0.5, "b": rng.normal(size=(width, width)) / width**0.5}
        params, inputs = jax.device_put((params, rng.normal(size=(256, width))))

        def apply(w, x):
            return (jax.nn.relu(x @ w["a"]) @ w["b"])[:, :10]

        return lambda: rd.importance.diagonal(apply, params, inputs)

    return [
        *(
            Job(f"{steps} Blahut-Arimoto steps, n = {n:,}", dense(n), bytes=2.0 * 8 * n * n * steps)
            for n in sizes
        ),
        Job(f"{count:,} problems of 8 letters at a slope, certified, together", small),
        Job("50 slopes of 512 letters that are not symmetric, 1e-9", curve),
        Job("optimality of a ReLU neuron, all masks", search),
        # One pass forward and one back for each of ten outputs, two products of matrices in each.
        Job(f"Jacobian importance of {weights:,} weights, 256 inputs, 10 outputs", importance,
            operations=256 * (1 + 10 * 2) * 2.0 * weights),
    ]  # fmt: skip


def cost(job: Job, device: jax.Device) -> Cost | str:
    with jax.default_device(device):
        try:
            call = job.make()
            first, warm = timed(call), []
            while len(warm) < REPEATS and (not warm or sum(warm) < ENOUGH):
                warm.append(timed(call))
        except (jax.errors.JaxRuntimeError, MemoryError) as error:  # of too little memory
            return f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
        least = max(job.bytes / bandwidth(job.bytes), job.operations / speed() if job.operations else 0.0)
    return Cost(first, statistics.median(warm), least)


def timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begin


def bandwidth(most: float) -> float:
    """Bytes a second that a sum reads."""
    numbers = jnp.ones(int(min(most / 8 or 1, 2**26)))
    total = jax.jit(jnp.sum)
    timed(lambda: total(numbers))
    return numbers.nbytes / min(timed(lambda: total(numbers)) for _ in range(REPEATS))


def speed() -> float:
    """Float64 operations a second of a product of matrices."""
    a = jnp.ones((PRODUCT, PRODUCT))
    product = jax.jit(jnp.matmul)
    timed(lambda: product(a, a))
    return 2.0 * PRODUCT**3 / min(timed(lambda: product(a, a)) for _ in range(REPEATS))


def show(rows: list[tuple[str, dict[str, Cost | str]]], devices: list[jax.Device]) -> None:
    table = Table(title=f"float64; {', '.join(device.device_kind for device in devices)}", box=None)
    table.add_column("what")
    for device in devices:
        for name in ("first", "warm", "least"):
            table.add_column(f"{device.platform}\n{name}, s", justify="right")
    for name, costs in rows:
        cells = []
        for device in devices:
            found = costs[device.platform]
            cells += [f"{x:.3g}" if x else "-" for x in found] if isinstance(found, Cost) else [found, "", ""]
        table.add_row(name, *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
