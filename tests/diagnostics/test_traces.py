"""Every rule on every recorded trace: one golden table, so that a new rule is seen on all others.

TSDIAG_UPDATE_SNAPSHOTS=1 writes the table anew. A cell is the score of a finding, "." for clear and
"-" for not measured; states are ignored, so a rule that fires on a healthy run cannot hide.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tsdiag.diagnostics.diagnose import answer, diagnose
from tsdiag.diagnostics.findings import Clear, Finding
from tsdiag.diagnostics.rules import RULES

sys.path.insert(0, str(Path(__file__).parents[1] / "traces"))
from plants import FAULTS, HEALTHY

sys.path.insert(0, str(Path(__file__).parent))
from recorded import load_case, names

GOLDEN = Path(__file__).with_name("golden.csv")
UPDATE = os.environ.get("TSDIAG_UPDATE_SNAPSHOTS") == "1"
CASES = {name: load_case(name) for name in names()}
# States in which a plant of these causes must be: the state itself is the diagnosis.
NAMED_STATES = {"no-signal": "nothing-to-learn", "leaking-baseline": "baseline-suspect"}


def cell(rule, case) -> str:
    found = answer(rule, case)
    if isinstance(found, Finding):
        return f"{found.score:.2f}"
    return "." if isinstance(found, Clear) else "-"


def golden() -> str:
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(["trace", "state", *(rule.cause for rule in RULES)])
    for name, case in CASES.items():
        writer.writerow([name, case.standing.state, *(cell(rule, case) for rule in RULES)])
    return page.getvalue()


def test_every_rule_on_every_trace_is_as_recorded():
    if UPDATE:
        GOLDEN.write_text(golden(), encoding="utf-8")
    assert golden() == GOLDEN.read_text(encoding="utf-8")


def test_what_is_planted_is_recorded():
    assert set(CASES) == set(HEALTHY) | set(FAULTS)


def test_there_are_enough_healthy_traces():
    assert len(HEALTHY) >= 10


@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_no_rule_fires_on_a_healthy_run_even_where_its_state_is_not_asked(name):
    case = CASES[name]
    assert case.standing.state == "learning"
    fired = [rule.cause for rule in RULES if isinstance(answer(rule, case), Finding)]
    assert fired == []
    assert diagnose(case, "study", 0).findings == ()


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_planted_cause_is_found_first_or_second(name):
    case = CASES[name]
    diagnosis = diagnose(case, "study", 0)
    cause = FAULTS[name].cause or name
    assert diagnosis.state == NAMED_STATES.get(cause, diagnosis.state)
    assert diagnosis.state != "learning", diagnosis.state_reason
    assert cause in [finding.cause for finding in diagnosis.findings[:2]]


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_rule_gives_exactly_one_answer(name):
    diagnosis = diagnose(CASES[name], "study", 0)
    silent = [*diagnosis.clear, *(item.cause for item in diagnosis.not_measured)]
    fired = {r.cause for r in RULES if isinstance(answer(r, CASES[name]), Finding)}
    assert sorted([*silent, *fired]) == sorted(rule.cause for rule in RULES)
    assert all(item.why for item in diagnosis.not_measured)
    assert {finding.cause for finding in diagnosis.findings} <= fired


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_findings_carry_numbers_and_edits_that_fit(name):
    import json

    from tsdiag.config import RunConfig
    from tsdiag.models import complete

    told = json.loads((GOLDEN.parents[1] / "traces" / name / "config.json").read_text())
    config = complete(RunConfig.model_validate(told["config"]))
    for finding in diagnose(CASES[name], "study", 0).findings:
        assert finding.evidence, finding.cause
        assert 0 <= finding.score <= 1
        for remedy in finding.remedies:
            edited = config.edits(remedy.set)
            assert edited != config, (finding.cause, remedy.set)


SIBLINGS = tuple(
    CASES[name].record for name in ("healthy-patch", "healthy-rows", "healthy-founding")
)


@pytest.mark.parametrize("name", sorted(CASES))
def test_healthy_siblings_can_only_excuse(name):
    beside = replace(CASES[name], healthy=SIBLINGS)
    accused = [
        rule.cause
        for rule in RULES
        if isinstance(answer(rule, beside), Finding)
        and not isinstance(answer(rule, CASES[name]), Finding)
    ]
    assert accused == []
