"""What the dashboard shows of a diagnosis: attributes to filter by, a note, and figures."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.artifacts import upload_artifact
from optuna_dashboard import save_note

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


def mirror(trial: optuna.Trial, case: Case, diagnosis: Diagnosis, artifacts: ArtifactStore) -> None:
    """Give a trial that is not told yet its state, top cause, note and figures.

    Attributes and artifacts of a finished trial are immutable, so this comes before ``tell``.
    """
    trial.set_user_attr(STATE, diagnosis.state)
    trial.set_user_attr(CAUSE, diagnosis.top_cause or "")
    _note(trial, diagnosis)
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
        some = [(row.trial, found) for row, found in explained if row.role == role]
        if not some:
            continue
        study = optuna.load_study(study_name=name, storage=storage)
        trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
        for number, diagnosis in some:
            if number in trials:
                _note(optuna.Trial(study, trials[number]._trial_id), diagnosis)


def _note(trial: optuna.Trial, diagnosis: Diagnosis) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        save_note(trial, diagnosis_markdown(diagnosis))
