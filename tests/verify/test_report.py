import base64
import json
import re

import numpy as np
import pytest

from rdtheory import verify
from rdtheory.verify import report
from rdtheory.verify.rows import agree, at_most


@pytest.fixture
def outcomes():
    rows = [
        agree("a <b> & c", "x", 1.0, 1.0, 0.0),
        at_most("bound", "y", -float("inf"), 2.0),
        agree("d", "z", 0, 1, 0.5),
    ]
    return [verify.Outcome("coin", rows, ""), verify.Outcome("digits-relu", [], "needs sklearn: pip install ...")]


def test_json_is_strict_and_complete(outcomes, tmp_path):
    path, _ = report.write(tmp_path, outcomes, seed=3, quick=True)
    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert found["holds"] is False
    assert found["not_run"] == {"digits-relu": "needs sklearn: pip install ..."}
    assert [row["verdict"] for row in found["rows"]] == ["holds", "holds", "FAILS by 0.5"]
    assert found["rows"][1]["numeric"] == "-inf"
    assert (found["seed"], found["quick"]) == (3, True)


def test_a_check_that_did_not_run_does_not_hold():
    assert not report.as_json([verify.Outcome("coin", [], "needs sklearn")], seed=0, quick=True)["holds"]


def test_codes_are_drawn_at_their_distance_to_the_limit(monkeypatch):
    drawn = []
    monkeypatch.setattr(report.plotting, "distance_to_limit", lambda *arguments: drawn.append(arguments[:3]))
    rows = [at_most("R(D) <= rate", "scalar, 5 weights", 1.0, 1.25), at_most("R(D) <= rate", "trellis, 5", 2.0, 1.5)]
    found = report.figures([verify.Outcome("entropy-codes", rows, "")], seed=0, quick=True)
    assert [title for title, *_ in found] == ["Distance to the limit", "All comparisons of this run"]
    [(schemes, rates, gaps)] = drawn
    assert schemes == ["scalar", "trellis"]
    np.testing.assert_allclose(rates, [1.25, 1.5])
    np.testing.assert_allclose(gaps, [0.25, 1e-3])


def test_html_is_self_contained_and_escaped(outcomes, tmp_path):
    _, path = report.write(tmp_path, outcomes, seed=0, quick=True)
    page = path.read_text()
    assert "a &lt;b&gt; &amp; c" in page
    assert "FAILS by 0.5" in page and "digits-relu was not run" in page
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)""", page) == []
    pictures = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)
    assert len(pictures) == 2  # those of the checks that ran, and all comparisons
    assert all(b"<svg" in base64.b64decode(picture) for picture in pictures)


def test_nothing_is_left_when_the_report_cannot_be_made(outcomes, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "figures", interrupted)
    with pytest.raises(KeyboardInterrupt):
        report.write(tmp_path, outcomes, seed=0, quick=True)
    assert list(tmp_path.iterdir()) == []
