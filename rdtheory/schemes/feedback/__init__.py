r"""A linear layer in bits: inputs quantized one after another, each error made up for by the inputs that follow.

A layer W (m inputs, k outputs) has the distortion tr (W - Ŵ)ᵀ Σ (W - Ŵ), Σ = E xxᵀ. `quantize` comes within a tenth of
a bit of what one codebook for all Σ takes, which is R(D) at high rate. `watersic`, `gptq` and `nearest` are special
cases to compare with, in the same code: without the rate in the metric, with one step for all, without feedback.
"""

from rdtheory.schemes.feedback.quantizer import gptq, nearest, quantize, watersic

__all__ = ["gptq", "nearest", "quantize", "watersic"]
