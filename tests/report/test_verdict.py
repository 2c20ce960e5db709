"""The verdict in words: the answer first, nothing left out that would change a mind."""

from __future__ import annotations

import numpy as np
import pytest

from tsdiag.compare.judge import Floor, Side, judge
from tsdiag.compare.metrics import Scores
from tsdiag.report.verdict import verdict_text

WINDOWS = 400


def scores_of(losses, accuracy=0.6):
    return Scores(
        mse=float(losses.mean()),
        mae=0.5,
        r2=0.3,
        directional_accuracy=accuracy,
        moves=WINDOWS - 12,
        ties=12,
        windows=WINDOWS,
    )


def side(level, label="lstm", trial=None, seeds=5, failed=(), spread=0.004):
    rng = np.random.default_rng([int(1000 * level), trial or 0])
    losses = level + spread * rng.standard_normal((seeds, 1))
    losses = losses + 0.05 * rng.standard_normal((seeds, WINDOWS))
    return Side(
        label=label,
        trial=trial,
        seeds=tuple(range(seeds)),
        losses=losses,
        scores=tuple(scores_of(row) for row in losses),
        parameters=22_100 if trial is None else 3_350_000,
        seconds=(75.0,) * seeds,
        cpu_seconds=(70.0,) * seeds,
        failed_seeds=tuple(failed),
    )


def trial(level, **options):
    return side(level, "trial 17", 17, **options)


def floor(name, level):
    losses = np.full(WINDOWS, level)
    return Floor(name, scores_of(losses), losses)


FLOORS = [floor("train_mean", 1.0), floor("ridge", 0.6)]


def joined(text):
    return " ".join(text.split())


def test_first_line_is_the_answer_in_plain_words():
    text = verdict_text(judge(trial(0.412), side(0.455), FLOORS))
    first = joined(text.split("\n\n")[0])
    assert first.startswith("The best transformer (trial 17) beats your LSTM: test MSE 0.41")
    assert " against 0.45" in first
    assert "difference -0.04" in first
    worse = joined(verdict_text(judge(trial(0.5), side(0.455))))
    assert worse.startswith("The best transformer (trial 17) does not beat your LSTM: ")


def test_every_line_fits_a_terminal():
    long = "a" * 90
    texts = [
        verdict_text(judge(trial(0.412), side(0.455), FLOORS, overlap=3, looks=4)),
        verdict_text(judge(trial(0.4549), side(0.455, label=long), [floor(long, 0.3)])),
        verdict_text(judge(trial(41234.5, spread=9), side(41250.1, spread=9), [floor("r", 5e7)])),
    ]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 80


def test_cannot_tell_yet_says_how_many_more_seeds_would():
    found = judge(trial(0.4500, spread=0.02), side(0.455, spread=0.02))
    text = joined(verdict_text(found))
    assert text.startswith("Cannot tell yet whether the best transformer (trial 17) beats")
    assert f"About {found.needs.more_seeds} more seeds would tell" in text
    assert f"final_seeds = {5 + found.needs.more_seeds} under [search]" in text


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (None, "Why: the interval holds 0."),
        ({}, "no sensible number of seeds or rows would tell"),
        (
            {"times_test_rows": 3.24, "with_seeds": 5},
            "the test span is too short. It would take about 3.2 times as many test rows.",
        ),
        ({"times_test_rows": 3.0, "with_seeds": 9}, "3.0 times as many test rows and 9 seeds"),
    ],
)
def test_other_needs(needs, words):
    from tsdiag.compare.comparison import Needs

    found = judge(trial(0.4500, spread=0.02), side(0.455, spread=0.02))
    wanted = None if needs is None else Needs(**needs)
    assert words in joined(verdict_text(found.model_copy(update={"needs": wanted})))


def test_two_seeds_say_to_train_three():
    text = joined(verdict_text(judge(trial(0.4, seeds=2), side(0.455, seeds=2))))
    assert "2 paired seeds cannot show how much training varies" in text
    assert "final_seeds = 3 under [search]" in text


@pytest.mark.parametrize(
    ("level", "words"),
    [
        (0.30, "But neither is below the best floor, ridge"),
        (0.43, "But your LSTM is not below the best floor, ridge"),
        (0.60, "Both are better than the best floor, ridge"),
    ],
)
def test_winning_below_a_floor_is_called_out(level, words):
    found = judge(trial(0.412), side(0.455), [floor("ridge", level)])
    assert found.outcome == "beats"
    assert words in joined(verdict_text(found))


def test_too_close_to_a_floor_is_said():
    found = judge(trial(0.412, spread=0.02), side(0.455), [floor("ridge", 0.415)])
    assert "too close to tell for the transformer" in joined(verdict_text(found))


def test_counts_looks_ties_and_failed_runs():
    text = joined(verdict_text(judge(trial(0.412, failed=[5]), side(0.455), looks=3)))
    assert "400 test windows; 12 targets equal to the last value" in text
    assert "The test data were scored 2 times before for this study" in text
    assert "1 final run of trial 17 did not finish" in text
    once = joined(verdict_text(judge(trial(0.412), side(0.455))))
    assert "The test data were scored once." in once


def test_costs_of_both_are_shown():
    text = verdict_text(judge(trial(0.412), side(0.455)))
    row = next(line for line in text.splitlines() if line.startswith("trial 17"))
    assert "3.35 M" in row
    assert "1:15" in row


def test_how_surely_tells_what_few_seeds_cannot_say():
    text = joined(verdict_text(judge(trial(0.412), side(0.455))))
    assert "better with 5 of 5 paired seeds; P(better with another seed) 1.00 [0.48, 1.00]" in text
    assert "(0.0625 is the least they can say)" in text


def test_names_are_shown_as_they_are_and_cannot_steer_the_terminal():
    named = floor("[red]x\x1b[2J", 0.6)
    text = verdict_text(judge(trial(0.412), side(0.455, label="[bold]lstm"), [named]))
    assert "[red]x?[2J" in text
    assert "[bold]lstm" in text
    assert "\x1b" not in text
