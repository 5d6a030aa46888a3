"""The command ``rdtheory report``."""

import runpy
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

EXIT_USAGE, EXIT_INTERRUPTED = 2, 130
ENOUGH = 10  # calibration rows for each input
FAR = 0.1  # bits from the prior


def report(
    model: Annotated[
        Path, typer.Argument(help="A program in Python that makes `apply` and `params`.", metavar="MODEL.py")
    ],
    inputs: Annotated[Path, typer.Option(help="Inputs of the network, (examples, ...) each.", metavar="X.npz")],
    out: Annotated[Path, typer.Option(help="Folder of the page, made if missing.", metavar="DIR")] = Path(
        "rdtheory-report"
    ),
    bits: Annotated[float, typer.Option(help="What our code is to take for each weight, about.")] = 4.0,
    kind: Annotated[
        str, typer.Option(help="jacobian: squared error of the outputs; fisher: they are logits, divergence in bits.")
    ] = "jacobian",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Random directions for each example, where there are many outputs.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the random directions.")] = 0,
) -> None:
    """Say what the formats in use, and our code, take and lose on a network, and how far each is from its limit.

    MODEL.py is run. It has to leave a function `apply(params, inputs)` from inputs (examples, ...) to outputs, written
    in JAX, and its weights `params`, a tree of arrays. Inputs are the array in the file, or all by their names if
    there are several; four fifths of them are for calibration, and what is lost is measured on the others.

    Prints a line for each format. Writes network.html, a table for each layer with a picture, network.json and
    network.csv.

    Example: rdtheory report model.py --inputs x.npz --bits 3 --out report

    Exit status: 0; 2 for a wrong argument, a file that is missing or damaged, a program that fails; 130 when
    interrupted.
    """
    errors = Console(stderr=True)
    try:
        import jax

        jax.config.update("jax_enable_x64", True)
        from rdtheory import network
        from rdtheory.codec import npz

        given = npz.read(inputs)
        x = next(iter(given.values())) if len(given) == 1 else given
        apply, params = _model(model)
        key = None if samples is None else jax.random.key(seed)
        found = network.report(apply, params, x, bits=bits, kind=kind, samples=samples, key=key)
        page, *_ = network.write(out, found)
    except (ValueError, TypeError, OSError) as error:
        errors.print(f"[bold red]error[/bold red]: {error}", highlight=False)
        raise typer.Exit(EXIT_USAGE) from error
    except KeyboardInterrupt:
        errors.print("[bold]interrupted[/bold]: nothing was written")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    console = Console(width=None if sys.stdout.isatty() else 120)
    change = "squared change" if kind == "jacobian" else "divergence, bits"
    table = Table("format", box=None)
    for column in ("bits", "R(D)", "gap", change, "second order", "equal decisions"):
        table.add_column(column, justify="right")
    limit = found.total_limit
    for i, name in enumerate(found.formats):
        gap = f"{limit.gap[i]:.3f}" if limit.evidence[i] == 0 else f"prior off by {limit.evidence[i]:.3f}"
        numbers = [f"{found.total_bits[i]:.3f}", f"{limit.bound[i]:.3f}", gap]
        numbers += [f"{found.measured[i]:.3g} ± {found.measured_error[i]:.1g}", f"{found.predicted[i]:.3g}"]
        table.add_row(name, *numbers, f"{found.agreement[i]:.2%}")
    console.print(table)
    for name, rows, divergence in zip(found.layers, found.rows_per_input, found.divergence, strict=True):
        if rows < ENOUGH:
            console.print(f"{name}: {rows:.1f} calibration rows for each input, of {ENOUGH} that are needed")
        if divergence > FAR:
            console.print(f"{name}: {divergence:.2f} bit from the Gaussian prior, so that R(D) may be less by that")
    console.print(f"{int(found.shapes.prod(axis=1).sum()):,} weights in {len(found.layers)} layers. Report: {page}")


def _model(path: Path) -> tuple[Any, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        made = runpy.run_path(str(path))
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
    missing = [name for name in ("apply", "params") if name not in made]
    if missing:
        raise ValueError(f"{path} must leave apply and params, but has no {' and no '.join(missing)}")
    return made["apply"], made["params"]
