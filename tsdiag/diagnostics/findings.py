"""What a diagnosis is made of: values that go to JSON and back, without torch and without words.

A rule answers with one of three: a ``Finding``, ``Clear``, or ``NotMeasured`` with the reason. A
score ranks findings and is no probability: only a verdict, which an intervention earns, convinces.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self, get_args

from pydantic import ConfigDict, Field

from tsdiag.config import Frozen
from tsdiag.diagnostics.verdicts import Repair, Verdict, Verification

State = Literal[
    "learning", "stalled", "diverged", "nothing-to-learn", "baseline-suspect", "undecided"
]
STATES: tuple[State, ...] = get_args(State)


class Evidence(Frozen):
    """A number that redraws or refutes a finding: what was measured, where, and what is usual."""

    signal: str
    where: str = ""
    steps: tuple[int, int] | None = Field(None, description="first and last; None: not over steps")
    observed: float
    reference: float | None = Field(None, description="the limit that it has passed")
    unit: str = ""


class Remedy(Frozen):
    """An edit of configuration paths; several paths make sense only together."""

    set: dict[str, Any]
    expects: str = Field(description="what should move, and which way")
    safety: str = Field(description="what the edit may cost or break")
    source: str = Field(description="the paper or measurement behind it")


class Finding(Frozen):
    """A named cause with the numbers that show it, ranked by its score."""

    cause: str
    score: float = Field(ge=0, le=1)
    summary: str = Field(description="one sentence with the numbers")
    evidence: tuple[Evidence, ...]
    remedies: tuple[Remedy, ...] = ()
    symptom_of: str | None = Field(None, description="a cause found that would bring this about")
    verdict: Verdict | None = Field(None, description="None: no remedy was carried out yet")


class Suspect(Frozen):
    """A cause that no signal has shown, with remedies that are worth carrying out all the same."""

    cause: str
    why: str
    remedies: tuple[Remedy, ...]


class Clear(Frozen):
    """The signals that would show a cause were measured, and do not show it."""


class NotMeasured(Frozen):
    """A cause about which nothing can be said, and why."""

    why: str


Answer = Finding | Clear | NotMeasured


class Interval(Frozen):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class RunScores(Frozen):
    """What a run reached on the validation windows, against what others reach there."""

    validation_loss: float | None = Field(description="best of the run [target variance]")
    floors: dict[str, float] = Field(default_factory=dict)
    baseline: float | None = None
    skill: float | None = Field(None, description="1 - loss / loss of the best floor")
    attained: Interval | None = Field(
        None, description="share of what is within reach: 0 = naive floor, 1 = best reference"
    )
    naive: str | None = Field(None, description="the floor that stands for 0")
    best: str | None = Field(None, description="what stands for 1: a learned floor or the baseline")


class Unmeasured(Frozen):
    """An entry of ``Diagnosis.not_measured``."""

    cause: str
    why: str


class Diagnosis(Frozen):
    """The state of a run and, where it does not learn, its causes: most telling first."""

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    version: Literal[1] = Field(1, alias="schema")
    study: str
    trial: int | None = Field(description="None: the baseline")
    state: State
    state_reason: str
    scores: RunScores
    findings: tuple[Finding, ...] = ()
    warnings: dict[str, str] = Field(
        default_factory=dict,
        description="what in the configuration often hurts, by cause; not shown by measurement",
    )
    suspects: tuple[Suspect, ...] = Field(
        (), description="what verification may try besides; no finding"
    )
    repair: Repair | None = Field(None, description="None: not verified, or none was found")
    verification: str | None = Field(None, description="what carrying remedies out showed")
    verified: bool = Field(False, description="all that was to be carried out has been")
    clear: tuple[str, ...] = ()
    not_measured: tuple[Unmeasured, ...] = ()

    @property
    def top_cause(self) -> str | None:
        """The cause of the first finding."""
        return self.findings[0].cause if self.findings else None

    def with_verdicts(self, verification: Verification) -> Self:
        """Return the diagnosis with what carrying its remedies out has shown."""
        known = verification.verdicts
        findings = tuple(
            finding.model_copy(update={"verdict": known.get(finding.cause)})
            for finding in self.findings
        )
        named = {finding.cause for finding in findings}
        findings += tuple(
            _shown(suspect, verdict)
            for suspect in self.suspects
            if suspect.cause not in named
            and (verdict := known.get(suspect.cause)) is not None
            and verdict.outcome == "confirmed"
        )
        changes = {
            "findings": findings,
            "repair": verification.repair,
            "verification": verification.summary or None,
            "verified": verification.complete,
        }
        return self.model_copy(update=changes)

    def to_json(self) -> str:
        """Return the diagnosis as JSON; numbers that are not finite become null."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        return cls.model_validate_json(text)


def _shown(suspect: Suspect, verdict: Verdict) -> Finding:
    """Return a suspected cause as a finding: carrying its remedy out has shown it."""
    assert verdict.treatment is not None
    return Finding(
        cause=suspect.cause,
        score=0.0,
        summary=f"no signal shows it, but carrying its remedy out does; {suspect.why}",
        evidence=(
            Evidence(
                signal="validation_loss",
                observed=verdict.treatment,
                reference=verdict.control,
                unit="target variance",
            ),
        ),
        remedies=suspect.remedies,
        verdict=verdict,
    )


def strength(observed: float, limit: float, certain: float) -> float:
    """Return a score: .5 at the limit, 1 at a value that leaves no doubt, by orders of magnitude.

    Works both ways: ``certain`` below ``limit`` means that small values are bad.
    """
    if not (observed > 0 and limit > 0 and certain > 0 and limit != certain):
        return 1.0 if (observed >= limit) == (certain >= limit) else 0.5
    share = math.log(observed / limit) / math.log(certain / limit)
    return 0.5 + 0.5 * min(1.0, max(0.0, share))
