"""What the README shows is what the package does."""

import re
from pathlib import Path

import numpy as np

TEXT = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_it_says(as_user, capsys):
    code, continuous, compression, codes = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    [promised] = re.findall(r"\)  # (.* bits, certified to .*)", code)
    names = {}
    exec(code, names)
    first, *bounds = capsys.readouterr().out.splitlines()
    assert first == promised
    pairs = [tuple(map(float, re.findall(r"(?:bound|exact) +(-?[\d.]+)", line))) for line in bounds]
    (tight, exact), (loose, more), (negative, _) = pairs
    assert tight == exact and loose < more and negative < 0
    exec(continuous, names)
    lower, upper = map(float, re.fullmatch(r"(.*) <= R\(0.1\) <= (.*) bits\n", capsys.readouterr().out).groups())
    assert lower <= upper <= lower + 2e-6
    exec(compression, names)
    found = [int(line.partition("%")[0]) for line in capsys.readouterr().out.splitlines()]
    promised = map(int, re.findall(r"(\d+) %", re.search(r"# (.*, then .*)", compression).group(1)))
    # Sums are taken in another order on another machine, and training amplifies it.
    assert all(abs(a - b) <= 4 for a, b in zip(found, promised, strict=True))
    exec(codes, names)
    gaps = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    scalar, trellis = map(float, re.findall(r"\)  # (0\.\d+)$", codes, re.MULTILINE))
    np.testing.assert_allclose(gaps, [scalar, trellis], rtol=0, atol=6e-3)  # the printed digits


def test_every_picture_and_link_is_there():
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert Path(__file__).parents[1].joinpath(path).exists(), path
