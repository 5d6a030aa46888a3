"""A source spread over virtual devices that share these cores, beside one device: python benchmarks/devices.py

A Gaussian grid that does not read the same backwards, squared error, `rate_at` and one slope of `curve`. Seconds are
medians of warm calls, in fresh processes, in turn; at best spreading out costs nothing, for the cores are the same.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import rdtheory as rd


def one(devices: int, letters: int, runs: int) -> None:
    """Prints the seconds of both calls."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", devices)
    x = np.linspace(-4, 4.5, letters)
    p = np.exp(-(x**2) / 2)
    arrays = p / p.sum(), (x[:, None] - x) ** 2
    if devices > 1:
        arrays = jax.device_put(arrays, NamedSharding(Mesh(jax.devices(), ("source",)), PartitionSpec("source")))
    p, d = map(jax.numpy.asarray, arrays)
    seconds = []
    for call in (lambda: rd.rate_at(p, d, 0.3), lambda: rd.curve(p, d, np.array([2.0]))):
        times = []
        for _ in range(runs + 1):
            begin = time.perf_counter()
            assert bool(np.all(jax.block_until_ready(call()).converged))
            times.append(time.perf_counter() - begin)
        seconds.append(statistics.median(times[1:]))
    print(*seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--letters", type=int, default=4096)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--runs", type=int, default=5, help="warm calls in each process")
    parser.add_argument("--rounds", type=int, default=2, help="processes for each number of devices")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        one(options.alone, options.letters, options.runs)
        return
    # Each virtual device would start as many threads of LAPACK as there are cores.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    found = {devices: [] for devices in options.devices}
    for _ in range(options.rounds):
        for devices, times in found.items():
            command = [sys.executable, __file__, "--alone", str(devices), "--letters", str(options.letters)]
            ran = subprocess.run(
                [*command, "--runs", str(options.runs)],
                env=environment, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            times.append([float(word) for word in ran.stdout.split()])
    print(f"{options.letters} letters, {len(os.sched_getaffinity(0))} cores; seconds, and times those of the first row")
    print("devices  rate_at          curve")
    first = None
    for devices, times in found.items():
        seconds = np.median(times, axis=0)
        first = seconds if first is None else first
        print(f"{devices:7d}  " + "  ".join(f"{s:6.2f} ({s / f:4.1f})" for s, f in zip(seconds, first, strict=True)))


if __name__ == "__main__":
    main()
