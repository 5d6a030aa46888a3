"""The commands ``rdtheory compress`` and ``rdtheory decompress``."""

import contextlib
import io
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

EXIT_USAGE, EXIT_INTERRUPTED = 2, 130


def compress(
    weights: Annotated[
        Path, typer.Argument(help="Arrays of weights, (inputs,) or (inputs, outputs).", metavar="WEIGHTS.npz")
    ],
    inputs: Annotated[
        Path, typer.Option(help="Inputs of each array under its name, (examples, inputs).", metavar="X.npz")
    ],
    distortion: Annotated[float, typer.Option(help="D, see below.", metavar="D")],
    out: Annotated[Path, typer.Option(help="The file to write.", metavar="FILE")],
) -> None:
    """Write weights to a file, in few bits, so that the outputs of their linear layers change by at most D.

    D is the mean over the inputs of the squared change of all outputs x·W together. The weights are rounded with error
    feedback in steps that follow one water level, and coded. The rate counts every byte of the file. R(D) is the rate
    below which no code meets the distortion for all weights of those mean squares that are Gaussian and independent,
    even if it knows the inputs.
    Weights in float16 come back in float32.

    Example: rdtheory compress weights.npz --inputs x.npz --distortion 0.01 --out weights.rd

    Exit status: 0; 2 for a wrong argument or a file that is missing or damaged.
    """
    with _reported():
        import jax

        jax.config.update("jax_enable_x64", True)
        from rdtheory.codec import linear, npz

        arrays, given = npz.read(weights), npz.read(inputs)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("compressing", total=linear.TURNS)
            found = linear.compress(arrays, given, distortion, progress=lambda: bar.advance(task))
        with _replaced(out) as stream:
            stream.write(found.data)
    count = sum(array.size for array in arrays.values())
    before = sum(array.nbytes for array in arrays.values())
    table = Table(box=None, show_header=False)
    table.add_row("rate", f"{found.rate:.4f} bits per weight", f"{len(found.data):,} bytes, {count:,} weights")
    table.add_row("distortion", f"{found.distortion:.6g}", f"{distortion:g} asked for")
    table.add_row("bound R(D)", f"{found.bound:.4f} bits per weight", "Gaussian weights of the same mean squares")
    table.add_row("gap", f"{found.rate - found.bound:.4f} bits per weight", found.steps_of)
    table.add_row("file", str(out), f"{before / len(found.data):.1f} times smaller than the arrays")
    Console().print(table, highlight=False)


def decompress(
    file: Annotated[Path, typer.Argument(help="What `rdtheory compress` wrote.", metavar="FILE")],
    out: Annotated[Path, typer.Option(help="The file to write.", metavar="WEIGHTS.npz")],
) -> None:
    """Turn a compressed file back into arrays of weights, those that `rdtheory compress` measured, bit for bit.

    Example: rdtheory decompress weights.rd --out weights.npz

    Exit status: 0; 2 for a wrong argument or a file that is missing or damaged.
    """
    with _reported():
        from rdtheory.codec import linear, npz

        if not file.is_file():
            raise FileNotFoundError(f"{file}: there is no such file")
        try:
            arrays = linear.decompress(file.read_bytes())
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        with _replaced(out) as stream:
            npz.write(stream, arrays)
    for name, array in arrays.items():
        Console().print(f"{name} {array.shape} {array.dtype}", highlight=False, markup=False)


@contextlib.contextmanager
def _reported() -> Generator[None]:
    """What is wrong with files and arguments as one line, without a traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        where = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        Console(stderr=True).print(f"[bold red]error[/bold red]: {where}", highlight=False)
        raise typer.Exit(EXIT_USAGE) from error
    except KeyboardInterrupt:
        Console(stderr=True).print("[bold]interrupted[/bold]: nothing was written")
        raise typer.Exit(EXIT_INTERRUPTED) from None


@contextlib.contextmanager
def _replaced(path: Path) -> Generator[io.BufferedIOBase]:
    """A stream to a new file that takes the place of `path` once it is whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
