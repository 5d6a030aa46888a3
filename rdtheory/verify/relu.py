"""Checks of the golden rules and of ReLU models."""

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from rdtheory.models import candidates, golden_rules, relu
from rdtheory.results import OptimalityCheck
from rdtheory.verify.linear import correlated
from rdtheory.verify.rows import Row, agree, at_most, estimate, generator, host, split

CHOICES = ("full", "diagonal", "magnitude")


def golden(key: Array, quick: bool) -> list[Row]:
    """Pruning, quantizing and projecting satisfy the golden rules."""
    rng = generator(key)
    weights = rng.normal(size=12)
    full, _ = correlated(rng, 12)
    diagonal = np.diagonal(full)
    support, cells = np.eye(12)[:, ::2], np.eye(3)[np.arange(12) % 3]
    means = cells @ (cells.T @ (diagonal * weights) / (cells.T @ diagonal))
    projected = golden_rules.project(weights, full, support)
    # The projection again, as ordinary least squares in coordinates where I_w is the identity.
    root = np.linalg.cholesky(full)
    best = np.linalg.lstsq(root.T @ support, root.T @ weights, rcond=None)[1][0]

    def cosine(weights_hat: ArrayLike, importance: ArrayLike) -> Array:
        return golden_rules.residuals(weights, weights_hat, importance).cosine

    rule = "golden rule 1, orthogonality"
    return [
        agree(rule, "pruned, diagonal importance", 0.0, cosine(support.sum(axis=1) * weights, diagonal), 1e-14),
        agree(rule, "importance-weighted cell means", 0.0, cosine(means, diagonal), 1e-14),
        agree(rule, "projection, full importance", 0.0, cosine(projected, full), 1e-13),
        agree("golden rule 2, least weighted error", "projection against least squares", best,
              golden_rules.residuals(weights, projected, full).objective, 1e-12 * best),
    ]  # fmt: skip


def relu_distortion(key: Array, quick: bool) -> list[Row]:
    """Closed-form distortion of a ReLU neuron and a layer, against samples."""
    x, w, w_hat, v, cov = _sampled_layer(generator(key), quick)
    neuron, neuron_bar = estimate((_relu(x, w[:1]) - _relu(x, w_hat[:1]))[:, 0] ** 2)
    layer, layer_bar = estimate(np.sum(((_relu(x, w) - _relu(x, w_hat)) @ v) ** 2, axis=1))
    best = host(relu.best_scale(w, w_hat, cov, v))
    scaled, scaled_bar = estimate(np.sum(((_relu(x, w) - best.scale * _relu(x, w_hat)) @ v) ** 2, axis=1))
    other = [float(relu.distortion(w, factor * best.scale * w_hat, cov, v)) for factor in (0.99, 1.01)]
    sampled = f"{len(x):,} correlated Gaussian inputs"
    return [
        agree("distortion, one neuron", sampled, relu.distortion(w[0], w_hat[0], cov), neuron, neuron_bar),
        agree("distortion, layer", sampled, relu.distortion(w, w_hat, cov, v), layer, layer_bar),
        agree("distortion at the best scale, layer", sampled, best.distortion, scaled, scaled_bar),
        at_most("the best scale is best", "against 1 % less and 1 % more", best.distortion, min(other)),
    ]


def relu_importance(key: Array, quick: bool) -> list[Row]:
    """Closed-form weight importance of a ReLU neuron and a layer, against samples and second differences."""
    rng = generator(key)
    x, w, _, v, cov = _sampled_layer(rng, quick)
    full = np.asarray(relu.importance(w, cov, v))
    rows = []
    for k in range(3):
        step = rng.normal(size=w.shape)
        change = np.where(x @ w.T > 0, x @ step.T, 0.0)
        found, bar = estimate(np.sum((change @ v) ** 2, axis=1))
        theory = step.ravel() @ full @ step.ravel()
        rows.append(agree("I_w = E ∇f ∇fᵀ, layer", f"direction {k + 1}, {len(x):,} inputs", theory, found, bar))
    found, bar = estimate(change[:, 0] ** 2)
    one = step[0] @ np.asarray(relu.importance(w[0], cov)) @ step[0]
    rows.append(agree("I_w = Σ_X/2, one neuron", f"one direction, {len(x):,} inputs", one, found, bar))
    # The next term is linear in the step, so the change between two steps measures what is left.
    coarse, fine = (float(relu.distortion(w, w + size * step, cov, v)) / size**2 for size in (1e-3, 5e-4))
    rows.append(agree("d ≈ (w - ŵ)ᵀ I_w (w - ŵ)", "step of 5e-4, layer", theory, fine, 2 * abs(coarse - fine) + 1e-9))
    return rows


