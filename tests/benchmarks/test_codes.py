"""The parts of benchmarks/codes.py, on few samples."""

import json

import numpy as np
import pytest

from benchmarks import codes


@pytest.fixture(scope="module")
def found():
    scalar_and_trellis = codes.quantizers(10_000, (1.0, 2.0), (8,))
    return [*scalar_and_trellis, *codes.channel_simulations((1.0,), 200)]


@pytest.fixture(scope="module")
def blocks():
    return codes.block_lengths((4,), 100)


def test_codes_are_above_the_limit_and_the_trellis_nearest(found):
    gaps = {(code.scheme, round(code.rate - (code.gap if "I =" in code.size else 0))): code.gap for code in found}
    assert all(gap > 0 for gap in gaps.values())
    for rate, of_scalar in ((1, 0.2393), (2, 0.2545)):  # computed from cells of the normal law
        sent = 8 * 45 / 10_000  # header and laws
        assert gaps["scalar", rate] == pytest.approx(of_scalar + sent / 2, abs=sent / 2 + 0.02)
        assert gaps["trellis, 8 states", rate] < gaps["scalar", rate] - 0.1
    assert gaps["channel simulation", 1] < np.log2(2) + 5


def test_rates_are_those_asked_for(found):
    rates = [code.rate for code in found if code.scheme in ("scalar", "trellis, 8 states")]
    np.testing.assert_allclose(rates, [1.0, 2.0, 1.0, 2.0], atol=0.06)
    assert all(code.encode > 0 and code.decode > 0 for code in found)


def test_tables_say_what_was_found(found):
    header, rule, *lines = codes.table(found).splitlines()
    assert len({line.count("|") for line in (header, rule, *lines)}) == 1 and len(lines) == len(found)
    assert "Gish & Pierce" in lines[0] and f"{found[0].gap:.3f}" in lines[0]
    _, _, *short = codes.summary(found).splitlines()
    assert [line.split("|")[1].strip() for line in short] == [
        "scalar", "trellis, 8 states", "channel simulation (I = 1)",
    ]  # fmt: skip
    assert short[0].split("|")[2].strip() == f"{found[0].gap:.3f}"


def test_random_codebooks_are_above_the_converse(blocks):
    bound = blocks.bounds[blocks.lengths.index(4)]
    assert bound.converse <= bound.achievability
    assert bound.converse < blocks.measured[0].high


def test_the_command_writes_its_files(found, blocks, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(codes, "run", lambda *, quick: (found, blocks))
    codes.main(["--quick", "--out", str(tmp_path)])
    written = json.loads((tmp_path / "codes.json").read_text())
    assert [code["gap"] for code in written["codes"]] == [code.gap for code in found]
    assert written["codes"][0]["gap_decibels"] == pytest.approx(6.0206 * found[0].gap, rel=1e-4)
    assert written["random_codebooks"][0]["n"] == 4 and written["bounds"][0]["converse"] > 0
    assert (tmp_path / "codes.png").read_bytes().startswith(b"\x89PNG")
    assert codes.summary(found) in capsys.readouterr().out
