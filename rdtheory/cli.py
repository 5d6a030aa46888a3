"""The command line: check every theorem, compare compressors, use one, prove digits of R(D)."""

import contextlib
import difflib
import importlib.metadata
import importlib.util
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rdtheory import _cache, _progress
from rdtheory.codec.command import compress, decompress
from rdtheory.doctor import doctor
from rdtheory.experiment.command import experiment
from rdtheory.network.command import report
from rdtheory.prove import prove

app = typer.Typer(
    rich_markup_mode="markdown",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What rate-distortion theory says about compressing models, checked numerically.",
)
console = Console()

WIDE = 120  # columns below which a comparison is printed on two lines
EXAMPLES = {
    "Check every theorem numerically": "rdtheory verify --quick",
    "Prove digits of a rate-distortion function": "rdtheory prove 0.7,0.3 --at 0.1",
    "Compress the layers of a model": "rdtheory compress model.npz --inputs x.npz --relative 0.01 --out model.rd",
    "See how far a network's formats are from the limit": "rdtheory report model.py --inputs x.npz",
    "Compare objectives on trained networks": "rdtheory experiment pruning --data digits --quick",
    "Say what is installed, and what is missing": "rdtheory doctor",
}
EXIT_FAILED, EXIT_USAGE, EXIT_NOT_RUN, EXIT_INTERRUPTED = 1, 2, 3, 130


def _version(show: bool) -> None:
    if show:
        from rdtheory import __version__

        console.print(f"rdtheory {__version__}")
        raise typer.Exit


def _clear_cache(clear: bool) -> None:
    if clear:
        console.print(f"{_cache.clear() / 1e6:.1f} MB of compiled programs deleted from {_cache.folder()}")
        raise typer.Exit


