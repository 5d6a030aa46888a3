"""Whether the weights of networks trained here are Laplacian: python benchmarks/laplacian.py [DATA ...].

For each matrix of the networks of `rdtheory experiment`, what a weight costs more in a code for a Laplacian and in
one for a Gaussian, and how far the distribution functions are apart: `rd.successive.goodness_of_fit`. Without biases.
"""

import sys

import jax
import numpy as np

from rdtheory import successive
from rdtheory.experiment import trained


def main(data: list[str]) -> None:
    print("| network, layer | weights | bits for Laplacian | for Gaussian | K-S to Laplacian | to Gaussian |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in data:
        matrices = [np.asarray(matrix)[:-1] for matrix in trained.train(name, 0, progress=False).matrices]
        for place, weights in enumerate(matrices, 1):
            show(f"{name}, {place}", weights)
        show(f"{name}, all", np.concatenate([weights.ravel() for weights in matrices]))


def show(name: str, weights: np.ndarray) -> None:
    found = successive.goodness_of_fit(weights)
    print(f"| {name} | {weights.size:,} | " + " | ".join(f"{number:.3f}" for number in found) + " |")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(sys.argv[1:] or ["digits", "mnist5k"])
