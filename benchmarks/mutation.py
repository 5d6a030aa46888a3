"""Mutation testing: whether a test fails for each sign, comparison and constant that is changed.

    python benchmarks/mutation.py                                 all of limits, schemes, models and information: hours
    python benchmarks/mutation.py limits/linear information       these modules
    python benchmarks/mutation.py limits/linear --sample 30       so many of each module, the same ones each time

Each mutant is judged by the tests of its own module, which mirror the package, and by the examples in it: first the
tests that reach the changed line, the quickest first, up to --seconds of processor time. What was done is kept in
.mutation/ until the module changes: interrupted, the same command goes on; with --survivors it also tries again what
survived, after tests were added or with more seconds. A survivor needs a test, or an entry in benchmarks/mutants.toml
that says why no test could tell it from the original. Needs rdtheory[mutation].

Cosmic Ray makes the mutants (mutmut 3 leaves decorated functions alone, and most that are compiled are decorated),
coverage says which test reaches which line, and each judge is forked from a process that has imported all but rdtheory.
"""

import argparse
import ast
import concurrent.futures
import contextlib
import difflib
import json
import multiprocessing
import os
import queue
import random
import re
import shutil
import signal
import sys
import time
import tomllib
import zlib
from collections.abc import Iterator
from pathlib import Path

import cosmic_ray.plugins
import coverage
import pytest
from cosmic_ray.commands import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

ROOT = Path(__file__).parents[1]
HERE, EQUIVALENT = ROOT / ".mutation", ROOT / "benchmarks" / "mutants.toml"
COPIED = ("rdtheory", "tests", "benchmarks", "notebooks", "conftest.py", "pyproject.toml", "README.md")
ALL = ("limits", "schemes", "models", "information")
# Of what Cosmic Ray can do: one other sign for each, the bound of each comparison and its opposite, constants ± 1.
OPERATORS = re.compile(
    "core/(ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|Pow_Mul|FloorDiv_Div|Mod_Mul)"
    "|ReplaceComparisonOperator_(Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Lt_GtE|GtE_Lt|Gt_LtE|LtE_Gt|Eq_NotEq|NotEq_Eq)"
    "|ReplaceUnaryOperator_Delete_USub|NumberReplacer)"
)
# Test files that are not named after the module whose tests they are.
MORE = {
    "limits/channel": ["capacity_cost", "faults"],
    "limits/continuous": ["differences", "atoms"],
    "limits/convex": ["side_information", "wyner_ziv", "perception", "channel", "capacity_cost", "bottleneck"],
    "limits/discrete": [
        "faults",
        "interior_point",
        "column_generation",
        "derivatives",
        "extremes",
        "structured",
        "mirror",
    ],
    "limits/bottleneck": ["faults"],
    "limits/side_information": ["wyner_ziv"],
    "models/datasets": ["image_files"],
    "models/importance": ["flax"],
    "schemes/bitstream": ["bitstream_hostile"],
    "schemes/trellis": ["bitstream"],
    "schemes/quantize": ["error_feedback", "gaussian_codebook", "transform", "uniform"],
}
# What tests import, without rdtheory.
WARM = ["beartype", "constriction", "equinox", "flax.linen", "flint", "hypothesis.strategies", "jax.numpy", "jaxtyping"]
WARM += ["matplotlib.pyplot", "mpmath", "optax", "pytest", "scipy.integrate", "scipy.optimize", "scipy.stats"]
PASSED = 0, 5  # exit status of pytest; or there was nothing to run
console = Console()


def modules(names: list[str]) -> list[str]:
    """Names like limits/linear; a folder stands for what is in it."""
    found = []
    for name in names:
        path = ROOT / "rdtheory" / name
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        found += [str(file.relative_to(ROOT / "rdtheory").with_suffix("")) for file in files if file.stem != "__init__"]
    missing = [name for name in found if not (ROOT / "rdtheory" / f"{name}.py").is_file()]
    if missing:
        raise SystemExit(f"rdtheory has no module {', '.join(missing)}")
    return found