for command in (report, experiment, compress, decompress, prove, doctor):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    clear_cache: Annotated[
        bool,
        typer.Option(
            "--clear-cache",
            callback=_clear_cache,
            is_eager=True,
            help="Delete the compiled programs kept between runs.",
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        for purpose, example in EXAMPLES.items():
            console.print(f"[bold]{purpose}[/bold]\n    {example}\n", highlight=False)
        console.print("More of each: rdtheory COMMAND --help. All commands: rdtheory --help.")


@app.command()
def verify(
    only: Annotated[
        list[str] | None, typer.Option(help="Run this check only; repeat for several. See --list.", metavar="NAME")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of all random numbers.")] = 0,
    out: Annotated[
        Path, typer.Option(help="Folder for report.html and report.json, made if missing.", metavar="DIR")
    ] = Path("rdtheory-report"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer samples and repetitions of the same checks.")] = False,
    list_checks: Annotated[bool, typer.Option("--list", help="Name the checks and stop.")] = False,
) -> None:
    """Check every theorem numerically, print one table, write a report.

    Each line compares theory with numbers, within an error bar that is stated: a solver's certificate, five standard
    errors of a Monte Carlo mean, or an allowance for rounding.

    Exit status: 0 if every line holds, 1 if one does not, 2 for a wrong argument, 3 if a check could not be run because
    scikit-learn is missing (pip install 'rdtheory[data]'), 130 after Ctrl-C, which leaves nothing half-written.

    Less than a minute on two processors, half of that with --quick; compiled programs are kept.

    Example: rdtheory verify --only linear-bound --only relu-theorem --out report
    """
    try:
        outcomes, page = _verify(only or [], seed, out, quick, list_checks)
    except KeyboardInterrupt:
        Console(stderr=True).print("[bold]interrupted[/bold]: no report was written")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(_print(outcomes, page))


def _verify(only: list[str], seed: int, out: Path, quick: bool, list_checks: bool) -> tuple[list, Path]:
    ours = "jax" not in sys.modules  # nothing of it has run in this process
    import jax

    jax.config.update("jax_enable_x64", True)
    # What little most checks compute would not pay for optimized compilation.
    jax.config.update("jax_disable_most_optimizations", True)
    from rdtheory import verify as checking

    checks = {checking.name(check): check for check in checking.CHECKS}
    if list_checks:
        table = Table("name", "what it shows", box=None)
        for key, check in checks.items():
            table.add_row(key, checking.title(check))
        console.print(table)
        console.print(_index())
        raise typer.Exit
    for name in only:
        if name not in checks:
            close = difflib.get_close_matches(name, checks, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(checks)}"
            _fail(f"--only: unknown check {name!r}; {hint}")
    selected = [check for key, check in checks.items() if not only or key in only]
    made = _writable(out)

    outcomes = []
    try:
        with _progress.doing("checking", len(selected) + 1) as tell:
            # More would compile much of the same, and two on one accelerator would share its memory.
            processes = min(os.cpu_count() or 1, 2) if _has_only_a_cpu() else 1
            start = "fork" if ours and sys.platform == "linux" else "spawn"
            for outcome in checking.run(selected, seed=seed, quick=quick, processes=processes, start=start):
                outcomes.append(outcome)
                tell(outcome.check, 1)
            tell("the report")
            outcomes.sort(key=lambda outcome: list(checks).index(outcome.check))
            from rdtheory.verify import report

            _, page = report.write(out, outcomes, seed=seed, quick=quick)
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                out.rmdir()
        raise
    return outcomes, page


def _has_only_a_cpu() -> bool:
    """Asked without starting JAX, after which no process can be forked: accelerators come as plugins."""
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return os.environ.get("JAX_PLATFORMS") == "cpu" or not (plugins or importlib.util.find_spec("libtpu"))


def _index() -> Table:
    from rdtheory import theorems

    table = Table(
        "theorem", "statement", "source", "in rd", "checks", "notebook", "kind", box=None, padding=(1, 1, 0, 0)
    )
    for theorem in theorems.INDEX:
        functions, checks = ("\n".join(names) for names in (theorem.functions, theorem.checks))
        fields = (theorem.name, theorem.statement, theorem.source, functions, checks, theorem.notebook, theorem.kind)
        table.add_row(*map(Text, fields))
    return table


def _print(outcomes: list, page: Path) -> int:
    """The table and what follows from it; returns the exit status."""
    rows = [(outcome.check, row) for outcome in outcomes for row in outcome.rows]
    console.print(_table(rows))
    console.print("error: |numeric - theory|, or by how much an inequality numeric <= theory is violated", style="dim")
    failed = sum(not row.holds for _, row in rows)
    skipped = [outcome for outcome in outcomes if outcome.not_run]
    console.print(f"{len(rows) - failed} of {len(rows)} comparisons hold. Report: {page}")
    for outcome in skipped:
        console.print(Text.assemble(("not run: ", "yellow"), f"{outcome.check} {outcome.not_run}"))
    return EXIT_FAILED if failed else EXIT_NOT_RUN if skipped else 0


def _table(rows: list) -> Table:
    """One line a comparison; two in a narrow terminal, with the fields in pairs."""
    from rdtheory.verify.report import verdict

    narrow = console.width < WIDE
    table = Table(header_style="bold", pad_edge=False)
    for text in ("theorem\ncomputed",) if narrow else ("theorem", "computed"):
        table.add_column(text, overflow="fold")
    for number in ("theory\nnumeric", "error\nerror bar") if narrow else ("theory", "numeric", "error", "error bar"):
        table.add_column(number, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=not narrow)
    last = None
    for check, row in rows:
        if last not in (None, check):
            table.add_section()
        last = check
        fields = [row.theorem, row.computed, f"{row.theory:.6g}", f"{row.numeric:.6g}"]
        fields += [f"{row.error:.1e}", f"{row.error_bar:.1e}"]
        if narrow:
            fields = [f"{fields[i]}\n{fields[i + 1]}" for i in range(0, 6, 2)]
        table.add_row(*map(Text, fields), Text(verdict(row), "green" if row.holds else "bold red"))
    return table


def _writable(folder: Path) -> bool:
    """Make the folder and try it now: nobody wants to learn after a minute that the report cannot be written.

    Returns whether it was made.
    """
    made = not folder.exists()
    if not made and not folder.is_dir():
        _fail(f"--out: {folder} is not a folder; choose another one, or a new name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _fail(f"--out: cannot write to {folder}: {error.strerror or error}; choose another folder")
    return made


def _fail(message: str) -> NoReturn:
    Console(stderr=True).print(f"[bold red]error[/bold red]: {message}", highlight=False)
    raise typer.Exit(EXIT_USAGE)


def main() -> None:
    """Entry point of the ``rdtheory`` command."""
    # A letter that the terminal's encoding lacks is no reason to fail.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Rich folds a table to the terminal's width; a pipe has none, so give it room.
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        console.width = 160
    try:
        with contextlib.suppress(BrokenPipeError), _cache.kept(unless=EXIT_INTERRUPTED):
            app()
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:
            # Checks under way in other threads cannot be stopped, and nobody waits for them now.
            os._exit(EXIT_INTERRUPTED)
        raise
