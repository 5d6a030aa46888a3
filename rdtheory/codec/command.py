"""The commands ``rdtheory compress`` and ``rdtheory decompress``."""

import contextlib
import math
import os
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rdtheory import _unfinished

if TYPE_CHECKING:
    import numpy as np

    from rdtheory.results import Compressed

EXIT_USAGE, EXIT_INTERRUPTED = 2, 130
WIDE = 110  # columns


def compress(
    weights: Annotated[
        Path, typer.Argument(help="Arrays: .safetensors, .npz, or .onnx with its initializers.", metavar="MODEL")
    ],
    inputs: Annotated[
        Path, typer.Option(help="Inputs of each layer under the name of its weights, see below.", metavar="FILE")
    ],
    relative: Annotated[
        float | None, typer.Option(help="Share of its outputs' power that each layer may lose.", metavar="r")
    ] = None,
    bits: Annotated[
        float | None, typer.Option(help="Bits for each weight of all layers together.", metavar="b")
    ] = None,
    distortion: Annotated[
        float | None, typer.Option(help="Squared change of all outputs together.", metavar="D")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write.", metavar="FILE")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the table, and write nothing.")] = False,
    states: Annotated[int, typer.Option(help="Of the code: 4 to 256; 256 take 0.04 bit less and longer.")] = 8,
    outputs_first: Annotated[
        bool | None,
        typer.Option(
            "--outputs-first/--inputs-first",
            help="How square layers stand: as PyTorch stores them, or as in x·W. Others say it by their shapes.",
            show_default=False,
        ),
    ] = None,
    held_out: Annotated[float, typer.Option(help="Share of the inputs that distortions are measured on.")] = 0.2,
    shrinkage: Annotated[
        float | None, typer.Option(help="Of the moments, 0 to 1; by a rule of Ledoit and Wolf if it is not given.")
    ] = None,
    few: Annotated[bool, typer.Option("--few", help="Allow fewer inputs than dimensions.")] = False,
) -> None:
    """Write a model to a file, its layers in few bits, so that their outputs change by no more than is asked for.

    Example, each layer to lose 1 % of the power of its outputs:

    rdtheory compress model.safetensors --inputs x.npz --relative 0.01 --out model.rd

    A layer is an array that has inputs of its name: examples x (n, m), one a row, or their second moments (m, m), in
    .npz or .safetensors. The names may differ where there is one matrix and one array of inputs. All else, as biases
    and norms, is kept bit for bit.

    D of a layer is the mean squared change of its outputs x·W, its share what that is of their own mean square. Both
    are measured on a fifth of the inputs, which nothing else sees; with moments there is nothing to hold out, and D is
    that of the moments. What the network's own outputs lose is another number: measure it with `rd.evaluation`. With
    --bits and --distortion one water level decides between layers: of shares, and of D.

    R(D) is the rate below which no code comes at that D for Gaussian weights whose variances are a row's times a
    column's, even if it knows the inputs. Where a rate is below, the weights are not like that.

    Exit status: 0; 2 for a wrong argument or a file that is missing or damaged; 130 after Ctrl-C, which writes nothing.
    """
    with _reported():
        if out is None and not dry_run:
            raise ValueError("--out: say which file to write, or --dry-run to see the table alone")
        if out is not None and not out.parent.is_dir():
            raise FileNotFoundError(f"--out: there is no folder {out.parent}")
        if out is not None and out.is_dir():
            raise IsADirectoryError(f"--out: {out} is a folder, and a file is to be written")
        import jax

        jax.config.update("jax_enable_x64", True)
        from rdtheory.codec import files, model

        (arrays, metadata), (given, _) = files.read(weights), files.read(inputs)
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always", UserWarning)
            found = model.compress(
                arrays,
                given,
                relative=relative,
                bits=bits,
                distortion=distortion,
                states=states,
                held_out=held_out,
                shrinkage=shrinkage,
                outputs_first=outputs_first,
                few=few,
                metadata=metadata,
            )
        for note in notes:
            Console(stderr=True).print("[yellow]note[/yellow]:", escape(str(note.message)), highlight=False)
        if not dry_run and out is not None:
            with _unfinished.files(out) as (file,):
                file.write_bytes(found.data)
    _print(found, arrays, None if dry_run else out)


