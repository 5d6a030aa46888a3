"""python-flint, or a message that says how to get it: whoever asks for no proof need not have it."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import flint
else:

    class _Missing:
        def __getattr__(self, name: str) -> None:
            if name.startswith("__"):
                raise AttributeError(name)
            raise ImportError("rd.rigor proves with python-flint, which is missing: pip install 'rdtheory[proofs]'")

    def _found() -> ModuleType | _Missing:
        try:
            return import_module("flint")
        except ImportError:
            return _Missing()

    flint = _found()

__all__ = ["flint"]
