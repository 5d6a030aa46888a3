"""rdtheory's solvers against what else a user could pick: a table, a JSON file and a figure. See --help."""

import argparse
import json
import os
import platform
import secrets
import sys
import time
from importlib import metadata
from pathlib import Path

HELP = """\
Measures rdtheory's solvers against dit, a textbook NumPy loop, two NumPy matvecs a step, a log-domain JAX loop,
clarabel (through cvxpy) and Wasserstein gradient descent. Install the peers by: pip install '.[bench]'

How to read it
  certified 1e-06   time until the gap between the upper and the lower bound of R(D) is at most 1e-6 bit
  true 1e-06        time until R + slope · D is within 1e-6 bit of the truth, which the method itself cannot know
  ~                 extrapolated: more steps than the budget allows, at the pace seen, in the peer's favor
  its own stop      the peer as its users run it, and the error and gap that are left
Every method takes its turn in each round, so a drift of the machine falls on all; times are medians, ± half the range.
Clocks start before the kernel is built, on arrays of the method's own library: to make a JAX array of a NumPy one of
n = 4096 is a copy of 128 MiB, about eight dense steps, on nobody's clock. Peers are told for nothing how many steps
they need; rdtheory's time always ends with its certificate. A ratio is the smaller of the two clocks. Every certificate
of rdtheory is recomputed in NumPy from q, slope and D alone; one that claims too much is printed in red, and the exit
status is 1.

Examples
  python benchmarks/solvers.py                         everything, about 15 minutes on two processors
  python benchmarks/solvers.py --quick                 small problems, two rounds, under two minutes
  python benchmarks/solvers.py --only gaussian-8-1024  one problem; a family (gaussian-8) also works; repeat for several
"""
FULL_ORDER = (
    "gaussian-8",
    "curve",
    "coin",
    "random",
    "uniform",
    "laplace",
    "mixture",
    "ring",
    "gaussian-10",
    "gaussian-5",
)
COLD = {
    "quick": [("coin-critical", "rd.curve"), ("curve-8-letters", "rd.curve")],
    "full": [
        ("coin-critical", "rd.curve"),
        ("curve-8-letters", "rd.curve"),
        ("curve-8-letters", "dit"),
        ("curve-512", "rd.curve"),
        ("gaussian-8-1024", "rd.interior_point"),
        ("gaussian-8-1024", "NumPy textbook"),
        ("gaussian-8-4096", "rd.curve"),
        ("gaussian-8-4096", "NumPy textbook"),
    ],
}


def arguments():
    parser = argparse.ArgumentParser(description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small problems, two rounds")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="this problem or family, or `continuous`; repeatable"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("benchmark-report"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--seed", type=int, help="of the random problems; fresh if not given, and printed")
    parser.add_argument(
        "--minutes", type=float, default=11.0, help="problems left after this long are skipped and listed"
    )
    return parser.parse_args()


def device() -> str:
    import jax

    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    accelerators = {d.device_kind for d in jax.devices() if d.platform != "cpu"}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores" + (f", JAX on {', '.join(sorted(accelerators))}" if accelerators else "")


def select(only: list[str] | None, quick: bool) -> list[str]:
    import problems

    if not only:
        if quick:
            return list(problems.QUICK)

        def rank(name: str) -> tuple:
            place = next(i for i, head in enumerate(FULL_ORDER) if name.startswith(head))
            return place > 0 and name.endswith("4096"), place  # the large ones last, but for the one with targets

        return sorted(problems.NAMES, key=rank)
    known = set(problems.NAMES) | {problems.family(name) for name in problems.NAMES} | {"continuous"}
    for name in only:
        if name not in known:
            sys.exit(f"--only: unknown problem {name!r}; choose from {', '.join(sorted(known))}")
    return [name for name in problems.NAMES if name in only or problems.family(name) in only]


