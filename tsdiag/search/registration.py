"""A study in the database: created once, joined by many, never mixed with other settings."""

from __future__ import annotations

import warnings
from typing import Any

import optuna

from tsdiag.config import ENGINE, flatten
from tsdiag.data.dataset import Dataset
from tsdiag.errors import ConfigError, DataError
from tsdiag.models import sketch
from tsdiag.runs.weights import shapes_of
from tsdiag.search.pruner import build_pruner
from tsdiag.search.queue import TrialQueue
from tsdiag.search.sampler import build_sampler
from tsdiag.search.space import (
    PRESET,
    baseline_config,
    check_space,
    default_config,
    enqueued_parameters,
    presets_tried_first,
)
from tsdiag.search.spec import StudySpec, stored_spec
from tsdiag.store.database import Store
from tsdiag.store.studies import StudyRow, find_study, save_study, set_attribute, set_study
from tsdiag.training.engine import refuse_parts

STUDIES = "tsdiag:studies"
# What may differ between two searches of one study: how long, how surely, and how to choose. Where
# the rows lie may differ too, since a digest tells whether they are the same; and how fast a step
# is computed, which trials on different machines need not agree on.
_FREE = (
    *("search.", "enqueue", "study.", "data.path", "data.url", "data.query"),
    *ENGINE,
)


def register(
    store: Store,
    storage: optuna.storages.RDBStorage,
    spec: StudySpec,
    dataset: Dataset,
    *,
    renew: bool = True,
) -> None:
    """Create the study or join it, with the configurations to try first in its queue.

    Of one that exists, ``renew`` replaces what may change, such as the number of trials.

    Raises:
        ConfigError: it exists with other settings, or one of its configurations cannot be built.
        DataError: it exists with other data.
    """
    check_buildable(spec, dataset)
    known = find_study(store, spec.name)
    if known is not None:
        _refuse_changes(known.spec, spec, store.url)
        refuse_other_data(dataset, known)
        if not renew:
            spec = stored_spec(known.name, known.spec)
    save_study(store, spec.name, spec.model_dump(mode="json"))
    set_study(store, spec.name, summary=dataset.summary.model_dump(mode="json"))
    if known is None or "digest" not in known.attributes:
        set_attribute(store, spec.name, "digest", dataset.digest)
    for role in ("baseline", "trial"):
        queue = open_queue(store, storage, spec, role, 0)
        _label(queue.study, spec)
        if role == "trial":
            queue.enqueue([(dict(p), enqueued_parameters(spec, p)) for p in spec.enqueue])
            queue.enqueue(presets_tried_first(spec, queue.left(spec.search.trials)), mark=PRESET)


def open_queue(
    store: Store, storage: optuna.storages.RDBStorage, spec: StudySpec, role: str, worker: int
) -> TrialQueue:
    """Return the queue of the transformers' trials, or of the baseline's in a study of its own."""
    baseline = role == "baseline"
    study = optuna.create_study(
        study_name=spec.baseline_name if baseline else spec.name,
        storage=storage,
        direction="minimize",
        pruner=optuna.pruners.NopPruner() if baseline else build_pruner(spec.search.pruner),
        load_if_exists=True,
    )
    drawn = len(study.get_trials(deepcopy=False))
    study.sampler = build_sampler(spec.search.sampler, spec.search.seed, worker, drawn)
    return TrialQueue(store, study, spec.name, role)


def _label(study: optuna.study.Study, spec: StudySpec) -> None:
    """Tie the two studies to each other, and name the axis that the dashboard shows."""
    study.set_user_attr(STUDIES, {"transformers": spec.name, "baseline": spec.baseline_name})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["validation loss"])


def refuse_other_data(dataset: Dataset, study: StudyRow) -> None:
    """Compare the data with those that the study began with.

    Raises:
        DataError: they have changed.
    """
    digest = study.attributes.get("digest")
    if digest is not None and digest != dataset.digest:
        raise DataError(
            f'study "{study.name}": its data have changed since it began '
            f"({dataset.series.source}), so new trials could not be compared with the old; "
            "restore the data or name a new study"
        )


def check_buildable(spec: StudySpec, dataset: Dataset) -> None:
    """Check the names and the space, and build on paper what the study names by itself.

    Raises:
        ConfigError: a path, a value or a name does not fit.
    """
    build_pruner(spec.search.pruner)
    build_sampler(spec.search.sampler, spec.search.seed, worker=0, trials=0)
    check_space(spec)
    named = [default_config(spec, paths) for paths in ({}, *spec.enqueue)]
    for config in (baseline_config(spec), *named):
        refuse_parts(sketch(config, shapes_of(dataset)), config.training)


def changes(old: dict[str, Any], spec: StudySpec) -> dict[str, str]:
    """Return in which paths a study differs from how it is stored: "24 -> 200"."""
    before = flatten(stored_spec(spec.name, old).model_dump(mode="json"))
    after = flatten(spec.model_dump(mode="json"))
    return {
        path: f"{before.get(path)} -> {after.get(path)}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    }


def _refuse_changes(old: dict[str, Any], spec: StudySpec, url: str) -> None:
    changed = [
        f"{path}: {change}"
        for path, change in changes(old, spec).items()
        if not path.startswith(_FREE)
    ]
    if changed:
        raise ConfigError(
            f'study "{spec.name}" is in {url} with other settings ({"; ".join(changed[:5])}), and '
            "trials of both could not be compared; give the study another name, or --storage "
            "another database"
        )
