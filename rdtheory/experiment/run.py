"""Train, compress in every way, score, write down: seed by seed, and from where an earlier run was cut off."""

import time
from collections.abc import Sequence
from pathlib import Path

import jax
from rich.console import Console

import rdtheory
from rdtheory import _progress
from rdtheory.experiment import compressors, records, trained
from rdtheory.experiment.records import Cell, Record

__all__ = ["cells", "run"]

QUICK = {"pruning": (0.3,), "quantization": (2.0,), "low-rank": (0.5,)}
# Left out of a quick one.
SLOW = (
    compressors.SMALL_ONLY,
    "Fisher",
    "as published",
    "gradient + curvature",
    "entropy-constrained",
    "exact k-means + feedback",
    "water-filled",
    "water-filled + feedback",
)

SETTINGS = {  # what the numbers depend on: results of others do not go on in the same file
    "version": rdtheory.__version__,
    "jax": jax.__version__,
    "training": {kind: list(setting) for kind, setting in trained.TRAINING.items()},
    "rates": {kind: list(rates) for kind, rates in compressors.RATES.items()},  # the surgeon goes from one to the next
    "labels": compressors.LABELS,
    "examples": list(compressors.EXAMPLES),
    "temperatures": list(compressors.TEMPERATURES),
    "dampings": list(compressors.DAMPINGS),
    "surgeon dampings": list(compressors.SURGEON_DAMPINGS),
}


def cells(kinds: Sequence[str], data: str, seeds: int, *, first: int = 0, quick: bool = False) -> list[Cell]:
    """What an experiment measures, the full network first; a quick one at fewer rates, without what takes longest."""
    found = []
    for kind in kinds:
        left_out = (compressors.SMALL_ONLY,) if data != "digits" else ()
        names = [name for name in compressors.OBJECTIVES[kind] if name not in (SLOW if quick else left_out)]
        rates = QUICK[kind] if quick else compressors.RATES[kind]
        found += records.grid(data, [(kind, records.FULL_NETWORK)], [compressors.FULL_BITS], seeds, first)
        found += records.grid(data, [(kind, name) for name in names], rates, seeds, first)
    return sorted(found, key=lambda cell: cell.seed)


def run(wanted: Sequence[Cell], path: Path, *, progress: bool = True) -> list[Record]:
    """Measure what the results file at `path` does not hold yet.

    Parameters
    ----------
    wanted : from `cells`, of one data set or several.
    path : the results file, made if missing; each line is written when it is measured.
    progress : show a bar on stderr.

    Returns
    -------
    records : those that were wanted, in their order, whenever measured.

    Raises
    ------
    ValueError : a results file that is damaged or not of this experiment.
    """
    resumed = records.resume(path, SETTINGS)
    if resumed.note:
        Console(stderr=True).print(resumed.note, style="yellow", highlight=False)
    left = records.remaining(wanted, resumed.records)
    found = list(resumed.records)
    with _progress.doing("experiment", len(left), shown=progress) as tell:
        for data, seed in dict.fromkeys((cell.data, cell.seed) for cell in left):
            tell(f"{data}, seed {seed}")
            network = trained.train(data, seed)
            weights = sum(w.size for w in network.matrices)
            mine = [cell for cell in left if (cell.data, cell.seed) == (data, seed)]
            made = compressors.compressors(network)
            for cell in mine:
                tell(f"{data}, seed {seed}, {cell.objective} at {cell.rate:g}")
                begin = time.perf_counter()
                compressed = made[cell.scheme][cell.objective](cell.rate)
                taken = time.perf_counter() - begin
                scores = trained.scores(network, compressed.matrices)
                record = Record(*cell, *scores, bits_per_weight=compressed.bits / weights, seconds=taken)
                records.append(path, record)
                found.append(record)
                tell(done=1)
    places = {cell: i for i, cell in enumerate(wanted)}
    asked = [(places[Cell(*record[:5])], record) for record in found if Cell(*record[:5]) in places]
    return [record for _, record in sorted(asked, key=lambda pair: pair[0])]
