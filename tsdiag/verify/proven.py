"""The repair that a verification has confirmed, or why there is none to act on."""

from __future__ import annotations

import shlex

from tsdiag.diagnostics.verdicts import Repair
from tsdiag.errors import UsageError
from tsdiag.store.database import Store
from tsdiag.store.findings import stored_diagnosis
from tsdiag.store.interventions import stored_verification
from tsdiag.store.runs import RunRow


def proven_repair(store: Store, row: RunRow) -> Repair:
    """Return the confirmed repair of a run.

    Raises:
        UsageError: the run is not verified, or its verification found no repair.
    """
    asked = "baseline" if row.trial is None or row.role == "baseline" else str(row.trial)
    name = "the baseline" if asked == "baseline" else f"trial {asked}"
    line = f"tsdiag explain {asked} --study {shlex.quote(row.study)}"
    verification = stored_verification(store, row.id)
    diagnosis = stored_diagnosis(store, row.id)
    if verification is None and diagnosis is not None and diagnosis.state == "learning":
        raise UsageError(
            f'repair of {name} in study "{row.study}": it learns, so there is nothing to repair; '
            f"those that did not are in: tsdiag trials {shlex.quote(row.study)}"
        )
    if verification is None:
        raise UsageError(
            f'repair of {name} in study "{row.study}": it is not verified yet; carry its remedies '
            f"out with: {line} --verify"
        )
    if verification.repair is None:
        if not verification.complete:
            raise UsageError(
                f'repair of {name} in study "{row.study}": its verification is not finished '
                f"({verification.summary}); go on: {line} --verify --budget 30m"
            )
        raise UsageError(
            f'repair of {name} in study "{row.study}": it was verified and none was found '
            f"({verification.summary}); see what each remedy did: {line}"
        )
    return verification.repair
