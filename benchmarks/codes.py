"""How far real codes are from the rate-distortion function. Run: python benchmarks/codes.py

A Gaussian source of variance one under squared error, of which R(D) is ½ log2(1/D). Every code is run:

- scalar and trellis: uniform and trellis-coded quantization, entropy-coded; the rate is that of the bytes, the
  distortion that of what is decoded from them, and R(D) is at the variance that the sample has.
- sparse regression: M columns to a section, searched one section at a time; whole names of ceil(L log2 M) bits.
- random codebook: 2^n words for blocks of n, of which the nearest is sent.
- channel simulation: the optimal test channel itself, weight by weight, each in a whole number of bits.

The gap is rate - R(D) at the distortion measured, in bits per weight; times 6.02 it is decibels of distortion above
D(R). Times are microseconds per weight, of compiled functions, calling them included. Written to --out: codes.json and
codes.png (distance to the limit; random codebooks beside what finite block lengths allow). Takes about two minutes on
two processors, with --quick a quarter of that.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jax import Array
from matplotlib.figure import Figure
from scipy.optimize import brentq
from scipy.stats import norm

import rdtheory as rd
from rdtheory import plotting
from rdtheory.results import ExcessRate, FiniteBlocklength, GaussianChannel, Quantized

DECIBELS = 20 * math.log10(2)  # for each bit
ROUNDING = 0.5 * math.log2(math.pi * math.e / 6)  # bits that scalar quantizers lose at high rate
RATES = (0.5, 1.0, 2.0, 4.0, 6.0)
DISTORTION, EXCESS = 0.25, 0.1  # of the random codebooks beside the bounds: R(D) is one bit, and missed by a tenth
PUBLISHED = {
    "scalar": "0.2546 at high rate: Gish & Pierce 1968",
    "trellis, 8 states": "0.5 dB, 0.08 bit: Fischer & Wang 1992, recalled",
    "trellis, 256 states": "0.2 dB, 0.03 bit: Fischer & Wang 1992, recalled",
}


class Code(NamedTuple):
    scheme: str
    size: str  # states or dictionary
    rate: float  # bits per weight
    distortion: float
    gap: float  # bits per weight
    error: float | None  # standard error of the gap, where blocks were measured
    encode: float  # microseconds per weight
    decode: float


class Blocks(NamedTuple):
    n: list[int]  # of the random codebooks
    measured: list[ExcessRate]  # bits per symbol
    lengths: list[int]  # of the bounds
    bounds: list[FiniteBlocklength]


def seconds(call: Callable, *args) -> float:
    """Of the faster of two calls after one that compiles."""
    jax.block_until_ready(call(*args))
    times = []
    for _ in range(2):
        start = time.perf_counter()
        jax.block_until_ready(call(*args))
        times.append(time.perf_counter() - start)
    return min(times)


def step_at(rate: float) -> float:
    """Step of a scalar quantizer whose labels have that entropy. At one rate a dead zone gains nothing."""

    def excess(step: float) -> float:
        edges = step * (np.arange(int(10 / step) + 2) + 0.5)
        tails = norm.sf(np.concatenate([edges, [np.inf]]))
        cells = np.concatenate([[1 - 2 * tails[0]], np.repeat(-np.diff(tails), 2)])
        cells = cells[cells > 0]
        return -np.sum(cells * np.log2(cells)) - rate

    return brentq(excess, 0.01, 4.0, rtol=1e-4)


def entropy_coded(scheme: str, size: str, weights: np.ndarray, quantize: Callable[[], Quantized]) -> Code:
    """In bytes, header and checksum included, and back."""
    data = rd.bitstream.encode(quantize())
    w_hat = np.asarray(rd.bitstream.dequantize(rd.bitstream.decode(data)))
    n, D, rate = len(weights), float(np.mean((weights - w_hat) ** 2)), 8 * len(data) / len(weights)
    gap = rate - float(rd.closed_form.gaussian(np.mean(weights**2), D))
    forth = seconds(lambda: rd.bitstream.encode(quantize()))
    back = seconds(lambda: rd.bitstream.dequantize(rd.bitstream.decode(data)))
    return Code(scheme, size, rate, D, gap, None, 1e6 * forth / n, 1e6 * back / n)


def quantizers(n: int, rates: Sequence[float], all_states: Sequence[int]) -> Iterator[Code]:
    weights = np.random.default_rng(0).normal(size=n)

    def trellis(rate: float, states: int) -> Quantized:
        step = rd.trellis.steps(4.0 ** (rd.trellis.loss(states) - rate), states=states)
        found = rd.trellis.quantize(weights, step, states=states)
        return rd.trellis.packed(found, states=states)._replace(step=np.float32(found.scale))

    for rate in rates:
        step = np.float32(step_at(rate))
        yield entropy_coded("scalar", "", weights, lambda step=step: rd.scalar.quantize(weights, step))
    for states in all_states:
        for rate in rates:
            name = f"trellis, {states} states"
            yield entropy_coded(name, f"{states}", weights, lambda rate=rate, s=states: trellis(rate, s))


def measured(scheme: str, size: str, rate: float, D: Array, error: Array, times: tuple[float, float]) -> Code:
    gap, slope = rate - float(rd.closed_form.gaussian(1.0, D)), 0.5 / math.log(2) / float(D)
    return Code(scheme, size, rate, float(D), gap, slope * float(error), *(1e6 * t for t in times))


def sparse_regression(dictionaries: Sequence[int], blocks: int) -> Iterator[Code]:
    """Blocks of 480 at one bit per weight."""
    n, key = 480, jax.random.key(1)
    source = jax.random.normal(jax.random.key(2), (n,))
    for M in dictionaries:
        L = n // round(math.log2(M))
        found = rd.sparse_regression.measure(key, L, M, n, blocks=blocks, matched=True)
        c = rd.sparse_regression.coefficients(L, M, n, 1.0, matched=True)
        indices = rd.sparse_regression.encode(key, source, c, M)
        forth = seconds(lambda c=c, M=M: rd.sparse_regression.encode(key, source, c, M))
        back = seconds(lambda c=c, indices=indices: rd.sparse_regression.decode(key, indices, c, n))
        times = forth / n, back / n
        yield measured("sparse regression", f"{M} columns", float(found.rate), *found[:2], times)


def random_codebooks(lengths: Sequence[int], codebooks: int) -> Iterator[Code]:
    """At one bit per symbol."""
    key = jax.random.key(3)
    for n in lengths:
        ones = np.ones(n)
        laws = (1 - DISTORTION) * ones, ones / n
        found = rd.random_codebook.measure(key, ones, *laws, 2**n, codebooks=codebooks, vectors=50)
        source = jax.random.normal(key, (n,))
        index = rd.random_codebook.encode(key, source, *laws, 2**n).index
        forth = seconds(lambda n=n, laws=laws, w=source: rd.random_codebook.encode(key, w, *laws, 2**n))
        back = seconds(lambda laws=laws, i=index: rd.random_codebook.decode(key, i, laws[0]))
        yield measured("random codebook", f"n = {n}", float(found.rate) / n, *found[:2], (forth / n, back / n))


def channel_simulations(informations: Sequence[float], trials: int) -> Iterator[Code]:
    """Weight by weight. In vectors of several bits some searches do not end: see `rd.channel_simulation`."""
    for bits in informations:
        D, cov = 4.0**-bits, jnp.eye(1)
        channel = GaussianChannel((1 - D) * cov, D * (1 - D) * cov)
        keys = jax.random.split(jax.random.key(4), trials)
        weights = jax.random.normal(jax.random.key(5), (trials, 1))

        @jax.jit
        def encode(keys: Array, weights: Array, channel=channel, cov=cov):
            return jax.lax.map(lambda kw: rd.channel_simulation.encode(kw[0], channel, cov, kw[1]), (keys, weights))

        @jax.jit
        def decode(keys: Array, index: Array, channel=channel, cov=cov):
            return jax.lax.map(lambda ki: rd.channel_simulation.decode(ki[0], channel, cov, ki[1]), (keys, index))

        sent = encode(keys, weights)
        lengths = jnp.ceil(sent.bits)
        D = float(jnp.mean((weights - decode(keys, sent.index)) ** 2))
        times = (1e6 * x / trials for x in (seconds(encode, keys, weights), seconds(decode, keys, sent.index)))
        # The gap is length - I, since the law of the output, and so its distortion, is the channel's.
        rate = float(jnp.mean(lengths))
        error = float(jnp.std(lengths, ddof=1)) / math.sqrt(trials)
        yield Code("channel simulation", f"I = {bits:g}", rate, D, rate - bits, error, *times)


def block_lengths(lengths: Sequence[int], trials: int) -> Blocks:
    """Codebooks that leave a tenth of the blocks with more than D, beside what any code needs."""
    found = []
    for n in lengths:
        ones = np.ones(n)
        laws = ones, (1 - DISTORTION) * ones, ones / n
        needed = rd.random_codebook.rate_for_excess(
            jax.random.key(6), *laws, DISTORTION, EXCESS, trials=trials, limit=2**21
        )
        found.append(ExcessRate(*(float(x) / n for x in needed)))
    curve = sorted({*lengths, *np.unique(np.geomspace(2, 200, 24).round().astype(int)).tolist()})
    bounds = [rd.finite_blocklength.gaussian(n, DISTORTION, EXCESS) for n in curve]
    return Blocks(list(lengths), found, curve, [FiniteBlocklength(*map(float, bound)) for bound in bounds])


def run(*, quick: bool = False, n: int | None = None) -> tuple[list[Code], Blocks]:
    """Every code, and the block lengths.

    Quick: fewer samples, rates and sizes. n: number of weights of the entropy codes.
    """
    rates = (1.0, 2.0, 4.0) if quick else RATES
    codes = [
        *quantizers(n or (20_000 if quick else 100_000), rates, (8,) if quick else (8, 256)),
        *sparse_regression((2**6,) if quick else (2**6, 2**8, 2**10, 2**12), 50 if quick else 100),
        *random_codebooks((4, 8) if quick else (4, 8, 12), 20 if quick else 100),
        *channel_simulations((1.0, 4.0), 500 if quick else 4000),
    ]
    return codes, block_lengths((4,) if quick else (4, 8, 12), 100 if quick else 300)


def table(codes: Sequence[Code]) -> str:
    """All codes, in Markdown."""
    lines = [
        "| scheme | states or dictionary | bits per weight | distortion | gap, bits | gap, dB "
        "| encode, µs | decode, µs | published gap |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for c in codes:
        error = f" ± {c.error:.3f}" if c.error is not None else ""
        lines.append(
            f"| {c.scheme} | {c.size} | {c.rate:.3f} | {c.distortion:.3g} | {c.gap:.3f}{error} | "
            f"{DECIBELS * c.gap:.2f} | {c.encode:.3g} | {c.decode:.3g} | {PUBLISHED.get(c.scheme, '')} |"
        )
    return "\n".join(lines)


def summary(codes: Sequence[Code], rates: Sequence[float] = (1.0, 2.0, 4.0)) -> str:
    """Gaps of each scheme, its best size, at a few rates, in Markdown."""
    lines = [f"| gap to R(D), bits | {' | '.join(f'{rate:g}' for rate in rates)} |", "|---|" + "---|" * len(rates)]
    for scheme in dict.fromkeys(c.scheme for c in codes):
        cells, sizes = [], []
        for rate in rates:
            # Of channel simulation what is asked for is I; its length comes on top.
            near = [
                c for c in codes if c.scheme == scheme and abs((c.rate, c.rate - c.gap)["simu" in scheme] - rate) < 0.1
            ]
            best = min(near, key=lambda c: c.gap, default=None)
            cells.append("" if best is None else f"{best.gap:.3f}")
            sizes += [best.size] if best is not None else []
        size = f" ({sizes[0]})" if len({*sizes}) == 1 and sizes[0] and "trellis" not in scheme else ""
        lines.append(f"| {scheme}{size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(codes: Sequence[Code], blocks: Blocks) -> Figure:
    figure = Figure(figsize=(11.0, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rates, gaps = np.array([(c.rate, c.gap) for c in codes]).T
    plotting.distance_to_limit([c.scheme for c in codes], rates, gaps, left)
    left.axhline(ROUNDING, color="gray", linewidth=0.8)
    left.text(2.2, 1.12 * ROUNDING, "rounding at high rate, 0.2546", fontsize=8, color="gray")
    left.set(title="Gaussian source: distance to the limit")
    bounds = FiniteBlocklength(*map(np.array, zip(*blocks.bounds, strict=True)))
    found = ExcessRate(*map(np.array, zip(*blocks.measured, strict=True)))
    lengths, n = np.array(blocks.lengths), np.array(blocks.n)
    plotting.block_lengths(lengths, bounds, n, found.rate, np.stack([found.low, found.high]), right)
    right.set(title=f"D = {DISTORTION:g}, missed by {EXCESS:.0%} of the blocks")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples, rates and sizes of the same codes")
    parser.add_argument("--out", type=Path, default=Path("codes-report"), help="folder of codes.json and codes.png")
    options = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    mpl.use("agg")
    codes, blocks = run(quick=options.quick)
    options.out.mkdir(parents=True, exist_ok=True)
    found = {
        "codes": [
            {**c._asdict(), "gap_decibels": DECIBELS * c.gap, "published": PUBLISHED.get(c.scheme)} for c in codes
        ],
        "random_codebooks": [{"n": n, **x._asdict()} for n, x in zip(blocks.n, blocks.measured, strict=True)],
        "bounds": [{"n": n, **x._asdict()} for n, x in zip(blocks.lengths, blocks.bounds, strict=True)],
    }
    (options.out / "codes.json").write_text(json.dumps(found, indent=1))
    picture(codes, blocks).savefig(options.out / "codes.png", dpi=110)
    print(f"{table(codes)}\n\n{summary(codes)}")


if __name__ == "__main__":
    main()
