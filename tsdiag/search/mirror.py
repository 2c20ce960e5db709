"""What the dashboard shows of a diagnosis: attributes to filter by, a note, and figures."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import upload_artifact
from optuna_dashboard._note import note_str_key_prefix, note_ver_key, split_body

from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.findings import Diagnosis
from tsdiag.plots import figures
from tsdiag.plots.svg import svg
from tsdiag.report.diagnosis import diagnosis_markdown
from tsdiag.runs.artifacts import ArtifactStore
from tsdiag.search.spec import StudySpec
from tsdiag.store.runs import RunRow

# User attributes of a trial, which the dashboard shows as columns.
STATE = "tsdiag:state"
CAUSE = "tsdiag:cause"
# Notes lie in the study's attributes, and for each trial of a page the dashboard goes through all
# of these: 1.3 s of a study's first page at 1,000 trials with notes, two minutes at 10,000.
MOST_NOTES = 500


def mirror(trial: optuna.Trial, case: Case, diagnosis: Diagnosis, artifacts: ArtifactStore) -> None:
    """Give a trial that is not told yet its state, top cause, note and figures.

    Attributes and artifacts of a finished trial are immutable, so this comes before ``tell``.
    """
    trial.set_user_attr(STATE, diagnosis.state)
    trial.set_user_attr(CAUSE, diagnosis.top_cause or "")
    if trial.number < MOST_NOTES:
        _write_note(trial.study, trial._trial_id, diagnosis, {})
    with tempfile.TemporaryDirectory() as folder:
        for name, figure in figures(case).items():
            file = Path(folder) / f"{name}.svg"
            file.write_text(svg(figure), encoding="utf-8")
            upload_artifact(
                artifact_store=artifacts,
                file_path=str(file),
                study_or_trial=trial,
                mimetype="image/svg+xml",
            )


def renew_notes(
    storage: optuna.storages.BaseStorage,
    spec: StudySpec,
    explained: Sequence[tuple[RunRow, Diagnosis]],
) -> None:
    """Write the notes of trials that were told before they could be compared.

    A note lies in the study's attributes, so it can be written when the trial is finished.
    """
    names = {"trial": spec.name, "baseline": spec.baseline_name}
    for role, name in names.items():
        some = [(row.trial or 0, found) for row, found in explained if row.role == role]
        if not some:
            continue
        study = optuna.load_study(study_name=name, storage=storage)
        known = study._storage.get_study_system_attrs(study._study_id)
        for number, diagnosis in some:
            with suppress(KeyError):  # the trial was deleted in the dashboard
                id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
                _write_note(study, id, diagnosis, known)


def _write_note(
    study: optuna.Study, trial_id: int, diagnosis: Diagnosis, known: Mapping[str, Any]
) -> None:
    """Write a trial's note in place of what is ``known`` of it.

    As ``optuna_dashboard.save_note`` does, which reads the notes of all trials to write one.
    """
    version = note_ver_key(trial_id)
    parts = split_body(diagnosis_markdown(diagnosis), trial_id)
    old = {key: "" for key in known if key.startswith(note_str_key_prefix(trial_id))}
    for key, value in {version: known.get(version, 0) + 1, **old, **parts}.items():
        study._storage.set_study_system_attr(study._study_id, key, value)
