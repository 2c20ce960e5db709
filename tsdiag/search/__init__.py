"""The package that knows Optuna; calling it, ``tsdiag.search(...)``, runs a study.

The function and the package share the name that the public surface gives them, so the module is
made callable (docs/decisions/0003-callable-search.md).
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsdiag.search.conduct import SearchResult


class _CallableModule(ModuleType):
    def __call__(
        self,
        study: str | Path = "beijing33",
        *,
        storage: str | None = None,
        trials: int | None = None,
        timeout: str | float | None = None,
        workers: int = 0,
        seed: int | None = None,
        device: str = "auto",
    ) -> SearchResult:
        """Run or resume a study, as ``tsdiag search`` does, and return what it found.

        Args:
            study: a study.toml, its folder, or a shipped study's name.
            storage: database URL; None: TSDIAG_STORAGE, else sqlite:///tsdiag.db.
            trials: how many trials in all; None: as the study says.
            timeout: wall clock, such as "30m" or a number [s]; None: as the study says.
            workers: processes of one thread each; 0: one per core, or one for a GPU.
            seed: of the search; None: as the study says.
            device: "auto", "cpu" or "cuda".

        Raises:
            TsdiagError: the study, its data or the storage cannot be used.
        """
        from tsdiag.search.api import search

        return search(str(study), storage, trials, timeout, workers, seed, device)


sys.modules[__name__].__class__ = _CallableModule
