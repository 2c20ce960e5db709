"""What a study owes, counted from its database alone, by other means than tsdiag's own.

Every table is read as it is. A lineage is what was asked for once: a trial with all trials that
resume it, or a final run of one candidate on one seed with all runs that continue it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, MetaData, select, text

Row = dict[str, Any]
Key = tuple[Any, ...]

# What Optuna is to be told of a run, by the run's state.
_OUTCOMES = {"completed": "COMPLETE", "early_stopped": "COMPLETE", "pruned": "PRUNED"}
# No run of this study has a cause to end so: its rates are mild, its time and memory ample.
_BAD = ("diverged", "timed_out", "infeasible")
ENDED = (*_OUTCOMES, *_BAD)
_FIGURE = "artifacts:"  # what Optuna's names of artifacts begin with
_TABLES = (
    *("studies", "trials", "trial_user_attributes", "trial_system_attributes", "trial_values"),
    *("trial_intermediate_values", "tsdiag_studies", "tsdiag_runs", "tsdiag_curves"),
    "tsdiag_leases",
)


@dataclass(frozen=True)
class Lineage:
    """All runs of one thing that was asked for, and the one with its result."""

    name: str
    tries: int
    result: Row | None

    @property
    def is_resumed(self) -> bool:
        """Whether it was interrupted, so that another trial or run went on with it."""
        return self.tries > 1


@dataclass
class Ledger:
    """What is wrong, in words by kind, and the lineages themselves."""

    lineages: list[Lineage] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)  # files that nothing names
    # What the dead leave lying about, which holds nothing up and which nobody reads.
    unreported: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    run_out: list[str] = field(default_factory=list)

    @property
    def faults(self) -> dict[str, list[str]]:
        """What must not be, by kind."""
        return {
            "lost": self.lost,
            "doubled": self.doubled,
            "stuck": self.stuck,
            "orphans": self.orphans,
        }

    @property
    def leftovers(self) -> dict[str, list[str]]:
        """What is only untidy, by kind."""
        return {
            "trials whose pruner missed losses": self.unreported,
            "trials without all figures": self.unexplained,
            "files begun": self.begun,
            "leases run out": self.run_out,
        }


def read_tables(engine: Engine) -> dict[str, list[Row]]:
    """Return the rows of the tables that count."""
    known = MetaData()
    with engine.connect() as connection:
        known.reflect(connection, only=_TABLES)
        for table in known.tables.values():
            for column in table.columns:
                # What MySQL has as DOUBLE would be read as a Decimal of ten places.
                if getattr(column.type, "asdecimal", False):
                    column.type.asdecimal = False
        found = {
            name: [dict(row) for row in connection.execute(select(known.tables[name])).mappings()]
            for name in _TABLES
        }
        utc = {"postgresql": "timezone('utc', now())"}.get(engine.dialect.name, "UTC_TIMESTAMP(6)")
        now = connection.scalar(text(f"SELECT {utc}"))
        found["tsdiag_leases"] = [row | {"now": now} for row in found["tsdiag_leases"]]
        return found


def count(
    tables: dict[str, list[Row]],
    study: str,
    asked: list[Row],
    trials: int,
    finals: int,
    files: Path,
) -> Ledger:
    """Return the ledger of a study whose workers have all ended, and which has no verdict yet.

    ``asked`` are the configurations that were enqueued, by path; ``trials`` are wanted in all, and
    ``finals`` final runs. ``files`` is the artifact folder.
    """
    ledger = Ledger()
    runs = [row for row in tables["tsdiag_runs"] if row["study"] == study]
    for name, role, wanted in ((study, "trial", trials), (f"{study}/lstm", "baseline", 1)):
        own = [row for row in runs if row["role"] == role]
        _count_trials(ledger, _trials(tables, name), own, name, wanted)
    _count_asked(ledger, _trials(tables, study), asked)
    _count_finals(ledger, [row for row in runs if row["role"] == "final"], finals)
    _count_twins(ledger, runs)
    _count_curves(ledger, tables["tsdiag_curves"])
    _count_reports(ledger, tables)
    _count_leases(ledger, tables)
    _count_files(ledger, tables, study, files)
    return ledger


def has_verdict(tables: dict[str, list[Row]], study: str) -> bool:
    """Tell whether a study has its verdict, which comes after all that ``count`` counts."""
    return any(row["verdict"] for row in tables["tsdiag_studies"] if row["name"] == study)


def _trials(tables: dict[str, list[Row]], study: str) -> list[Row]:
    """Return Optuna's trials of a study with their attributes and values."""
    (id,) = (row["study_id"] for row in tables["studies"] if row["study_name"] == study)
    found = {row["trial_id"]: dict(row) for row in tables["trials"] if row["study_id"] == id}
    for trial in found.values():
        trial |= {"attributes": {}, "values": [], "state": str(trial["state"])}
    for row in tables["trial_user_attributes"]:
        if row["trial_id"] in found:
            found[row["trial_id"]]["attributes"][row["key"]] = json.loads(row["value_json"])
    for row in tables["trial_values"]:
        if row["trial_id"] in found:
            found[row["trial_id"]]["values"].append(row["value"])
    return sorted(found.values(), key=lambda trial: trial["number"])


