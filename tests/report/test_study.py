from tsdiag.report.leaderboard import leaderboard
from tsdiag.report.study import no_verdict, repairs_text, search_summary
from tsdiag.store.runs import RunRow


def run(role="trial", state="completed", trial=0, loss=0.5, reason=""):
    return RunRow(
        study="s",
        role=role,
        config="{}",
        trial=trial,
        state=state,
        reason=reason,
        validation_loss=loss,
        step=10,
        max_steps=10,
    )


def test_a_baseline_that_did_not_finish_is_told_with_its_reason():
    words = no_verdict([run("baseline", "timed_out", reason="timed_out at step 4"), run()])
    assert "needs the baseline" in words
    assert "timed_out at step 4" in words


def test_missing_transformers_and_missing_finals_are_told_apart():
    assert "a transformer" in no_verdict([run("baseline"), run(state="pruned")])
    assert "final runs are not done" in no_verdict([run("baseline"), run()])


def test_what_a_repair_reached_is_told():
    board = leaderboard("s", [run(loss=0.78), run(loss=0.31, trial=1), run(loss=None, trial=3)])
    told = repairs_text(board, {0: 1, 2: 3})
    assert told == "Trial 1 is the repair of trial 0: validation loss 0.7800 -> 0.3100."


def test_the_summary_counts_states_and_names_the_next_line():
    runs = [run(), run(state="pruned", trial=1), run(state="interrupted", trial=2)]
    board = leaderboard("s", runs, run("baseline", loss=1.0), {"ridge": 0.4})
    words = " ".join(search_summary(board, 5, 12.0, "tsdiag compare s").split())
    assert "2 of 5 trials done (1 finished, 1 pruned, 1 interrupted)" in words
    assert "50.0 % below the LSTM's" in words
    assert "not below the floor ridge" in words
    assert words.endswith("Next: tsdiag compare s")
