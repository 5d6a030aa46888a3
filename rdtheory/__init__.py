"""rdtheory: what rate-distortion theory says about compressing models, computed with certificates.

>>> import rdtheory as rd
>>> point = rd.rate_at(jnp.array([0.7, 0.3]), rd.distortion.hamming(2), 0.1)
>>> print(f"{point.rate:.9f} bits, certified to within 1e-9: {point.gap < 1e-9}")
0.412295306 bits, certified to within 1e-9: True

At the top: `rate_at`, `distortion_at` and `curve` for R(D), `capacity`, `blahut_arimoto` and `interior_point`; for a
whole network `report`, `compress` and `decompress`. The rest is in topics, each with a `help(rd.TOPIC)`.

Limits, what no compressor can beat:
    discrete            R(D) of a discrete source: at a distortion, at a rate, along the curve; test channels
    continuous          R(D) of a density, over all real reproductions
    linear              linear models: the paper's bound and the exact function
    gaussian            reverse water-filling
    closed_form         eight sources with a formula
    channel             capacity, also with a cost of the input
    side_information    conditional and Wyner-Ziv R(D)
    perception          R(D) under a second demand: perception, classification
    bottleneck          the information bottleneck
    finite_blocklength  what a block of n symbols needs
    algorithms          Blahut-Arimoto, accelerated, interior point
    certify             what proves every bound, from the problem and candidates that are not believed

Schemes, what compressors achieve:
    scalar              entropy-coded scalar quantization
    trellis             trellis-coded quantization, near R(D) at every rate
    feedback            a whole layer, each error made up for by the inputs that follow
    bitstream           quantized arrays as bytes, and back
    formats             what networks are stored in today: integers, NF4, GPTQ
    quantize            codebooks, error feedback (GPTQ), water-filled steps
    prune               by magnitude, by importance, by the brain surgeon
    low_rank            plain, and in the metric of the importance
    gaussian_channel    the optimal test channel of a linear model
    random_codebook     Shannon's code, literally
    sparse_regression   codewords from one random matrix
    channel_simulation  an index that gives the decoder an exact sample

Models, from a network to its weights:
    calibration         moments of inputs, shrunk, and distortions on those held out
    importance          how much each weight matters, for any JAX model
    relu                one hidden layer, in closed form
    golden_rules        the two rules of optimal compression
    candidates          every pruned or quantized version of a few weights
    networks            small classical networks
    training            fitting any model
    evaluation          accuracy, cross-entropy, divergence
    datasets            real data, and files of your own

Networks, as a whole:
    codec               a model to bytes and back
    network             the formats in use and our code beside the limits, layer by layer and in all

Tools:
    distortion          what an error costs: matrices, and those never stored
    sources             densities and samples
    information         entropy, divergence, mutual information
    plotting            pictures of results
    rigor               proofs in ball arithmetic
    exercises           answers to the problem sheets, checked
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers; whoever uses a topic imports it, by `__getattr__`
    from rdtheory import codec, distortion, exercises, information, network, plotting, rigor, sources
    from rdtheory.codec import compress, decompress
    from rdtheory.limits import (
        algorithms,
        bottleneck,
        certify,
        channel,
        closed_form,
        continuous,
        discrete,
        finite_blocklength,
        gaussian,
        linear,
        perception,
        side_information,
    )
    from rdtheory.limits.algorithms import blahut_arimoto, interior_point
    from rdtheory.limits.channel import capacity
    from rdtheory.limits.discrete import curve, distortion_at, rate_at
    from rdtheory.models import (
        calibration,
        candidates,
        datasets,
        evaluation,
        golden_rules,
        importance,
        networks,
        relu,
        training,
    )
    from rdtheory.network import report
    from rdtheory.schemes import (
        bitstream,
        channel_simulation,
        feedback,
        formats,
        gaussian_channel,
        low_rank,
        prune,
        quantize,
        random_codebook,
        scalar,
        sparse_regression,
        trellis,
    )

__version__ = "0.1.0"

__all__ = [
    "algorithms",
    "bitstream",
    "blahut_arimoto",
    "bottleneck",
    "calibration",
    "candidates",
    "capacity",
    "certify",
    "channel",
    "channel_simulation",
    "closed_form",
    "codec",
    "compress",
    "continuous",
    "curve",
    "datasets",
    "decompress",
    "discrete",
    "distortion",
    "distortion_at",
    "evaluation",
    "exercises",
    "feedback",
    "finite_blocklength",
    "formats",
    "gaussian",
    "gaussian_channel",
    "golden_rules",
    "importance",
    "information",
    "interior_point",
    "linear",
    "low_rank",
    "network",
    "networks",
    "perception",
    "plotting",
    "prune",
    "quantize",
    "random_codebook",
    "rate_at",
    "relu",
    "report",
    "rigor",
    "scalar",
    "side_information",
    "sources",
    "sparse_regression",
    "training",
    "trellis",
]

_HOMES = ("rdtheory", "rdtheory.limits", "rdtheory.models", "rdtheory.schemes")
_VERBS = {
    "blahut_arimoto": "algorithms",
    "capacity": "channel",
    "compress": "codec",
    "curve": "discrete",
    "decompress": "codec",
    "distortion_at": "discrete",
    "interior_point": "algorithms",
    "rate_at": "discrete",
    "report": "network",
}


def __getattr__(name: str) -> object:
    """A topic or a verb, imported when it is first used: all of them together take as long as half of JAX."""
    if name not in __all__:
        raise AttributeError(f"module 'rdtheory' has no attribute {name!r}")
    topic = _VERBS.get(name, name)
    home = next(home for home in _HOMES if importlib.util.find_spec(f"{home}.{topic}"))
    module = importlib.import_module(f"{home}.{topic}")
    globals()[name] = found = getattr(module, name) if name in _VERBS else module
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
