"""Suspects: what no signal has shown, and verification may try besides the findings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.diagnostics.recorded import load_case
from tsdiag.diagnostics.diagnose import diagnose
from tsdiag.diagnostics.verdicts import Verdict, Verification


def told(name):
    return diagnose(load_case(name), "traces", 0)


def verdict(outcome):
    return Verdict(
        outcome=outcome,
        why="five pairs",
        set={"optimizer.lr": 0.001},
        effect=-0.5,
        interval=(-0.6, -0.4),
        p=1 / 32,
        control=1.0,
        treatment=0.5,
        seeds=5,
        steps=100,
    )


@pytest.mark.parametrize("name", ["healthy-founding", "healthy-patch", "healthy-wide"])
def test_a_run_that_learns_is_suspected_of_nothing(name):
    assert told(name).suspects == ()


@pytest.mark.parametrize("cause", ["missing-input-projection", "pooling-discards-channels"])
def test_what_was_found_is_not_suspected_as_well(cause):
    diagnosis = told(cause)
    assert cause in {finding.cause for finding in diagnosis.findings}
    assert cause not in {suspect.cause for suspect in diagnosis.suspects}


def test_steps_longer_than_of_anything_that_learned_are_suspected_without_a_jump():
    case = load_case("learning-rate-too-high")
    flat = {"fixed_batch_loss": 1, "rate_ratio": 10}
    signals = tuple(
        replace(s, values=s.values * 0 + flat[s.name]) if s.name in flat else s
        for s in case.record.trace.signals
    )
    record = replace(case.record, trace=replace(case.record.trace, signals=signals))
    found = diagnose(replace(case, record=record), "traces", 0)
    assert "learning-rate-too-high" not in {finding.cause for finding in found.findings}
    (suspect,) = (one for one in found.suspects if one.cause == "learning-rate-too-high")
    assert "% of their length" in suspect.why
    assert suspect.remedies[0].set["optimizer.lr"] <= 0.03


def test_a_suspect_has_remedies_that_would_change_something():
    diagnosis = told("dropout-too-strong")  # the founding shape, stalled by something else
    found = {suspect.cause: suspect for suspect in diagnosis.suspects}
    rate = found["learning-rate-too-low"]
    assert "tolerated 10 times the rate" in rate.why
    assert all(remedy.set for remedy in rate.remedies)


@pytest.mark.parametrize(
    ("path", "value", "cause"),
    [
        ("model.d_model", 4, "feature-bottleneck"),
        ("model.dropout", 0.9, "dropout-too-strong"),
    ],
)
def test_what_a_run_that_hardly_moved_hides_is_suspected_by_its_settings(path, value, cause):
    case = load_case("learning-rate-too-low")
    before = diagnose(case, "traces", 0)
    assert cause not in {suspect.cause for suspect in before.suspects}
    record = replace(case.record, config={**case.record.config, path: value})
    found = diagnose(replace(case, record=record), "traces", 0)
    (suspect,) = (suspect for suspect in found.suspects if suspect.cause == cause)
    assert str(value) in suspect.why
    assert path in suspect.remedies[0].set


def test_a_suspect_that_is_confirmed_becomes_a_finding():
    diagnosis = told("dropout-too-strong")
    cause = diagnosis.suspects[0].cause
    known = Verification(run="r", complete=True, verdicts={cause: verdict("confirmed")})
    found = {finding.cause: finding for finding in diagnosis.with_verdicts(known).findings}
    assert found[cause].verdict is not None
    assert "no signal shows it" in found[cause].summary


def test_a_suspect_that_is_refuted_stays_unnamed():
    diagnosis = told("dropout-too-strong")
    cause = diagnosis.suspects[0].cause
    known = Verification(run="r", complete=True, verdicts={cause: verdict("refuted")})
    found = diagnosis.with_verdicts(known).findings
    assert cause not in {finding.cause for finding in found}
