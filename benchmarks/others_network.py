"""A network nobody here trained, on inputs it was not compressed with. Run: python benchmarks/others_network.py

The network tells file types (`rdtheory.experiment.file_types`); every fifth file is held out. Two of its layers have 20
inputs for each dimension: the convolution (1280 × 512) and the last layer (512 × 214). For each:

- bits per weight, all that a decoder needs; error, the share of the output's power that is lost on files held out;
- gap: bits above R(D) of the prior r_i c_j fitted to the layer, with the moments of all inputs.

Then the whole network, its table of bytes included: how often it decides as before. Writes a CSV with --csv, a figure
with --figure. Takes about ten minutes of one processor; --quick, two, with fewer inputs than 20 for each.
"""

import argparse
import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from feedback import water_level
from matplotlib.figure import Figure

import rdtheory as rd
from rdtheory.experiment import file_types
from rdtheory.results import CodedLayer
from rdtheory.schemes import formats

GPTQ = "GPTQ 4-bit in groups of 128"
FORMATS = {
    "8-bit per channel": lambda w, moments: formats.integers(w, 8),
    "4-bit in groups of 128": lambda w, moments: formats.integers(w, 4, 128),
    "NF4 in groups of 64": lambda w, moments: formats.normal_floats(w, 64),
    GPTQ: lambda w, moments: formats.gptq(w, moments, 4, 128),
    "half pruned": lambda w, moments: formats.half_zero(w),
}
LAYERS = ("convolution", "dense")
PLACES = 4  # of the convolution that are looked at in each file
TOGETHER = 100  # files
RATES = {8: (1.0, 2.0, 4.0), 256: (0.5, 1.0, 2.0, 3.0, 4.1)}  # for each number of states
ABOVE, NEAR = 0.12, 0.05  # bits above R(D), about; that a rate may be off
WANTED, SOME = 3.0, 400  # bits per weight of the whole network; known files that bits are divided by
HEAD = ("layer", "code", "bits per weight", "error on files held out (dB)", "R(D)", "gap")
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#999999")


class Data(NamedTuple):
    """One layer and what it sees."""

    weights: np.ndarray  # (m, k)
    moments: np.ndarray  # of calibration
    rows: np.ndarray  # held out
    all_moments: np.ndarray
    n: int  # rows of calibration


class Point(NamedTuple):
    layer: str
    code: str
    bits: float
    error: float  # share of the output's power
    standard_error: float
    bound: float
    gap: float


