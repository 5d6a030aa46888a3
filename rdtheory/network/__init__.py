"""A whole network beside its limits: what formats in use and our code take and lose, and how low one could go.

`report` makes the table; `write` puts it into a folder as a page, JSON and CSV. `prior` and `limit` are for one layer.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdtheory.network.comparison import report
    from rdtheory.network.gaussian_prior import limit, prior
    from rdtheory.network.writing import write

__all__ = ["limit", "prior", "report", "write"]

_HOMES = {"limit": "gaussian_prior", "prior": "gaussian_prior", "report": "comparison", "write": "writing"}


def __getattr__(name: str) -> object:
    """What the command line reads of this package is there without JAX."""
    if name not in __all__:
        raise AttributeError(f"module 'rdtheory.network' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rdtheory.network.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