def main() -> int:
    chosen = arguments()
    begin = time.perf_counter()
    import jax

    jax.config.update("jax_enable_x64", True)
    import cold
    import continuous
    import figure
    import floor
    import measure
    import numpy as np
    import peers
    import problems
    import tables
    import targets
    from rich.console import Console

    names = select(chosen.only, chosen.quick)
    seed = secrets.randbelow(2**31) if chosen.seed is None else chosen.seed
    console, progress = Console(), Console(stderr=True)
    where = device()
    packages = ("rdtheory", "jax", "numpy", "dit", "cvxpy", "clarabel")
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    told = ", ".join(f"{k} {v}" for k, v in versions.items() if v)
    console.print(f"{where}; Python {platform.python_version()}, {told}; seed {seed}\n", highlight=False)
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if busy > 0.5:
        console.print(
            f"[yellow]Other programs are running (load {busy:.1f}): times will be too long, and peers that use threads "
            "suffer most.[/yellow]\n"
        )
    for why in {why for why in peers.available().values() if why}:
        console.print(f"[yellow]{why}[/yellow]")
    settings = measure.Settings(2, 0.12, 0.6, 2.0, 1.0) if chosen.quick else measure.Settings(3, 0.4, 2.5, 6.0, 7.0)

    rows, failures, skipped, widths, paces, paths, reads = [], [], [], {}, {}, {}, None
    figures = [name for name in ("gaussian-8-1024", "uniform-1024", "uniform-256") if name in names][:2]
    with progress.status("starting") as status:
        for i, name in enumerate(names):
            if time.perf_counter() - begin > 60 * chosen.minutes:
                skipped.append(name)
                continue
            problem = problems.make(name, seed)
            found, wrong, more = measure.run(
                problem, settings, lambda text, i=i: status.update(f"[{i + 1}/{len(names)}] {text}")
            )
            rows, failures = rows + found, failures + wrong
            widths[name], paces[name] = more["width"], more["paces"]
            tables.problem(console, found, more["width"])
            if name in figures:
                paths[name] = figure.gap_paths(problem, found, more, 1.0 if chosen.quick else 3.0)
            if name == "gaussian-8-4096" or (reads is None and chosen.quick and name == "gaussian-8-1024"):
                status.update("the read floor")
                reads = floor.measure(problem, 5)
            del problem
        uniform = None
        if not chosen.only or "continuous" in chosen.only:
            status.update("continuous uniform")
            uniform = continuous.compare(0.5 if chosen.quick else 2.0, settings.rounds, seed)
            if uniform["ours"]["status"] == "WRONG":
                failures.append(f"continuous uniform: {uniform['ours']} does not hold {uniform['truth']['rate']!r}")
        starts = []
        for name, method in COLD["quick" if chosen.quick else "full"]:
            if not chosen.only or name in names:
                status.update(f"fresh process: {method} on {name}")
                starts.append(cold.fresh(name, method, 1e-9, seed))

    ratios = targets.ratios(rows)
    for tol in measure.TOLS:
        tables.ratios(console, ratios, tol)
    tables.growth(console, rows)
    if reads:
        tables.floor(console, reads, paces[reads["problem"]])
    if uniform:
        tables.continuous(console, uniform)
    if starts:
        tables.cold(console, starts)
    big = reads if reads and reads["problem"] == "gaussian-8-4096" else None
    goals = targets.table(rows, big, paces, starts, uniform)
    tables.final(console, goals)

    missed = [r for r in rows if r.status in ("not reached", "error", "invalid", "not there yet")]
    for method in dict.fromkeys(r.method for r in missed):
        mine = [r for r in missed if r.method == method]
        kinds = ", ".join(dict.fromkeys(r.status for r in mine))
        where_missed = ", ".join(dict.fromkeys(f"{r.problem} {r.tol:.0e}" if r.tol else r.problem for r in mine))
        console.print(f"[bold]{method}[/bold] ({kinds}): {where_missed}", highlight=False)
    console.print()
    if skipped:
        console.print(f"[yellow]Skipped, out of time: {', '.join(skipped)}[/yellow]\n")
    for text in failures:
        console.print(f"[bold red]WRONG CERTIFICATE[/bold red] [red]{text}[/red]")

    chosen.out.mkdir(parents=True, exist_ok=True)
    took = time.perf_counter() - begin
    record = {
        "device": where,
        "versions": versions,
        "seed": seed,
        "load_before": busy,
        "quick": chosen.quick,
        "seconds": took,
        "settings": settings._asdict(),
        "truth_width": widths,
        "rows": [r._asdict() for r in rows],
        "ratios": [r._asdict() for r in ratios],
        "seconds_per_step": paces,
        "read_floor": reads,
        "continuous": uniform,
        "fresh_processes": starts,
        "targets": [t._asdict() for t in goals],
        "skipped": skipped,
        "wrong_certificates": failures,
    }
    plain = json.dumps(record, indent=1, default=lambda x: x.item() if isinstance(x, np.generic) else str(x))
    (chosen.out / "solvers.json").write_text(plain + "\n")
    if any(r.family == "gaussian-8" for r in rows) or paths:
        figure.draw(chosen.out / "solvers.png", rows, paths, where)
    console.print(f"{took:.0f} s; written to {chosen.out}/", highlight=False)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
