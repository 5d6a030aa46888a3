"""Checks of compressed networks: the golden rules they satisfy, and how far the weight importance can be believed."""

import functools

import jax
import numpy as np
from jax import Array
from jaxtyping import PyTree

from rdtheory import _compile
from rdtheory.models import datasets, importance, training
from rdtheory.models.training import Network
from rdtheory.schemes import low_rank, prune, quantize
from rdtheory.verify.rows import SIGMAS, Row, agree, at_most, generator, host, split

BITS = (8, 5, 3)


def compressed_rules(key: Array, quick: bool) -> list[Row]:
    """Golden rules of a digits network that is pruned, quantized and of lower rank by its weight importance."""
    network, inputs, _ = _classifier(key, quick)
    full = np.asarray(importance.full(training.logits, network, inputs, kind="fisher"))
    each = importance.diagonal(training.logits, network, inputs, kind="fisher")
    w, diagonal = _flat(network), _flat(each)

    def orthogonal(name: str, weights_hat, metric: np.ndarray, tolerance: float) -> Row:
        return agree("golden rule 1, digits network", name, 0.0, _cosine(w, _flat(weights_hat), metric), tolerance)

    pruned = prune.weighted(network, each, 0.3)
    removed = prune.obs(network, full, 0.3, damping=0.0)
    codebook = host(quantize.kmeans(w, 8, diagonal))
    even = np.linspace(w.min(), w.max(), 8)
    to_even = np.sum(diagonal * np.min((w[:, None] - even[None, :]) ** 2, axis=1))
    # What the hidden layer computes before its ReLU is linear, and its importance is exactly 1 ⊗ E x xᵀ.
    moments = inputs.T @ inputs / len(inputs)
    reduced = low_rank.weighted(network.hidden, np.eye(8), moments, 3)
    # The brain surgeon's weights again, by least squares on the weights that it kept.
    values, vectors = np.linalg.eigh(full)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    kept = _flat(removed.mask)
    best = np.sum((root @ w - root[:, kept] @ np.linalg.lstsq(root[:, kept], root @ w, rcond=None)[0]) ** 2)
    hidden = np.asarray(network.hidden).ravel()
    lost = hidden - np.asarray(reduced.weights_hat).ravel()
    metric = np.kron(np.eye(8), moments)
    return [
        orthogonal("30 % kept, diagonal importance", pruned.weights_hat, np.diag(diagonal), 1e-14),
        orthogonal("30 % kept by the brain surgeon, full importance", removed.weights_hat, full, 1e-6),
        orthogonal("8 levels, weighted k-means", codebook.codebook[codebook.labels], np.diag(diagonal), 1e-12),
        agree("golden rule 1, digits network", "hidden layer of rank 3, metric E x xᵀ", 0.0,
              _cosine(hidden, hidden - lost, metric), 1e-10),
        agree("golden rule 2, digits network", "brain surgeon against least squares on the same weights", best,
              removed.objective, 1e-9 * w @ full @ w),
        at_most("golden rule 2, digits network", "8 levels, exact k-means against even ones",
                codebook.objective, to_even),
        agree("golden rule 2, digits network", "rank 3, Σ of the squared singular values left out",
              np.sum(np.asarray(reduced.singular_values)[3:] ** 2), lost @ metric @ lost,
              1e-12 * hidden @ metric @ hidden),
    ]  # fmt: skip


def importance_proxy(key: Array, quick: bool) -> list[Row]:
    """The objective against true distortion near and far from trained networks: regression and classification."""
    network, inputs, accuracy = _classifier(key, quick)
    rows = _calibrated(key, f"digits to {accuracy:.0%}", network, inputs, "fisher", _divergence)
    data = datasets.diabetes()
    inputs, targets = (x - x.mean(axis=0, keepdims=True) for x in map(np.asarray, data))
    inputs, targets = inputs / inputs.std(axis=0, keepdims=True), targets / targets.std()
    key_hidden, key_output, _ = split(key)
    start = _start(key_hidden, key_output, inputs.shape[1])
    fitted = training.fit(
        training.logits, start, inputs, targets, key=key, epochs=20, learning_rate=0.01, progress=False
    )
    explained = 1 - np.mean((_forward(fitted.params, inputs)[:, 0] - targets) ** 2)
    named = f"diabetes, {explained:.0%} explained"
    return rows + _calibrated(key, named, fitted.params, inputs, "jacobian", _squared_error)


