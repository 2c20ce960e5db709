"""``tsdiag.explain(...)``: from a trial's number to its Diagnosis, without anything live."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Self

from pydantic import PrivateAttr

from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.diagnose import diagnose
from tsdiag.diagnostics.findings import Diagnosis
from tsdiag.errors import StoreError
from tsdiag.store.cases import load_case
from tsdiag.store.chosen import chosen_study, explained_run
from tsdiag.store.database import Store, open_store
from tsdiag.store.interventions import stored_verification
from tsdiag.store.runs import RunRow

DEFAULT_STORAGE = "sqlite:///tsdiag.db"


class Explanation(Diagnosis):
    """A diagnosis that can also draw what it rests on."""

    _case: Case = PrivateAttr()

    @classmethod
    def told(cls, diagnosis: Diagnosis, case: Case) -> Self:
        """Return a diagnosis with the case that it is of."""
        found = cls.model_validate(diagnosis.model_dump(by_alias=True))
        found._case = case
        return found

    def to_html(self) -> str:
        """Return one self-contained page: findings, evidence and figures."""
        from tsdiag.plots import figures
        from tsdiag.report.page import page

        return page(self, figures(self._case))


def explain(trial: int | str, study: str | None = None, storage: str | None = None) -> Explanation:
    """Explain a trial by what was measured while it trained.

    Args:
        trial: its number, or "baseline".
        study: its study; None: the only one, else the newest.
        storage: database URL; None: TSDIAG_STORAGE, else sqlite:///tsdiag.db.

    Raises:
        UsageError: there is no such study or trial.
        StoreError: the database cannot be read.
    """
    url = storage or os.environ.get("TSDIAG_STORAGE") or DEFAULT_STORAGE
    store = open_store(url, read_only=True)
    row = explained_run(store, chosen_study(store, study).name, str(trial))
    return explained(store, row)


def explained(store: Store, row: RunRow) -> Explanation:
    """Explain a run, with the verdicts that carrying its remedies out has earned."""
    case = load_case(store, row)
    number = row.trial if row.role == "trial" else None
    diagnosis = diagnose(case, row.study, number)
    with suppress(StoreError):  # what another version wrote; --verify takes its runs and tells anew
        verification = stored_verification(store, row.id)
        if verification is not None:
            diagnosis = diagnosis.with_verdicts(verification)
    return Explanation.told(diagnosis, case)