def judges(module: str) -> list[str]:
    """The module's own tests, those of the topic it is part of, and its examples.

    Of a private one they are those of all public ones of its folder that lead to it.
    """
    folder, *topic, name = module.split("/")

    def tests_of(public: str) -> list[str]:
        stems = [Path(public).name, *MORE.get(public, [])]
        files = [Path("tests", folder, f"test_{stem.lstrip('_')}.py") for stem in stems]
        return [str(file) for file in files if (ROOT / file).is_file()]

    found = [*tests_of(f"{folder}/{name}"), *(tests_of(f"{folder}/{topic[0]}") if topic else [])]
    if not found:
        imports = {
            file.stem: set(re.findall(r"\w+", " ".join(re.findall(r"^.*\bimport\b.*$", file.read_text(), re.M))))
            for file in (ROOT / "rdtheory" / folder).glob("*.py")
        }
        leading = {name}
        while more := {stem for stem, used in imports.items() if used & leading} - leading:
            leading |= more
        for stem in sorted(leading):
            found += tests_of(f"{folder}/{stem}")
    return [*dict.fromkeys(found), f"rdtheory/{module}.py"]


def wanted(module: str, sample: int | None) -> list[WorkItem]:
    """The mutants of a module, without those of messages and annotations, which no test is to look at."""
    source = (ROOT / "rdtheory" / f"{module}.py").read_text()
    passed_over, lines = list(_silent(source)), source.splitlines()

    def counts(item: WorkItem) -> bool:
        (mutation,) = item.mutations
        line, column = mutation.start_pos
        heard = not any(start <= mutation.start_pos and mutation.end_pos <= end for start, end in passed_over)
        heard &= not lines[line - 1][column:].startswith("*,")  # what comes after is given by name: no sign
        return heard and OPERATORS.fullmatch(mutation.operator_name) is not None

    with use_db(":memory:") as db:
        init([Path("rdtheory", f"{module}.py")], db, {})
        found = [item for item in db.work_items if counts(item)]
    found.sort(key=_place)
    if sample is not None and sample < len(found):
        random.Random(0).shuffle(found)  # a larger sample has the smaller one in it
        found = found[:sample]
    return found


