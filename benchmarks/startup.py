"""How long one waits: first answers, sizes in turn, `rdtheory verify`, the tests. Run: python benchmarks/startup.py

Each figure is of fresh processes with nothing kept from before, the median of several, run in turn so that a drift of
the machine's speed falls on all of them. --tests also times README's test command and its fast lane, --ci also
`.ci/run`; these are run once.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

COMPILED = "Finished XLA compilation"  # in what JAX logs
ROOT = Path(__file__).resolve().parent.parent
START = """
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
import rdtheory as rd
"""
COIN = "p, d = [0.3, 0.7], rd.distortion.hamming(2)\n"
FIRST = COIN + "rd.rate_at(p, d, 0.1)"
EVERYDAY = (
    FIRST
    + """
rd.distortion_at(p, d, 0.5)
rd.curve(p, d, np.linspace(0.1, 3.0, 50))
rd.discrete.lagrangian(p, d, 1.0)
"""
)
CURVES = COIN + "for k in {lengths}: rd.curve(p, d, np.linspace(0.1, 3.0, k))"
SIZES = {
    "linear.rate": "rd.linear.rate(cov, cov, 0.5)",
    "linear.lower_bound": "rd.linear.lower_bound(cov, np.ones(m), 0.5)",
    "gaussian_channel.optimal": "rd.gaussian_channel.optimal(cov, cov, 0.5)",
    "capacity": "rd.capacity(channel)",
    "channel.capacity_at": "rd.channel.capacity_at(channel, np.arange(m), 0.5)",
    "side_information.conditional_rate_at": "rd.side_information.conditional_rate_at(channel / m, 1 - np.eye(m), 0.1)",
    "blahut_arimoto": "rd.blahut_arimoto(np.ones(m) / m, 1 - np.eye(m), 2.0)",
}
SIZE = """
for m in range(2, {last} + 1):
    cov = np.eye(m) + 0.5 / m
    channel = 0.8 * np.eye(m) + 0.2 / m
    {call}
"""


class Cost(NamedTuple):
    wall: float  # seconds
    cpu: float  # seconds of all its threads and processes
    compilations: int


def of(*command: str, cwd: Path = ROOT, **environment: str) -> Cost:
    """What a command costs in a process of its own, with a cache folder of its own unless one is given."""
    with tempfile.TemporaryDirectory() as cache:
        before = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
        environment = {**before, "XDG_CACHE_HOME": cache, "JAX_LOG_COMPILES": "1", **environment}
        begin, used = time.perf_counter(), os.times()
        ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
        wall, after = time.perf_counter() - begin, os.times()
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)[:200]} failed:\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}")
    cpu = after.children_user + after.children_system - used.children_user - used.children_system
    return Cost(wall, cpu, len(re.findall(COMPILED, ran.stderr)))


def code(text: str, **environment: str) -> Cost:
    """What some lines cost after JAX and rdtheory are imported, their imports included."""
    return of(sys.executable, "-c", START + text, **environment)


def sizes(name: str, last: int = 10) -> str:
    """The turn of a function through problems of 2 to `last` letters, weights or inputs."""
    return SIZE.format(last=last, call=SIZES[name])


def verify(out: str, *options: str, **environment: str) -> Cost:
    return of(sys.executable, "-m", "rdtheory", "verify", "--out", out, *options, **environment)


def machine() -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), model
        )
    return f"{len(os.sched_getaffinity(0))} processors ({model}), Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tests", action="store_true")
    parser.add_argument("--ci", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as kept:
        measures = {
            "import jax": lambda: of(sys.executable, "-c", "import jax"),
            "import jax, rdtheory": lambda: code(""),
            "first certified rate_at": lambda: code(FIRST),
            "rate_at, distortion_at, curve, lagrangian": lambda: code(EVERYDAY),
            "curve with 50 slopes": lambda: code(CURVES.format(lengths=(50,))),
            "curve with 50, 51 and 40 slopes": lambda: code(CURVES.format(lengths=(50, 51, 40))),
            **{f"sizes 2 to 10: {name}": lambda name=name: code(sizes(name)) for name in SIZES},
            "rdtheory verify --quick": lambda: verify(out, "--quick"),
            "the same a second time": lambda: verify(out, "--quick", XDG_CACHE_HOME=kept),
            "rdtheory verify": lambda: verify(out),
        }
        verify(out, "--quick", XDG_CACHE_HOME=kept)
        found = {name: [] for name in measures}
        for _ in range(options.runs):
            for name, measure in measures.items():
                found[name].append(measure())
                print(".", end="", file=sys.stderr, flush=True)
    if options.tests:
        found["pytest"] = [of("pytest", "-q", JAX_LOG_COMPILES="0")]
        found["pytest -m fast"] = [of("pytest", "-q", "-m", "fast", JAX_LOG_COMPILES="0")]
    if options.ci:
        found[".ci/run"] = [of("bash", ".ci/run", JAX_LOG_COMPILES="0")]
    print(f"\n{machine()}; seconds: median (least to most of {options.runs})")
    print(f"| {'':<53} | {'seconds':<22} | {'CPU seconds':<22} | compilations |\n|---|---|---|---|")
    for name, costs in found.items():
        wall, cpu, counts = zip(*costs, strict=True)
        print(f"| {name:<53} | {spread(wall):<22} | {spread(cpu):<22} | {statistics.median(counts):12.0f} |")


def spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
