"""Compiled programs kept between runs of the command: found again, shared, cleared, never half of one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rdtheory import _cache

KEEP = """
import sys
from rdtheory import _cache
with _cache.kept(unless=130):
    import jax
    jax.jit(lambda x: x + 1)(1.0)
    {end}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in (*_cache.OWN, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(end="", **environment):
    return subprocess.run(
        [sys.executable, "-c", KEEP.format(end=end)], env={**os.environ, **environment}, capture_output=True, text=True
    )


def entries() -> set[Path]:
    return set(_cache.folder().rglob("*-cache"))


def left() -> list[Path]:
    return list(_cache.folder().rglob("run-*"))


def test_what_a_run_compiled_the_next_one_finds(home):
    assert run().returncode == 0 and entries() and not left()
    count = (
        "from jax import monitoring; hits = []; monitoring.register_event_listener(lambda name, **_: hits.append(name))"
    )
    again = "jax.clear_caches(); jax.jit(lambda x: x + 1)(1.0)"
    before = entries()
    found = run(f"{count}; {again}; print(hits.count('/jax/compilation_cache/cache_misses'))")
    assert found.stdout == "0\n", found.stderr
    assert entries() == before


@pytest.mark.parametrize("end", ["raise ValueError", "sys.exit(130)"])
def test_nothing_is_kept_of_a_run_that_was_broken_off(home, end):
    assert run(end).returncode in (1, 130)
    assert not entries() and not left()


def test_a_run_that_fails_in_its_own_way_keeps_what_it_compiled(home):
    assert run("sys.exit(3)").returncode == 3
    assert entries() and not left()


@pytest.mark.parametrize("name, value", [("JAX_COMPILATION_CACHE_DIR", "mine"), ("JAX_ENABLE_COMPILATION_CACHE", "0")])
def test_the_user_s_own_setting_is_left_alone(home, name, value):
    assert run(**{name: str(home / value) if value == "mine" else value}).returncode == 0
    assert not _cache.folder().exists()


def test_half_an_entry_of_another_run_is_not_met(home):
    """What is being written is in a folder of its own, and joins the others whole."""
    run()
    own = "import os, time; own = os.environ['JAX_COMPILATION_CACHE_DIR']"
    half = f"{own}; open(own + '/half-cache', 'w').close(); print('there', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", KEEP.format(end=half)], stdout=subprocess.PIPE, text=True) as writing:
        assert writing.stdout.readline() == "there\n"
        met = run(f"{own}; print(os.listdir(own))").stdout
        writing.kill()
    assert "lambda" in met and "half" not in met
    assert not any("half" in entry.name for entry in _cache.folder().glob("*/*-cache"))


def test_folders_of_runs_that_were_killed_and_of_old_versions_are_swept_away_after_a_month(home):
    run()
    (version,) = _cache.folder().iterdir()
    old, young, other = version / "run-old", version / "run-young", version.parent / "0.0.1-jax"
    for path in (old, young, other):
        path.mkdir()
    for path in (old, other):
        os.utime(path, (0, 0))
    run()
    assert left() == [young] and set(_cache.folder().iterdir()) == {version}


def test_a_folder_that_cannot_be_written_to_is_no_failure(home):
    (home / "rdtheory").write_text("in the way")
    assert run().returncode == 0


def test_the_command_clears_it(home):
    run()
    size = sum(entry.stat().st_size for entry in entries())
    done = subprocess.run([sys.executable, "-m", "rdtheory", "--clear-cache"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith(f"{size / 1e6:.1f} MB")
    assert not _cache.folder().exists() or not entries()
