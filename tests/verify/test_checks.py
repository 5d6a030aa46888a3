"""Every check holds, and fails when a formula behind it is corrupted."""

import functools
import inspect

import jax
import numpy as np
import pytest
from jax.core import Tracer

import rdtheory
from rdtheory import (
    bitstream,
    bottleneck,
    channel_simulation,
    closed_form,
    feedback,
    finite_blocklength,
    gaussian_channel,
    golden_rules,
    importance,
    linear,
    low_rank,
    perception,
    products,
    prune,
    quantize,
    random_codebook,
    relu,
    rotation,
    sparse_regression,
    successive,
    verify,
)
from rdtheory.limits import algorithms, channel, continuous, discrete, gaussian
from rdtheory.verify import codes


def scaled(field, factor):
    return lambda result: result._replace(**{field: getattr(result, field) * factor})


def shifted(field, amount):
    return lambda result: result._replace(**{field: getattr(result, field) + amount})


def shifted_by(amount):
    return lambda result: result + amount


def times(factor):
    return lambda result: result * factor


def halved(tree):
    return jax.tree.map(lambda leaf: leaf / 2, tree)


def larger(result):
    """By a millionth, which the first golden rule notices."""
    return result._replace(weights_hat=jax.tree.map(lambda leaf: leaf * (1 + 1e-6), result.weights_hat))


def chosen_by_magnitude(check):
    return check._replace(full=check.magnitude)


def moved(found):
    return found._replace(low=found.low * 1.001, high=found.high * 1.001)


def swapped(check):
    return check._replace(full=check.magnitude, magnitude=check.full)


