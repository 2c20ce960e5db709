"""Search and diagnosis for time-series transformers."""

from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """Load ``tsdiag.search`` when it is first asked for, so that ``import tsdiag`` stays light."""
    if name == "search":
        return import_module("tsdiag.search")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
