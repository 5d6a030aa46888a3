"""The parts of benchmarks/feedback.py, on few weights."""

import numpy as np
import pytest

from benchmarks import feedback


@pytest.mark.parametrize("name", ["diagonal", "digits"])
def test_water_levels_are_those_of_the_rate(name):
    spectrum = np.maximum(np.linalg.eigvalsh(feedback.all_moments(8)[name]), 0.0)
    for rate in (0.5, 6.0):
        level = feedback.water_level(spectrum, rate)
        above = spectrum > level
        np.testing.assert_allclose(np.sum(np.log2(spectrum[above] / level)) / 2 / len(spectrum), rate, rtol=1e-9)


def test_a_line_says_what_was_found():
    point = feedback.measure("diagonal", feedback.all_moments(8)["diagonal"], 2000, 8, 1.0)
    assert 0 < point.gap < 0.2
    assert point.rate == pytest.approx(1.0 + point.gap, abs=0.1)
    line = feedback.line(point)
    assert line.count("|") == feedback.header().splitlines()[0].count("|")
    assert f"| {point.gap:.3f} |" in line
    assert "missed by 1.000" in feedback.line(point._replace(gap=1.02 + point.price + point.loss))


def test_a_model_is_compressed_to_three_bits():
    said = feedback.model(((24, 300), (16, 400)))
    assert said.startswith("a model of 24 x 300, 16 x 400: 2.9") and "s of processor" in said


def test_the_command_prints_every_point(monkeypatch, capsys):
    point = feedback.Point("diagonal", 8, 1.0, 1.1, 0.1, 0.05, 0.07, (0.1, 0.2, 0.3))
    monkeypatch.setattr(feedback, "points", lambda *arguments: iter([point, point]))
    monkeypatch.setattr(feedback, "large", lambda: "512 x 2048")
    monkeypatch.setattr(feedback, "model", lambda: "a model")
    feedback.main(["--quick"])
    printed = capsys.readouterr().out
    assert printed.count(feedback.line(point)) == 2 and printed.endswith("512 x 2048\na model\n")