# For each check: where a formula lives, its name, and what is done to its result.
CORRUPTIONS = {
    "coin": [(closed_form, "bernoulli", times(1 + 1e-6)), (discrete, "rate_at", scaled("rate", 1 + 1e-6))],
    "critical-slope": [
        (algorithms, "blahut_arimoto", scaled("gap", 0.1)),  # an error bar that understates
        (algorithms, "blahut_arimoto", scaled("rate", 0.9)),
        (algorithms, "interior_point", scaled("gap", 1e6)),
        (algorithms, "interior_point", shifted("rate", 1e-6)),
        (continuous, "transitions", moved),
    ],
    "hamming": [(closed_form, "hamming", times(1 + 1e-6)), (closed_form, "uniform_hamming", times(1 + 1e-6))],
    "erasure": [(closed_form, "erasure", times(1 + 1e-6))],
    "inverse": [(discrete, "distortion_at", scaled("distortion", 1 + 1e-6))],
    "capacity": [(channel, "capacity", scaled("rate", 1 + 1e-6))],
    "gaussian": [(closed_form, "gaussian", times(1.05))],
    "laplacian": [(closed_form, "laplacian", times(1.05))],
    "exponential": [(closed_form, "exponential", times(1.05))],
    "laplacian-refinement": [
        (closed_form, "laplacian_output", scaled("zeros", 1 + 1e-6)),
        (closed_form, "laplacian_output", scaled("zeros", 1.5)),
        (closed_form, "laplacian", shifted_by(0.1)),
    ],
    "shannon-gap": [
        (continuous, "shannon_lower_bound", shifted("rate", -1e-3)),
        (continuous, "shannon_lower_bound", shifted("rate", 0.5)),
        (continuous, "shannon_gap", times(1e-5)),
        (discrete, "shannon_lower_bound", shifted("rate", 1e-6)),
    ],
    "demands": [
        (perception, "gaussian", scaled("rate", 1 + 1e-6)),
        (perception, "gaussian", scaled("rate", 3.0)),
        (perception, "gaussian", scaled("correlation", 0.8)),
        (perception, "gaussian", scaled("deviation", 0.5)),
        (perception, "gaussian_classification", scaled("rate", 1 + 1e-6)),
        (perception, "bernoulli", times(1 + 1e-6)),
        (perception, "classification_rate_at", scaled("rate", 1 + 1e-5)),
    ],
    "bottlenecks": [
        (bottleneck, "gaussian", scaled("rate", 1 + 1e-5)),
        (bottleneck, "gaussian", scaled("rate", 2.0)),
        (bottleneck, "gaussian", scaled("slope", 1 + 1e-5)),
        (bottleneck, "rate_at", scaled("gap", 1e6)),
        (bottleneck, "rate_at", shifted("rate", 1e-3)),
    ],
    "vector-gaussian": [
        (gaussian, "water_filling", scaled("water_level", 1 + 1e-6)),
        (closed_form, "vector_gaussian", times(1 + 1e-6)),
    ],
    "linear-rate": [(linear, "rate", scaled("rate", 1 + 1e-6)), (linear, "rate", scaled("water_level", 1.01))],
    "linear-bound": [(linear, "lower_bound", shifted("rate", 1e-6)), (linear, "rate", scaled("rate", 1 - 1e-6))],
    "linear-channel": [
        (gaussian_channel, "optimal", scaled("gain", 0.99)),
        (gaussian_channel, "optimal", scaled("noise_cov", 1.01)),
        (linear, "rate", scaled("rate", 1 + 1e-6)),
        (gaussian_channel, "sample", times(1.1)),
    ],
    "shannon-bound": [
        (linear, "shannon_lower_bound", shifted("rate", 0.5)),
        (linear, "rate", shifted("rate", -0.5)),
    ],
    "inner-products": [
        (products, "inner", times(1 + 1e-6)),
        (products, "inner", shifted_by(0.1)),
        (products, "critical_rate", times(1 + 1e-6)),
        (products, "high_rate", times(1 + 1e-6)),
    ],
    "product-codes": [
        (products, "inner", times(1.5)),
        (rotation, "rotate", lambda rotated: rotated.at[0].multiply(30.0)),
        (bitstream, "dequantize", times(3.0)),
        (quantize, "gaussian_codebook", scaled("distortion", 3.0)),
    ],
    "golden": [(golden_rules, "project", times(0.99))],
    "relu-distortion": [(relu, "distortion", times(1.1)), (relu, "best_scale", scaled("scale", 1.2))],
    "relu-importance": [(relu, "importance", times(1.1))],
    "relu-theorem": [
        (relu, "distortion", times(1 + 1e-6)),
        (relu, "best_scale", scaled("scale", 1 + 1e-6)),
        (relu, "importance", times(1 + 1e-6)),
    ],
    "relu-optimality": [(relu, "optimality", chosen_by_magnitude)],
    "relu-layer": [(relu, "optimality", swapped)],
    "digits-linear": [(gaussian_channel, "optimal", scaled("noise_cov", 1.01)), (linear, "rate", scaled("rate", 0.99))],
    "diabetes-linear": [
        (linear, "lower_bound", shifted("rate", 0.01)),
        (gaussian_channel, "optimal", scaled("noise_cov", 1.2)),
    ],
    "breast-cancer-linear": [(gaussian_channel, "optimal", scaled("gain", 0.99))],
    "digits-relu": [(relu, "distortion", times(1.1)), (relu, "optimality", chosen_by_magnitude)],
    "compressed-rules": [
        (prune, "weighted", larger),
        (prune, "obs", larger),
        (prune, "obs", scaled("objective", 1 + 1e-6)),
        (quantize, "kmeans", scaled("codebook", 1 + 1e-6)),
        (low_rank, "weighted", larger),
        (low_rank, "weighted", scaled("singular_values", 1 + 1e-6)),
    ],
    "importance-proxy": [(importance, "full", times(1.001)), (importance, "diagonal", halved)],
    "entropy-codes": [(closed_form, "gaussian", lambda rate: rate + 0.3)],
    "scalar-quantizers": [
        (quantize, "gaussian_codebook", scaled("distortion", 3.0)),
        (quantize, "gaussian_codebook", scaled("distortion", 0.2)),
        (quantize, "gaussian_codebook", lambda found: found._replace(distortion=(found.distortion / 3) ** 1.3)),
    ],
    "linear-codes": [(gaussian, "water_filling", scaled("rate", 1.3))],
    "block-codes": [
        (sparse_regression, "bits", lambda bits: bits // 3),
        (random_codebook, "encode", scaled("distortion", 0.2)),
        (random_codebook, "rate_for_excess", scaled("rate", 0.5)),
        (finite_blocklength, "gaussian", scaled("converse", 2.0)),
    ],
    "channel-codes": [
        (channel_simulation, "encode", shifted("bits", -4.0)),
        (channel_simulation, "encode", shifted("bits", 5.0)),
        (channel_simulation, "decode", times(2.0)),
    ],
    "successive-codes": [(closed_form, "laplacian", times(5.0)), (successive, "decode", times(-1.0))],
    "linear-refinement": [
        (gaussian_channel, "coarser", scaled("gain", 0.99)),
        (gaussian_channel, "coarser", scaled("noise_cov", 1.01)),
        (linear, "rate", scaled("rate", 1 + 1e-6)),
        (gaussian, "water_filling", scaled("rate", 1.3)),
        (successive, "decode_linear", times(0.9)),
    ],
    "layer-codes": [
        (feedback, "watersic", shifted("rate", 0.05)),
        (feedback, "watersic", scaled("distortion", 1 + 1e-6)),
        (feedback, "gptq", shifted("rate", 0.05)),
        (codes, "one_codebook", shifted_by(-0.1)),
        (finite_blocklength, "parallel_gaussians", shifted("converse", 0.3)),
        (finite_blocklength, "parallel_gaussians", shifted("achievability", 0.3)),
    ],
}


def inexact(check):
    return check._replace(full=check.full._replace(excess=check.full.excess + 1e-6))


def blurred(channel):
    return 0.9 * channel + 0.1 / channel.shape[1]


# Coarser ones, for the rows whose error bar is that of a sample, or that compare by an inequality.
COARSE = {
    "coin": [(discrete, "test_channel", blurred)],
    "critical-slope": [(algorithms, "blahut_arimoto", scaled("gap", 1e-4))],
    "hamming": [(discrete, "test_channel", blurred)],
    "erasure": [(closed_form, "erasure", times(1.2)), (discrete, "rate_at", scaled("distortion", 1.2))],
    "vector-gaussian": [
        (gaussian, "water_filling", scaled("rate", 1.2)),
        (gaussian, "water_filling", scaled("distortions", 1.01)),
        (gaussian, "water_filling", scaled("water_level", 1.2)),
    ],
    "linear-rate": [(linear, "rate", shifted("rate", 1.0))],
    "linear-bound": [(linear, "lower_bound", shifted("rate", 5.0))],
    "golden": [(golden_rules, "residuals", shifted("cosine", 1e-6))],
    "relu-distortion": [(relu, "best_scale", scaled("distortion", 1.2))],
    "relu-theorem": [
        (golden_rules, "residuals", shifted("orthogonality", 1e-6)),
        (relu, "distortion", lambda d: 1 - d),
    ],
    "relu-optimality": [(relu, "optimality", inexact)],
    "digits-linear": [
        (linear, "lower_bound", lambda bound: bound._replace(rate=0.0)),
        (gaussian_channel, "optimal", scaled("noise_cov", 3.0)),
    ],
    "breast-cancer-linear": [
        (linear, "lower_bound", shifted("rate", 20.0)),
        (gaussian_channel, "optimal", scaled("noise_cov", 3.0)),
    ],
    "digits-relu": [(golden_rules, "residuals", scaled("objective", 0.5))],
    "compressed-rules": [(quantize, "kmeans", scaled("objective", 10.0))],
}

# Rows about the samples that a check draws itself: no formula of the package is in them to be corrupted.
OF_THE_EXPERIMENT = ("D of the channel, ", "Y + N is ")


def remembered(function):
    """A pure function that computes nothing twice: a corruption leaves most of a check as it was."""
    known = {}

    def bits(leaf):
        if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if not isinstance(leaf, jax.Array | np.ndarray):
            return type(leaf), leaf  # of a function, the function itself
        return leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()

    @functools.wraps(function)
    def call(*args, **kw):
        leaves, tree = jax.tree.flatten((args, kw))
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return function(*args, **kw)
        asked = tree, *map(bits, leaves)
        if asked not in known:
            known[asked] = function(*args, **kw)
        return known[asked]

    return call


@pytest.fixture
def each_once(monkeypatch):
    """Every public function of every topic, as the checks call them."""
    for module in filter(inspect.ismodule, (getattr(rdtheory, name) for name in rdtheory.__all__)):
        for name in getattr(module, "__all__", ()) if module is not verify else ():
            if inspect.isfunction(getattr(module, name)):
                monkeypatch.setattr(module, name, remembered(getattr(module, name)))
    monkeypatch.setattr(codes, "regressed", remembered(codes.regressed))  # seconds


@pytest.mark.usefixtures("each_once")
@pytest.mark.parametrize("check", verify.CHECKS, ids=verify.name)
def test_check_holds_and_a_corrupted_formula_makes_each_row_fail(check, monkeypatch):
    rows = check(jax.random.key(0), True)
    assert [row for row in rows if not row.holds] == []
    unshaken = {i for i, row in enumerate(rows) if not row.theorem.startswith(OF_THE_EXPERIMENT)}
    name = verify.name(check)
    for module, function, corrupt in CORRUPTIONS[name] + COARSE.get(name, []):
        true = getattr(module, function)
        with monkeypatch.context() as patch:
            patch.setattr(
                module, function, lambda *args, _true=true, _corrupt=corrupt, **kw: _corrupt(_true(*args, **kw))
            )
            failed = {i for i, row in enumerate(check(jax.random.key(0), True)) if not row.holds}
        assert failed, f"{module.__name__}.{function} is wrong and {name} does not notice"
        unshaken -= failed
    assert [rows[i] for i in sorted(unshaken)] == [], "no corruption makes these rows fail"


def test_every_check_is_run_once():
    modules = [module.__name__ for together in rdtheory.verify.TOGETHER for module in together]
    assert sorted(set(modules)) == sorted(modules)
    assert {check.__module__ for check in rdtheory.verify.CHECKS} <= set(modules)


def test_every_check_has_a_corruption():
    assert set(CORRUPTIONS) == {verify.name(check) for check in verify.CHECKS}


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 21))
def test_checks_hold_for_other_seeds(seed):
    outcomes = list(verify.run(verify.CHECKS, seed=seed, quick=True))
    assert [(o.check, row) for o in outcomes for row in o.rows if not row.holds] == []


def test_a_check_gives_the_same_numbers_alone_and_among_others():
    together = {outcome.check: outcome.rows for outcome in verify.run(verify.CHECKS[6:9], quick=True)}
    [alone] = verify.run(verify.CHECKS[8:9], quick=True)
    assert alone.rows == together[alone.check]
