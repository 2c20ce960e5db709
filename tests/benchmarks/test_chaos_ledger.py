"""The ledger of benchmarks/chaos: a study in order has no entry, and each planted fault has one."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chaos" / "ledger.py"
ASKED = {"optimizer.lr": 0.001}
STEPS = np.arange(3, dtype="<f4").tobytes()


@pytest.fixture(scope="module")
def ledger():
    specification = importlib.util.spec_from_file_location("chaos_ledger", SCRIPT)
    module = sys.modules["chaos_ledger"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def run(id, role, trial, state="completed", **columns):
    found = {
        "id": id,
        "study": "s",
        "role": role,
        "trial": trial,
        "label": "",
        "seed": 0,
        "config": f"of {role} {trial}",
        "state": state,
        "reason": "",
        "validation_loss": 0.5,
        "checkpoint": None,
        "weights": f"{id}.safetensors" if state == "completed" else None,
        "parent": None,
    }
    return found | columns


def trial(id, study, number, state="COMPLETE"):
    return {"trial_id": id, "study_id": study, "number": number, "state": state}


def attribute(id, key, value):
    return {"trial_id": id, "key": key, "value_json": json.dumps(value)}


def figure(id, name):
    return attribute(id, f"artifacts:{name}", "{}")


@pytest.fixture
def tables():
    """Trial 0 died and trial 2 went on with it; trial 1, the baseline and a final run did not."""
    floors = json.dumps({"floors": {}, "artifact": "s.floors"})
    return {
        "studies": [
            {"study_id": 1, "study_name": "s"},
            {"study_id": 2, "study_name": "s/lstm"},
        ],
        "trials": [trial(1, 1, 0, "FAIL"), trial(2, 1, 1), trial(3, 1, 2), trial(4, 2, 0)],
        "trial_user_attributes": [
            attribute(1, "tsdiag:enqueued", ASKED),
            attribute(3, "tsdiag:enqueued", ASKED),
            attribute(3, "tsdiag:resumes", 0),
        ],
        "trial_system_attributes": [figure(id, f"figure {id}") for id in (2, 3, 4)],
        "trial_intermediate_values": [
            {"trial_id": id, "step": step, "intermediate_value": float(step)}
            for id in (2, 3, 4)
            for step in (1, 2)
        ],
        "trial_values": [{"trial_id": id, "value": 0.5} for id in (2, 3, 4)],
        "tsdiag_studies": [
            {
                "name": "s",
                "floors": floors,
                "verdict": None,
                "attributes": json.dumps({"artifacts": {"mark": "first.study"}}),
            }
        ],
        "tsdiag_runs": [
            run("a", "trial", 0, "interrupted"),
            run("b", "trial", 1),
            run("c", "trial", 2, parent="a"),
            run("d", "baseline", 0),
            run("e", "final", 1, label="trial 1", seed=1),
        ],
        "tsdiag_curves": [
            {"run": id, "name": "validation_loss", "where": "", "steps": STEPS, "values": STEPS}
            for id in "abcde"
        ],
        "tsdiag_leases": [],
    }


@pytest.fixture
def counted(ledger, tables, tmp_path):
    """Count the tables as they are by now, with a file for each name in them."""
    weights = [f"{id}.safetensors" for id in "bcde"]
    for name in ("s.floors", "first.study", *weights, *(f"figure {id}" for id in (2, 3, 4))):
        (tmp_path / name).touch()
    return lambda: ledger.count(tables, "s", [ASKED], trials=2, finals=1, files=tmp_path)


def kinds(found):
    return {kind for kind, faults in (found.faults | found.leftovers).items() if faults}


def test_a_study_in_order_has_no_entry(counted):
    found = counted()
    assert kinds(found) == set()
    assert [lineage.is_resumed for lineage in found.lineages].count(True) == 1
    assert len(found.lineages) == 4


FAULTS = {
    "a trial that was never begun": (
        "lost",
        lambda t: t["trials"].remove(trial(2, 1, 1)) or t["tsdiag_runs"].pop(1),
    ),
    "an outcome that was never told": ("lost", lambda t: t["trials"][1].update(state="FAIL")),
    "an outcome of another number": ("lost", lambda t: t["trial_values"][0].update(value=0.4)),
    "an outcome without a run": ("lost", lambda t: t["tsdiag_runs"].pop(1)),
    "a run that failed": ("lost", lambda t: t["tsdiag_runs"][1].update(state="failed")),
    "a configuration that was asked for": (
        "lost",
        lambda t: t["trial_user_attributes"].pop(0),
    ),
    "a final run": ("lost", lambda t: t["tsdiag_runs"].pop(4)),
    "a trial told as pruned whose run was completed": (
        "lost",
        lambda t: t["trials"][1].update(state="PRUNED"),
    ),
    "a trial told as complete whose run was pruned": (
        "lost",
        lambda t: t["tsdiag_runs"][1].update(state="pruned"),
    ),
    **{
        f"a run that ended {state}": (
            "lost",
            lambda t, state=state: (
                t["trials"][1].update(state="PRUNED"),
                t["tsdiag_runs"][1].update(state=state),
            ),
        )
        for state in ("diverged", "timed_out", "infeasible")
    },
    "a final run that timed out": ("lost", lambda t: t["tsdiag_runs"][4].update(state="timed_out")),
    "another loss reported": (
        "lost",
        lambda t: t["trial_intermediate_values"][1].update(intermediate_value=1.9),
    ),
    "a loss reported that was not measured": (
        "lost",
        lambda t: t["trial_intermediate_values"].append(
            {"trial_id": 2, "step": 3, "intermediate_value": 3.0}
        ),
    ),
    "a trial's validation losses": ("lost", lambda t: t["tsdiag_curves"].pop(1)),
    "a final run's validation losses": ("lost", lambda t: t["tsdiag_curves"].pop(4)),
    "the name of weights": ("lost", lambda t: t["tsdiag_runs"][1].update(weights=None)),
    "the floors": ("lost", lambda t: t["tsdiag_studies"][0].update(floors=None)),
    "the file of the floors": (
        "lost",
        lambda t: t["tsdiag_studies"][0].update(floors=json.dumps({"artifact": "gone.floors"})),
    ),
    "the mark of the first worker": (
        "lost",
        lambda t: t["tsdiag_studies"][0].update(
            attributes=json.dumps({"artifacts": {"mark": "gone.study"}})
        ),
    ),
    "no mark of a worker": ("lost", lambda t: t["tsdiag_studies"][0].update(attributes="{}")),
    "two figures of one trial": (
        "lost",
        lambda t: t["trial_system_attributes"].extend([figure(2, "gone"), figure(2, "gone, too")]),
    ),
    "weights": ("lost", lambda t: t["tsdiag_runs"][1].update(weights="gone.safetensors")),
    "a trial too many": (
        "doubled",
        lambda t: (
            t["trials"].append(trial(5, 1, 3)),
            t["trial_values"].append({"trial_id": 5, "value": 0.5}),
            t["tsdiag_runs"].append(run("f", "trial", 3, weights=None)),
        ),
    ),
    "a trial resumed twice": (
        "doubled",
        lambda t: (
            t["trials"].append(trial(5, 1, 3, "FAIL")),
            t["trial_user_attributes"].append(attribute(5, "tsdiag:resumes", 0)),
            t["tsdiag_runs"].append(run("f", "trial", 3, "interrupted")),
        ),
    ),
    "two outcomes in a lineage": ("doubled", lambda t: t["trials"][0].update(state="PRUNED")),
    "two results of a lineage": ("doubled", lambda t: t["tsdiag_runs"][0].update(state="pruned")),
    "one configuration twice": (
        "doubled",
        lambda t: t["tsdiag_runs"][2].update(config="of trial 1"),
    ),
    "a run continued twice": ("doubled", lambda t: t["tsdiag_runs"][1].update(parent="a")),
    "a run of no trial": ("doubled", lambda t: t["tsdiag_runs"][4].update(role="trial", trial=9)),
    "a configuration begun twice": (
        "doubled",
        lambda t: t["trial_user_attributes"].append(attribute(2, "tsdiag:enqueued", ASKED)),
    ),
    "a final run twice": (
        "doubled",
        lambda t: t["tsdiag_runs"].append(
            run("f", "final", 1, label="trial 1", seed=1, weights=None)
        ),
    ),
    "a piece of a curve twice": (
        "doubled",
        lambda t: t["tsdiag_curves"].append(dict(t["tsdiag_curves"][0])),
    ),
    "a trial that is running": ("stuck", lambda t: t["trials"][1].update(state="RUNNING")),
    "a trial that is waiting": ("stuck", lambda t: t["trials"][1].update(state="WAITING")),
    "a run that is running": ("stuck", lambda t: t["tsdiag_runs"][0].update(state="running")),
    "a lease": (
        "stuck",
        lambda t: t["tsdiag_leases"].append({"key": "k", "owner": "o", "expires": 2, "now": 1}),
    ),
    "a file that nothing names": ("orphans", lambda t: t["trial_system_attributes"].clear()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tables, counted):
    kind, plant = FAULTS[fault]
    plant(tables)
    assert kind in kinds(counted())


def test_what_the_dead_leave_lying_about_is_told_apart(tables, counted, tmp_path):
    tables["tsdiag_leases"].append({"key": "k", "owner": "o", "expires": 1, "now": 2})
    (tmp_path / ".writing-1").touch()
    (tmp_path / "second.study").touch()
    tables["trial_intermediate_values"].pop()
    tables["trial_system_attributes"].append(figure(2, "named, and not written"))
    assert kinds(counted()) == set(counted().leftovers)


def test_of_each_trial_one_figure_may_be_missing_or_all_of_them(tables, counted, tmp_path):
    (tmp_path / "figure 2").unlink()
    tables["trial_system_attributes"] = tables["trial_system_attributes"][:2]
    (tmp_path / "figure 4").unlink()
    found = counted()
    assert kinds(found) == {"trials without all figures"}
    assert len(found.unexplained) == 2


def test_a_verdict_is_seen_when_it_is_there(ledger, tables):
    assert not ledger.has_verdict(tables, "s")
    tables["tsdiag_studies"][0]["verdict"] = "{}"
    assert ledger.has_verdict(tables, "s")


def test_a_successor_that_was_queued_twice_and_never_begun_is_none(tables, counted):
    tables["trials"].append(trial(5, 1, 3, "FAIL"))
    tables["trial_user_attributes"].append(attribute(5, "tsdiag:resumes", 0))
    assert kinds(counted()) == set()