def _count_trials(
    ledger: Ledger, trials: list[Row], runs: list[Row], name: str, wanted: int
) -> None:
    """Hold the trials of one of Optuna's studies against its runs, lineage by lineage."""
    numbers = [trial["number"] for trial in trials]
    if numbers != list(range(len(trials))):
        ledger.doubled.append(f"{name}: its trials are not numbered one by one")
    before = {trial["number"]: trial["attributes"].get("tsdiag:resumes") for trial in trials}
    lineages: dict[int, list[Row]] = defaultdict(list)
    for trial in trials:
        root = trial["number"]
        while before[root] is not None:
            root = before[root]
        lineages[root].append(trial)
    if len(lineages) < wanted:
        ledger.lost.append(f"{name}: {wanted - len(lineages)} of {wanted} trials")
    if len(lineages) > wanted:
        ledger.doubled.append(f"{name}: {len(lineages) - wanted} trials beyond the {wanted} wanted")
    # One that was queued twice, because an answer was lost, is failed before it has a run.
    begun = {row["trial"] for row in runs}
    for number, times in Counter(before[n] for n in begun & set(numbers)).items():
        if number is not None and times > 1:
            ledger.doubled.append(f"{name}: trial {number} is resumed by {times} others")
    for root, members in sorted(lineages.items()):
        of = {trial["number"] for trial in members}
        own = [row for row in runs if row["trial"] in of]
        _count_lineage(ledger, f"{name} {root}", members, own)
    for row in runs:
        if row["trial"] not in set(numbers):
            ledger.doubled.append(f"run {row['id']} is of no trial: {row['trial']}")


def _count_lineage(ledger: Ledger, name: str, trials: list[Row], runs: list[Row]) -> None:
    """Hold one lineage to: one trial with an outcome, one run with it, and they agree."""
    for trial in trials:
        if trial["state"] in ("RUNNING", "WAITING"):
            ledger.stuck.append(f"{name}: trial {trial['number']} is {trial['state']}")
    result = _result_of(ledger, name, runs)
    told = [trial for trial in trials if trial["state"] in ("COMPLETE", "PRUNED")]
    ledger.lineages.append(Lineage(name, max(len(trials), len(runs)), result))
    if not told:
        ledger.lost.append(f"{name}: none of its {len(trials)} trials has an outcome")
    if len(told) > 1:
        numbers = ", ".join(str(trial["number"]) for trial in told)
        ledger.doubled.append(f"{name}: trials {numbers} all have an outcome")
    if len(told) != 1 or result is None:
        return
    (trial,) = told
    if trial["number"] != result["trial"]:
        where = f"trial {trial['number']}, the run of trial {result['trial']}"
        ledger.lost.append(f"{name}: the outcome is told of {where}")
    if trial["state"] != _OUTCOMES.get(result["state"]):
        ledger.lost.append(f"{name}: Optuna has {trial['state']}, its run {result['state']}")
    if trial["state"] == "COMPLETE" and trial["values"] != [result["validation_loss"]]:
        values = f"{trial['values']}, not {result['validation_loss']}"
        ledger.lost.append(f"{name}: Optuna was told {values}")


