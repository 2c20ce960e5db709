"""What is told of thousands of runs is read from a handful of rows, and is what counting tells."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import mean

import pytest

from tests.fetched import fetched
from tsdiag.store.chosen import chosen_run
from tsdiag.store.runs import (
    STATES,
    WHOLE,
    RunRow,
    best_runs,
    find_runs,
    first_and_last_trial,
    latest,
    newest,
    seeds_above,
)
from tsdiag.store.schema import RUNS
from tsdiag.store.tally import UNENDED, Reached, Running, reached, tally_of

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def fill(store, count, study="many") -> list[RunRow]:
    """Store a study of so many trials, some broken off and continued, and what else there is."""
    rng = random.Random(count)
    rows: list[RunRow] = []
    for number in range(count):
        before = rows[-1] if number % 10 == 1 else None
        if before is not None:
            rows[-1] = replace(before, state="interrupted")
        rows.append(
            RunRow(
                study,
                "trial",
                '{"model": {}}',
                trial=number,
                state=rng.choice(["completed", "early_stopped", "pruned", "failed"]),
                validation_loss=rng.choice([None, 0.5, rng.random(), rng.random()]),
                seconds=rng.uniform(1, 9),
                step=rng.randrange(100),
                max_steps=100,
                metrics={"best_step": 3},
                parent=before.id if before else None,
            )
        )
    rows[-1] = replace(rows[-1], state="running", validation_loss=0.001)
    for number in range(4):
        lstm = {"validation_loss": 0.3 + number, "seconds": 5.0, "step": 1 + number, "max_steps": 9}
        rows.append(RunRow(study, "baseline", "{}", trial=number, state="completed", **lstm))
    for seed, label in ((1, "trial 5"), (2, "trial 5"), (1, "baseline 0")):
        rows.append(RunRow(study, "final", "{}", seed=seed, label=label, state="completed"))
    rows.append(RunRow(study, "final", "{}", seed=2, label="baseline 0", parent=rows[-1].id))
    rows.append(RunRow(study, "control", "{}", trial=0, seed=10_007, validation_loss=1e-9))
    times = (BEGUN + timedelta(seconds=number) for number in range(len(rows)))
    rows = [replace(row, started=at, updated=at) for row, at in zip(rows, times, strict=True)]
    with store.write() as connection:
        connection.execute(RUNS.insert(), [vars(row) for row in rows])
    return rows


def seconds_of(row):
    return row.seconds / max(row.step, 1) * row.max_steps


def by_loss(rows):
    with_loss = (row for row in rows if row.validation_loss is not None)
    return sorted(with_loss, key=lambda row: (row.validation_loss, row.trial, row.id))


def test_a_tally_is_what_counting_tells(store):
    rows = newest(fill(store, 120))
    fill(store, 20, study="another")
    found = tally_of(store, "many", 3)
    for role in ("trial", "baseline", "final", "control"):
        of_role = [row for row in rows if row.role == role]
        for state in STATES:
            assert found.counts.get((role, state), 0) == sum(r.state == state for r in of_role)
        assert found.count(role) == len(of_role)
        assert found.ended(role) == sum(row.state not in UNENDED for row in of_role)
        running = [row for row in of_role if row.state == "running"]
        assert found.under_way(role) == [
            Running(r.role, r.trial, r.label, r.seed, r.step, r.max_steps) for r in running
        ]
    trials = [row for row in rows if row.role == "trial"]
    assert [(it.trial, it.loss) for it in found.best] == [
        (row.trial, row.validation_loss) for row in by_loss(trials)[:3]
    ]
    assert [it.seconds for it in found.best] == pytest.approx(
        [seconds_of(row) for row in by_loss(trials)[:3]]
    )
    baseline = [row for row in rows if row.role == "baseline"]
    assert found.baseline == Reached(None, 0.3, max(map(seconds_of, baseline)))
    ended = [row.seconds for row in trials if row.state not in UNENDED]
    assert found.seconds == pytest.approx(mean(ended[-100:]))
    assert found.finalists == 2
    assert reached(store, "many", 3) == (found.baseline, found.best)


def test_a_study_without_runs_has_a_tally_too(store):
    found = tally_of(store, "nothing", 2)
    assert (found.counts, found.running, found.best) == ({}, (), ())
    assert (found.baseline, found.seconds, found.finalists) == (Reached(None, None, 0.0), None, 0)
    assert first_and_last_trial(store, "nothing") is None


def test_the_best_are_those_that_sorting_tells(store):
    rows = [row for row in fill(store, 120) if row.state in WHOLE]
    for role, count in (("trial", 1), ("trial", 9), ("trial", 999), ("baseline", 2)):
        wanted = by_loss(row for row in rows if row.role == role)[:count]
        assert [row.id for row in best_runs(store, "many", role, count)] == [r.id for r in wanted]


def test_seeds_that_chose_something_are_told_above_a_seed(store):
    fill(store, 20)
    assert seeds_above(store, "many", 0) == {10_007}
    assert seeds_above(store, "many", 10_007) == set()


ASKED = {
    "tally": lambda store, study: tally_of(store, study, 2),
    "costs of the final runs": lambda store, study: reached(store, study, 2),
    "best trials": lambda store, study: best_runs(store, study, "trial", 8),
    "a trial's run": lambda store, study: chosen_run(store, study, 50),
    "final seeds": lambda store, study: seeds_above(store, study, 0),
    "numbers": lambda store, study: first_and_last_trial(store, study),
}


def test_no_question_reads_more_rows_of_more_trials(store):
    """Counted and not timed: a few rows, however many there are, and no wide ones but those."""
    brought = {}
    for study, count in (("many", 200), ("more", 2000)):
        fill(store, count, study)
        for name, ask in ASKED.items():
            with fetched() as found:
                ask(store, study)
            brought[study, name] = found.rows, len(found.statements)
            assert found.bytes < 10_000, name
    for name in ASKED:
        assert brought["many", name] == brought["more", name]
    assert max(rows for rows, _ in brought.values()) < 40


def test_lineage_and_not_a_clock_tells_which_run_is_the_newest(store):
    first = RunRow("a", "trial", "{}", trial=3, state="interrupted", started=BEGUN)
    # Its machine's clock is an hour behind.
    early = BEGUN - timedelta(hours=1)
    second = replace(first, id="second", trial=4, parent=first.id, started=early)
    again = replace(first, id="again", trial=4, parent=second.id, started=early, state="completed")
    with store.write() as connection:
        rows = [vars(row) | {"updated": BEGUN} for row in (first, second, again)]
        connection.execute(RUNS.insert(), rows)
    of_four = find_runs(store, "a", trial=4)
    assert latest(of_four).id == "again"
    assert chosen_run(store, "a", 3).id == "again"
    assert latest([]) is None