def relu_theorem(key: Array, quick: bool) -> list[Row]:
    """The ReLU theorem: on orthogonal candidates the objective and the distortion both grow with the angle."""
    rng = generator(key)
    cov, _ = correlated(rng, 6)
    w, aside = rng.normal(size=(2, 6))
    power = w @ cov @ w
    aside -= (aside @ cov @ w) / power * w
    aside *= np.sqrt(power / (aside @ cov @ aside))
    angles = np.linspace(0.0, np.pi / 2, 91)
    sine, cosine = np.sin(angles), np.cos(angles)
    orthogonal = cosine[:, None] * (cosine[:, None] * w + sine[:, None] * aside)
    half = relu.importance(w, cov)
    rules = [host(golden_rules.residuals(w, w_hat, half)) for w_hat in orthogonal]
    orthogonality, _, objective = np.array(rules).T
    true = np.array([relu.distortion(w, w_hat, cov) for w_hat in orthogonal])
    arc = sine + (np.pi - angles) * cosine
    bracket = power * (0.5 * (1 + cosine**2) - cosine / np.pi * arc)
    scales = [float(relu.best_scale(w, orthogonal[k], cov).scale) * np.pi * cosine[k] / arc[k] for k in (20, 45, 70)]
    rounding = 1e-13 * power

    def worst(x: ArrayLike) -> float:
        return np.max(np.abs(x))

    computed = "91 angles from 0 to π/2, largest error"
    return [
        agree("candidates satisfy rule 1", computed, 0.0, worst(orthogonality), rounding),
        agree("objective = ½‖w‖² sin²θ", computed, 0.0, worst(objective - power * sine**2 / 2), rounding),
        agree("distortion = ‖w‖² [bracket of θ]", computed, 0.0, worst(true - bracket), rounding),
        at_most("distortion increases with θ", "most negative increment", -np.min(np.diff(true)), 0.0),
        at_most("distortion <= objective", "largest excess", np.max(true - objective), 0.0, rounding),
        agree("best norm ‖w‖ (sin θ + (π - θ) cos θ)/π", "3 angles, largest relative error", 1.0,
              max(scales, key=lambda s: abs(s - 1)), 1e-12),
    ]  # fmt: skip


def relu_optimality(key: Array, quick: bool) -> list[Row]:
    """The ReLU theorem exhaustively: who minimizes the objective minimizes the distortion, for one neuron."""
    m, keep, levels = 8, 4, 3
    neurons = 50 if quick else 200
    rng = generator(key)
    weights = rng.normal(size=(neurons, m))
    cov, _ = correlated(rng, m)
    white = np.eye(m)

    def worst(checks: list[OptimalityCheck]) -> float:
        return max(float(check.full.excess) for check in checks)

    masks = [relu.optimality(w, candidates.pruned(w, keep), white) for w in weights]
    cells = [relu.optimality(w, candidates.quantized(w, levels, np.ones(m)), white) for w in weights[: neurons // 10]]
    projected = [relu.optimality(w, candidates.pruned(w, keep, cov / 2), cov) for w in weights[: neurons // 2]]
    return [
        agree("ReLU theorem, one neuron", f"largest excess, {name}; optimal: {_shares(checks)}", 0, worst(checks), 1e-9)
        for name, checks in (
            ("isotropic, 4-of-8 masks", masks),
            ("isotropic, 8 weights on 3 levels", cells),
            ("correlated, projections on 4 of 8", projected),
        )
    ]


def relu_layer(key: Array, quick: bool) -> list[Row]:
    """Small layers, exhaustively: how nearly the objective is optimal, and what simpler ones cost."""
    key_masks, key_cells, _ = split(key)
    rows = []
    for name, checks in (
        ("masks", layer_choices(key_masks, 40 if quick else 240)),
        ("3 levels", quantized_choices(key_cells, 20 if quick else 100)),
    ):
        excess = {choice: np.array([float(getattr(check, choice).excess) for check in checks]) for choice in CHOICES}
        mean = {choice: np.mean(values) for choice, values in excess.items()}
        median = ", ".join(f"{choice} {np.median(values):.2g}" for choice, values in excess.items())
        shares = f"{len(checks)} layers, {name}; optimal: {_shares(checks)}; median excess: {median}"
        rows += [
            at_most("mean excess, full I_w <= diagonal", shares, mean["full"], mean["diagonal"]),
            at_most("mean excess, full I_w <= magnitude", shares, mean["full"], mean["magnitude"]),
        ]
    return rows


def quantized_choices(key: Array, layers: int) -> list[OptimalityCheck]:
    """The optimality check of random layers of 2 neurons and 3 correlated inputs, all weights on 3 shared values."""
    rng = generator(key)
    checks = []
    for _ in range(layers):
        w, v, (cov, _) = rng.normal(size=(2, 3)), rng.normal(size=2), correlated(rng, 3)
        diagonal = np.diagonal(relu.importance(w, cov, v)).reshape(w.shape)
        checks.append(relu.optimality(w, candidates.quantized(w, 3, diagonal), cov, v))
    return checks


def layer_choices(key: Array, layers: int) -> list[OptimalityCheck]:
    """The optimality check of random layers of 2 neurons and 5 inputs, isotropic, half of the weights pruned."""
    rng = generator(key)
    weights, outputs = rng.normal(size=(layers, 2, 5)), rng.normal(size=(layers, 2))
    return [relu.optimality(w, candidates.pruned(w, 5), np.eye(5), v) for w, v in zip(weights, outputs, strict=True)]


def _shares(checks: list[OptimalityCheck]) -> str:
    """How often each choice is optimal."""
    return ", ".join(
        f"{choice} {np.mean([float(getattr(check, choice).excess) < 1e-9 for check in checks]):.0%}"
        for choice in CHOICES
    )


def _relu(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.maximum(x @ w.T, 0.0)


def _sampled_layer(rng: np.random.Generator, quick: bool) -> tuple[np.ndarray, ...]:
    """Gaussian inputs; weights (3, 4), pruned weights, output weights (3, 2); the covariance of the inputs."""
    cov, _ = correlated(rng, 4)
    x = rng.normal(size=(100_000 if quick else 1_000_000, 4)) @ np.linalg.cholesky(cov).T
    w, v = rng.normal(size=(3, 4)), rng.normal(size=(3, 2))
    return x, w, w * np.array([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 1]]), v, cov