def _result_of(ledger: Ledger, name: str, runs: list[Row]) -> Row | None:
    """Return the run of a lineage that ended, of which there must be one."""
    for run in runs:
        if run["state"] == "running":
            ledger.stuck.append(f"{name}: run {run['id']} says that it is running")
        if run["state"] == "failed":
            ledger.lost.append(f"{name}: a run failed: {run['reason'][:200]}")
        if run["state"] in _BAD:
            ledger.lost.append(f"{name}: a run ended {run['state']}: {run['reason'][:200]}")
    ended = [run for run in runs if run["state"] in ENDED]
    if not ended:
        ledger.lost.append(f"{name}: no run with a result among {len(runs)}")
    if len(ended) > 1:
        states = ", ".join(f"{run['id'][:8]} {run['state']}" for run in ended)
        ledger.doubled.append(f"{name}: several runs with a result: {states}")
    return ended[0] if ended else None


def _count_asked(ledger: Ledger, trials: list[Row], asked: list[Row]) -> None:
    """Find each enqueued configuration in one lineage; a successor has its predecessor's."""
    roots = [trial for trial in trials if trial["attributes"].get("tsdiag:resumes") is None]
    enqueued = [trial["attributes"].get("tsdiag:enqueued") for trial in roots]
    for paths in asked:
        times = enqueued.count(paths)
        if times == 0:
            ledger.lost.append(f"asked for and never begun: {paths}")
        if times > 1:
            ledger.doubled.append(f"asked for once and begun {times} times: {paths}")


def _count_finals(ledger: Ledger, runs: list[Row], wanted: int) -> None:
    groups: dict[Key, list[Row]] = defaultdict(list)
    for run in runs:
        groups[run["label"], run["seed"]].append(run)
    for key, own in sorted(groups.items()):
        name = f"final run of {key[0]}, seed {key[1]}"
        ledger.lineages.append(Lineage(name, len(own), _result_of(ledger, name, own)))
    if len(groups) < wanted:
        ledger.lost.append(f"{wanted - len(groups)} of {wanted} final runs")
    if len(groups) > wanted:
        ledger.doubled.append(f"{len(groups) - wanted} final runs beyond the {wanted} wanted")


def _count_twins(ledger: Ledger, runs: list[Row]) -> None:
    """Find results that are there twice: no two lineages may share a configuration with its seed.

    The rate is a real number that is drawn or asked for once. A final run has its trial's
    configuration and another seed.
    """
    seen: dict[str, Row] = {}
    for run in runs:
        if run["state"] not in ENDED:
            continue
        other = seen.setdefault(run["config"], run)
        if other is not run and other["role"] == run["role"]:
            ledger.doubled.append(f"runs {other['id']} and {run['id']} tell of one configuration")
    for parent, times in Counter(run["parent"] for run in runs if run["parent"]).items():
        if times > 1:
            ledger.doubled.append(f"run {parent} is continued by {times} others")


def _count_curves(ledger: Ledger, rows: Iterable[Row]) -> None:
    """Find curves with two values at one step, as of a piece of them that was stored twice."""
    steps: dict[Key, list[Any]] = defaultdict(list)
    for row in rows:
        steps[row["run"], row["name"], row["where"]].append(floats(row["steps"]))
    for (run, name, where), parts in sorted(steps.items()):
        found = np.concatenate(parts)
        if len(np.unique(found)) < len(found):
            ledger.doubled.append(f"run {run}: {name} {where} has two values at one step")


def _count_reports(ledger: Ledger, tables: dict[str, list[Row]]) -> None:
    """Hold what Optuna was told of each trial on its way against what its run measured.

    It may know less: a worker that went on where another had died, or another told for it, has
    not reported all. It may not know anything else.
    """
    reported: dict[int, dict[int, Any]] = defaultdict(dict)
    for row in tables["trial_intermediate_values"]:
        reported[row["trial_id"]][row["step"]] = np.float32(row["intermediate_value"])
    measured = _validation_losses(tables["tsdiag_curves"])
    studies = {row["study_id"]: row["study_name"] for row in tables["studies"]}
    ids = {(studies[t["study_id"]], t["number"]): t["trial_id"] for t in tables["trials"]}
    for run in tables["tsdiag_runs"]:
        if run["state"] not in _OUTCOMES:
            continue
        own = measured[run["id"]]
        if not own:
            ledger.lost.append(f"run {run['id']}, {run['role']}: its validation losses")
            continue
        name = f"{run['study']}/lstm" if run["role"] == "baseline" else run["study"]
        id = ids.get((name, run["trial"]))
        if run["role"] == "final" or id is None:
            continue
        others = sorted(step for step, loss in reported[id].items() if own.get(step) != loss)
        if others:
            told = f"Optuna was told what its run did not measure, at steps {others}"
            ledger.lost.append(f"{name} {run['trial']}: {told}")
        elif len(reported[id]) < len(own):
            ledger.unreported.append(f"{name} {run['trial']}")


