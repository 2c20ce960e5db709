"""Interventions lie among a study's runs, and nothing of the search is other for it."""

from __future__ import annotations

from typing import Any

import pytest

from tsdiag.cli.progress import search_lines
from tsdiag.compare.finals import FINALISTS, Finals
from tsdiag.config import RunConfig
from tsdiag.diagnostics.probes.loss import STEP_LOSS, VALIDATION_LOSS
from tsdiag.diagnostics.verdicts import Verification
from tsdiag.report.leaderboard import leaderboard, leaderboard_text
from tsdiag.report.study import no_verdict
from tsdiag.runs.execute import Execution
from tsdiag.search.budget import search_deadline
from tsdiag.search.conduct import Snapshot, prepare
from tsdiag.search.registration import open_queue
from tsdiag.search.storage import open_storage
from tsdiag.search.worker import Worker
from tsdiag.store.chosen import explained_run
from tsdiag.store.findings import told_of
from tsdiag.store.interventions import save_plan, save_verification, stored_verification
from tsdiag.store.runs import STATES, RunRow, best_runs, create_run, find_runs, newest, update_run
from tsdiag.store.studies import load_study, set_study
from tsdiag.store.tally import tally_of
from tsdiag.verify.plan import FIRST_SEED


def intervene(store) -> list[RunRow]:
    """Store what verifying trial 0 and the baseline could leave: better, dearer, in every state."""
    made = []
    for row in (explained_run(store, "tiny", "0"), explained_run(store, "tiny", "baseline")):
        for number, (state, role) in enumerate(
            (state, role) for state in STATES for role in ("control", "treatment")
        ):
            seed = row.seed + FIRST_SEED + number
            config = RunConfig.from_json(row.config).edits({"seed": seed})
            run = RunRow(
                study=row.study,
                role=role,
                config=config.to_json(),
                seed=seed,
                trial=row.trial,
                label=f"{row.role} {row.trial}",  # as a final run's
                state=state,
                step=5,
                max_steps=10_000,
                validation_loss=1e-9,
                metrics={"spared": {"step": 5, "why": "control"}},
                seconds=1e6,
                parent=made[-1].id if made else None,
                origin=row.id,
            )
            made.append(create_run(store, run))
        save_plan(store, row, "{}")
        save_verification(store, Verification(run=row.id, complete=True, summary="nothing helps"))
    return made


def seen(store, spec, monkeypatch) -> dict[str, Any]:
    """Return all that is told and decided by looking at the runs of a study."""
    rows, floors = newest(find_runs(store, "tiny")), load_study(store, "tiny").floor_losses
    best = next(iter(best_runs(store, "tiny", "baseline", 1)), None)
    board = leaderboard("tiny", rows, best, floors, told_of(store, "tiny"))
    finals = Finals(store, "tiny", spec.search.final_seeds, spec.search.seed)
    queues = [open_queue(store, open_storage(store), spec, r, 0) for r in ("trial", "baseline")]
    with monkeypatch.context() as stopped:
        stopped.setattr("tsdiag.cli.progress.uptime", lambda: 1000.0)
        tally, many = tally_of(store, "tiny", FINALISTS), spec.with_search(trials=99)
        progress = search_lines(Snapshot(many, tally, floors, -1e9, 1e9, 2))
    return {
        "leaderboard": board.to_json(),
        "text": leaderboard_text(board),
        "progress": progress,
        "search deadline": search_deadline(store, "tiny", 0.0, 1e9, 2, 2),
        "final seeds": finals.seeds,
        "finals": finals.pending(),
        "final runs": [finals.runs(candidate) for candidate in finals.candidates()],
        "verdict": no_verdict(rows),
        "best": [best_runs(store, "tiny", role, 9) for role in ("trial", "baseline")],
        "queues": [(q.finished(), q.running(), q.run(0), q.claim(1)) for q in queues],
        "explained": [explained_run(store, "tiny", asked) for asked in ("0", "baseline")],
    }


@pytest.fixture
def _losses_only(monkeypatch):
    """Leave out what takes most of a small search's time and is no part of the question."""

    def execution(worker, request):
        given = (request, worker.dataset, worker._store, worker._artifacts, worker.device)
        return Execution(*given, probes=(STEP_LOSS, VALIDATION_LOSS))

    monkeypatch.setattr(Worker, "_execution", execution)
    monkeypatch.setattr(Worker, "_explain", lambda *_: None)
    monkeypatch.setattr(Worker, "_next_floors", lambda _: None)


@pytest.mark.usefixtures("_losses_only")
def test_a_search_goes_on_as_if_nothing_had_been_verified(prepared, store, work, monkeypatch):
    spec, _ = prepared(
        ("trials = 3", "trials = 1"),
        ("final_seeds = 2", "final_seeds = 1"),
        ("batch_size = 16", 'batch_size = 16\nprecision = "float32"'),
    )
    set_study(store, "tiny", floors={"floors": {"ridge": {"validation_loss": 0.5}}})
    work()
    # As long as a real one took: estimates of a tenth of a second would all read the same.
    update_run(store, explained_run(store, "tiny", "0").id, seconds=600.0)
    longer = spec.with_search(trials=2, final_seeds=2)
    prepare(store, longer)
    before, runs = seen(store, longer, monkeypatch), find_runs(store, "tiny")
    made = intervene(store)
    after = seen(store, longer, monkeypatch)
    for name, value in before.items():
        assert after[name] == value, name
    assert before["finals"]  # so that there is something left to be disturbed
    assert before["final seeds"] == (1, 2)

    work()
    now = find_runs(store, "tiny")
    assert [row for row in now if row in (*runs, *made)] == [*runs, *made]
    came = [row for row in now if row not in (*runs, *made)]
    assert {row.state for row in came} == {"completed"}
    assert [row.trial for row in came if row.role == "trial"] == [1]
    finals = find_runs(store, "tiny", role="final")
    assert {row.seed for row in finals} == {1, 2}
    verified = explained_run(store, "tiny", "0")
    assert stored_verification(store, verified.id).complete
