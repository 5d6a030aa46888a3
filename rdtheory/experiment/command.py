"""The command ``rdtheory experiment``."""

import itertools
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rdtheory import _unfinished

KINDS = ("pruning", "quantization", "low-rank", "all")


def experiment(
    kind: Annotated[str, typer.Argument(help=f"What to compare: {', '.join(KINDS)}.", metavar="KIND")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="digits, mnist5k, idx:DIR or cifar:DIR; repeat for several.", metavar="DATA"),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Networks trained, each from its own seed.", show_default="5; 1 if quick"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="The first of these seeds.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the results, made if missing.", metavar="DIR")] = Path(
        "rdtheory-experiment"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rates and objectives.")] = False,
) -> None:
    """Compress trained networks by every objective, at every rate, and compare them.

    Trains a network for each seed (digits: 64-32-10; mnist5k: LeNet-5; idx: LeNet-300-100; cifar: three convolutions
    and a full layer), compresses it in every way of that KIND, and scores it on examples it has not seen. What has to
    be chosen is chosen on held-out training data; what takes longest, the brain surgeon at three dampings among it, is
    left out of a --quick one. Bits count all that a decoder needs: labels, codebooks, scales and
    masks.

    Writes results.jsonl, a line for each measurement as soon as it is made; run the same command again and it goes
    on where it was cut off. Then summary.csv, summary.json and tradeoff.png.

    Example: rdtheory experiment pruning --data digits --seeds 5

    Exit status: 0; 2 for a wrong argument, data that are missing or damaged; 130 when interrupted.
    """
    errors = Console(stderr=True)
    if kind not in KINDS:
        errors.print(
            f"[bold red]error[/bold red]: KIND must be one of {', '.join(KINDS)}, got {kind!r}", highlight=False
        )
        raise typer.Exit(2)
    import jax

    jax.config.update("jax_enable_x64", True)
    from rdtheory import plotting
    from rdtheory.experiment import compressors, run, summary, trained

    seeds = seeds or (1 if quick else 5)
    kinds = compressors.KINDS if kind == "all" else (kind,)
    names = list(dict.fromkeys(data or ["digits"]))
    try:
        for name in names:
            trained.check(name)
        wanted = [cell for name in names for cell in run.cells(kinds, name, seeds, first=seed, quick=quick)]
        found = run.run(wanted, out / "results.jsonl")
    except (ValueError, OSError, ModuleNotFoundError) as error:
        errors.print(f"[bold red]error[/bold red]: {error}", highlight=False)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        errors.print("[bold]interrupted[/bold]: what was measured is kept; the same command goes on from there")
        raise typer.Exit(130) from None
    console, summaries = Console(width=None if sys.stdout.isatty() else 120), []
    for name, each in itertools.product(names, kinds):
        part = [record for record in found if (record.data, record.scheme) == (name, each)]
        first = compressors.OBJECTIVES[each][0]
        mine = summary.summarize(part, (each, first))
        plural = "s" if seeds > 1 else ""
        console.print(
            summary.table(mine, f"{each}, {name}, {seeds} seed{plural}; KL ratio and seeds won against {first}")
        )
        summaries += mine
    with _unfinished.files(*(out / name for name in ("summary.csv", "summary.json", "tradeoff.png"))) as files:
        table, values, picture = files
        table.write_text(summary.to_csv(summaries))
        values.write_text(json.dumps(summary.rows(summaries), indent=1) + "\n")
        plotting.compression_grid(summaries).savefig(picture, dpi=130)
    console.print(f"Written to {out}: results.jsonl, summary.csv, summary.json, tradeoff.png", highlight=False)
