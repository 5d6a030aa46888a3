"""Every objective that is compared, as a function from a rate to a compressed network and its bits.

A rate is the share of weights kept for pruning, bits per weight for quantization, a share of the full rank for low
rank. Values that no codebook holds, kept weights and factors, are stored in float16, and scored as stored.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rdtheory.experiment import trained as networks
from rdtheory.experiment.records import FULL_NETWORK
from rdtheory.experiment.trained import Matrices, Trained
from rdtheory.models import importance
from rdtheory.results import KroneckerFactors
from rdtheory.schemes import low_rank, prune, quantize

__all__ = ["Compressed", "compressors"]

RATES = {
    "pruning": (0.5, 0.3, 0.2, 0.1, 0.05),
    "quantization": (1.5, 2.0, 3.0, 4.0, 5.0),
    "low-rank": (0.5, 0.3, 0.2, 0.1),
}
KINDS = tuple(RATES)
OBJECTIVES = {  # the baseline first
    "pruning": (
        "magnitude per layer",
        "magnitude",
        "Jacobian",
        "Fisher",
        "loss gradient",
        "as published",
        "brain surgeon",
    ),
    "quantization": (
        "Lloyd",
        "exact k-means",
        "exact k-means, Jacobian",
        "gradient + curvature",
        "entropy-constrained",
        "exact k-means + feedback",
        "uniform",
        "water-filled",
        "water-filled + feedback",
    ),
    "low-rank": ("SVD", "weighted SVD"),
}
SMALL_ONLY = "brain surgeon"  # takes the whole importance matrix; no part of a quick experiment
LABELS = 64  # that an entropy-constrained codebook starts from
STORED = 16  # bits of a value in float16
EXAMPLES = (500, 150)  # of the training part, that importances are means over: of a small network and of a large one
SMALL = 10_000  # weights
FULL_BITS = 32.0  # of a weight that is not compressed
TEMPERATURES = (1.0, 4.0)  # of the Fisher information, chosen on held-out training data
DAMPINGS = (1e-3, 1e-2, 1e-1)  # of error feedback, likewise
SURGEON_DAMPINGS = (0.03, 0.1, 0.3)  # of the brain surgeon, likewise


class Compressed(NamedTuple):
    """A compressed network and what it takes to store it."""

    matrices: Matrices
    bits: float  #: all of them, side information included


Compressor = Callable[[float], Compressed]


class _Importances(NamedTuple):
    """Of the full network, each computed when it is first asked for, once for all that need it."""

    diagonal: Callable[..., Matrices]  #: of a kind, at a temperature
    factors: Callable[[], tuple[KroneckerFactors, ...]]


def compressors(trained: Trained) -> dict[str, dict[str, Compressor]]:
    """The `OBJECTIVES` of each kind, by name; and the network as it is, in float32, whatever the rate."""
    inputs, labels = (part[: _examples(trained)] for part in trained.split.train)

    @functools.cache
    def diagonal(kind: str, temperature: float = 1.0) -> Matrices:
        given = labels if kind == "gradient" else None
        return importance.diagonal(
            trained.apply, trained.matrices, inputs, kind=kind, labels=given, temperature=temperature
        )

    @functools.cache
    def factors() -> tuple[KroneckerFactors, ...]:
        return importance.kronecker(trained.apply, trained.matrices, inputs)

    known = _Importances(diagonal, factors)
    made = {"pruning": _pruning, "quantization": _quantization, "low-rank": _low_rank}
    full = {FULL_NETWORK: lambda _: Compressed(trained.matrices, FULL_BITS * sum(w.size for w in trained.matrices))}
    return {kind: full | dict(zip(OBJECTIVES[kind], make(trained, known), strict=True)) for kind, make in made.items()}


def _pruning(trained: Trained, known: _Importances) -> tuple[Compressor, ...]:
    weights, inputs = trained.matrices, trained.split.train.inputs[: _examples(trained)]

    def stored(pruned) -> Compressed:
        bits = STORED * float(pruned.kept) + float(prune.mask_bits(pruned.mask))
        return Compressed(_halved(pruned.weights_hat), bits)

    def fisher(keep: float) -> Compressed:
        tried = [stored(prune.weighted(weights, known.diagonal("fisher", t), keep)) for t in TEMPERATURES]
        return _best(trained, tried)

    @functools.cache
    def published() -> Matrices:
        labels = trained.split.train.labels[: len(inputs)]
        return importance.as_published(trained.apply, weights, inputs, labels)

    @functools.cache
    def surgeon(keep: float):
        # Each from the one before: the importance is never far from where it was computed.
        before = next((share for share in reversed(RATES["pruning"]) if share > keep), None)
        start = weights if before is None else surgeon(before).weights_hat
        matrix = importance.full(trained.apply, start, inputs)
        tried = [prune.obs(start, matrix, keep, damping=damping) for damping in SURGEON_DAMPINGS]
        return min(tried, key=lambda one: _held_out(trained, stored(one)))

    return (
        lambda keep: stored(prune.magnitude(weights, keep, scope="layer")),
        lambda keep: stored(prune.magnitude(weights, keep)),
        lambda keep: stored(prune.weighted(weights, known.diagonal("jacobian"), keep)),
        fisher,
        lambda keep: stored(prune.weighted(weights, known.diagonal("gradient"), keep)),
        lambda keep: stored(prune.weighted(weights, published(), keep)),
        lambda keep: stored(surgeon(keep)),
    )


def _quantization(trained: Trained, known: _Importances) -> tuple[Compressor, ...]:
    weights, factors = trained.matrices, known.factors

    def levels(rate: float) -> int:
        return round(2**rate)

    def by_codebook(fit: Callable) -> Compressor:
        def compress(rate: float) -> Compressed:
            books = [fit(i, levels(rate)) for i in range(len(weights))]
            matrices = tuple(_single(book.codebook)[book.labels] for book in books)
            return Compressed(matrices, sum(float(b.size.rate) * w.size for b, w in zip(books, weights, strict=True)))

        return compress

    @functools.cache
    def exact(layer: int, count: int):
        return quantize.kmeans(weights[layer], count)

    @functools.cache
    def curvature() -> Matrices:
        """½ log2(e) ¼ E h² of each weight: h of an example, its Gauss-Newton diagonal, in nats."""

        def example(x: Array) -> Matrices:
            return importance.diagonal(trained.apply, weights, x[None], kind="ggn")

        inputs = trained.split.train.inputs[: _examples(trained)]
        # In the unit of the importance, ½ log2(e) E g²; h = 2 ln 2 times an importance of the kind ggn.
        each = jax.vmap(example)(inputs)
        return jax.tree.map(lambda h: 0.5 * math.log(2) * jnp.mean(h**2, axis=0), each)

    def by_curvature(i: int, count: int):
        return quantize.quartic(weights[i], count, known.diagonal("gradient")[i], curvature()[i])

    def constrained(rate: float) -> Compressed:
        # The slope of R(D) at the level that a grid has at that rate, dR/dD = -1 / (2 θ ln 2): the rate is met roughly.
        level = quantize.uniform_at_rate(list(weights), [1.0] * len(weights), rate).level
        slope = 1 / (2 * level * math.log(2))
        books = [quantize.entropy_constrained(w, LABELS, slope) for w in weights]
        matrices = tuple(_single(book.codebook)[book.labels] for book in books)
        return Compressed(matrices, sum(float(b.size.rate) * w.size for b, w in zip(books, weights, strict=True)))

    def with_feedback(rate: float) -> Compressed:
        tried = []
        for damping in DAMPINGS:
            matrices, bits = [], 0.0
            for i, w in enumerate(weights):
                values = _single(exact(i, levels(rate)).codebook)
                found = quantize.error_feedback(w.T, factors()[i].input_factor, codebook=values, damping=damping)
                size = quantize.coded_size(found.labels, levels=len(values), codebook_bits=32.0 * len(values))
                matrices.append(found.weights_hat.T)
                bits += float(size.rate) * w.size
            tried.append(Compressed(tuple(matrices), bits))
        return _best(trained, tried)

    def uniform(rate: float, shares: list, **options) -> Compressed:
        found = quantize.uniform_at_rate([w.T for w in weights], shares, rate, **options)
        bits = float(found.size.rate) * sum(w.size for w in weights)
        return Compressed(tuple(layer.weights_hat.T for layer in found.layers), bits)

    def filled(rate: float) -> Compressed:
        return uniform(rate, [i.T for i in known.diagonal("jacobian")], rows=True, columns=True)

    def filled_with_feedback(rate: float) -> Compressed:
        tried = []
        for damping in DAMPINGS:
            shares = [jnp.diag(factor.output_factor)[:, None] for factor in factors()]
            metrics = [factor.input_factor for factor in factors()]
            tried.append(uniform(rate, shares, rows=True, columns=True, metrics=metrics, damping=damping))
        return _best(trained, tried)

    return (
        by_codebook(lambda i, count: quantize.lloyd(weights[i], count)),
        by_codebook(exact),
        by_codebook(lambda i, count: quantize.kmeans(weights[i], count, known.diagonal("jacobian")[i])),
        by_codebook(by_curvature),
        constrained,
        with_feedback,
        lambda rate: uniform(rate, [1.0] * len(weights)),
        filled,
        filled_with_feedback,
    )


def _low_rank(trained: Trained, known: _Importances) -> tuple[Compressor, ...]:
    weights = trained.matrices

    def each(approximate: Callable) -> Compressor:
        def compress(share: float) -> Compressed:
            matrices, bits = [], STORED * len(weights)  # the ranks
            for i, w in enumerate(weights):
                rank = max(1, round(share * min(w.shape)))
                if rank * sum(w.shape) < w.size:
                    found = approximate(i, rank)
                    matrices.append(_product(found.left, found.right))
                    bits += STORED * int(found.parameters)
                else:  # the factors would take more than the matrix
                    matrices.append(_halved(w))
                    bits += STORED * w.size
            return Compressed(tuple(matrices), float(bits))

        return compress

    def weighted(i: int, rank: int):
        return low_rank.weighted(weights[i], *known.factors()[i][:2], rank)

    return each(lambda i, rank: low_rank.svd(weights[i], rank)), each(weighted)


def _examples(trained: Trained) -> int:
    return EXAMPLES[sum(w.size for w in trained.matrices) > SMALL]


def _best(trained: Trained, tried: list[Compressed]) -> Compressed:
    return min(tried, key=lambda one: _held_out(trained, one))


def _held_out(trained: Trained, compressed: Compressed) -> float:
    """Divergence on held-out training data, never the test part; infinite where it is no number."""
    found = networks.scores(trained, compressed.matrices, "validation").kl
    return math.inf if math.isnan(found) else found


@jax.jit
def _halved(tree):
    """As float16 would store it."""
    return jax.tree.map(lambda x: x.astype(jnp.float16).astype(x.dtype), tree)


@jax.jit
def _product(left: Array, right: Array) -> Array:
    return _halved(left) @ _halved(right)


def _single(x: Array) -> Array:
    return x.astype(jnp.float32).astype(x.dtype)
