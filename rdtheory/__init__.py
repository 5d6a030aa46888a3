"""rdtheory: what rate-distortion theory says about compressing models, computed with certificates.

>>> import rdtheory as rd
>>> point = rd.rate_at(jnp.array([0.7, 0.3]), rd.distortion.hamming(2), 0.1)
>>> print(f"{point.rate:.9f} bits, certified to within 1e-9: {point.gap < 1e-9}")
0.412295306 bits, certified to within 1e-9: True
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers; whoever uses a topic imports it, by `__getattr__`
    from rdtheory import distortion, exercises, information, plotting, rigor, sources
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
    from rdtheory.models import candidates, datasets, evaluation, golden_rules, importance, networks, relu, training
    from rdtheory.schemes import (
        bitstream,
        channel_simulation,
        feedback,
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
    "candidates",
    "capacity",
    "certify",
    "channel",
    "channel_simulation",
    "closed_form",
    "continuous",
    "curve",
    "datasets",
    "discrete",
    "distortion",
    "distortion_at",
    "evaluation",
    "exercises",
    "feedback",
    "finite_blocklength",
    "gaussian",
    "gaussian_channel",
    "golden_rules",
    "importance",
    "information",
    "interior_point",
    "linear",
    "low_rank",
    "networks",
    "perception",
    "plotting",
    "prune",
    "quantize",
    "random_codebook",
    "rate_at",
    "relu",
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
    "curve": "discrete",
    "distortion_at": "discrete",
    "interior_point": "algorithms",
    "rate_at": "discrete",
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