@functools.partial(_compile.jit, static_argnums=2)
def _start(key_hidden: Array, key_output: Array, width: int) -> Network:
    return Network(jax.random.normal(key_hidden, (8, width)) / 3, jax.random.normal(key_output, (8, 1)) / 3)


def _calibrated(key: Array, name: str, network: Network, inputs: np.ndarray, kind: str, distortion) -> list[Row]:
    w, outputs = _flat(network), _forward(network, inputs)
    full = np.asarray(importance.full(training.logits, network, inputs, kind=kind))
    diagonal = _flat(importance.diagonal(training.logits, network, inputs, kind=kind))

    def true(change: np.ndarray) -> float:
        parts = np.split(w + change, [network.hidden.size])
        changed = [part.reshape(leaf.shape) for part, leaf in zip(parts, network, strict=True)]
        return distortion(outputs, _forward(changed, inputs))

    def at_the_limit(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distortion over squared step as the step goes to zero, from two steps; and how far off that may be."""
        coarse, fine = (np.array([true(step * s) / step**2 for s in directions]) for step in (2e-7, 1e-7))
        # Besides: a unit of one example may switch on or off in so small a step, which changes its term alone.
        return 2 * fine - coarse, 2 * abs(fine - coarse) + 1e-4 * fine

    rng = generator(key)
    one = rng.normal(size=(1, w.size)) * abs(w)
    (found,), (bar,) = at_the_limit(one)
    rows = [agree(f"d ≈ (w - ŵ)ᵀ I_w (w - ŵ), {kind}", f"one direction, {name}", one[0] @ full @ one[0], found, bar)]
    # Random signs have covariance I, so that the mean over them is the trace.
    limits, bars = at_the_limit(rng.choice([-1.0, 1.0], size=(80, w.size)) * abs(w))
    ratios = []
    for bits in BITS:
        step = 2 * abs(w).max() / 2**bits
        lost = w - np.round(w / step) * step
        ratios.append(f"{true(-lost) / (lost @ full @ lost):.3g}")
    far = f"true over objective at {', '.join(map(str, BITS))} bits: {', '.join(ratios)}"
    error = SIGMAS * np.std(limits, ddof=1) / np.sqrt(len(limits)) + np.mean(bars)
    theory = np.sum(diagonal * w**2)
    return [*rows, agree(f"E d ≈ Σ I_i E (w_i - ŵ_i)², {kind}", f"{name}; {far}", theory, np.mean(limits), error)]


def _classifier(key: Array, quick: bool) -> tuple[Network, np.ndarray, float]:
    """A trained network for digits of few pixels."""
    images, labels = map(np.asarray, datasets.digits())
    wide = 2 if quick else 4
    inputs = images.reshape(-1, 4, 2, wide, 8 // wide).mean(axis=(2, 4)).reshape(len(images), -1)
    network = training.train(key, inputs, labels, 8)
    return network, inputs, float(np.mean(np.argmax(_forward(network, inputs), axis=1) == labels))


def _flat(tree: PyTree) -> np.ndarray:
    """All leaves in a row, as by `ravel_pytree`."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def _forward(network: Network | list[np.ndarray], inputs: np.ndarray) -> np.ndarray:
    hidden, output = map(np.asarray, network)
    return np.maximum(inputs @ hidden.T, 0.0) @ output


def _cosine(w: np.ndarray, w_hat: np.ndarray, metric: np.ndarray) -> float:
    lost = w - w_hat
    # The brain surgeon may lose nothing but rounding, whose square can be negative and has no direction.
    energy = max(lost @ metric @ lost, 1e-14 * (w @ metric @ w))
    return w_hat @ metric @ lost / np.sqrt((w_hat @ metric @ w_hat) * energy)


def _squared_error(outputs: np.ndarray, outputs_hat: np.ndarray) -> float:
    return float(np.mean(np.sum((outputs - outputs_hat) ** 2, axis=1)))


def _divergence(outputs: np.ndarray, outputs_hat: np.ndarray) -> float:
    """Mean KL in bits: of terms q - p - p log(q/p), which are all >= 0."""
    log_p, log_q = (x - np.logaddexp.reduce(x, axis=1, keepdims=True) for x in (outputs, outputs_hat))
    d = log_q - log_p
    return float(np.mean(np.sum(np.exp(log_p) * (np.expm1(d) - d), axis=1)) / np.log(2))
