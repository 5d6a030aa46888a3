"""The command as a user runs it: in a process of its own."""

import ast
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.commands import one_after_another

COMMAND = [sys.executable, "-m", "rdtheory"]


def run(*arguments, code=None, **environment):
    command = [sys.executable, "-c", code, *arguments] if code else [*COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})


def test_only_writes_both_reports_and_exits_0(tmp_path):
    done = run("verify", "--quick", "--only", "coin", "--only", "capacity", "--out", str(tmp_path / "new" / "folder"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 of 11 comparisons hold" in done.stdout
    found = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())
    assert {row["check"] for row in found["rows"]} == {"coin", "capacity"} and found["holds"]
    assert (tmp_path / "new" / "folder" / "report.html").stat().st_size > 10_000


def test_a_failing_check_exits_1_and_says_by_how_much(tmp_path):
    code = """
import sys
from rdtheory import cli
from rdtheory.limits import closed_form
true = closed_form.bernoulli
closed_form.bernoulli = lambda p, D: true(p, D) + 0.125
cli.main()
"""
    done = run("verify", "--only", "coin", "--out", str(tmp_path), code=code)
    assert done.returncode == 1
    assert "FAILS by 0.125" in done.stdout and "1 of 8 comparisons hold" in done.stdout


def test_without_scikit_learn_the_rest_runs_and_exits_3_and_a_narrow_terminal_still_says_what_was_compared(tmp_path):
    code = "import sys; sys.modules['sklearn'] = None; from rdtheory import cli; cli.main()"
    arguments = ("verify", "--quick", "--only", "capacity", "--only", "diabetes-linear", "--out", str(tmp_path))
    done = run(*arguments, code=code, COLUMNS="80")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "3 of 3 comparisons hold" in done.stdout
    assert "diabetes-linear" in done.stdout and "pip install 'rdtheory[data]'" in done.stdout
    assert not json.loads((tmp_path / "report.json").read_text())["holds"]
    assert "capacity, Z channel" in done.stdout and max(map(len, done.stdout.splitlines())) <= 80


QUESTIONS = {
    "doctor": ("doctor",),  # before a command that switches float64 on
    "koin": ("verify", "--only", "koin"),
    "xyz": ("verify", "--only", "xyz"),
    "list": ("verify", "--list"),
    "help": ("verify", "--help"),
    "version": ("--version",),
    "nothing": (),
    **{seed: ("verify", "--seed", seed) for seed in ("-1", "x", "99999999999")},
}


@pytest.fixture(scope="module")
def answers():
    return dict(zip(QUESTIONS, one_after_another(*QUESTIONS.values()), strict=True))


def test_unknown_check_names_it_and_the_choices(answers):
    done = answers["koin"]
    assert done.returncode == 2
    assert "koin" in done.stderr and "did you mean coin?" in done.stderr
    assert "linear-bound" in answers["xyz"].stderr


def test_a_terminal_without_greek_is_no_failure(tmp_path):
    done = run("verify", "--quick", "--only", "vector-gaussian", "--out", str(tmp_path), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr


def test_unwritable_folder_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    start = time.monotonic()
    done = run("verify", "--out", str(tmp_path / "file"))
    message = " ".join(done.stderr.split())  # wherever the lines break
    assert done.returncode == 2 and "is not a folder" in message and "choose another" in message
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("seed", ["-1", "x", "99999999999"])
def test_a_bad_seed_is_a_usage_error(answers, seed):
    assert answers[seed].returncode == 2


def test_list_names_every_check(answers):
    from rdtheory import verify

    done = answers["list"]
    assert done.returncode == 0
    for check in verify.CHECKS:
        assert verify.name(check) in done.stdout and verify.title(check)[:30] in done.stdout


def test_help_teaches_and_version_is_the_package_s(answers):
    import rdtheory

    assert "exit status" in answers["help"].stdout.lower()
    assert rdtheory.__version__ in answers["version"].stdout


def test_without_arguments_it_shows_six_commands_that_there_are(answers):
    done = answers["nothing"]
    assert done.returncode == 0
    examples = [line.split() for line in done.stdout.splitlines() if line.startswith("    rdtheory ")]
    names = [example[1] for example in examples]
    assert len(set(names)) == 6
    helped = one_after_another(*((name, "--help") for name in names), COLUMNS="120")
    for example, answer in zip(examples, helped, strict=True):
        assert answer.returncode == 0
        assert all(word in answer.stdout for word in example if word.startswith("--"))


def test_doctor_says_what_is_installed_and_what_is_missing_for_what(answers):
    import jax

    from rdtheory import _cache

    told = answers["doctor"].stdout
    assert answers["doctor"].returncode == 0
    for wanted in (f"jax {jax.__version__}", "numpy " + np.__version__, "float32", "blas", "processors"):
        assert wanted in told, wanted
    assert re.search("extra test +complete", told)  # these tests run
    kept = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(_cache.folder()))
    assert kept in told.replace("\n", "")
    code = """
import importlib.metadata as metadata
known = metadata.version
def version(package):
    if package in ("scikit-learn", "python-flint"):
        raise metadata.PackageNotFoundError(package)
    return known(package)
metadata.version = version
from rdtheory import doctor
print(dict(doctor.findings()))
"""
    lacking = run(code=code, JAX_ENABLE_X64="1")
    assert lacking.returncode == 0, lacking.stderr
    found = ast.literal_eval(lacking.stdout)
    assert found["precision"].startswith("float64")
    assert "missing scikit-learn" in found["extra data"] and "rdtheory[data]" in found["extra data"]
    assert "missing python-flint" in found["extra proofs"] and "prove" in found["extra proofs"]
    assert found["extra test"].startswith("missing") and "pytest," not in found["extra test"]


def interrupted(*arguments, **options) -> tuple[int, str]:
    """Exit status and message of a command that Ctrl-C is pressed on after five seconds, told to all its processes."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([*COMMAND, *arguments], **pipes, **options) as process:
        try:
            time.sleep(5)
            for _ in range(20):  # a signal that falls into a callback of the interpreter is lost: pressed again
                os.killpg(process.pid, signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=4)
                    break
            _, message = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, message


def test_ctrl_c_leaves_no_report(tmp_path):
    status, message = interrupted("verify", "--out", str(tmp_path / "new"))
    assert status == 130
    assert "no report was written" in message and "Traceback" not in message
    assert not (tmp_path / "new").exists()


@pytest.fixture
def layer(tmp_path):
    """A layer with its bias, and its inputs, in files of a new folder."""
    rng = np.random.default_rng(0)
    weights, inputs = rng.normal(size=(10, 300)).astype(np.float32), rng.normal(size=(200, 10))
    np.savez(tmp_path / "w.npz", layer=weights, bias=np.arange(5))
    np.savez(tmp_path / "x.npz", x=inputs)
    return tmp_path, weights, inputs


def told(done):
    """The lines below the table, by their first word."""
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("written to ")
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def test_compressed_weights_come_back_within_what_was_asked_for(layer):
    folder, weights, inputs = layer
    packed, back = folder / "w.rd", folder / "back.npz"
    wanted = ("--inputs", str(folder / "x.npz"), "--distortion", "30", "--out", str(packed))
    found = told(run("compress", str(folder / "w.npz"), *wanted, COLUMNS="400"))
    done_back = run("decompress", str(packed), "--out", str(back))
    assert done_back.returncode == 0 and "layer (10, 300) float32" in done_back.stdout
    decoded = np.load(back)
    np.testing.assert_array_equal(decoded["bias"], np.arange(5))
    from rdtheory import calibration

    unseen = calibration.split(len(inputs)).held_out
    changes = inputs[unseen] @ (weights - decoded["layer"].astype(float))
    reached = float(np.mean(np.sum(changes**2, axis=1)))
    assert 28 < reached <= 30
    rate, gap = (float(found[name].split()[0]) for name in ("rate", "gap"))
    assert abs(float(found["distortion"].split()[0]) - reached) < 1e-3
    assert "on 40 inputs held out" in found["distortion"] and "kept" in found
    assert abs(rate - 8 * packed.stat().st_size / weights.size) < 0.2  # and the bias
    assert abs(rate - gap - float(found["bound"].split()[1])) < 2e-4 and gap > 0
    assert sorted(path.name for path in folder.iterdir()) == ["back.npz", "w.npz", "w.rd", "x.npz"]


def test_a_model_in_safetensors_comes_back_as_one(layer):
    import ml_dtypes
    from safetensors.numpy import load_file, save_file

    folder, weights, inputs = layer
    model = {"w.weight": weights.T.copy(), "b": np.ones(3, np.float16), "n": np.ones(4, ml_dtypes.bfloat16)}
    save_file(model, folder / "m.safetensors", {"format": "pt"})
    np.savez(folder / "s.npz", **{"w.weight": inputs.T @ inputs / len(inputs)})
    arguments = ("compress", folder / "m.safetensors", "--inputs", folder / "s.npz", "--relative", "0.01")
    calls = (
        (*arguments, "--dry-run", "--out", folder / "dry.rd"),
        (*arguments, "--out", folder / "m.rd"),
        ("decompress", folder / "m.rd", "--out", folder / "back.safetensors"),
        ("decompress", folder / "m.rd", "--out", folder / "back.npz"),
    )
    dry, done, back, refused = one_after_another(*calls, COLUMNS="400")
    assert "nothing was written" in dry.stdout and not (folder / "dry.rd").exists()
    assert "moments that were given" in done.stdout and "w.weight  300x10" in done.stdout
    assert dry.stdout.splitlines()[:-1] == done.stdout.splitlines()[:-1]
    assert back.returncode == 0 and refused.returncode == 2 and "n is bfloat16" in refused.stderr
    header = (folder / "back.safetensors").read_bytes()[:2000]
    assert b'"format":"pt"' in header and b"BF16" in header
    (folder / "f.safetensors").write_bytes((folder / "back.safetensors").read_bytes())
    from rdtheory.codec import files

    found, metadata = files.read(folder / "f.safetensors")
    assert metadata == {"format": "pt"} and found["n"].tobytes() == model["n"].tobytes()
    lost = model["w.weight"].T - found["w.weight"].T.astype(float)
    share = np.sum((inputs @ lost) ** 2) / np.sum((inputs @ weights.astype(float)) ** 2)
    assert 0.0095 < share <= 0.01 + 1e-9
    del model["n"]
    save_file(model, folder / "n.safetensors")
    assert load_file(folder / "n.safetensors").keys() == model.keys()


def test_what_cannot_be_compressed_is_one_line_and_exit_2_and_leaves_nothing(layer):
    folder, _, _ = layer
    (folder / "bad.rd").write_bytes(b"RD\x02 and nothing that could be a bitstream")
    (folder / "bad.npz").write_bytes((folder / "w.npz").read_bytes()[:300])
    (folder / "bad.safetensors").write_bytes((10**12).to_bytes(8, "little") + b"{}")
    np.savez(folder / "nan.npz", layer=np.full((200, 10), np.nan))
    np.savez(folder / "few.npz", layer=np.ones((3, 10)))
    before = sorted(folder.iterdir())
    w, x, out = folder / "w.npz", ("--inputs", folder / "x.npz"), ("--out", folder / "new")
    cases = [
        (("compress", w, *x, "--distortion", "0", *out), "distortion must be > 0"),
        (("compress", w, *x, *out), "give one of relative, bits and distortion, got none"),
        (("compress", w, *x, "--bits", "2"), "--out: say which file to write"),
        (("compress", w, *x, "--bits", "2", "--out", folder / "no" / "w.rd"), "--out: there is no folder"),
        (("compress", w, *x, "--bits", "2", "--out", folder), "is a folder, and a file is to be written"),
        (("compress", folder / "bad.npz", *x, "--bits", "1", *out), "bad.npz is not a sound"),
        (("compress", folder / "bad.safetensors", *x, "--bits", "1", *out), "bad.safetensors is not a sound"),
        (("compress", folder / "none.npz", *x, "--bits", "1", *out), "none.npz: there is no such file"),
        (("compress", w, "--inputs", folder / "nan.npz", "--bits", "1", *out), "inputs of 'layer' must be finite"),
        (("compress", w, "--inputs", folder / "few.npz", "--bits", "1", *out), "inputs of 'layer' are 3 for 10"),
        (("compress", w, *x, "--distortion", "1e-40", *out), "1e-40 is out of reach"),
        (("decompress", folder / "bad.rd", *out), "its checksum does not match"),
        (("decompress", folder / "x.npz", *out), "not a bitstream of rdtheory"),
    ]
    answers = one_after_another(*(arguments for arguments, _ in cases), COLUMNS="400")
    for (_, said), done in zip(cases, answers, strict=True):
        assert done.returncode == 2 and said in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert sorted(folder.iterdir()) == before


def test_ctrl_c_leaves_no_file_and_no_part_of_one(tmp_path):
    rng = np.random.default_rng(0)
    # A layer that takes half a minute, in moments that are no rows.
    np.savez(tmp_path / "w.npz", w=rng.normal(size=(1500, 1200)))
    np.savez(tmp_path / "x.npz", w=0.5 ** np.abs(np.subtract.outer(np.arange(1500), np.arange(1500))))
    arguments = ("compress", "w.npz", "--inputs", "x.npz", "--bits", "1.5", "--states", "256", "--out", "w.rd")
    status, message = interrupted(*arguments, cwd=tmp_path)
    assert status == 130 and "nothing was written" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.npz", "x.npz"]