def seen(params: dict, paths: list[Path]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Contents, and the rows that the layers see of them."""
    content, rng = file_types.inputs(paths), np.random.default_rng(0)
    inputs = jax.jit(file_types.layer_inputs)
    found: dict[str, list[np.ndarray]] = {name: [] for name in LAYERS}
    for start in range(0, len(content), TOGETHER):
        channels, features = inputs(params, content[start : start + TOGETHER])
        found["convolution"].append(file_types.patches(channels, rng.integers(0, 508, (len(channels), PLACES))))
        found["dense"].append(np.asarray(features))
    return content, {name: np.concatenate(rows) for name, rows in found.items()}


def matrix(params: dict, layer: str) -> np.ndarray:
    kernel = params[f"{layer}/kernel"]
    return np.asarray(kernel.reshape(512, 1280).T if kernel.ndim == 3 else kernel, float)


def kernel(weights: np.ndarray, layer: str) -> np.ndarray:
    """A matrix as the network has it."""
    return (weights.T.reshape(512, 256, 5) if layer == "convolution" else weights).astype(np.float32)


def data(params: dict, layer: str, known: np.ndarray, unseen: np.ndarray) -> Data:
    moments = np.asarray(rd.calibration.moments(known).moments)
    plain = [np.asarray(rd.calibration.moments(rows, shrinkage=0.0).moments) for rows in (known, unseen)]
    both = np.average(plain, axis=0, weights=[len(known), len(unseen)])
    return Data(matrix(params, layer), moments, unseen, both, len(known))


def point(layer: str, code: str, given: Data, weights_hat: np.ndarray, bits: float) -> Point:
    lost = rd.calibration.distortion(given.weights, weights_hat, given.rows)
    power = rd.calibration.distortion(given.weights, np.zeros_like(given.weights), given.rows).distortion
    limit = rd.network.limit(given.weights, given.all_moments, np.array(float(lost.distortion)), np.array(bits))
    error, off = float(lost.distortion / power), float(lost.standard_error / power)
    return Point(layer, code, bits, error, off, float(limit.bound), bits - float(limit.bound))


def near(weights: np.ndarray, moments: np.ndarray, states: int, bits: float) -> CodedLayer:
    """Our code near a rate: at the level of R(D), then at one moved by what was missed."""
    level = water_level(np.mean(weights**2) * np.linalg.eigvalsh(moments), max(bits - ABOVE, bits / 2))
    for _ in range(2):
        made = rd.feedback.quantize(weights, moments, level, states=states).coded
        missed = 8 * len(rd.bitstream.encode(made)) / weights.size - bits
        if abs(missed) <= NEAR:
            break
        level *= 4.0**missed
    return made


def coded(layer: str, given: Data, states: int, bits: float) -> Point:
    file = rd.bitstream.encode(near(given.weights, given.moments, states, bits))
    decoded = np.asarray(rd.bitstream.dequantize(rd.bitstream.decode(file)), float)
    return point(layer, f"our code, {states} states", given, decoded, 8 * len(file) / given.weights.size)


def layers(all_data: dict[str, Data], all_rates: dict[int, tuple[float, ...]]) -> Iterator[Point]:
    for layer, given in all_data.items():
        for code, make in FORMATS.items():
            made = make(given.weights, given.moments)
            yield point(layer, code, given, np.asarray(made.weights_hat, float), float(made.bits) / given.weights.size)
        for states, rates in all_rates.items():
            for bits in rates:
                yield coded(layer, given, states, bits)


def row(one: Point) -> tuple[str, ...]:
    decibels, off = 10 * math.log10(one.error), 10 / math.log(10) * one.standard_error / one.error
    return one.layer, one.code, f"{one.bits:.3f}", f"{decibels:.2f} ± {off:.2f}", f"{one.bound:.3f}", f"{one.gap:.3f}"


class Whole(NamedTuple):
    """The network with its three matrices in few bits."""

    code: str
    bits: float  # per weight of these
    agreement: float
    standard_error: float


def whole(params: dict, all_data: dict[str, Data], known: np.ndarray, unseen: np.ndarray, states: int) -> list[Whole]:
    """Decisions on files held out: our code at 3 bits beside two formats of 4.

    What a layer at 3 bits alone changes of the logits, on files that are known, should cost the same for each weight.
    """
    decide = jax.jit(file_types.apply)
    table = np.asarray(params["embedding/table"], float)
    weights = {layer: given.weights for layer, given in all_data.items()} | {"table": table}
    moments = {layer: given.moments for layer, given in all_data.items()} | {"table": np.eye(len(table))}  # all alike
    sizes = np.array([w.size for w in weights.values()])

    def logits(matrices: dict[str, np.ndarray], content: np.ndarray) -> np.ndarray:
        changed = params | {f"{layer}/kernel": kernel(matrices[layer], layer) for layer in LAYERS}
        changed["embedding/table"] = matrices["table"].astype(np.float32)
        parts = range(0, len(content), TOGETHER)
        return np.concatenate([np.asarray(decide(changed, content[i : i + TOGETHER])) for i in parts])

    before, found = logits(weights, unseen).argmax(axis=1), []

    def judged(code: str, matrices: dict[str, np.ndarray], bits: float) -> None:
        same = logits(matrices, unseen).argmax(axis=1) == before
        found.append(Whole(code, bits, float(same.mean()), float(same.std() / math.sqrt(len(same)))))

    for code in ("4-bit in groups of 128", GPTQ):
        made = {layer: FORMATS[code](w, moments[layer]) for layer, w in weights.items()}
        matrices = {layer: np.asarray(one.weights_hat) for layer, one in made.items()}
        judged(code, matrices, sum(float(one.bits) for one in made.values()) / sizes.sum())
    some, costs = known[:: max(len(known) // SOME, 1)], []
    plain = logits(weights, some)
    for layer, w in weights.items():
        lost = np.asarray(rd.bitstream.dequantize(near(w, moments[layer], states, WANTED)), float)
        costs.append(np.mean(np.sum((logits(weights | {layer: lost}, some) - plain) ** 2, axis=1)) / w.size)
    bits = 0.5 * np.log2(costs)
    bits += WANTED - np.average(bits, weights=sizes)
    made = {layer: near(w, moments[layer], states, b) for (layer, w), b in zip(weights.items(), bits, strict=True)}
    file = rd.bitstream.encode(made)
    back = {layer: np.asarray(rd.bitstream.dequantize(one)) for layer, one in rd.bitstream.decode(file).items()}
    split = ", ".join(f"{layer} {b:.2f}" for layer, b in zip(weights, bits, strict=True))
    judged(f"our code, {states} states ({split})", back, 8 * len(file) / sizes.sum())
    return found


def draw(path: Path, points: list[Point], layer: str) -> None:
    """Bits against error for one layer, and R(D) below."""
    mine = [one for one in points if one.layer == layer]
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    ax = figure.subplots()
    ours = sorted((one for one in mine if one.code == "our code, 256 states"), key=lambda one: one.bits)
    limit = sorted(mine, key=lambda one: one.error)
    decibels = [10 * math.log10(one.error) for one in limit]
    ax.plot(decibels, [one.bound for one in limit], "k-", linewidth=1.5, label="R(D): no code goes below")
    ax.fill_between(decibels, [one.bound for one in limit], color="#EEEEEE")
    ax.plot(
        [10 * math.log10(one.error) for one in ours],
        [one.bits for one in ours],
        "o-",
        color="#D55E00",
        label="our code",
    )
    for one, color, marker in zip([one for one in mine if one.code in FORMATS], COLORS, "sv^DP", strict=True):
        ax.plot(10 * math.log10(one.error), one.bits, marker, color=color, markersize=8, label=one.code)
    ax.set(
        xlabel="error of the layer's output on files held out (dB of its power)",
        ylabel="bits per weight",
        ylim=(0, None),
    )
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    params, paths = file_types.load(), file_types.files()[: 1500 if options.quick else 13_000]
    content, known = seen(params, [path for i, path in enumerate(paths) if i % 5])
    held_out, unseen = seen(params, paths[::5])
    all_data = {layer: data(params, layer, known[layer], unseen[layer]) for layer in LAYERS}
    for layer, given in all_data.items():
        print(f"{layer}: {given.weights.shape}, {given.n / len(given.moments):.1f} inputs for each dimension")
    points = []
    for one in layers(all_data, {8: (2.0,)} if options.quick else RATES):
        points.append(one)
        print("{:<12}{:<28}{:>6} bits {:>16} dB  R(D) {}, gap {}".format(*row(one)), flush=True)
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([HEAD, *map(row, points)])
    if options.figure:
        draw(options.figure, points, "convolution")
    for one in whole(params, all_data, content, held_out, 8 if options.quick else 256):
        print(f"{one.code:<28}{one.bits:>6.3f} bits, decides as before {one.agreement:.2%} ± {one.standard_error:.2%}")


if __name__ == "__main__":
    main()
