"""One method on one problem in a fresh process, compilation and imports included.

Run by solvers.py, or by hand: python benchmarks/cold.py curve-8-letters rd.curve 1e-9 0
Prints JSON: seconds to import, seconds to answer (the first and a second time), peak memory in MB before and after.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def peak() -> float:
    """MB. Linux hands the figure of getrusage on to a new process, but not this one."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def answer(problem_name: str, method: str, tol: float, seed: int) -> dict:
    start = time.perf_counter()
    import problems

    problem = problems.make(problem_name, seed)
    made = time.perf_counter()
    if method.startswith("rd."):
        import jax

        jax.config.update("jax_enable_x64", True)
        import ours

        if ours.find(method) is None:
            raise SystemExit("not there yet")
        slow = method == "rd.blahut_arimoto"  # takes steps without end, and is not waited for
        limit = max(10, 10**8 // problem.d.size) if slow else None

        def run():
            return float(ours.solve(method, problem, tol, limit).gap.max())
    else:
        import peers

        peers.available()
        (stepper,) = (s for s in peers.steppers() if s.name == method)

        def run():
            for slope in problem.slopes:
                stepper.own_stop(problem.p, problem.d, slope)

    imported, before, times, gap = time.perf_counter(), peak(), [], None
    for _ in range(2 if method.startswith("rd.") else 1):
        begin = time.perf_counter()
        gap = run()
        times.append(time.perf_counter() - begin)
    matrix = problem.d.nbytes / 2**20
    return {
        "import": imported - made,
        "make": made - start,
        "first": times[0],
        "again": times[-1],
        "before_mb": before,
        "peak_mb": peak(),
        "matrix_mb": matrix,
        "gap": gap,
    }


def fresh(problem: str, method: str, tol: float, seed: int, timeout: float = 120.0) -> dict:
    """The above in a new process; `wall` is from the command to the answer, less the making of the problem."""
    begin = time.perf_counter()
    command = [sys.executable, __file__, problem, method, str(tol), str(seed)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=Path(__file__).parent)
    except subprocess.TimeoutExpired:
        return {"problem": problem, "method": method, "status": f"no answer in {timeout:g} s"}
    wall = time.perf_counter() - begin
    if ran.returncode:
        return {
            "problem": problem,
            "method": method,
            "status": (ran.stderr.strip().splitlines() or ["failed"])[-1][:100],
        }
    found = json.loads(ran.stdout.splitlines()[-1])
    extra = found["again"] if method.startswith("rd.") else 0.0
    return {"problem": problem, "method": method, "status": "ok", "wall": wall - found["make"] - extra, **found}


if __name__ == "__main__":
    name, method, tol, seed = sys.argv[1:]
    print(json.dumps(answer(name, method, float(tol), int(seed))))
