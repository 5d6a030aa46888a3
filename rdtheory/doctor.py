"""The command ``rdtheory doctor``: what is installed, how JAX is set up here, and what is missing for what."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rdtheory import _cache

EXTRAS = {  # what each is for; in the order in which a user may want them
    "data": "digits, MNIST and other data; six checks of `rdtheory verify`",
    "files": "models in safetensors and ONNX, for `rdtheory compress`",
    "filetypes": "a network that others trained, for notebook 09 and benchmarks",
    "proofs": "`rdtheory prove` and rd.rigor",
    "notebooks": "the notebooks, with their sliders",
    "docs": "building the reference",
    "test": "running the tests",
}


def doctor() -> None:
    """Say what is installed, how JAX is set up here, and what is missing for which feature.

    Paste what it prints into a report of an error.

    Exit status: 0.

    Example: rdtheory doctor
    """
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in findings():
        table.add_row(name, Text(value))
    Console(width=None if os.isatty(1) else 160).print(table)


def findings() -> list[tuple[str, str]]:
    """Pairs of a name and what was found."""
    import jax

    from rdtheory import __version__

    packages = ("jax", "jaxlib", "numpy", "scipy", "optax", "matplotlib")
    found = [
        ("rdtheory", f"{__version__} in {Path(__file__).parent}"),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        ("packages", ", ".join(f"{package} {_version(package)}" for package in packages)),
        ("precision", _precision(jax.numpy.result_type(float) == jax.numpy.float64)),
        ("devices", ", ".join(str(device) for device in jax.devices())),
        ("processors", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())),
        ("BLAS", _blas()),
        ("compiled programs", _compiled()),
    ]
    return found + [(f"extra {extra}", _extra(extra)) for extra in EXTRAS]


def _precision(x64: bool) -> str:
    if x64:
        return "float64, as solvers need"
    return 'float32; solvers need jax.config.update("jax_enable_x64", True), and commands switch it on themselves'


def _blas() -> str:
    import scipy.linalg  # noqa: F401  (loads the libraries that are looked for)
    from threadpoolctl import threadpool_info

    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    texts = (f"{each['internal_api']} {each['version']}, {each['num_threads']} threads" for each in libraries)
    return "; ".join(dict.fromkeys(texts)) or "none found"


def _compiled() -> str:
    own = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if own and not Path(own).is_relative_to(_cache.folder()):  # else it is that of this run
        return f"kept by JAX in {own}"
    size = _cache.size() / 1e6
    return f"{size:.1f} MB kept in {_cache.folder()}; `rdtheory --clear-cache` deletes them"


def _extra(extra: str) -> str:
    try:
        missing = [name for name in needed(extra) if not _version(name)]
    except importlib.metadata.PackageNotFoundError:
        return "unknown: rdtheory itself is not installed"
    if not missing:
        return f"complete: {EXTRAS[extra]}"
    return f"missing {', '.join(missing)}, for {EXTRAS[extra]}: pip install 'rdtheory[{extra}]'"


def needed(extra: str) -> list[str]:
    """Names of the packages that an extra asks for by itself."""
    marker = re.compile(rf"extra == ['\"]{extra}['\"]")
    asked = (line for line in importlib.metadata.requires("rdtheory") or [] if marker.search(line))
    names = (re.match(r"[\w.-]+", line) for line in asked)
    return [name[0] for name in names if name and name[0] != "rdtheory"]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
