"""The command ``rdtheory prove``; outside of its package `rdtheory.rigor`, which imports JAX."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rdtheory import _unfinished

EXIT_WIDE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def prove(
    source: Annotated[str | None, typer.Argument(help="The source, see below.", metavar="SOURCE")] = None,
    at: Annotated[str | None, typer.Option(help="D, like 0.1 or 1/3: taken exactly.", metavar="D")] = None,
    distortion: Annotated[
        str | None, typer.Option(help="Hamming for letters, squared for densities, or see below.", metavar="MEASURE")
    ] = None,
    digits: Annotated[int, typer.Option(min=1, max=1000, help="Digits to prove; a density on points has 11.")] = 30,
    table: Annotated[
        Path | None,
        typer.Option(help="Write the table of reference values anew instead (minutes).", metavar="FILE.csv"),
    ] = None,
) -> None:
    """Prove digits of a rate-distortion function: a theorem, not an estimate.

    Solvers round. This command takes what a solver finds as a guess, and proves from it that no compressor needs less
    (the dual bound) and that one needs no more (a test channel), in arithmetic of intervals that always hold the true
    value. Numbers are exact: 0.1 is one tenth.

    SOURCE is masses with commas, such as 0.7,0.3 or 1/2,1/3,1/6, of letters 0, 1, 2, ...; or one of fair:N,
    binomial:N,P, geometric:RATIO,N, poisson:MEAN,N (N letters, normalized); or a density,
    uniform:LOW,HIGH, laplace:SCALE, gaussian:SCALE, mixture:WEIGHT,MEAN,SCALE;WEIGHT,MEAN,SCALE.

    MEASURE is hamming, erasure (one more letter, at cost 1; errors are forbidden), absolute or squared (of the letters'
    numbers), rows with semicolons such as 0,1;3,0, or FILE.csv with a row for each letter.

    Example: rdtheory prove 0.7,0.3 --at 0.1

    Example: rdtheory prove uniform:-1,1 --at 1/12

    Exit status: 0; 1 if fewer digits were proved than asked for (than ten, for a density); 2 for a wrong argument, if
    python-flint is missing (pip install 'rdtheory[proofs]'), or if no proof was found.
    """
    try:
        done = _reference(table) if table is not None else _one(source, at, distortion, digits)
    except (ValueError, TypeError, ArithmeticError, ImportError, OSError) as error:
        Console(stderr=True).print(f"[bold red]error[/bold red]: {error}", highlight=False)
        raise typer.Exit(EXIT_USAGE) from error
    except KeyboardInterrupt:
        Console(stderr=True).print("[bold]interrupted[/bold]: nothing was written")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(0 if done else EXIT_WIDE)


def _one(source: str | None, at: str | None, distortion: str | None, digits: int) -> bool:
    if source is None or at is None:
        raise ValueError("give a SOURCE and --at D, or --table FILE.csv; rdtheory prove --help has examples")
    import jax

    jax.config.update("jax_enable_x64", True)
    from rdtheory.rigor import named
    from rdtheory.rigor.enclosure import decimal, width_within

    density = source.partition(":")[0] in ("uniform", "laplace", "gaussian", "mixture")
    distortion = distortion or ("squared" if density else "hamming")
    found = named.prove(source, distortion, at, digits)
    console = Console(soft_wrap=True)
    console.print(f"R({at}) = {decimal(found, places=digits)} bits per symbol, proved", highlight=False)
    apart = (found.upper - found.lower).str(2, radius=False)
    console.print(f"last digit within one unit; bounds {apart} apart; {distortion} distortion", highlight=False)
    return width_within(found, min(digits, named.MOST - 1) if density else digits)


def _reference(file: Path) -> bool:
    import jax

    jax.config.update("jax_enable_x64", True)
    from rdtheory.rigor import table

    console = Console(stderr=True, soft_wrap=True)
    with _unfinished.files(file) as (unfinished,):
        text = table.proved(lambda row: console.print(*row, highlight=False, markup=False))
        unfinished.write_text(text, encoding="utf-8")
    return True
