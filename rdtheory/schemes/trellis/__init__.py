"""Entropy-coded trellis-coded quantization: within a few hundredths of a bit of R(D), at every rate.

The points are the whole numbers of steps. A state of the trellis allows the even ones or the odd ones, and the label of
the point taken decides on the next state by its parity. So the points of one weight lie two steps apart, and yet the
errors of many weights together fill nearly a ball, not a cube: of the 0.2546 bit that rounding loses, 8 states leave
0.074 and 256 states 0.033. `quantize` finds the best path (Viterbi); `dequantize` follows it from the labels alone.

At low rates the code does as the optimal test channel does, Ŵ = α (α W + Z): weights are scaled by α = √(1 - D/σ²)
before and after, and weights under the water level are not sent. The loss then is that of high rates (Zamir & Feder).
"""

from rdtheory.schemes.trellis.quantizer import dequantize, loss, packed, quantize, steps

__all__ = ["dequantize", "loss", "packed", "quantize", "steps"]
