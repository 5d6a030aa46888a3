"""Quantized weights as bytes, and back: what a compressed model takes is the length of them.

A bitstream is: magic (2 bytes), version (1), length of the structure, the structure (containers, keys, dtypes, shapes,
steps, codebooks), the coded part, padding, CRC-32 of all before. Lengths and sizes take seven bits a byte.
What is coded, by asymmetric numeral systems, are the labels, and the frequencies that they are coded with before them.
"""

from rdtheory.schemes.bitstream.stream import decode, dequantize, encode

__all__ = ["decode", "dequantize", "encode"]