def _silent(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    lines = source.splitlines()

    def place(line: int, offset: int) -> tuple[int, int]:
        return line, len(lines[line - 1].encode()[:offset].decode())  # ast counts bytes, Cosmic Ray letters

    for node in ast.walk(ast.parse(source)):
        spoken = [node] if isinstance(node, ast.Raise | ast.JoinedStr) else []
        for field in ("annotation", "returns"):
            spoken += [part] if (part := getattr(node, field, None)) is not None else []
        for part in spoken:
            yield place(part.lineno, part.col_offset), place(part.end_lineno, part.end_col_offset)


class Recorder:
    """What each test takes, and which lines of rdtheory it reaches (of what is compiled once: if it is the first)."""

    def __init__(self):
        self.seconds = {}
        self.coverage = coverage.Coverage(data_file=None, config_file=False, include=["rdtheory/*"])
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.coverage.switch_context(item.nodeid)
        start = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - start
        self.coverage.switch_context("")
        return result

    def lines(self) -> dict[str, dict[str, list[int]]]:
        self.coverage.stop()
        data, found = self.coverage.get_data(), {}
        for file in data.measured_files():
            tests = found.setdefault(str(Path(file).relative_to(Path.cwd() / "rdtheory").with_suffix("")), {})
            for line, reaching in data.contexts_by_lineno(file).items():
                for test in filter(None, reaching):
                    tests.setdefault(test, []).append(line)
        return found


class Judge:
    """The tests in their order, and no new one after so many seconds."""

    def __init__(self, order: dict[str, tuple[bool, float]], seconds: float):
        self.order, self.seconds = order, seconds

    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: self.order.get(item.nodeid, (False, 0.0)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item):
        if time.process_time() > self.seconds:
            return True
        # A loop that does not end any more is a mutant killed: by this signal, the only one that compiled loops heed.
        signal.setitimer(signal.ITIMER_PROF, 20 + 10 * self.order.get(item.nodeid, (False, 0.0))[1])
        return None


def _pytest(tree: Path, files: list[str], told: Path, plugin_of) -> tuple[int, Recorder | Judge]:
    with told.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    multiprocessing.process._parent_process = None  # children show no progress, which tests look for
    options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    plugin = plugin_of()
    return int(pytest.main([*options, *files], plugins=[plugin])), plugin


def record(tree: Path, file: str, told: Path, kept: Path) -> None:
    sys.dont_write_bytecode = False
    code, recorder = _pytest(tree, [file], told, Recorder)
    if code in PASSED:
        sources = {str(path.relative_to("rdtheory").with_suffix("")): path for path in Path("rdtheory").rglob("*.py")}
        known = {
            "test": _crc(Path(file)),
            "seconds": recorder.seconds,
            "lines": recorder.lines(),
            "sources": {name: _crc(path) for name, path in sources.items()},
        }
        kept.write_text(json.dumps(known))
    _exit(code)


def judge(tree: Path, files: list[str], told: Path, order: dict[str, tuple[bool, float]], seconds: float) -> None:
    sys.dont_write_bytecode = True
    _exit(_pytest(tree, files, told, lambda: Judge(order, seconds))[0])


def _exit(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without waiting for threads


def _crc(path: Path) -> int:
    return zlib.crc32(path.read_bytes())


def forked(target, *arguments) -> int:
    process = multiprocessing.get_context("forkserver").Process(target=target, args=arguments)
    process.start()
    process.join(3600)
    if process.is_alive():  # it waits for something that never comes
        process.kill()
        process.join()
    return process.exitcode


def known_of(module: str, files: list[str], trees: "queue.Queue[Path]") -> tuple[dict[str, float], dict[str, set[int]]]:
    """What each test takes and which lines of the module it reaches: recorded when either has changed."""
    seconds, lines = {}, {}
    for file in files:
        kept = HERE / f"{file.replace('/', '.')}.json"

        def read(file=file, kept=kept) -> dict | None:
            known = json.loads(kept.read_text()) if kept.is_file() else {}
            now = known.get("test"), known.get("sources", {}).get(module)
            return known if now == (_crc(ROOT / file), _crc(ROOT / "rdtheory" / f"{module}.py")) else None

        if (known := read()) is None:
            tree, told = trees.get(), kept.with_suffix(".txt")
            code = forked(record, tree, file, told, kept)
            trees.put(tree)
            if (known := read()) is None:
                raise SystemExit(f"without any mutant {file} fails ({code}):\n{told.read_text()[-4000:]}")
        seconds |= known["seconds"]
        lines |= {test: set(reached) for test, reached in known["lines"].get(module, {}).items()}
    return seconds, lines


def statement(source: str, line: int) -> set[int]:
    """The lines of the statement that a line is part of; of a compound one those of its head."""
    found = {line}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= node.end_lineno:
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else node.end_lineno
            if line <= max(end, node.lineno):
                found |= set(range(node.lineno, max(end, node.lineno) + 1))
    return found


def copied(number: int) -> Path:
    """A copy of the repository to change, with what Python compiled there: what is being worked on stays as it is."""
    tree = HERE / f"tree{number}"
    for old in tree.rglob("*.py"):
        old.unlink()
    for name in COPIED:
        source, target = ROOT / name, tree / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return tree


def run(module: str, sample: int | None, again: bool, seconds: float, trees: "queue.Queue[Path]", progress) -> WorkDB:
    """All mutants of a module that have no result yet, as many at once as there are trees."""
    path = ROOT / "rdtheory" / f"{module}.py"
    source = path.read_text()
    db = WorkDB(str(HERE / f"{module.replace('/', '.')}-{_crc(path):08x}.sqlite"), WorkDB.Mode.create)
    known = {_place(item) for item in db.work_items}
    chosen = wanted(module, sample)
    db.add_work_items(item for item in chosen if _place(item) not in known)
    places, done = {_place(item) for item in chosen}, dict(db.results)
    items = [item for item in db.work_items if _place(item) in places]
    pending = [item for item in items if item.job_id not in done or (again and not done[item.job_id].is_killed)]
    task = progress.add_task(module, total=len(items), completed=len(items) - len(pending))
    if not pending:
        return db
    files = judges(module)
    taken, reached = known_of(module, files, trees)

    def judged(item: WorkItem) -> WorkResult:
        (mutation,) = item.mutations
        there = statement(source, mutation.start_pos[0])
        order = {test: (not there & reached.get(test, set()), time) for test, time in taken.items()}
        operator = cosmic_ray.plugins.get_operator(mutation.operator_name)(**mutation.operator_args)
        tree = trees.get()
        output = tree / "output.txt"
        try:
            with use_mutation(tree / mutation.module_path, operator, mutation.occurrence) as (before, after):
                if after is None:
                    return WorkResult(worker_outcome=WorkerOutcome.NO_TEST)
                code = forked(judge, tree, files, output, order, seconds)
            return WorkResult(
                worker_outcome=WorkerOutcome.NORMAL,
                output=f"{code}\n{output.read_text()[-4000:]}",
                test_outcome=TestOutcome.SURVIVED if code in PASSED else TestOutcome.KILLED,
                diff="\n".join(difflib.unified_diff(before.split("\n"), after.split("\n"), lineterm="")),
            )
        finally:
            trees.put(tree)

    with concurrent.futures.ThreadPoolExecutor(trees.qsize()) as pool:
        jobs = {pool.submit(judged, item): item for item in pending}
        try:
            for job in concurrent.futures.as_completed(jobs):
                result = job.result()
                db.set_result(jobs[job].job_id, result)
                progress.advance(task)
                if not result.is_killed:
                    progress.console.print(
                        told(module, *changed(result.diff or "")), soft_wrap=True, markup=False, highlight=False
                    )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return db


def _place(item: WorkItem) -> tuple:
    (mutation,) = item.mutations
    return str(mutation.module_path), mutation.operator_name, mutation.occurrence


def changed(diff: str) -> tuple[str, str, str]:
    """Where, and the line before and after."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    where = next((re.match(r"@@ -(\d+)", line) for line in lines if line.startswith("@@")), None)
    before, after = (next((line[1:].strip() for line in lines if line[:1] == sign), "") for sign in "-+")
    first = next((number for number, line in enumerate(lines) if line[:1] == "-"), 1)
    return (str(int(where[1]) + first - 1) if where else "?"), before, after


def told(module: str, where: str, before: str, after: str) -> str:
    return f"\nrdtheory/{module}.py:{where}\n- {before}\n+ {after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=ALL, help="like limits/linear, or a folder")
    parser.add_argument("--sample", type=int, help="how many mutants of each module, without it all")
    parser.add_argument("--survivors", action="store_true", help="try those again that survived before")
    parser.add_argument("--seconds", type=float, default=300, help="after which no new test is begun for a mutant")
    parser.add_argument("--workers", type=int, default=1, help="mutants tested at once")
    options = parser.parse_args()
    HERE.mkdir(exist_ok=True)
    os.chdir(ROOT)
    # What is not changed need not be compiled again.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(HERE / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
    os.environ.pop("PYTHONPATH", None)  # what tests start is to find the copy
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # as in tests
    multiprocessing.set_forkserver_preload(["__main__", *WARM])
    trees: queue.Queue[Path] = queue.Queue()
    for number in range(options.workers):
        trees.put(copied(number))
    reasons = {(entry["module"], entry["line"]): entry["why"] for entry in _equivalent()}
    names = Column("module", no_wrap=True)
    table = Table(names, "mutants", "killed", "equivalent", "survived", "killed of what can be", box=None)
    survivors, sums = [], [0, 0, 0]
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for module in modules(list(options.modules)):
            with contextlib.closing(
                run(module, options.sample, options.survivors, options.seconds, trees, progress)
            ) as db:
                results = [result for _, result in db.results if result.worker_outcome != WorkerOutcome.NO_TEST]
            alive = [changed(result.diff or "") for result in results if result.test_outcome == TestOutcome.SURVIVED]
            same = [one for one in alive if (module, one[2]) in reasons]
            survivors += [(module, *one) for one in alive if one not in same]
            counts = len(results), len(results) - len(alive), len(same)
            sums = [total + count for total, count in zip(sums, counts, strict=True)]
            table.add_row(module, *_row(counts))
    table.add_row("all", *_row(sums))
    console.print(table)
    for survivor in survivors:
        console.print(told(*survivor), soft_wrap=True, markup=False, highlight=False)
    raise SystemExit(bool(survivors))


def _row(counts) -> list[str]:
    mutants, killed, same = counts
    share = f"{killed / (mutants - same):.1%}" if mutants > same else "–"
    return [*map(str, (mutants, killed, same, mutants - killed - same)), share]


def _equivalent() -> list[dict]:
    return tomllib.loads(EQUIVALENT.read_text()).get("equivalent", []) if EQUIVALENT.is_file() else []


if __name__ == "__main__":
    main()
