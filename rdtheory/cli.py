"""The command line: ``rdtheory verify`` runs every check and writes the report."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What rate-distortion theory says about compressing models, proved numerically.",
)
console = Console()

EXIT_FAILED, EXIT_USAGE, EXIT_NOT_RUN, EXIT_INTERRUPTED = 1, 2, 3, 130


def _version(show: bool) -> None:
    if show:
        from rdtheory import __version__

        console.print(f"rdtheory {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


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
    scikit-learn is missing (pip install 'rdtheory[data]'), 130 after Ctrl-C, which leaves no report.

    Example: rdtheory verify --only linear-bound --only relu-theorem --out report
    """
    try:
        _verify(only or [], seed, out, quick, list_checks)
    except KeyboardInterrupt:
        console.print("[bold]interrupted[/bold]: no report was written")
        console.file.flush()
        # Checks under way in other threads cannot be stopped, and nobody waits for them now.
        os._exit(EXIT_INTERRUPTED)


def _verify(only: list[str], seed: int, out: Path, quick: bool, list_checks: bool) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    # What little a quick run computes would not pay for optimized compilation.
    jax.config.update("jax_disable_most_optimizations", quick)
    from rdtheory import verify as checking

    checks = {checking.name(check): check for check in checking.CHECKS}
    if list_checks:
        table = Table("name", "what it shows", box=None)
        for key, check in checks.items():
            table.add_row(key, checking.title(check))
        console.print(table)
        return
    unknown = [name for name in only if name not in checks]
    if unknown:
        _fail(f"--only: unknown check {unknown[0]!r}; choose from {', '.join(checks)}")
    selected = [check for key, check in checks.items() if not only or key in only]
    _writable(out)

    outcomes = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("checking", total=len(selected) + 1)
        for outcome in checking.run(selected, seed=seed, quick=quick):
            outcomes.append(outcome)
            progress.update(task, advance=1, description=f"{outcome.check:<22}")
        progress.update(task, description=f"{'report':<22}")
        outcomes.sort(key=lambda outcome: list(checks).index(outcome.check))
        from rdtheory.verify import report

        _, page = report.write(out, outcomes, seed=seed, quick=quick)
        progress.update(task, advance=1)

    rows = [(outcome.check, row) for outcome in outcomes for row in outcome.rows]
    console.print(_table(rows))
    failed = sum(not row.holds for _, row in rows)
    skipped = [outcome for outcome in outcomes if outcome.not_run]
    console.print(f"{len(rows) - failed} of {len(rows)} comparisons hold. Report: {page}")
    for outcome in skipped:
        console.print(Text.assemble(("not run: ", "yellow"), f"{outcome.check} {outcome.not_run}"))
    if failed:
        raise typer.Exit(EXIT_FAILED)
    if skipped:
        raise typer.Exit(EXIT_NOT_RUN)


def _table(rows: list) -> Table:
    from rdtheory.verify.report import verdict

    table = Table(show_lines=False, header_style="bold", pad_edge=False)
    for title in ("theorem", "computed"):
        table.add_column(title, overflow="fold")
    for title in ("theory", "numeric", "error", "error bar"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    last = None
    for check, row in rows:
        if last not in (None, check):
            table.add_section()
        last = check
        words = (row.theorem, row.computed, f"{row.theory:.6g}", f"{row.numeric:.6g}", f"{row.error:.1e}",
                 f"{row.error_bar:.1e}", Text(verdict(row), "green" if row.holds else "bold red"))  # fmt: skip
        table.add_row(*(Text(word) if isinstance(word, str) else word for word in words))
    return table


def _writable(folder: Path) -> None:
    """Make the folder and try it now: nobody wants to learn after a minute that the report cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _fail(f"--out: cannot write to {folder}: {error.strerror or error}; choose another folder")


def _fail(message: str) -> None:
    Console(stderr=True).print(f"[bold red]error[/bold red]: {message}", highlight=False)
    raise typer.Exit(EXIT_USAGE)


def main() -> None:
    """Entry point of the ``rdtheory`` command."""
    # Rich folds a table to the terminal's width; a pipe has none, so give it room.
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        console.width = 160
    with contextlib.suppress(BrokenPipeError):
        app()


if __name__ == "__main__":
    main()
