"""What compressing real networks must come to, over seeds. Run: python benchmarks/compressed_networks.py

Each line is a requirement, the mean over the seeds that it is about, and whether it is met; the exit status is the
number of those missed. Takes about two minutes on two processors; with --out DIR a run cut off is taken up again.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import rdtheory as rd
from rdtheory.experiment import records, run
from rdtheory.experiment.records import Record

PRUNING = ("magnitude per layer", "magnitude", "Jacobian", "brain surgeon")
QUANTIZATION = ("Lloyd", "exact k-means + feedback", "uniform", "water-filled", "water-filled + feedback")


class Requirement(NamedTuple):
    what: str
    wanted: str
    measured: str
    met: bool


def at_least(what: str, wanted: float, values: list[float], unit: str = "") -> Requirement:
    return Requirement(what, f"≥ {wanted:g}{unit}", shown(values, unit), float(np.mean(values)) >= wanted)


def at_most(what: str, wanted: float, values: list[float], unit: str = "") -> Requirement:
    return Requirement(what, f"≤ {wanted:g}{unit}", shown(values, unit), float(np.mean(values)) <= wanted)


def shown(values: list[float], unit: str) -> str:
    error = f" ± {np.std(values, ddof=1) / np.sqrt(len(values)):.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.3g}{error}{unit}"


def digits(seeds: int, path: Path) -> list[Requirement]:
    cells = [
        *records.grid("digits", [("pruning", name) for name in PRUNING], [0.5, 0.3, 0.2, 0.1], seeds),
        *records.grid("digits", [("quantization", name) for name in QUANTIZATION], [1.5, 2.0, 3.0], seeds),
    ]
    found = run.run(sorted(cells, key=lambda cell: cell.seed), path)

    def of(objective: str, rate: float) -> list[Record]:
        return [record for record in found if (record.objective, record.rate) == (objective, rate)]

    def points(objective: str, baseline: str, keep: float) -> list[float]:
        pairs = zip(of(objective, keep), of(baseline, keep), strict=True)
        return [100 * (a.accuracy - b.accuracy) for a, b in pairs]

    def ratio_of_means(objective: str, baseline: str, rate: float) -> list[float]:
        """Each seed's KL over the baseline's mean, so that their mean is the ratio of the means."""
        mean = np.mean([record.kl for record in of(baseline, rate)])
        return [record.kl / mean for record in of(objective, rate)]

    return [
        at_least("30 % kept, Jacobian over magnitude per layer", 5, points(PRUNING[2], PRUNING[0], 0.3), " points"),
        at_least("10 % kept, brain surgeon over magnitude", 30, points(PRUNING[3], PRUNING[1], 0.1), " points"),
        at_most("3 bits, KL of exact k-means + feedback over Lloyd", 0.5, ratio_of_means(*QUANTIZATION[1::-1], 3.0)),
        *(
            at_most(f"{rate:g} bits, KL of {name} over uniform", limit, ratio_of_means(name, "uniform", rate))
            for rate in (1.5, 2.0, 3.0)
            for name, limit in (("water-filled", 0.9), ("water-filled + feedback", 0.35))
        ),
    ]  # fmt: skip


def regression(seed: int) -> float:
    """Distortion of Jacobian over magnitude, half kept: a fitted ReLU network of 32 uncorrelated inputs.

    Their deviations are from 0.1 to 10; the targets are those of another network of the same shape.
    """
    keys = jax.random.split(jax.random.key(seed), 4)
    network = rd.networks.mlp([32, 16, 1])
    inputs = jax.random.normal(keys[0], (6000, 32)) * jnp.logspace(-1, 1, 32)[None, :]
    targets = network.apply(network.init(keys[1]), inputs)
    seen, unseen = inputs[:4000], inputs[4000:]
    params = rd.training.fit(
        network.apply, network.init(keys[2]), seen, targets[:4000] / targets.std(), key=keys[3], epochs=60,
        learning_rate=0.01, progress=False,
    ).params  # fmt: skip
    importance = rd.importance.diagonal(network.apply, params, seen[:500])
    pruned = [rd.prune.weighted(params, importance, 0.5), rd.prune.magnitude(params, 0.5)]
    ours, plain = (rd.evaluation.squared_error(network.apply, params, p.weights_hat, unseen) for p in pruned)
    return float(ours / plain)


def eigenbasis(seed: int) -> float:
    """Bits per weight of scalar quantizers in the eigenbasis above the exact R(D), correlated inputs and weights."""
    rng = np.random.default_rng(seed)
    weight_cov, input_cov = (a @ a.T / 16 for a in rng.normal(size=(2, 16, 16)))
    weights = rng.multivariate_normal(np.zeros(16), weight_cov, size=50_000)
    result = rd.quantize.transform(weights, weight_cov, input_cov, 0.1)
    return float(result.rate - rd.linear.rate(weight_cov, input_cov, result.distortion).rate) / 16


def requirements(seeds: int, path: Path) -> list[Requirement]:
    return [
        *digits(seeds, path),
        at_most("regression, half kept, distortion of Jacobian over magnitude", 0.2, [*map(regression, range(seeds))]),
        at_most("eigenbasis above R(D)", 0.3, [*map(eigenbasis, range(seeds))], " bit"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder of the measurements; a temporary one without it")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as scratch:
        found = requirements(arguments.seeds, (arguments.out or Path(scratch)) / "results.jsonl")
    table = Table("requirement", "wanted", "measured", "")
    for line in found:
        table.add_row(*line[:3], "met" if line.met else "[red]missed[/red]")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    sys.exit(sum(not line.met for line in found))


if __name__ == "__main__":
    main()
