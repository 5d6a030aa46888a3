"""How far a coded layer is from R(D), in bytes, and how long one takes. Run: python benchmarks/feedback.py

Layers of m inputs and k outputs with independent N(0, 1) weights, for four second moments of the inputs: those of an
autoregression (0.9^|i-j|), half of the eigenvalues 1 and half 1e-4 in a random basis, a diagonal from 1 to 1e-3, and
the pixels of scikit-learn's digits (64 inputs, some of which never vary). Per weight, at the distortion measured:

- gap: 8 · bytes / weights - R(D), header, steps and spreads included, R(D) at the mean square that the weights have.
- price: what random coding with one codebook for all moments needs above R(D).
- excess: gap - price; `loss` is that of the code at high rate, and gap <= price + loss + 0.02 what was aimed at.

Last a model of 765 thousand weights, by `rd.compress`. Takes a minute or two of one processor; a fifth with --quick.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from scipy.optimize import brentq

import rdtheory as rd
from rdtheory.verify.codes import one_codebook

ALLOWED = 0.02  # bits above price and loss


class Point(NamedTuple):
    moments: str
    states: int
    wanted: float  # bits per weight of R(D) at the water level
    rate: float  # bits per weight, in bytes
    gap: float
    price: float
    loss: float
    seconds: tuple[float, float, float]  # of processor: quantize, encode, decode


def all_moments(m: int) -> dict[str, np.ndarray]:
    """The second moments of the inputs by name."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(m, m)))[0]
    pixels = np.asarray(rd.datasets.digits().inputs)
    return {
        "autoregression": 0.9 ** np.abs(np.subtract.outer(np.arange(m), np.arange(m))),
        "two levels": (basis * np.repeat([1.0, 1e-4], m // 2)) @ basis.T,
        "diagonal": np.diag(np.geomspace(1.0, 1e-3, m)),
        "digits": pixels.T @ pixels / len(pixels),
    }


def water_level(spectrum: np.ndarray, rate: float) -> float:
    """The level at which unit variances in a metric of this spectrum take the rate, in bits per weight."""
    seen = spectrum[spectrum > 1e-12 * spectrum.max()]

    def excess(log_level: float) -> float:
        return np.sum(np.maximum(np.log2(seen) - log_level, 0.0)) / (2 * len(spectrum)) - rate

    return 2.0 ** brentq(
        excess, math.log2(seen.min()) - 2 * rate * len(spectrum) / len(seen) - 4, math.log2(seen.max())
    )


def measure(name: str, moments: np.ndarray, k: int, states: int, rate: float) -> Point:
    """One layer, quantized, encoded, decoded."""
    weights = np.random.default_rng(1).normal(size=(len(moments), k))
    spectrum = np.maximum(np.linalg.eigvalsh(moments), 0.0)
    level, times = water_level(spectrum, rate), [time.process_time()]
    found = rd.feedback.quantize(weights, moments, level, states=states)
    times.append(time.process_time())
    data = rd.bitstream.encode(found.coded)
    times.append(time.process_time())
    decoded = np.asarray(rd.bitstream.dequantize(rd.bitstream.decode(data)))
    times.append(time.process_time())
    lost, power = weights - decoded, float(np.mean(weights**2))
    D = float(np.sum(lost * (moments @ lost))) / k
    limit = float(rd.gaussian.water_filling(power * spectrum, D).rate) / len(moments)
    price = max(one_codebook(power * spectrum, D / len(moments)) - limit, 0.0)
    loss = 0.5 * math.log2(math.pi * math.e / 6) if states == 1 else rd.trellis.loss(states)
    bits = 8 * len(data) / weights.size
    return Point(name, states, rate, bits, bits - limit, price, loss, tuple(np.diff(times).tolist()))


def points(m: int, k: int, rates: Sequence[float], all_states: Sequence[int]) -> Iterator[Point]:
    for name, moments in all_moments(m).items():
        for states in all_states:
            for rate in rates:
                yield measure(name, moments, k, states, rate)


def header() -> str:
    return (
        "| moments | states | R(D) at the level | rate | gap | price | excess | loss | aimed at "
        "| CPU s: quantize, encode, decode |\n"
        "|---|---|---|---|---|---|---|---|---|---|"
    )


def line(p: Point) -> str:
    """A row of the table, in Markdown."""
    missed = p.gap - p.price - p.loss - ALLOWED
    seconds = ", ".join(f"{s:.2f}" for s in p.seconds)
    return (
        f"| {p.moments} | {p.states} | {p.wanted:g} | {p.rate:.3f} | {p.gap:.3f} | {p.price:.3f} "
        f"| {p.gap - p.price:.3f} | {p.loss:.3f} | {'met' if missed <= 0 else f'missed by {missed:.3f}'} | {seconds} |"
    )


def large(states: int = 8) -> str:
    """One layer of 512 x 2048 in float32, the second time."""
    moments = all_moments(512)["autoregression"]
    weights = np.random.default_rng(2).normal(size=(512, 2048)).astype(np.float32)
    for _ in range(2):
        wall, processor = time.perf_counter(), time.process_time()
        found = rd.feedback.quantize(weights, moments, 0.01, states=states)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return (
        f"512 x 2048 in float32, {states} states, {float(found.rate):.2f} bits: {processor:.2f} s of processor, "
        f"{wall:.2f} s by the clock, compiled before"
    )


def model(shapes: Sequence[tuple[int, int]] = ((1280, 512), (512, 214))) -> str:
    """A model compressed to 3 bits, in moments whose eigenvalues fall as 1/i, compiling included."""
    rng, weights, moments = np.random.default_rng(3), {}, {}
    for m, k in shapes:
        basis = np.linalg.qr(rng.normal(size=(m, m)))[0]
        weights[f"{m} x {k}"] = rng.normal(size=(m, k)).astype(np.float32)
        moments[f"{m} x {k}"] = (basis / np.arange(1, m + 1)) @ basis.T
    wall, processor = time.perf_counter(), time.process_time()
    found = rd.compress(weights, moments, bits=3.0, outputs_first=False)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return (
        f"a model of {', '.join(weights)}: {found.rate:.2f} bits per weight, {found.rate - found.bound:.3f} above "
        f"R(D), {processor:.1f} s of processor, {wall:.1f} s by the clock"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one code, two rates")
    parser.add_argument("--inputs", type=int, default=32, help="m")
    parser.add_argument("--outputs", type=int, default=4096, help="k")
    options = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    rates = (1.0, 4.0) if options.quick else (0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
    print(header())
    for point in points(options.inputs, options.outputs, rates, (8,) if options.quick else (1, 8, 256)):
        print(line(point), flush=True)
    print(f"\n{large()}\n{model()}")


if __name__ == "__main__":
    main()
