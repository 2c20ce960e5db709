"""Faults of the data that the audit finds by itself, and what is asked of all rules of data."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tsdiag.diagnostics.audit import DataAudit, FeatureSkill, Sentinel
from tsdiag.diagnostics.case import Case, Facts
from tsdiag.diagnostics.diagnose import answer
from tsdiag.diagnostics.findings import Clear, Finding, NotMeasured
from tsdiag.diagnostics.rules.bounded_output import RULE as BOUNDED_OUTPUT
from tsdiag.diagnostics.rules.constant_target import RULE as CONSTANT_TARGET
from tsdiag.diagnostics.rules.corrupt_inputs import RULE as CORRUPT_INPUTS
from tsdiag.diagnostics.rules.distribution_shift import RULE as DISTRIBUTION_SHIFT
from tsdiag.diagnostics.rules.leaking_baseline import RULE as LEAKING_BASELINE
from tsdiag.diagnostics.rules.misaligned_target import RULE as MISALIGNED_TARGET
from tsdiag.diagnostics.rules.no_signal import RULE as NO_SIGNAL
from tsdiag.diagnostics.rules.rule import HEADINGS
from tsdiag.diagnostics.rules.unscaled_inputs import RULE as UNSCALED_INPUTS
from tsdiag.diagnostics.rules.unscaled_target import RULE as UNSCALED_TARGET

sys.path.insert(0, str(Path(__file__).parent))
from data_cases import audited, case, edits_fit, foreign, without

RULES = (
    UNSCALED_INPUTS,
    UNSCALED_TARGET,
    BOUNDED_OUTPUT,
    DISTRIBUTION_SHIFT,
    MISALIGNED_TARGET,
    NO_SIGNAL,
    LEAKING_BASELINE,
    CONSTANT_TARGET,
    CORRUPT_INPUTS,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.cause)
def test_healthy_data_are_clear(rule):
    given = foreign() if rule is BOUNDED_OUTPUT else case()
    assert answer(rule, given) == Clear()


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        (DISTRIBUTION_SHIFT, "target"),
        (MISALIGNED_TARGET, "lag_scan"),
        (LEAKING_BASELINE, "leaks"),
        (CONSTANT_TARGET, "target"),
        (CORRUPT_INPUTS, "columns"),
    ],
    ids=lambda value: getattr(value, "cause", value),
)
def test_what_was_not_audited_is_not_judged(rule, part):
    assert answer(rule, case(audit=without(part))) == NotMeasured(why="too few rows")
    assert answer(rule, case(audit=DataAudit())) == NotMeasured(why="the data were not audited")


@pytest.mark.parametrize(
    ("rule", "edit", "part"),
    [
        (UNSCALED_INPUTS, {"data.scale_inputs": False}, "columns"),
        (UNSCALED_TARGET, {"data.scale_target": False}, "target"),
    ],
    ids=lambda value: getattr(value, "cause", None),
)
def test_scaling_is_judged_by_the_audit_only_where_it_is_off(rule, edit, part):
    assert answer(rule, case(edit, without(part))) == NotMeasured(why="too few rows")
    assert answer(rule, case({}, without(part))) == Clear()


@pytest.mark.parametrize(
    ("rule", "signal"),
    [
        (BOUNDED_OUTPUT, "unreached_share"),
        (BOUNDED_OUTPUT, "prediction_correlation"),
        (DISTRIBUTION_SHIFT, "undropped_train_loss"),
    ],
)
def test_missing_signals_are_not_judged(rule, signal):
    assert isinstance(answer(rule, case(**{signal: None})), NotMeasured)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.cause)
def test_pages_have_their_headings(rule):
    assert [rule.page.count(f"\n\n{heading}: ") for heading in HEADINGS] == [1] * len(HEADINGS)


def test_no_signal():
    audit = audited("permutation", skill=0.001, p=0.4)
    found = answer(NO_SIGNAL, case(audit=audit, attained=False))
    assert found.score > 0.9
    assert [item.observed for item in found.evidence] == [0.001, 0.4]
    assert found.evidence[0].reference == 0.1
    assert "no signal above 0.100" in found.summary
    assert found.remedies == ()


def test_a_vague_test_gives_a_low_score():
    audit = audited("permutation", skill=0.001, p=0.4, detectable=0.45)
    assert answer(NO_SIGNAL, case(audit=audit, attained=False)).score < 0.6


def test_where_anything_learns_there_is_signal():
    audit = audited("permutation", skill=0.001, p=0.4)
    assert answer(NO_SIGNAL, case(audit=audit)) == Clear()
    assert answer(NO_SIGNAL, case(attained=False)) == Clear()  # ridge passes all shuffles


def test_without_shuffles_no_signal_is_not_judged():
    found = answer(NO_SIGNAL, case(audit=without("permutation"), attained=False))
    assert found == NotMeasured(why="too few rows")


def feature(skill, share=1.0, is_target=False):
    return FeatureSkill(channel="x05", skill=skill, share=share, is_target=is_target)


@pytest.mark.parametrize(
    ("leaks", "observed", "embargo"),
    [
        ({"foreseeing": feature(0.999)}, 0.999, None),
        ({"dominating": feature(0.999)}, 0.999, None),
        ({"interpolated_share": 0.75}, 0.747, None),
        ({"interpolated_share": 0.5, "repeated_by_chance": 0.0}, 0.5, None),
        ({"purged_skill": 0.1}, 0.1, {"data.embargo": 49}),
    ],
)
def test_leaking_baseline(leaks, observed, embargo):
    found = answer(LEAKING_BASELINE, case(audit=audited("leaks", **leaks)))
    assert found.evidence[0].observed == pytest.approx(observed, abs=0.001)
    assert 0.7 < found.score <= 1
    assert [remedy.set for remedy in found.remedies] == ([embargo] if embargo else [])
    assert edits_fit(found)


@pytest.mark.parametrize(
    "leaks",
    [
        {"dominating": feature(0.48, 0.94)},  # beijing33's neighbouring station
        {"dominating": feature(0.999, is_target=True)},  # a smooth target's own past
        {"foreseeing": feature(0.999), "past_skill": 0.995},  # a smooth curve
        {"foreseeing": feature(0.95), "past_skill": 0.6},  # better than the past, not beyond it
        {"interpolated_share": 0.5, "repeated_by_chance": 0.5},  # a price that moves by one tick
        {"interpolated_share": 1.0, "repeated_by_chance": 1.0},  # a counter
        {"purged_skill": 0.3, "purged_error": 0.2},  # few windows beyond the gap
        {"purged_skill": -0.01, "full_skill": 0.01},  # nothing to lose
        {"purged_skill": None, "purged_error": None},
    ],
)
def test_what_only_looks_like_a_leak(leaks):
    assert answer(LEAKING_BASELINE, case(audit=audited("leaks", **leaks))) == Clear()


@pytest.mark.parametrize(
    ("skills", "rows"),
    [
        ((0.0, 0.0, 0.0, 0.02, 0.14, 0.92, 0.92), 2),
        ((0.0, 0.0, 0.0, 0.0, 0.01, 0.1, 0.8), 3),
    ],
)
def test_misaligned_target(skills, rows):
    found = answer(MISALIGNED_TARGET, case(audit=audited("lag_scan", skills=skills)))
    assert found.score > 0.85
    assert f"{rows} rows before" in found.summary
    assert found.evidence[0].observed == max(skills)
    assert found.remedies == ()


@pytest.mark.parametrize(
    "skills",
    [
        (0.34, 0.39, 0.38, 0.47, 0.62, 0.62, 0.63),  # beijing33: measured in the same row
        (0.3, 0.38, 0.49, 0.64, 0.84, 0.91, 0.92),  # noisy measurements in the same row
        (0.8, 0.88, 0.88, 0.87, 0.87, 0.87, 0.8),  # known three rows ahead
        (0.0,) * 7,
    ],
)
def test_what_only_looks_misaligned(skills):
    assert answer(MISALIGNED_TARGET, case(audit=audited("lag_scan", skills=skills))) == Clear()


def test_a_faint_lag_is_not_misaligned():
    faint = {"skills": (0.0, 0.0, 0.0, 0.0, 0.0, 0.02, 0.0), "block_error": 0.01}
    assert answer(MISALIGNED_TARGET, case(audit=audited("lag_scan", **faint))) == Clear()


def test_constant_target():
    found = answer(CONSTANT_TARGET, case(audit=audited("target", most_frequent_share=0.99)))
    assert found.score == pytest.approx(1.0)
    assert found.evidence[0].observed == pytest.approx(0.01)
    assert "0.6 of a batch of 64" in found.summary
    assert found.remedies == ()
    many = audited("target", most_frequent_share=0.85)
    assert answer(CONSTANT_TARGET, case(audit=many)) == Clear()


def marks(channels, inflation=100.0):
    return tuple(
        Sentinel(channel=f"x{n:02d}", value=-999.0, share=0.02, inflation=inflation)
        for n in channels
    )


@pytest.mark.parametrize(
    ("columns", "score", "observed"),
    [
        ({"sentinels": marks(range(10))}, 1.0, 100.0),
        ({"sentinels": marks([2, 3])}, 0.72, 100.0),
        ({"sentinels": marks([1]), "constant": ()}, 0.5, 100.0),  # the one that tells most
        ({"missing_share": 0.5}, 0.76, 0.5),
        ({"constant": tuple(f"x{n:02d}" for n in range(8))}, 1.0, 0.8),
    ],
)
def test_corrupt_inputs(columns, score, observed):
    found = answer(CORRUPT_INPUTS, case(audit=audited("columns", **columns)))
    assert isinstance(found, Finding)
    assert found.score == pytest.approx(score, abs=0.01)
    assert found.evidence[0].observed == pytest.approx(observed)
    assert found.remedies == ()


def test_the_worst_of_several_is_told():
    audit = audited("columns", missing_share=0.31, sentinels=marks(range(10)))
    assert "-999 stands in 2.0 % of the rows" in answer(CORRUPT_INPUTS, case(audit=audit)).summary


@pytest.mark.parametrize(
    "columns",
    [
        {"sentinels": marks(range(10), inflation=1.2)},  # marks that hardly widen their column
        {"missing_share": 0.1},
        {"duplicates": (("x01", "x02"),), "constant": ("x03",)},
    ],
)
def test_what_hurts_no_training(columns):
    assert answer(CORRUPT_INPUTS, case(audit=audited("columns", **columns))) == Clear()


def test_one_marked_column_of_many_that_tells_little_hurts_nothing():
    found = case(audit=audited("columns", sentinels=marks([9])))
    many = Facts(context_length=48, channels=33)
    other = Case(found.record, many, found.standing, found.audit)
    assert answer(CORRUPT_INPUTS, other) == Clear()


def test_an_embargo_that_is_there_already_is_not_offered():
    audit = audited("leaks", purged_skill=0.1, purged_error=0.02)
    assert answer(LEAKING_BASELINE, case(audit=audit)).remedies
    held = {"data.embargo": 60}
    assert answer(LEAKING_BASELINE, case(held, audit)).remedies == ()
