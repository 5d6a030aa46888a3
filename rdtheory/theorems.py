"""The index: every theorem that the package computes and checks, in the order in which the theory is told.

>>> [rule] = [theorem for theorem in INDEX if theorem.name == "golden rules"]
>>> print(rule.statement)
⟨ŵ, w − ŵ⟩ = 0 in the importance I_w, and ‖w − ŵ‖ is least

`rdtheory verify --list`, the report and a page of the reference are made of it.
"""

from typing import Literal, NamedTuple

__all__ = ["INDEX", "Theorem"]


class Theorem(NamedTuple):
    """One statement, where it is from, and where it is computed, checked and taught."""

    name: str
    statement: str  #: in one line of mathematics
    source: str
    functions: tuple[str, ...]  #: as in ``rd.linear.rate``, without the ``rd``
    checks: tuple[str, ...]  #: of `rdtheory verify`; none where the tests alone check it
    notebook: str  #: its number; empty if there is none
    kind: Literal["exact", "bound", "Monte Carlo"]  #: what its checks compare


GAO = "Gao, Liu, Wang & Oh (2019)"

INDEX: tuple[Theorem, ...] = (
    Theorem(
        "rate-distortion function",
        "R(D) = min I(X; Y) over channels with E d(X, Y) ≤ D",
        "Shannon (1959)",
        ("rate_at", "distortion_at", "discrete.rate_at", "discrete.distortion_at", "discrete.test_channel"),
        ("coin", "inverse"),
        "01",
        "exact",
    ),
    Theorem(
        "alternating minimization",
        "q ← q Aᵀ(p / A q), A = 2^(−s d), converges to the least of −s D − Σ p log A q",
        "Blahut (1972); Arimoto (1972); Csiszár (1974)",
        (
            "blahut_arimoto",
            "interior_point",
            "algorithms.blahut_arimoto",
            "algorithms.accelerated_blahut_arimoto",
            "algorithms.interior_point",
        ),
        ("critical-slope",),
        "02",
        "exact",
    ),
    Theorem(
        "duality",
        "R(D) = max −s D + Σ p log λ over λ ≥ 0 with Σ p λ A ≤ 1 for every y",
        "Berger (1971); Csiszár (1974)",
        ("certify.rate_distortion", "discrete.lagrangian"),
        ("coin", "critical-slope"),
        "02",
        "bound",
    ),
    Theorem(
        "convexity",
        "R(D) lies below the chords of its points and above the lines of their duals",
        "Berger (1971)",
        ("curve", "discrete.curve", "discrete.band"),
        ("inverse",),
        "01",
        "bound",
    ),
    Theorem("coin", "R(D) = h(p) − h(D)", "Shannon (1959)", ("closed_form.bernoulli",), ("coin",), "01", "exact"),
    Theorem(
        "any source, probability of error",
        "the best output is ∝ (p − τ)⁺",
        "Erokhin (1958)",
        ("closed_form.hamming", "closed_form.uniform_hamming"),
        ("hamming",),
        "01",
        "exact",
    ),
    Theorem(
        "erasures",
        "R(D) = H(X) − D max H(X | erased), the greatest over what may be erased with probability D",
        "Cover & Thomas, problem 10.7",
        ("closed_form.erasure",),
        ("erasure",),
        "",
        "exact",
    ),
    Theorem(
        "Gaussian source",
        "R(D) = ½ log(σ²/D)",
        "Shannon (1959)",
        ("closed_form.gaussian", "continuous.rate_at"),
        ("gaussian",),
        "01",
        "exact",
    ),
    Theorem(
        "Laplacian source, absolute error",
        "R(D) = −log(λD)",
        "Berger (1971)",
        ("closed_form.laplacian",),
        ("laplacian",),
        "",
        "exact",
    ),
    Theorem(
        "exponential source, one-sided error",
        "R(D) = log(μ/D)",
        "Verdú (1996)",
        ("closed_form.exponential",),
        ("exponential",),
        "",
        "exact",
    ),
    Theorem(
        "reverse water-filling",
        "R(D) = Σ ½ log⁺(σ_k²/θ), Σ min(θ, σ_k²) = D",
        "Kolmogorov (1956)",
        ("gaussian.water_filling", "gaussian.fill", "gaussian.pour", "gaussian.of_sums", "closed_form.vector_gaussian"),
        ("vector-gaussian",),
        "03",
        "exact",
    ),
    Theorem(
        "linear models",
        "R(D) = Σ ½ log⁺(ν_k/θ), ν the eigenvalues of Σ_X^½ Σ_W Σ_X^½",
        "Kolmogorov (1956), applied to Σ_X^½ W",
        ("linear.rate", "linear.component_variances", "linear.layer_rate"),
        ("linear-rate", "digits-linear", "diabetes-linear", "breast-cancer-linear", "linear-codes"),
        "03",
        "exact",
    ),
    Theorem(
        "lower bound of linear models",
        "R(D) ≥ ½ log det Σ_W − Σ ½ log D_i, D_i = min(μ/λ_i, E W_i²); tight iff diag(D_i) ⪯ Σ_W",
        f"{GAO}, Theorem 1",
        ("linear.lower_bound",),
        ("linear-bound",),
        "03",
        "bound",
    ),
    Theorem(
        "the channel that achieves it",
        "Ŵ = (1 − D_i/σ_i²) W + N(0, D_i(1 − D_i/σ_i²)): I = R(D) and Ŵ ⟂ W − Ŵ",
        f"{GAO}, Theorem 2; Berger (1971)",
        ("gaussian_channel.optimal", "gaussian_channel.performance", "gaussian_channel.sample"),
        ("linear-channel",),
        "03",
        "exact",
    ),
    Theorem(
        "Shannon's lower bound",
        "R(D) ≥ h(W) − max h(N) over N with E d(N) ≤ D",
        "Shannon (1959)",
        ("linear.shannon_lower_bound",),
        ("shannon-bound",),
        "03",
        "bound",
    ),
    Theorem(
        "golden rules",
        "⟨ŵ, w − ŵ⟩ = 0 in the importance I_w, and ‖w − ŵ‖ is least",
        GAO,
        ("golden_rules.residuals", "golden_rules.project"),
        ("golden", "compressed-rules"),
        "04",
        "exact",
    ),
    Theorem(
        "weight importance",
        "d(w, ŵ) = (w − ŵ)ᵀ I_w (w − ŵ) + o(‖w − ŵ‖²)",
        GAO,
        ("importance.diagonal", "importance.kronecker", "importance.full"),
        ("importance-proxy",),
        "05",
        "bound",
    ),
    Theorem(
        "arc-cosine kernel",
        "E ReLU(u·X) ReLU(v·X) = ‖u‖‖v‖ (sin θ + (π − θ) cos θ) / 2π",
        "Cho & Saul (2009)",
        ("relu.distortion", "relu.importance", "relu.best_scale"),
        ("relu-distortion", "relu-importance", "digits-relu"),
        "04",
        "Monte Carlo",
    ),
    Theorem(
        "one ReLU neuron",
        "if ŵᵀ I_w (w − ŵ) = 0, objective and distortion both increase with the angle θ",
        GAO,
        ("relu.optimality",),
        ("relu-theorem", "relu-optimality", "relu-layer"),
        "04",
        "exact",
    ),
    Theorem(
        "channel capacity",
        "C = max I(X; Y) over laws of X, with E cost(X) ≤ B if it costs",
        "Shannon (1948); Blahut (1972)",
        ("capacity", "channel.capacity", "channel.capacity_at", "certify.capacity"),
        ("capacity",),
        "",
        "exact",
    ),
    Theorem(
        "what a block of n symbols needs",
        "R(n, D, ε) = R(D) + √(V/n) Q⁻¹(ε) + O(log n / n), between sphere covering and random codes",
        "Kostina & Verdú (2012)",
        (
            "finite_blocklength.gaussian",
            "finite_blocklength.bernoulli",
            "finite_blocklength.linear_model",
            "random_codebook.rate_for_excess",
        ),
        ("block-codes",),
        "07",
        "bound",
    ),
    Theorem(
        "space-filling loss",
        "rounding costs ½ log(2πe/12) = 0.2546 bit at high rate; a trellis of 8 states 0.074, of 256 0.033",
        "Gish & Pierce (1968); Marcellin & Fischer (1990)",
        ("scalar.quantize", "trellis.quantize", "trellis.loss"),
        ("entropy-codes", "linear-codes"),
        "06",
        "bound",
    ),
    Theorem(
        "sparse regression codes",
        "section after section, E‖residual‖² falls to D(R) and no lower",
        "Venkataramanan, Sarkar & Tatikonda (2014)",
        ("sparse_regression.encode", "sparse_regression.predicted_distortion"),
        ("block-codes",),
        "07",
        "Monte Carlo",
    ),
    Theorem(
        "channel simulation",
        "an exact sample of the channel takes at most I + log(I + 1) + 5 bits",
        "Li & El Gamal (2018)",
        ("channel_simulation.encode", "channel_simulation.code_length"),
        ("channel-codes",),
        "",
        "bound",
    ),
    Theorem(
        "successive quantization",
        "steps ∝ 1/ℓ_i lose ½ log(2πe/12) for every Σ; one step for all, ½ log(mean ℓ² / geometric mean ℓ²) more",
        "Lifar, Savkin, Ordentlich & Polyanskiy (2026), Theorem 3.3",
        ("feedback.watersic", "feedback.gptq"),
        ("layer-codes",),
        "",
        "exact",
    ),
    Theorem(
        "price and loss",
        "in the metric M = Σ + θ diag(1/v) a layer takes at most R(D) + price + loss, at every rate, for every Σ",
        "derived here; Harbuzova, Ordentlich & Polyanskiy (2026) for the price",
        ("feedback.quantize",),
        ("layer-codes",),
        "",
        "bound",
    ),
    Theorem(
        "side information at both ends",
        "R_{X|Y}(D) = min I(X; X̂ | Y)",
        "Gray (1973)",
        ("side_information.conditional_rate_at", "certify.conditional"),
        (),
        "",
        "exact",
    ),
    Theorem(
        "side information at the decoder",
        "R_WZ(D) = min I(X; U) − I(Y; U) over U − X − Y with E d(X, X̂(U, Y)) ≤ D",
        "Wyner & Ziv (1976)",
        ("side_information.wyner_ziv_rate_at", "certify.wyner_ziv"),
        (),
        "",
        "exact",
    ),
    Theorem(
        "information bottleneck",
        "R(I) = min I(X; T) over T − X − Y with I(T; Y) ≥ I",
        "Tishby, Pereira & Bialek (1999); Witsenhausen & Wyner (1975)",
        ("bottleneck.rate_at", "certify.bottleneck"),
        (),
        "",
        "bound",
    ),
    Theorem(
        "perception",
        "R(D, P) = min I(X; Y) with E d ≤ D and δ(p_X, p_Y) ≤ P",
        "Blau & Michaeli (2019)",
        ("perception.rate_at", "certify.total_variation", "certify.divergence"),
        (),
        "",
        "exact",
    ),
    Theorem(
        "classification",
        "R(D, C) = min I(X; Y) with E d ≤ D and an error of the best classifier of Y ≤ C",
        "Liu, Zhang & Xiong (2019); Zhang (2023)",
        ("perception.classification_rate_at", "certify.classification"),
        (),
        "",
        "exact",
    ),
)
"""Every theorem, as `Theorem`."""
