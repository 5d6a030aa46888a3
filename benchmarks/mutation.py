"""Mutation testing: whether a test fails for each sign, comparison and constant that is changed.

    python benchmarks/mutation.py                                 all of limits, schemes, models and information: hours
    python benchmarks/mutation.py limits/linear information       these modules
    python benchmarks/mutation.py limits/linear --sample 30       so many of each module, the same ones each time

Each mutant is judged by the tests of its own module, which mirror the package, and by the examples in it. What was done
is kept in .mutation/ until the module changes: interrupted, the same command goes on; with --survivors it also tries
again what survived, after tests were added. A survivor needs a test, or an entry in benchmarks/mutants.toml that says
why no test could tell it from the original. Needs rdtheory[mutation].

Cosmic Ray makes the mutants. (mutmut 3 leaves decorated functions alone, and most that are compiled are decorated.)
"""

import argparse
import ast
import concurrent.futures
import contextlib
import os
import queue
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import zlib
from collections.abc import Iterator
from pathlib import Path

import attrs
from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

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
    "limits/channel": ["capacity_cost"],
    "limits/continuous": ["differences"],
    "limits/discrete": ["interior_point", "column_generation", "derivatives", "extremes", "structured", "mirror"],
    "limits/side_information": ["wyner_ziv"],
    "models/datasets": ["image_files"],
    "schemes/bitstream": ["bitstream_hostile"],
}
console = Console()


def modules(names: list[str]) -> list[str]:
    """Names like limits/linear; a folder stands for what is in it."""
    found = []
    for name in names:
        path = ROOT / "rdtheory" / name
        files = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        found += [str(file.relative_to(ROOT / "rdtheory").with_suffix("")) for file in files if file.stem != "__init__"]
    missing = [name for name in found if not (ROOT / "rdtheory" / f"{name}.py").is_file()]
    if missing:
        raise SystemExit(f"rdtheory has no module {', '.join(missing)}")
    return found


def judges(module: str) -> list[str]:
    """The module's own tests and examples; of a private one, those of all public ones of its folder that lead to it."""
    folder, name = os.path.split(module)

    def tests_of(public: str) -> list[str]:
        stems = [Path(public).name, *MORE.get(public, [])]
        files = [Path("tests", folder, f"test_{stem.lstrip('_')}.py") for stem in stems]
        return [str(file) for file in files if (ROOT / file).is_file()]

    found = tests_of(module)
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
    path = ROOT / "rdtheory" / f"{module}.py"
    passed_over = list(_silent(path.read_text()))

    def counts(item: WorkItem) -> bool:
        (mutation,) = item.mutations
        heard = not any(start <= mutation.start_pos and mutation.end_pos <= end for start, end in passed_over)
        return heard and OPERATORS.fullmatch(mutation.operator_name) is not None

    with use_db(":memory:") as db:
        init([Path("rdtheory", f"{module}.py")], db, {})
        found = [item for item in db.work_items if counts(item)]
    found.sort(key=_place)
    if sample is not None and sample < len(found):
        found = random.Random(0).sample(found, sample)
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


def command(tree: Path, files: list[str]) -> str:
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *files]
    return shlex.join(["sh", "-c", f"cd {shlex.quote(str(tree))} && exec {shlex.join(pytest)}"])


def copied(number: int) -> Path:
    """A copy of the repository to change: what is being worked on stays as it is."""
    tree = HERE / f"tree{number}"
    shutil.rmtree(tree, ignore_errors=True)
    for name in COPIED:
        source, target = ROOT / name, tree / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return tree


def run(module: str, sample: int | None, again: bool, trees: "queue.Queue[Path]", progress: Progress) -> WorkDB:
    """All mutants of a module that have no result yet, as many at once as there are trees."""
    source = (ROOT / "rdtheory" / f"{module}.py").read_bytes()
    session = HERE / f"{module.replace('/', '.')}-{zlib.crc32(source):08x}.sqlite"
    db = WorkDB(str(session), WorkDB.Mode.create)
    known = {_place(item) for item in db.work_items}
    chosen = wanted(module, sample)
    db.add_work_items(item for item in chosen if _place(item) not in known)
    places, done = {_place(item) for item in chosen}, dict(db.results)
    items = [item for item in db.work_items if _place(item) in places]
    pending = [item for item in items if item.job_id not in done or (again and not done[item.job_id].is_killed)]
    task = progress.add_task(module, total=len(items), completed=len(items) - len(pending))
    if not pending:
        return db
    files, start = judges(module), time.monotonic()
    first = trees.get()
    whole = subprocess.run(shlex.split(command(first, files)), capture_output=True, text=True, check=False)
    trees.put(first)
    if whole.returncode:
        raise SystemExit(
            f"without any mutant the tests of {module} fail:\n{whole.stdout[-2000:]}{whole.stderr[-2000:]}"
        )
    limit = 5 * (time.monotonic() - start) + 60  # a loop that does not end any more is a mutant killed

    def judge(item: WorkItem) -> WorkResult:
        tree = trees.get()
        try:
            moved = attrs.evolve(item.mutations[0], module_path=tree / item.mutations[0].module_path)
            return mutate_and_test([moved], command(tree, files), limit)
        finally:
            trees.put(tree)

    with concurrent.futures.ThreadPoolExecutor(trees.qsize()) as pool:
        jobs = {pool.submit(judge, item): item for item in pending}
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
    parser.add_argument("--workers", type=int, default=1, help="mutants tested at once")
    options = parser.parse_args()
    HERE.mkdir(exist_ok=True)
    os.chdir(ROOT)
    # What is not changed need not be compiled again.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(HERE / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
    os.environ.pop("PYTHONPATH", None)  # tests are run in the copy, which comes first there
    trees: queue.Queue[Path] = queue.Queue()
    for number in range(options.workers):
        trees.put(copied(number))
    reasons = {(entry["module"], entry["line"]): entry["why"] for entry in _equivalent()}
    table = Table("module", "mutants", "killed", "equivalent", "survived", "killed of what can be", box=None)
    survivors, sums = [], [0, 0, 0]
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for module in modules(list(options.modules)):
            with contextlib.closing(run(module, options.sample, options.survivors, trees, progress)) as db:
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