def _validation_losses(curves: Iterable[Row]) -> dict[str, dict[int, Any]]:
    """Return by run and step what is reported: not what was measured before the first step."""
    found: dict[str, dict[int, Any]] = defaultdict(dict)
    for row in curves:
        if (row["name"], row["where"]) == ("validation_loss", ""):
            pairs = zip(floats(row["steps"]), floats(row["values"]), strict=True)
            found[row["run"]] |= {int(step): value for step, value in pairs if step > 0}
    return found


def floats(packed: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return numbers that are packed as 32-bit floats, least byte first."""
    return np.frombuffer(bytes(packed), "<f4")


def _count_leases(ledger: Ledger, tables: dict[str, list[Row]]) -> None:
    for row in tables["tsdiag_leases"]:
        # One that has run out holds nobody up: whoever wants it takes it.
        kind = ledger.stuck if row["expires"] > row["now"] else ledger.run_out
        kind.append(f"the lease {row['key']} of {row['owner']}")


def _count_files(ledger: Ledger, tables: dict[str, list[Row]], study: str, folder: Path) -> None:
    """Hold the files in the artifact folder against the names of them in the database."""
    there = {file.name for file in folder.iterdir()}
    kept = {
        run[kind]: f"which run {run['id']} names"
        for run in tables["tsdiag_runs"]
        for kind in ("checkpoint", "weights")
        if run[kind]
    }
    for run in tables["tsdiag_runs"]:
        if run["state"] in _OUTCOMES and not run["weights"]:
            ledger.lost.append(f"run {run['id']}, {run['role']}: its weights")
    for row in tables["tsdiag_studies"]:
        if row["floors"]:
            kept[json.loads(row["floors"])["artifact"]] = "the floors"
        elif row["name"] == study:
            ledger.lost.append("the floors")
        if first := json.loads(row["attributes"]).get("artifacts"):
            kept[first["mark"]] = "the mark of the study's first worker"
        elif row["name"] == study:
            ledger.lost.append("the mark of the study's first worker")
    ledger.lost += [f"the file {name}, {what}" for name, what in kept.items() if name not in there]
    figures = _count_figures(ledger, tables, there)
    for name in sorted(there - set(kept) - figures):
        # Whoever dies as it joins may leave a mark that it was about to remove.
        is_begun = name.startswith(".writing-") or name.endswith(".study")
        (ledger.begun if is_begun else ledger.orphans).append(name)


def _count_figures(ledger: Ledger, tables: dict[str, list[Row]], there: set[str]) -> set[str]:
    """Count the figures of each trial, and return all their names.

    Optuna names a figure and then writes it. A worker that is killed in between, or finds the disk
    full there, leaves one name without a file, and draws none of the trial's others; whoever tells
    the trial for a dead one draws none at all. Two names without a file are no such thing.
    """
    names: dict[int, set[str]] = defaultdict(set)
    for row in tables["trial_system_attributes"]:
        if row["key"].startswith(_FIGURE):
            names[row["trial_id"]].add(row["key"].removeprefix(_FIGURE))
    for trial in tables["trials"]:
        own = names[trial["trial_id"]]
        gone = sorted(own - there)
        of = f"of trial {trial['number']} of study {trial['study_id']}"
        if len(gone) > 1:
            ledger.lost.append(f"{len(gone)} figures {of}: {', '.join(gone)}")
        elif gone:
            ledger.unexplained.append(f"{of}: a figure was not written")
        elif not own and str(trial["state"]) in _OUTCOMES.values():
            ledger.unexplained.append(f"{of}: no figure was begun")
    return set().union(*names.values())
