"""A model to bytes and back: `compress` and `decompress`, in Python and as commands.

The layers of a model are coded near their limit, so that their outputs keep what is asked for on inputs never seen; all
else comes back bit for bit.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdtheory.codec.model import compress, decompress

__all__ = ["compress", "decompress"]


def __getattr__(name: str) -> object:
    """What the command line reads of this package is there without JAX."""
    if name not in __all__:
        raise AttributeError(f"module 'rdtheory.codec' has no attribute {name!r}")
    from rdtheory.codec import model

    return getattr(model, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