def decompress(
    file: Annotated[Path, typer.Argument(help="What `rdtheory compress` wrote.", metavar="FILE")],
    out: Annotated[Path, typer.Option(help="The file to write, .safetensors or .npz.", metavar="MODEL")],
) -> None:
    """Turn a compressed file back into the arrays of a model: those that `rdtheory compress` measured, bit for bit.

    Example: rdtheory decompress model.rd --out model.safetensors

    Exit status: 0; 2 for a wrong argument or a file that is missing or damaged.
    """
    with _reported():
        from rdtheory.codec import container, files

        if not file.is_file():
            raise FileNotFoundError(f"{file}: there is no such file")
        try:
            arrays, metadata = container.unpack(file.read_bytes())
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        with _unfinished.files(out) as (unfinished,), unfinished.open("wb") as stream:
            files.write(out, stream, arrays, metadata)
    for name, array in arrays.items():
        Console().print(f"{name} {array.shape} {array.dtype}", highlight=False, markup=False)


def _print(found: "Compressed", arrays: "dict[str, np.ndarray]", out: Path | None) -> None:
    """A row for each layer, then all of them."""
    console = Console(width=None if os.isatty(1) or "COLUMNS" in os.environ else 160)
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", overflow="fold")
    fit = ("kurtosis", "KL") if console.width >= WIDE else ()  # of many columns those that notes tell, if it matters
    for text in ("shape", "bits", "R(D)", "gap", "D", "of power", *fit):
        table.add_column(text, justify="right", no_wrap=True)
    for layer in found.layers:
        share = layer.distortion / layer.power if layer.power else 0.0
        row = [
            "x".join(map(str, layer.shape)),
            f"{layer.rate:.3f}",
            f"{layer.bound:.3f}",
            "below R(D)" if layer.rate < layer.bound else f"{layer.rate - layer.bound:.3f}",
            _with_error(layer.distortion, layer.standard_error),
            f"{100 * share:.3g} %",
            f"{layer.kurtosis:.2f}",
            f"{layer.divergence:.3f}",
        ]
        table.add_row(Text(layer.name), *row[: None if fit else -2])
    console.print(table, highlight=False)
    count = sum(math.prod(layer.shape) for layer in found.layers)
    rows = sorted({layer.held_out for layer in found.layers})
    measured = "moments that were given: nothing was held out"
    if rows[-1]:
        measured = f"on {' to '.join(f'{n:,}' for n in dict.fromkeys((rows[0], rows[-1])))} inputs held out"
    below = found.rate < found.bound
    size, wide = len(found.data), sum(4 * a.size if a.dtype.kind not in "iub" else a.nbytes for a in arrays.values())
    total = Table(box=None, show_header=False, pad_edge=False)
    total.add_row(
        "rate",
        f"{found.rate:.4f} bits per weight",
        f"{count:,} weights in {len(found.layers)} layer{'s' * (len(found.layers) > 1)}",
    )
    total.add_row("distortion", _with_error(found.distortion, found.standard_error), measured)
    total.add_row("bound R(D)", f"{found.bound:.4f} bits per weight", "Gaussian weights of row x column variances")
    total.add_row(
        "gap",
        "none" if below else f"{found.rate - found.bound:.4f} bits per weight",
        "a rate below R(D) is evidence against the Gaussian prior" if below else "",
    )
    if found.kept:
        kept = sum(arrays[name].nbytes for name in found.kept)
        total.add_row("kept as they are", f"{len(found.kept)} arrays", f"{kept:,} bytes: {_some(found.kept)}")
    smaller = f"{found.before / size:.1f} times smaller than the arrays, {wide / size:.1f} than float32"
    total.add_row("file", f"{size:,} bytes", smaller)
    console.print(total, highlight=False)
    said = "a dry run: nothing was written" if out is None else f"written to {out}"
    console.print(said, highlight=False, markup=False, soft_wrap=True)


def _with_error(distortion: float, error: float) -> str:
    return f"{distortion:.6g}" + (f" ± {100 * error / distortion:.1g} %" if distortion and error >= 0 else "")


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


@contextlib.contextmanager
def _reported() -> Generator[None]:
    """What is wrong with files and arguments as one line, without a traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        where = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        Console(stderr=True).print("[bold red]error[/bold red]:", escape(where), highlight=False)
        raise typer.Exit(EXIT_USAGE) from error
    except KeyboardInterrupt:
        Console(stderr=True).print("[bold]interrupted[/bold]: nothing was written")
        raise typer.Exit(EXIT_INTERRUPTED) from None
