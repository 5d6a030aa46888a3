"""What the README shows is what the package does."""

import re
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

TEXT = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_it_says_and_draws(as_user, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    rate, interval = re.findall(r"\)  # (.* bits.*)", code)
    with plt.rc_context({"backend": "agg"}):
        exec(code, {})
    plt.close("all")
    first, second = capsys.readouterr().out.splitlines()
    assert first == rate
    ends = [
        tuple(map(float, re.fullmatch(r"(.*) <= R\(0.1\) <= (.*) bits", line).groups())) for line in (second, interval)
    ]
    (lower, upper), promised = ends
    assert lower <= upper <= lower + 2e-6
    np.testing.assert_allclose((lower, upper), promised, rtol=0, atol=2e-6)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_it_stays_short():
    assert len(TEXT.splitlines()) <= 150


def test_every_picture_and_link_is_there():
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert Path(__file__).parents[1].joinpath(path).exists(), path
