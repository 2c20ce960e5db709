"""What carrying remedies out showed, on a terminal and in markdown; the words are ``repair``'s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsdiag.escaping import code, escaped, plain
from tsdiag.report.repair import MEMBERS, Judged, Told
from tsdiag.report.wording import paragraph, sentence, table

if TYPE_CHECKING:
    from rich.text import Text

COLOURS = {"confirmed": "green", "refuted": "red", "inconclusive": "yellow"}


def append_told(text: Text, told: Told) -> None:
    """Append to a screen what was shown of the run."""
    label = _label(told)
    folded = paragraph(plain(_headed(told)))
    text.append(f"\n{label}", style=f"bold {'green' if told.confirmed else 'yellow'}")
    text.append(f"{folded.removeprefix(label)}\n")
    for change in told.changes:
        text.append(f"{paragraph(plain(change), '   ')}\n")
    for words in told.shown:
        text.append(f"{paragraph(plain(words))}\n")
    if told.members:
        text.append(f"\n{table(MEMBERS, told.members, words=len(MEMBERS))}\n\n")
    for words in told.more:
        text.append(f"{paragraph(plain(words))}\n")


def append_verdict(text: Text, judged: Judged) -> None:
    """Append to a finding on a screen what was shown of its remedy."""
    folded = paragraph(plain(f"{judged.outcome}{_grounds(judged)}"), "   ")
    text.append("   ")
    text.append(judged.outcome, style=f"bold {COLOURS[judged.outcome]}")
    text.append(f"{folded.lstrip().removeprefix(judged.outcome)}\n")
    if judged.plateau is not None:
        text.append(f"{paragraph(_plateau(judged.plateau), '   ')}\n")


def told_markdown(told: Told) -> str:
    """Return what was shown of the run as paragraphs, a list and a table."""
    label = _label(told)
    parts = [f"**{label}**{_safe(_headed(told).removeprefix(label))}"]
    parts.append("\n".join(f"- {code(change)}" for change in told.changes))
    parts += [_safe(words) for words in told.shown]
    if told.members:
        rows = [MEMBERS, ("---",) * len(MEMBERS)]
        rows += [tuple(map(_safe, row)) for row in told.members]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    parts += [_safe(words) for words in told.more]
    return "\n\n".join(part for part in parts if part)


def verdict_markdown(judged: Judged) -> list[str]:
    """Return what was shown of a finding's remedy as points of a list."""
    points = [f"tried {code(judged.tried)}", f"**{judged.outcome}**{_safe(_grounds(judged))}"]
    return points if judged.plateau is None else [*points, _safe(_plateau(judged.plateau))]


def _safe(text: str) -> str:
    return escaped(plain(text))


def _label(told: Told) -> str:
    # What was carried out without showing anything must not read as if it had.
    return "Verified" if told.confirmed else "Verification"


def _headed(told: Told) -> str:
    return sentence(f"{_label(told)}: {told.headline}")


def _grounds(judged: Judged) -> str:
    return f", {judged.together}: {judged.grounds}" if judged.together else f": {judged.grounds}"


def _plateau(words: str) -> str:
    return f"from the stalled weights: {words}"
