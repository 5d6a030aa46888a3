"""The parts of benchmarks/others_network.py, on few weights."""

import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def others_network():
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import others_network
    finally:
        sys.path.remove(folder)
    return others_network


def test_a_matrix_is_the_kernel_that_it_was(others_network):
    params = {"convolution/kernel": np.arange(512.0 * 1280, dtype=np.float32).reshape(512, 256, 5)}
    found = others_network.matrix(params, "convolution")
    assert found.shape == (1280, 512)
    np.testing.assert_array_equal(others_network.kernel(found, "convolution"), params["convolution/kernel"])


def test_a_point_is_measured_on_rows_held_out_and_drawn(others_network, tmp_path):
    rng = np.random.default_rng(0)
    weights, known, unseen = rng.normal(size=(8, 2000)), rng.normal(size=(400, 8)), rng.normal(size=(400, 8))
    given = others_network.data({"dense/kernel": weights}, "dense", known, unseen)
    ours = others_network.coded("dense", given, 8, 2.0)
    assert abs(ours.bits - 2.0) <= others_network.NEAR
    assert 1 / 16 < ours.error < 1.2 * 4**0.12 / 16
    assert ours.gap == pytest.approx(ours.bits - ours.bound) and 0.05 < ours.gap < 0.2
    made = {code: make(weights, given.moments) for code, make in others_network.FORMATS.items()}
    formats = [others_network.point("dense", c, given, m.weights_hat, m.bits / weights.size) for c, m in made.items()]
    best = ours._replace(code="our code, 256 states")
    others_network.draw(tmp_path / "figure.png", [*formats, best], "dense")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert others_network.row(ours)[2:] == (
        f"{ours.bits:.3f}",
        f"{10 * np.log10(ours.error):.2f} ± {10 / np.log(10) * ours.standard_error / ours.error:.2f}",
        f"{ours.bound:.3f}",
        f"{ours.gap:.3f}",
    )
