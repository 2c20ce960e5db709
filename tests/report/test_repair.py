"""What carrying remedies out showed, in every view of a diagnosis.

TSDIAG_UPDATE_SNAPSHOTS=1 writes the snapshots anew.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tsdiag.diagnostics.diagnose import diagnose
from tsdiag.diagnostics.findings import Diagnosis
from tsdiag.diagnostics.verdicts import Member, RandomSearch, Repair, Verdict, Verification
from tsdiag.report.diagnosis import diagnosis_markdown, diagnosis_text
from tsdiag.report.page import page
from tsdiag.report.repair import PLATEAU, effect, is_unfinished, judged, shown_cause, told

sys.path.insert(0, str(Path(__file__).parents[1] / "diagnostics"))
from recorded import load_case

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
UPDATE = os.environ.get("TSDIAG_UPDATE_SNAPSHOTS") == "1"
POOL, POSITIONS = {"model.pooling": "flatten"}, {"model.positions": "sinusoidal"}
BOTH = POOL | POSITIONS
SCREEN = "a screen of 1 of the 5 pairs that a verdict needs"
NO_GAIN = "5 pairs leave no gain of 0.021, 5 % of what is within reach"


def verdict(changes, effect, half=0.03, outcome="confirmed", **more):
    """A verdict on five pairs; on one where there is no half of an interval."""
    loss = 0.69 + effect
    known = {
        "outcome": outcome,
        "why": "5 pairs, sign-flip p = 0.031, and the interval is below 0",
        "set": changes,
        "effect": effect,
        "interval": None if half is None else (effect - half, effect + half),
        "p": None if half is None else 1 / 32,
        "control": 0.69,
        "treatment": loss,
        "attained": (0.5712 - loss) / (0.5712 - 0.1508),
        "seeds": 1 if half is None else 5,
        "steps": 200,
    }
    return Verdict(**known | more)


def screened(changes, effect):
    return verdict(changes, effect, None, "inconclusive", why=SCREEN)


def repair(**more):
    """Both changes, of which neither helps by itself."""
    known = {
        "set": BOTH,
        "verdict": verdict(BOTH, -0.51),
        "minimal": True,
        "members": (
            Member(
                set=POOL,
                alone=verdict(POOL, 0.004, 0.02, "refuted"),
                without=verdict(BOTH, -0.5, alone=False, others=("model.positions",)),
            ),
            Member(
                set=POSITIONS,
                alone=verdict(POSITIONS, -0.014, 0.02, "refuted"),
                without=verdict(BOTH, -0.514, alone=False, others=("model.pooling",)),
            ),
        ),
        "interaction": -0.5,
        "random": RandomSearch(
            runs=10,
            steps=2000,
            set={"optimizer.lr": 0.01},
            loss=0.6,
            beaten=True,
            better=True,
            why="the best of 10 random edits, optimizer.lr = 0.01, reaches 0.6; the repair 0.18",
        ),
    }
    return Repair(**known | more)


def stalled(**verification):
    told = {"run": "r", "complete": True, "summary": "it was carried out"}
    return diagnose(load_case("order-blind"), "wind", 7).with_verdicts(
        Verification(**told | verification)
    )


def pair():
    together = verdict(POSITIONS, -0.514, alone=False, others=("model.pooling",))
    return stalled(repair=repair(), verdicts={"order-blind": together})


def screen():
    summary = (
        "model.pooling = 'flatten', model.positions = 'sinusoidal' did most in screening, and has "
        "1 of 5 pairs; --verify, with more time, goes on"
    )
    known = {"order-blind": screened(BOTH, -0.77)}
    return stalled(complete=False, verdicts=known, summary=summary)


def refuted():
    found = verdict(BOTH, -0.006, 0.014, "refuted", why=NO_GAIN, plateau="not at all")
    summary = "no repair: both did most in screening, and are refuted"
    return stalled(verdicts={"order-blind": found}, summary=summary)


def shown(diagnosis) -> str:
    written = io.StringIO()
    text = diagnosis_text(diagnosis, ("next", "after"))
    Console(file=written, width=80, highlight=False).print(text, soft_wrap=True)
    return written.getvalue()


def flat(text) -> str:
    return " ".join(text.split())


CASES = {"pair": pair, "screen": screen, "refuted": refuted}


@pytest.mark.parametrize("name", CASES)
def test_the_screen_is_as_recorded(name):
    text = shown(CASES[name]())
    file = SNAPSHOTS / f"explain-verified-{name}.txt"
    if UPDATE:
        file.write_text(text, encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 80
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("view", [shown, diagnosis_markdown, lambda found: page(found, {})])
def test_every_view_tells_the_repair(view):
    text = flat(view(pair()).replace("\\", "").replace("&#34;", '"').replace("&gt;", ">"))
    for words in (
        "Verified",
        "these 2 changes together bring it to learning",
        'model.pooling = "flatten"',
        'model.positions = "sinusoidal"',
        "Validation loss 0.69 -> 0.18 over 5 pairs of seeds, effect -0.51 [-0.54, -0.48], sign-flip"
        " p = 0.031, 200 steps each. That is 93 % of the way from last value to ridge.",
        "Minimal: without any one of them it goes less than 90 % as far, or cannot be built.",
        "+0.00 [-0.02, +0.02] refuted",
        "-0.50 [-0.53, -0.47]",
        "Together they do 0.50 more than the sum of what each does alone (-0.51 against -0.01).",
        "Better than chance: the best of 10 random edits, optimizer.lr = 0.01, reaches 0.6; the "
        "repair 0.18.",
        "only together with model.pooling",
        "oss moved by -0.51 [-0.54, -0.48] over 5 seeds, 200 steps each",
    ):
        assert words in text


@pytest.mark.parametrize("view", [shown, diagnosis_markdown, lambda found: page(found, {})])
def test_one_seed_never_looks_like_proof(view):
    text = flat(view(screen()))
    assert "a screen of 1 seed: -0.77 in 200 steps, no proof yet" in text
    assert "Verified" not in text
    body = text.partition("<body>")[2] or text
    assert "confirmed" not in body.replace("not confirmed", "")
    assert "[" not in judged(screen().findings[0]).grounds


def test_what_was_refuted_is_not_advised():
    text = flat(shown(refuted()))
    assert "try model" not in text
    assert "refuted: loss moved by -0.01 [-0.02, +0.01] over 5 seeds, 200 steps each" in text
    assert NO_GAIN in text
    assert "from the stalled weights: not rescued, nor does it learn from scratch" in text


@pytest.mark.parametrize("rescue", PLATEAU)
def test_the_stalled_weights_are_told_of(rescue):
    found = stalled(verdicts={"order-blind": verdict(BOTH, -0.5, plateau=rescue)})
    words = f"from the stalled weights: {PLATEAU[rescue]}"
    for text in (shown(found), diagnosis_markdown(found), page(found, {})):
        assert words in text


def test_a_confirmed_cause_is_shown_wherever_it_ranks():
    first = pair().findings[0]
    known = first.model_copy(update={"cause": "late"})
    others = tuple(
        first.model_copy(update={"cause": f"cause-{n}", "verdict": screened(BOTH, -0.1)})
        for n in range(5)
    )
    diagnosis = pair().model_copy(update={"findings": (*others, known)})
    text = shown(diagnosis)
    assert "6. late" in text
    assert "Further: cause-3 (1.00, inconclusive) and cause-4 (1.00, inconclusive)" in text
    assert shown_cause(diagnosis) == "late"
    assert shown_cause(screen()) == "order-blind"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"random": None}, "Not compared with random edits yet."),
        ({"minimal": False}, "Not shown to be minimal: not every change was left out and missed."),
        ({"interaction": -0.04}, "Together they do about the sum of what each does alone"),
        ({"interaction": 0.2}, "Together they do 0.20 less than the sum of what each does alone"),
        ({"interaction": 0.2}, "(-0.51 against -0.71): what they do overlaps."),
        ({"set": POOL, "members": ()}, "Minimal: it is a single change."),
        ({"set": POOL, "members": ()}, "this change brings it to learning"),
    ],
)
def test_what_is_known_of_a_repair(more, words):
    assert words in flat(shown(stalled(repair=repair(**more))))


def test_a_part_that_was_not_carried_out_says_so():
    whole = repair().members
    bare = (whole[0].model_copy(update={"alone": None}), whole[1])
    text = flat(shown(stalled(repair=repair(members=bare, interaction=None))))
    assert "model.pooling not tried yet -0.50 [-0.53, -0.47]" in text
    assert "Together they do" not in text
    unbuilt = (bare[0].model_copy(update={"builds_alone": False}), whole[1])
    text = flat(shown(stalled(repair=repair(members=unbuilt, interaction=None))))
    assert "model.pooling cannot be built -0.50 [-0.53, -0.47]" in text


def test_two_changes_that_are_one_part_share_a_row():
    both = repair().members[0].model_copy(update={"set": BOTH})
    text = flat(shown(stalled(repair=repair(members=(both, *repair().members)))))
    assert "model.pooling + positions +0.00" in text


def test_what_losses_above_the_training_mean_s_count_as_is_told():
    capped = repair().verdict.model_copy(update={"ceiling": 0.7, "control": 2.63})
    text = flat(shown(stalled(repair=repair(verdict=capped))))
    assert "Validation loss 2.63 -> " in text
    words = "In effects, losses above 0.700 (predicting the mean) are counted as 0.700."
    assert words in text
    cause = verdict(POSITIONS, 0.0, 0.0, "refuted").model_copy(update={"ceiling": 0.7})
    assert words in flat(shown(stalled(verdicts={"order-blind": cause})))
    assert "training mean" not in flat(shown(pair()))


def test_a_part_that_suffices_to_learn_is_named():
    pool, positions = repair().members
    enough = positions.model_copy(
        update={
            "alone": verdict(POSITIONS, -0.3).model_copy(update={"attained": 0.7, "learns": True})
        }
    )
    text = flat(shown(stalled(repair=repair(members=(pool, enough)))))
    assert "Learning, too, but less far: model.positions alone 70 % of the way." in text
    assert "Learning, too" not in shown(pair())


def test_a_repair_as_good_as_chance_is_not_called_better():
    told = repair(random=repair().random.model_copy(update={"better": False}))
    text = flat(shown(stalled(repair=told)))
    assert "As good as chance, with no more changes: the best of 10 random edits" in text


def test_long_paths_fit_the_terminal():
    paths = ("model.attention_dropout_kind", "optimizer.warmup_fraction", "model.positions")
    alone = verdict(POOL, -0.0141, 0.0041, "inconclusive")
    parts = tuple(Member(set={path: 0}, alone=alone, without=alone) for path in paths)
    whole = repair(set=dict.fromkeys(paths, 0), members=parts)
    lines = shown(stalled(repair=whole)).splitlines()
    assert max(map(len, lines)) <= 80
    assert "   model.attention_dropout_kind = 0" in lines


def test_a_longer_training_is_told_of():
    longer = {"training.max_steps": 2000}
    found = stalled(verdicts={"order-blind": verdict(longer, -0.5)})
    assert "200 steps each, with training.max_steps in proportion" in flat(shown(found))


@pytest.mark.parametrize(
    ("mean", "half", "words"),
    [
        (-0.8983, 0.0318, "-0.90 [-0.93, -0.87]"),
        (-0.8983, 0.0041, "-0.898 [-0.902, -0.894]"),
        (-0.0000001, 0.0318, "+0.00 [-0.03, +0.03]"),
        (-0.0126, None, "-0.013"),
        (-0.7813, None, "-0.78"),
        (0.0, 0.0, "+0.00 [+0.00, +0.00]"),
    ],
)
def test_an_effect_shows_what_its_interval_warrants(mean, half, words):
    assert effect(verdict(BOTH, mean, half)) == words


def test_when_more_time_shows_more():
    before = diagnose(load_case("order-blind"), "wind", 7)
    assert is_unfinished(before)
    assert not is_unfinished(before.model_copy(update={"state": "baseline-suspect"}))
    assert not is_unfinished(before.model_copy(update={"findings": ()}))
    assert is_unfinished(stalled(complete=False))
    assert is_unfinished(screen())
    assert not is_unfinished(refuted())
    assert not is_unfinished(pair())


def test_nothing_is_told_before_anything_was_verified():
    before = diagnose(load_case("order-blind"), "wind", 7)
    assert told(before) is None
    assert judged(before.findings[0]) is None
    assert "erifi" not in shown(before)


def test_json_of_what_was_verified():
    diagnosis = pair()
    text = diagnosis.to_json()
    found = json.loads(text)
    keys = {"outcome", "effect", "interval", "seeds", "steps", "alone", "with", "plateau"}
    assert keys <= set(found["findings"][0]["verdict"])
    assert found["findings"][0]["verdict"]["alone"] is False
    assert found["findings"][0]["verdict"]["with"] == ["model.pooling"]
    assert found["repair"]["set"] == BOTH
    assert found["repair"]["minimal"] is True
    assert found["repair"]["verdict"]["outcome"] == "confirmed"
    assert found["repair"]["members"][0]["without"]["with"] == ["model.positions"]
    assert '"others"' not in text
    assert Diagnosis.from_json(text) == diagnosis


HOSTILE = "<script>`*x*|</script>\x1b[2J\u202e"


def hostile():
    bad = verdict({HOSTILE: HOSTILE}, -0.5, alone=False, others=(HOSTILE,), why=HOSTILE)
    part = Member(set={HOSTILE: HOSTILE}, alone=bad, without=bad)
    random = RandomSearch(runs=1, steps=1, beaten=False, why=HOSTILE)
    whole = {HOSTILE: HOSTILE, "model.pooling": "flatten"}
    found = repair(set=whole, verdict=bad, members=(part, part), random=random)
    return stalled(repair=found, verdicts={"order-blind": bad})


@pytest.mark.parametrize("diagnosis", [hostile(), stalled(summary=HOSTILE)])
def test_names_cannot_steer_a_view(diagnosis):
    assert "\x1b" not in shown(diagnosis)
    assert "\u202e" not in shown(diagnosis)
    note = diagnosis_markdown(diagnosis).replace("\\`", "")
    outside = "".join(note.split("`")[::2])
    assert [mark for mark in ("*x*", "<script>") if mark in outside] == []
    assert "\x1b" not in note
    assert "\u202e" not in note
    body = page(diagnosis, {}).partition("<body>")[2]
    assert "<script>" not in body
    assert "\x1b" not in body
    assert "\u202e" not in body


def test_how_many_seeds_an_effect_rests_on_is_told_where_they_are_too_few():
    two = verdict(POOL, -0.3, outcome="inconclusive", seeds=2)
    members = (Member(set=POOL, alone=two),)
    shown = told(stalled(repair=repair(members=members)))
    assert shown is not None
    assert shown.members[0][1].endswith("(2 seeds)")


def test_a_comparison_that_time_cut_off_and_a_part_missed_on_one_seed_are_told_so():
    cut = repair().random.model_copy(update={"complete": False})
    shown = told(stalled(repair=repair(random=cut, missed_on=1)))
    assert shown is not None
    assert "Better than chance, as far as time allowed: " in shown.more[-1]
    assert shown.shown[1].startswith("Minimal, by one seed: ")
    assert "by one seed" not in told(stalled(repair=repair(missed_on=5))).shown[1]
