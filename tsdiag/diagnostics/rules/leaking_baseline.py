"""A good score on these data proves nothing, because something in them knows the answer.

What it looks for: a column whose last rows explain nearly all of what the naive floor leaves of the
target, and the target's own past does not; a target whose moves repeat themselves exactly, as
interpolation makes them; a skill that lives on rows next to the train span.

Why training stalls: it need not. What is suspect is the reference: a baseline that reads a leak
sets a level that no honest model reaches, so one that falls short of it is no sign of a fault.

Told apart from: a baseline that is simply better, which no column explains by itself and which
survives a gap between the spans; a smooth curve, whose own past tells as much.

Remedies: leave out the column, or shift it to when it was known; take the series before it was
interpolated; for rows next to the train span an embargo of a window and a horizon.

Limits: a forecast that was bought with the data (tomorrow's weather) looks like a leak and is none,
if it will be there in use. A leak spread over several columns, or blurred, is not seen.

References: Kaufman et al. 2012 (Leakage in Data Mining); Kapoor and Narayanan 2023 (leakage and the
reproducibility crisis); Lopez de Prado 2018, chapter 7 (purging and embargo).
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.findings import Answer, Clear, Finding, NotMeasured, Remedy, strength
from tsdiag.diagnostics.leaks import find_leak
from tsdiag.diagnostics.rules.rule import Rule


def check(case: Case) -> Answer:
    """Judge what the audit found of columns, moves and borders; the limits are in ``leaks``."""
    if case.audit.leaks is None:
        return NotMeasured(why=case.audit.why_not("leaks"))
    found = find_leak(case.audit)
    if found is None or found.evidence.reference is None:
        return Clear()
    return Finding(
        cause="leaking-baseline",
        score=strength(found.evidence.observed, found.evidence.reference, found.certain),
        summary=found.reason,
        evidence=(found.evidence,),
        remedies=_remedies(case) if found.next_to_train else (),
    )


def _remedies(case: Case) -> tuple[Remedy, ...]:
    horizon = int(case.setting("data.prediction_length", 1))
    rows = case.facts.context_length + horizon
    if int(case.setting("data.embargo", 0)) >= rows:
        return ()
    return (
        Remedy(
            set={"data.embargo": rows},
            expects="the baseline's validation_loss rises to what it can do",
            safety="leaves so many rows out of both later spans; all losses must be measured anew",
            source="Lopez de Prado 2018, chapter 7",
        ),
    )


RULE = Rule(cause="leaking-baseline", page=__doc__, check=check)
