"""Diagnosis -> words: a screen of a terminal, or markdown for the dashboard's note."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tsdiag.escaping import code, escaped, plain
from tsdiag.report.repair import edits, is_confirmed, judged, told
from tsdiag.report.verified import append_told, append_verdict, told_markdown, verdict_markdown
from tsdiag.report.wording import listing, number, paragraph, plural, sentence

if TYPE_CHECKING:
    from rich.text import Text

    from tsdiag.diagnostics.findings import Diagnosis, Evidence, Finding, Remedy, RunScores

# Findings that are shown whole; the others are named. Three fill a screen of 24 lines.
SHOWN = 3
# Numbers and reasons a line has room for.
MOST_EVIDENCE = 3
MOST_REASONS = 2
NO_REMEDY = "no configuration path repairs it; the cause's page says what to do"
LEARNS = "A run that learns gets no findings: what it lacks to the best is for the search to find."
COLOURS = {
    "learning": "green",
    "stalled": "red",
    "diverged": "red",
    "nothing-to-learn": "yellow",
    "baseline-suspect": "yellow",
    "undecided": "yellow",
}


def diagnosis_text(diagnosis: Diagnosis, next_lines: tuple[str, ...] = ()) -> Text:
    """Return a screen for a terminal of 80 columns: state, scores, causes, the rest, what next."""
    from rich.text import Text

    text = Text()
    text.append(f"{_who(diagnosis)}: ")
    text.append(diagnosis.state, style=f"bold {COLOURS[diagnosis.state]}")
    text.append(f"\n{paragraph(sentence(plain(diagnosis.state_reason)))}\n")
    if scores := _scores(diagnosis.scores):
        text.append(f"{paragraph(plain(scores))}\n")
    if (verified := told(diagnosis)) is not None:
        append_told(text, verified)
    ranked = list(enumerate(diagnosis.findings, start=1))
    whole = [(place, found) for place, found in ranked if place <= SHOWN or is_confirmed(found)]
    for place, finding in whole:
        _append_finding(text, place, finding)
    if diagnosis.state == "learning":
        text.append(f"\n{paragraph(LEARNS)}\n")
    if rest := [_named(found) for place, found in ranked if (place, found) not in whole]:
        text.append(f"\n{paragraph(plain(f'Further: {listing(rest)}'))}\n")
    if diagnosis.warnings:
        named = f"By its settings alone, not by measurement: {listing(list(diagnosis.warnings))}."
        text.append(f"\n{paragraph(plain(named))}\n")
    text.append(f"\n{paragraph(_silent(diagnosis))}")
    for place, line in enumerate(map(plain, next_lines)):
        text.append(f"\n      {line}" if place else f"\nNext: {line}")
    return text


def diagnosis_markdown(diagnosis: Diagnosis) -> str:
    """Return the diagnosis as short markdown; names are escaped."""
    parts = [
        f"**{diagnosis.state}**: {_safe(sentence(diagnosis.state_reason))}",
        _safe(_scores(diagnosis.scores)),
    ]
    if (verified := told(diagnosis)) is not None:
        parts.append(told_markdown(verified))
    for place, finding in enumerate(diagnosis.findings, start=1):
        seen = "; ".join(_shown(item) for item in finding.evidence[:MOST_EVIDENCE])
        verdict = judged(finding)
        tries = [f"try {code(edits(remedy.set))}" for remedy in finding.remedies[:1]]
        points = [_safe(seen), *(tries if verdict is None else verdict_markdown(verdict))]
        parts.append(
            f"{place}. **{finding.cause}** (score {finding.score:.2f}{_symptom(finding)}): "
            f"{_safe(finding.summary)}" + "".join(f"\n   - {point}" for point in points)
        )
    parts.append(_safe(_silent(diagnosis)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _safe(text: str) -> str:
    """Return a text as one line of markdown: a line break in a name could begin a list or table."""
    return escaped(plain(text))


def _who(diagnosis: Diagnosis) -> str:
    who = "the baseline" if diagnosis.trial is None else f"trial {diagnosis.trial}"
    return f"{who} of {plain(diagnosis.study)}"


def _append_finding(text: Text, place: int, finding: Finding) -> None:
    text.append(f"\n{place}. ")
    text.append(finding.cause, style="bold")
    text.append(f"  (score {finding.score:.2f}{_symptom(finding)})\n")
    text.append("\n".join(_lines(finding)) + "\n")
    if (verdict := judged(finding)) is not None:
        append_verdict(text, verdict)


def _symptom(finding: Finding) -> str:
    return f", a symptom of {finding.symptom_of}" if finding.symptom_of else ""


def _named(finding: Finding) -> str:
    outcome = "" if finding.verdict is None else f", {finding.verdict.outcome}"
    return f"{finding.cause} ({finding.score:.2f}{outcome})"


def _lines(finding: Finding) -> Iterator[str]:
    yield paragraph(sentence(plain(finding.summary)), "   ")
    shown = "; ".join(_shown(item) for item in finding.evidence[:MOST_EVIDENCE])
    yield paragraph(plain(shown), "   ")
    yield paragraph(plain(_remedied(finding)), "   ")


def _remedied(finding: Finding) -> str:
    """Return what to try, or what was."""
    if finding.verdict is not None:
        return f"tried {edits(finding.verdict.set)}"
    return _told(finding.remedies[0]) if finding.remedies else NO_REMEDY


def _told(remedy: Remedy) -> str:
    words = f"try {edits(remedy.set)}"
    # A set is a set for a reason, and the reason is in its safety.
    return f"{words} ({remedy.safety})" if len(remedy.set) > 1 else words


def _shown(item: Evidence) -> str:
    where = f" at {item.where}" if item.where else ""
    return f"{item.signal}{where} {item.observed:.3g}{_limit(item)}"


def _limit(item: Evidence) -> str:
    """Return on which side of its limit an observation lies, as far as three digits show it."""
    if item.reference is None:
        return ""
    seen, limit = f"{item.observed:.3g}", f"{item.reference:.3g}"
    side = "limit" if seen == limit else "below" if item.observed < item.reference else "above"
    return f" ({side} {limit})"


def _scores(scores: RunScores) -> str:
    if scores.validation_loss is None:
        return ""
    words = [f"Validation loss {number(scores.validation_loss, 4)}"]
    if scores.baseline is not None:
        words.append(f"baseline {number(scores.baseline, 4)}")
    floors = sorted(scores.floors.items(), key=lambda item: item[1])
    words += [f"{name.replace('_', ' ')} {number(loss, 4)}" for name, loss in floors]
    if scores.skill is not None:
        words.append(f"skill {number(scores.skill, signed=True)}")
    return "; ".join(words) + "."


def _silent(diagnosis: Diagnosis) -> str:
    """Name how many causes were clear, and some of those about which nothing is known."""
    if diagnosis.state == "learning":
        unknown = plural(len(diagnosis.not_measured), "cause")
        return f"Clear: {plural(len(diagnosis.clear), 'cause')}. Not measured: {unknown}."
    reasons: dict[str, list[str]] = {}
    for item in diagnosis.not_measured:
        reasons.setdefault(item.why, []).append(item.cause)
    told = [f"{listing(causes)} ({why})" for why, causes in list(reasons.items())[:MOST_REASONS]]
    left = len(diagnosis.not_measured) - sum(
        len(causes) for causes in list(reasons.values())[:MOST_REASONS]
    )
    words = f"Clear: {plural(len(diagnosis.clear), 'cause')}."
    if told:
        words += f" Not measured: {'; '.join(told)}" + (f"; {left} more." if left else ".")
    return plain(words)
