"""Compiled programs, kept from one run of the command to the next in the user's cache folder.

JAX writes an entry in place, so that a run that is stopped, or one beside it, could leave or meet half of one. Each run
therefore works in a folder of its own, which begins with links to what is kept; what is new joins that at the end, by a
rename. `rdtheory --clear-cache` deletes all of it.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import platformdirs

OWN = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")  # settings of the user's, which are left alone
OLD = 30 * 86_400  # seconds after which the folder of a run that was killed is swept away, and of another version


def folder() -> Path:
    """Where the programs of all versions are."""
    return Path(platformdirs.user_cache_dir("rdtheory", appauthor=False)) / "compiled"


def clear() -> int:
    """Delete them; returns how many bytes that frees."""
    before = size()
    shutil.rmtree(folder(), ignore_errors=True)
    return before - size()


def size() -> int:
    """How many bytes they take."""
    size = 0
    for entry in folder().glob("*/*-cache"):  # not the links of runs under way
        with contextlib.suppress(OSError):
            size += entry.stat().st_size
    return size


@contextlib.contextmanager
def kept(unless: int) -> Generator[None]:
    """Let the JAX that is imported within keep what it compiles; do nothing where the user, or JAX, has decided.

    Nothing is kept of a run that ends by an exception, or with the exit status `unless`: something may be half-written.
    """
    if "jax" in sys.modules or any(name in os.environ for name in OWN):
        yield
        return
    home = folder() / _version()
    try:
        home.mkdir(parents=True, exist_ok=True)
        _sweep(home)
        own = Path(tempfile.mkdtemp(prefix="run-", dir=home))
    except OSError:  # a folder that cannot be written to
        yield
        return
    try:
        for entry in home.glob("*-cache"):
            with contextlib.suppress(OSError):
                _same(entry, own / entry.name)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(own)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        # Else the folder's name is part of what an entry is found by.
        os.environ.setdefault("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")
        try:
            yield
        except SystemExit as end:
            if end.code != unless:
                _move(own, home)
            raise
        _move(own, home)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _same(entry: Path, other: Path) -> None:
    try:
        os.link(entry, other)
    except OSError:  # a file system without links
        shutil.copyfile(entry, other)


def _move(own: Path, home: Path) -> None:
    for entry in own.glob("*-cache"):
        with contextlib.suppress(OSError):
            entry.replace(home / entry.name)


def _version() -> str:
    """What a program was compiled by, and for: machine code for one processor may stop another."""
    versions = [importlib.metadata.version(package) for package in ("jax", "jaxlib")]
    from rdtheory import __version__

    cpu = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu += next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return f"{__version__}-jax-{'-'.join(versions)}-{hashlib.sha256(cpu.encode()).hexdigest()[:8]}"


def _sweep(home: Path) -> None:
    os.utime(home)
    for left in (*home.glob("run-*"), *home.parent.iterdir()):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > OLD:
                shutil.rmtree(left)
