"""Diagnosis -> words: a screen of a terminal, or markdown for the dashboard's note."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tsdiag.report.wording import listing, number, paragraph, plain, plural

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
    text.append(f"\n{paragraph(_sentence(plain(diagnosis.state_reason)))}\n")
    if scores := _scores(diagnosis.scores):
        text.append(f"{paragraph(scores)}\n")
    for place, finding in enumerate(diagnosis.findings[:SHOWN], start=1):
        text.append(f"\n{place}. ")
        text.append(finding.cause, style="bold")
        text.append(f"  (score {finding.score:.2f}{_symptom(finding)})\n")
        text.append("\n".join(_lines(finding)) + "\n")
    if diagnosis.state == "learning":
        text.append(f"\n{paragraph(LEARNS)}\n")
    if rest := diagnosis.findings[SHOWN:]:
        named = listing([f"{finding.cause} ({finding.score:.2f})" for finding in rest])
        text.append(f"\n{paragraph(f'Further: {named}')}\n")
    if diagnosis.warnings:
        named = f"By its settings alone, not by measurement: {listing(list(diagnosis.warnings))}."
        text.append(f"\n{paragraph(named)}\n")
    text.append(f"\n{_silent(diagnosis)}")
    for line in next_lines:
        text.append(f"\nNext: {line}" if line is next_lines[0] else f"\n      {line}")
    return text


def diagnosis_markdown(diagnosis: Diagnosis) -> str:
    """Return the diagnosis as short markdown; names are escaped."""
    parts = [
        f"**{diagnosis.state}**: {escaped(_sentence(diagnosis.state_reason))}",
        escaped(_scores(diagnosis.scores)),
    ]
    for place, finding in enumerate(diagnosis.findings, start=1):
        told = "; ".join(_shown(item) for item in finding.evidence[:MOST_EVIDENCE])
        parts.append(
            f"{place}. **{finding.cause}** (score {finding.score:.2f}{_symptom(finding)}): "
            f"{escaped(finding.summary)}\n   - {escaped(told)}"
            + "".join(f"\n   - try `{_edit(remedy.set)}`" for remedy in finding.remedies[:1])
        )
    parts.append(escaped(_silent(diagnosis)))
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Return a text that markdown and HTML show as it is."""
    for char in "\\`*_[]<>#|~":
        text = text.replace(char, "&lt;" if char == "<" else f"\\{char}")
    return text


def _who(diagnosis: Diagnosis) -> str:
    who = "the baseline" if diagnosis.trial is None else f"trial {diagnosis.trial}"
    return f"{who} of {plain(diagnosis.study)}"


def _symptom(finding: Finding) -> str:
    return f", a symptom of {finding.symptom_of}" if finding.symptom_of else ""


def _lines(finding: Finding) -> Iterator[str]:
    yield paragraph(_sentence(plain(finding.summary)), "   ")
    shown = "; ".join(_shown(item) for item in finding.evidence[:MOST_EVIDENCE])
    yield paragraph(plain(shown), "   ")
    told = _told(finding.remedies[0]) if finding.remedies else NO_REMEDY
    yield paragraph(plain(told), "   ")


def _told(remedy: Remedy) -> str:
    words = f"try {_edit(remedy.set)}"
    # A set is a set for a reason, and the reason is in its safety.
    return f"{words} ({remedy.safety})" if len(remedy.set) > 1 else words


def _edit(paths: Mapping[str, Any]) -> str:
    return ", ".join(f"{path} = {json.dumps(value)}" for path, value in paths.items())


def _shown(item: Evidence) -> str:
    where = f" at {item.where}" if item.where else ""
    limit = "" if item.reference is None else f" (limit {item.reference:.3g})"
    return f"{item.signal}{where} {item.observed:.3g}{limit}"


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
    return paragraph(plain(words))


def _sentence(text: str) -> str:
    """Return a text that begins with a capital letter and ends with a full stop."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
