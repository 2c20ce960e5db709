"""The leaderboard as text, JSON and CSV, and the summary at the end of a search."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tsdiag.report.leaderboard import Leaderboard, leaderboard, leaderboard_csv, leaderboard_text
from tsdiag.report.study import search_summary
from tsdiag.store.runs import RunRow


def run(trial, loss, state="completed", **columns):
    columns = {"step": 2000, "max_steps": 2000, "parameters": 22_100, "seconds": 75.0} | columns
    return RunRow("demo", "trial", "{}", trial=trial, validation_loss=loss, state=state, **columns)


BASELINE = RunRow(
    "demo", "baseline", "{}", validation_loss=0.5, state="completed", step=2000, max_steps=2000
)
FLOORS = {"train_mean": 1.0, "last_value": 1.9, "ridge": 0.6}
RUNS = [
    run(0, 0.7),
    run(1, 0.45),
    run(2, 0.2, "diverged", step=300, reason="non-finite at step 300"),
    run(3, 0.55, "pruned", step=600),
    run(4, None, "infeasible", step=0),
]


@pytest.fixture
def board():
    return leaderboard("demo", RUNS, BASELINE, FLOORS)


def test_best_first_and_broken_runs_last(board):
    assert [row.trial for row in board.trials] == [1, 3, 0, 2, 4]
    assert board.best.trial == 1


def test_skill_is_against_the_best_floor_and_difference_against_the_baseline(board):
    best = board.trials[0]
    assert best.skill == pytest.approx(1 - 0.45 / 0.6)
    assert best.against_baseline == pytest.approx(-0.1)
    assert board.trials[-1].against_baseline is None


def test_a_resumed_trial_has_one_row():
    board = leaderboard("demo", [run(0, 0.9, "interrupted", step=100), run(0, 0.4)])
    assert [(row.trial, row.validation_loss) for row in board.trials] == [(0, 0.4)]


def test_text_ranks_baseline_and_floors_among_the_trials(board):
    lines = leaderboard_text(board).splitlines()
    assert max(map(len, lines)) <= 80
    first = [line.split("  ")[0] for line in lines[2:-1]]
    assert first[:5] == ["1", "LSTM", "3", "ridge", "0"]
    assert "-10.0 %" in lines[2]
    assert "600/2000" in lines[4]


def test_text_can_be_cut_and_says_so(board):
    text = leaderboard_text(board, most=2)
    assert "... and 3 more" in text
    assert "diverged" not in text


def test_without_trials_baseline_or_floors():
    board = leaderboard("demo", [])
    assert board.best is None
    assert "no run has ended yet; they are done by: tsdiag search" in leaderboard_text(board)
    only = leaderboard("demo", [run(0, 0.5)])
    assert only.trials[0].skill is None
    assert "No trial has a validation loss yet" in search_summary(board, 5, 1.0)


def test_long_and_marked_up_names_fit():
    board = leaderboard("demo", RUNS, BASELINE, {"[red]" + "x" * 80: 0.3})
    text = leaderboard_text(board)
    assert "[red]" in text
    assert max(map(len, text.splitlines()[:-1])) <= 80


def test_wide_numbers_fit():
    wide = run(12345, 1e6, "interrupted", step=12345, max_steps=200_000, seconds=90_000)
    early = run(1, 0.4, "early_stopped", step=12345, max_steps=200_000)
    text = leaderboard_text(leaderboard("demo", [wide, early], BASELINE, FLOORS))
    assert max(map(len, text.splitlines())) <= 80
    assert "> 900 %" in text
    assert "25:00:00" in text


def test_json_round_trip(board):
    data = json.loads(board.to_json())
    assert data["schema"] == 1
    assert data["trials"][0]["trial"] == 1
    assert Leaderboard.from_json(board.to_json()) == board


def test_csv_has_one_line_per_trial_and_the_baseline(board):
    rows = list(csv.DictReader(io.StringIO(leaderboard_csv(board))))
    assert [row["trial"] for row in rows] == ["1", "3", "0", "2", "4", "baseline"]
    assert float(rows[0]["validation_loss"]) == 0.45
    assert rows[4]["validation_loss"] == ""


def test_summary_counts_what_became_of_the_trials(board):
    text = search_summary(board, asked=8, seconds=605)
    flat = " ".join(text.split())
    assert "demo: 5 of 8 trials done" in flat
    assert "2 finished, 1 pruned, 1 diverged, 1 too large" in flat
    assert "10 min 05 s" in flat
    assert "Best: trial 1, validation loss 0.4500, 10.0 % below the LSTM's 0.5000." in flat
    assert text.splitlines()[-1] == "Next: tsdiag compare demo"


def test_summary_names_floors_that_are_better():
    board = leaderboard("demo", RUNS, BASELINE, FLOORS | {"ridge": 0.4})
    assert "It is not below the floor ridge." in " ".join(search_summary(board, 5, 9.0).split())


def test_next_line_can_be_pasted():
    board = leaderboard("my study; rm x", RUNS, BASELINE)
    assert search_summary(board, 5, 1.0).endswith("Next: tsdiag compare 'my study; rm x'")
    assert search_summary(board, 5, 1.0, "tsdiag trials").endswith("Next: tsdiag trials")
