"""Search and diagnosis for time-series transformers."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load what the public surface names when it is first asked for, so that importing is light."""
    if name == "search":
        return import_module("tsdiag.search")
    if name == "explain":
        return import_module("tsdiag.explanation").explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
