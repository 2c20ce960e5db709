"""Case -> Diagnosis: every rule is asked, each gives one of three answers, findings are ranked."""

from __future__ import annotations

from collections.abc import Iterable

from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.findings import (
    Answer,
    Clear,
    Diagnosis,
    Finding,
    NotMeasured,
    Remedy,
    State,
    Suspect,
    Unmeasured,
)
from tsdiag.diagnostics.rules import RULES
from tsdiag.diagnostics.rules.rule import Plan, Rule
from tsdiag.diagnostics.signals import AT_THE_END, DEAR
from tsdiag.diagnostics.states import UNDER_WAY

# In the other states there is nothing to explain, or nothing that a model could be blamed for.
EXPLAINED: frozenset[State] = frozenset({"stalled", "diverged", "undecided"})
# Causes that a state itself names, or that may stand behind it: all of them lie in the data.
NAMED: dict[State, tuple[str, ...]] = {
    "nothing-to-learn": ("no-signal", "misaligned-target", "constant-target", "corrupt-inputs"),
    "baseline-suspect": ("leaking-baseline",),
}
# What a cause keeps of its score where another one found brings it about.
SYMPTOM = 0.5


def diagnose(case: Case, study: str, trial: int | None) -> Diagnosis:
    """Return the state of a run, with its causes where it does not learn."""
    answers = {rule.cause: answer(rule, case) for rule in RULES}
    state = case.standing.state
    found = [
        _fitting(a, case)
        for a in answers.values()
        if isinstance(a, Finding) and _is_due(a.cause, state)
    ]
    causes = {finding.cause for finding in found}
    warned = warnings(Plan(case.record.config, case.facts)) if state in EXPLAINED else {}
    return Diagnosis(
        study=study,
        trial=trial,
        state=state,
        state_reason=case.standing.reason,
        scores=case.standing.scores,
        findings=tuple(ranked(found)),
        warnings={cause: words for cause, words in warned.items() if cause not in causes},
        suspects=_suspects(case, causes) if state in EXPLAINED else (),
        clear=tuple(cause for cause, a in answers.items() if isinstance(a, Clear)),
        not_measured=tuple(
            Unmeasured(cause=cause, why=a.why)
            for cause, a in answers.items()
            if isinstance(a, NotMeasured)
        ),
    )


def answer(rule: Rule, case: Case) -> Answer:
    """Ask one rule, if all that it needs was measured."""
    for name, why in rule.needs.items():
        if not case.record.places(name):
            return NotMeasured(why=_missing(name, case) or why or f"no {name} in this run")
    try:
        return rule.check(case)
    except Exception as error:
        # A defect in one rule, or a trace that nobody thought of, must not hide the other answers.
        return NotMeasured(why=f"its rule failed: {type(error).__name__}: {error}"[:300])


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by score, symptoms of others below them."""
    found = {finding.cause: finding for finding in findings}
    explained = {
        symptom: rule.cause
        for rule in RULES
        if rule.cause in found
        for symptom in rule.explains
        if symptom in found and found[rule.cause].score >= SYMPTOM * found[symptom].score
    }
    marked = [
        finding.model_copy(
            update={"symptom_of": explained[cause], "score": SYMPTOM * finding.score}
        )
        if cause in explained
        else finding
        for cause, finding in found.items()
    ]
    return sorted(marked, key=lambda finding: -finding.score)


def warnings(plan: Plan) -> dict[str, str]:
    """Return by cause what in a configuration often hurts, before anything was measured."""
    told = ((rule.cause, rule.warn(plan)) for rule in RULES if rule.warn is not None)
    return {cause: words for cause, words in told if words is not None}


def _suspects(case: Case, found: set[str]) -> tuple[Suspect, ...]:
    """Return what is worth trying besides the findings, in the order of the rules."""
    asked = [rule for rule in RULES if rule.suspect is not None and rule.cause not in found]
    named = [one for rule in asked if rule.suspect and (one := rule.suspect(case)) is not None]
    fit = [one.model_copy(update={"remedies": _changing(one.remedies, case)}) for one in named]
    return tuple(one for one in fit if one.remedies)


def _is_due(cause: str, state: State) -> bool:
    return state in EXPLAINED or cause in NAMED.get(state, ())


def _fitting(finding: Finding, case: Case) -> Finding:
    """Leave out what would change nothing in this configuration."""
    return finding.model_copy(update={"remedies": _changing(finding.remedies, case)})


def _changing(remedies: tuple[Remedy, ...], case: Case) -> tuple[Remedy, ...]:
    return tuple(
        remedy
        for remedy in remedies
        if any(case.setting(path) != value for path, value in remedy.set.items())
    )


def _missing(name: str, case: Case) -> str:
    """Return why a signal is missing that this run could have, or ""."""
    if name in case.unmeasured:
        return f"no {name}: {case.unmeasured[name]}"
    if name in AT_THE_END and case.record.trace.end_state in UNDER_WAY:
        return f"no {name}: it is measured when a run has ended"
    if name in DEAR and case.standing.state == "learning":
        return f"no {name}: of a run that learns, what is dear is not measured"
    return ""
