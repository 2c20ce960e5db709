"""How often a pruner was wrong, as its controls measure it."""

import json

import pytest

from tsdiag.report.leaderboard import Leaderboard, leaderboard, leaderboard_text
from tsdiag.report.pruning import measure_pruning, pruning_text
from tsdiag.statistics import proportion_interval
from tsdiag.store.runs import RunRow


def run(trial, loss, state="completed", spared=False):
    metrics = {"spared": {"step": 5, "why": "control"}} if spared else {}
    return RunRow(
        "s", "trial", "{}", trial=trial, state=state, validation_loss=loss, metrics=metrics
    )


WHOLE = [run(number, 0.1 * number) for number in range(1, 10)]
STOPPED = [run(number, 0.9, "pruned") for number in range(10, 17)]


def text(*rows):
    return " ".join(pruning_text(measure_pruning([*WHOLE, *STOPPED, *rows])).split())


def test_nothing_is_said_where_nothing_was_pruned():
    assert measure_pruning(WHOLE) is None
    assert pruning_text(None) == ""


def test_a_bad_control_proves_the_pruner_right():
    assert text(run(20, 0.95, spared=True)) == (
        "pruning: 7 stopped, 1 spared as a control; of 1 that would have been stopped 0 ended in "
        "the better half of whole trials: false prunes 0 % [0, 98]"
    )


def test_a_good_control_is_a_false_prune():
    controls = [run(20, 0.05, spared=True), run(21, 0.99, spared=True)]
    found = measure_pruning([*WHOLE, *STOPPED, *controls])
    assert (found.stopped, found.controls, found.ended, found.false) == (7, 2, 2, 1)
    assert found.rate == 0.5
    assert "2 spared as controls; of 2 that would have been stopped 1 ended" in text(*controls)


def test_a_control_that_diverged_was_rightly_condemned_however_good_it_once_was():
    found = measure_pruning([*WHOLE, run(20, 0.01, "diverged", spared=True)])
    assert (found.ended, found.false, found.stopped) == (1, 0, 0)


@pytest.mark.parametrize("state", ["running", "interrupted", "timed_out", "failed"])
def test_a_control_that_did_not_end_by_itself_tells_nothing(state):
    found = measure_pruning([*WHOLE, run(20, 0.01, state, spared=True)])
    assert (found.controls, found.ended, found.rate) == (1, 0, None)
    assert text(run(20, 0.01, state, spared=True)).endswith("false prunes are not measured")


def test_with_no_control_the_rate_is_not_measured():
    assert text() == (
        "pruning: 7 stopped, 0 spared as controls; with no control that has ended, false prunes "
        "are not measured"
    )
    assert measure_pruning([run(1, None), *STOPPED]).rate is None


def test_the_leaderboard_says_it_in_text_and_json():
    board = leaderboard("s", [*WHOLE, *STOPPED, run(20, 0.95, spared=True)])
    lines = leaderboard_text(board).splitlines()
    assert sum(line.startswith("pruning: 7 stopped") for line in lines) == 1
    assert max(map(len, lines)) <= 80
    told = json.loads(board.to_json())["pruning"]
    assert told == {
        "stopped": 7,
        "controls": 1,
        "ended": 1,
        "false": 0,
        "rate": 0.0,
        "low": 0.0,
        "high": pytest.approx(0.975),
    }
    assert Leaderboard.from_json(board.to_json()) == board


def test_a_board_without_pruning_has_none():
    board = leaderboard("s", WHOLE)
    assert json.loads(board.to_json())["pruning"] is None
    assert "pruning" not in leaderboard_text(board)


# Textbook values of Clopper and Pearson's interval.
@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0), (1, 20, 0.0013, 0.2487)],
)
def test_the_interval_of_a_share(hits, count, low, high):
    found = proportion_interval(hits, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    assert found.value == hits / count
    assert proportion_interval(0, 0) is None
