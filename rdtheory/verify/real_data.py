"""Checks on real inputs and fitted weights; they need the extra `data` (scikit-learn)."""

import numpy as np
from jax import Array

from rdtheory.limits import linear
from rdtheory.models import candidates, datasets, golden_rules, relu, training
from rdtheory.schemes import gaussian_channel
from rdtheory.verify.linear import ROUNDING, achieved
from rdtheory.verify.rows import Row, agree, at_most, estimate, generator, host, split


def digits_linear(key: Array, quick: bool) -> list[Row]:
    """Digit classifier: ten fitted weight vectors, pixels that never vary, both covariances singular."""
    from sklearn.linear_model import LogisticRegression

    inputs, labels = map(np.asarray, datasets.digits())
    fitted = LogisticRegression(C=0.1, max_iter=1000).fit(inputs, labels)
    return _linear_model(key, "digits, logistic regression", inputs, fitted.coef_, quick)


def diabetes_linear(key: Array, quick: bool) -> list[Row]:
    """Diabetes progression: the weights of ridge regressions on resampled patients."""
    from sklearn.linear_model import Ridge

    data = datasets.diabetes()
    return _linear_model(key, "diabetes, ridge", *_refits(key, data, Ridge(alpha=1.0), 100), quick)


def breast_cancer_linear(key: Array, quick: bool) -> list[Row]:
    """Breast cancer diagnosis: the weights of logistic regressions on resampled tumors, 30 correlated inputs."""
    from sklearn.linear_model import LogisticRegression

    data = datasets.breast_cancer()
    model = LogisticRegression(C=0.1, max_iter=1000)
    return _linear_model(key, "breast cancer, logistic", *_refits(key, data, model, 100), quick)


def digits_relu(key: Array, quick: bool) -> list[Row]:
    """A ReLU network trained on digits: closed forms on its real covariance, and what to prune from it."""
    key_train, key_x, _ = split(key)
    images, labels = map(np.asarray, datasets.digits())
    # Means over blocks of pixels: few enough inputs that every support can be tried.
    wide, keep = (2, 4) if quick else (4, 8)
    pixels = images.reshape(-1, 4, 2, wide, 8 // wide).mean(axis=(2, 4)).reshape(-1, 2 * keep)
    inputs = pixels - pixels.mean(axis=0)
    cov = inputs.T @ inputs / len(inputs)
    network = training.train(key_train, inputs, labels, 8)
    accuracy = np.mean(np.argmax(np.asarray(training.logits(network, inputs)), axis=1) == labels)
    w, v = map(np.asarray, network)
    w_hat = np.where(np.abs(w) >= np.median(np.abs(w)), w, 0.0)
    x = generator(key_x).normal(size=(100_000 if quick else 1_000_000, 2 * keep)) @ np.linalg.cholesky(cov).T
    found, bar = estimate(np.sum(((np.maximum(x @ w.T, 0.0) - np.maximum(x @ w_hat.T, 0.0)) @ v) ** 2, axis=1))
    named = f"half the weights pruned, trained to {accuracy:.1%}, {len(x):,} inputs"
    rows = [agree("distortion, trained layer", named, relu.distortion(w, w_hat, cov, v), found, bar)]
    for j in range(1 if quick else 4):
        importance = relu.importance(w[j], cov)
        projected = relu.optimality(w[j], candidates.pruned(w[j], keep, importance), cov)
        masks = host(candidates.pruned(w[j], keep))
        masked = host(relu.optimality(w[j], masks, cov))
        objective = golden_rules.residuals(w[j], masks[masked.full.index], importance).objective
        silent = f"masks: excess {masked.full.excess:.2g}, by magnitude {masked.magnitude.excess:.2g}"
        rows += [
            agree("ReLU theorem, trained neuron", f"neuron {j + 1}, {len(masks):,} projections: excess", 0.0,
                  projected.full.excess, 1e-9),
            at_most("distortion <= objective, trained neuron", f"neuron {j + 1}, {silent}",
                    masked.full.distortion, objective),
        ]  # fmt: skip
    return rows


def _refits(key: Array, data: datasets.Dataset, model, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and the weights fitted to `count` bootstrap resamples: draws from their sampling law."""
    inputs, labels = map(np.asarray, data)
    resamples = generator(key).integers(len(inputs), size=(count, len(inputs)))
    return inputs, np.stack([model.fit(inputs[rows], labels[rows]).coef_.ravel() for rows in resamples])


def _linear_model(key: Array, name: str, inputs: np.ndarray, draws: np.ndarray, quick: bool) -> list[Row]:
    """The prior is the law of the fitted weights, about its mean; D is a tenth of what sending only the mean costs."""
    inputs = inputs - inputs.mean(axis=0)
    centered = draws - draws.mean(axis=0)
    input_cov = inputs.T @ inputs / len(inputs)
    weight_cov = centered.T @ centered / len(centered)
    D = 0.1 * np.sum(input_cov * weight_cov)
    rows = achieved(name, weight_cov, input_cov, D)
    variances, axes = np.linalg.eigh(input_cov)
    bound = linear.lower_bound(axes.T @ weight_cov @ axes, np.maximum(variances, 0.0), D).rate
    exact = linear.rate(weight_cov, input_cov, D).rate
    if np.linalg.matrix_rank(weight_cov, hermitian=True) < len(weight_cov):
        singular = f"Σ_W of rank {np.linalg.matrix_rank(weight_cov, hermitian=True)} of {len(weight_cov)}, {name}"
        rows.append(agree("Theorem 1, vacuous for singular Σ_W", singular, -np.inf, bound, 0.0))
    else:
        axes_named = f"in the inputs' principal axes, {name}"
        rows.append(at_most("Theorem 1, a lower bound", axes_named, bound, exact, ROUNDING))
    # The draws have exactly this covariance, so the mean over them is exact and only the channel's noise is sampled.
    channel = gaussian_channel.optimal(weight_cov, input_cov, D)
    trials = 50 if quick else 500
    noise = generator(key).multivariate_normal(
        np.zeros(len(weight_cov)), channel.noise_cov, size=(trials, len(centered)), method="eigh"
    )
    sent = centered @ np.asarray(channel.gain).T + noise
    # Through an orthogonal factor of the inputs: the same sums over all of them, from m rows instead of n.
    factor = np.linalg.qr(inputs).R
    found, bar = estimate(np.mean(np.sum(((centered - sent) @ factor.T) ** 2, axis=2), axis=1) / len(inputs))
    predicted = f"predictions on all {len(inputs)} inputs, {name}"
    return [*rows, agree("D = E (f_w(X) - f_ŵ(X))²", predicted, D, found, bar)]
