"""The command as a user runs it."""

import json

import numpy as np

from tests.commands import one_after_another

MODEL = """
import numpy as np
rng = np.random.default_rng(0)
params = {"a": rng.normal(size=(32, 40)), "b": rng.normal(size=(40, 30))}
def apply(params, x):
    import jax.numpy as jnp
    return jnp.tanh(x @ params["a"] / 6) @ params["b"]
"""


def test_a_report_is_written_and_what_is_wrong_is_one_line(tmp_path):
    model, inputs, out = tmp_path / "model.py", tmp_path / "x.npz", tmp_path / "out"
    model.write_text(MODEL)
    np.savez(inputs, x=np.random.default_rng(1).normal(size=(200, 32)))
    (tmp_path / "empty.py").write_text("params = 1")
    (tmp_path / "broken.py").write_text("1 / 0")
    wrong = {
        "no such file": [tmp_path / "none.py", "--inputs", inputs],
        "must leave apply and params, but has no apply": [tmp_path / "empty.py", "--inputs", inputs],
        "ZeroDivisionError": [tmp_path / "broken.py", "--inputs", inputs],
        "none.npz": [model, "--inputs", tmp_path / "none.npz"],
        "kind must be": [model, "--inputs", inputs, "--kind", "other"],
    }
    calls = [["report", *arguments, "--out", tmp_path / "no"] for arguments in wrong.values()]
    right = ["report", model, "--inputs", inputs, "--out", out, "--samples", 2, "--bits", 3]
    done, *failed = one_after_another(right, *calls)
    assert done.returncode == 0, done.stderr
    assert "2,480 weights in 2 layers" in done.stdout
    assert "our code" in done.stdout
    assert "a: 5.0 calibration rows for each input" in done.stdout
    assert "from the Gaussian prior" not in done.stdout
    assert len(json.loads((out / "network.json").read_text())["layers"]) == 2
    for said, each in zip(wrong, failed, strict=True):
        assert each.returncode == 2
        assert said in " ".join(each.stderr.split())
        assert "Traceback" not in each.stderr
    assert not (tmp_path / "no").exists()
