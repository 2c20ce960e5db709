"""Verdicts and the repair -> words, which terminal, markdown and page arrange each in its way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tsdiag.report.wording import listing, number, plural

if TYPE_CHECKING:
    from tsdiag.diagnostics.findings import Diagnosis, Finding, RunScores, State
    from tsdiag.diagnostics.verdicts import Member, Outcome, Repair, Rescue, Verdict

# The sum of effects alone is as good as the effect together up to this share of it: less is within
# what five seeds can tell apart.
SAME = 0.1
# Pairs of a verdict; of fewer, their number is told.
ENOUGH = 5
# Runs in other states have nothing to repair: verify refuses them.
VERIFIABLE: tuple[State, ...] = ("stalled", "diverged", "undecided")
MEMBERS = ("change", "alone", "added to the rest")
UNFINISHED = (
    "Not finished: the repair stands, and parts of it or other causes are still to be tried."
)
MISSING, UNBUILT = "not tried yet", "cannot be built"
PLATEAU: dict[Rescue, str] = {
    "rescued": "rescued, it learns from there",
    "only from scratch": "not rescued, it learns only from scratch",
    "not at all": "not rescued, nor does it learn from scratch",
    "inconclusive": "inconclusive",
}


class Told(NamedTuple):
    """What carrying remedies out showed of a run, in the order of its telling."""

    confirmed: bool
    headline: str
    changes: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()  # sentences: what it does, how far it goes, whether it is minimal
    members: tuple[tuple[str, str, str], ...] = ()  # rows under MEMBERS
    more: tuple[str, ...] = ()  # sentences: the parts together, and chance


class Judged(NamedTuple):
    """What carrying a finding's remedy out showed."""

    tried: str
    outcome: Outcome
    together: str  # with what it helps; empty: by itself
    grounds: str
    plateau: str | None


def told(diagnosis: Diagnosis) -> Told | None:
    """Return what was verified, or None where nothing was."""
    repair, ceiling = diagnosis.repair, _ceiling(diagnosis)
    if repair is None:
        summary = diagnosis.verification
        more = (ceiling,) if ceiling else ()
        return None if summary is None else Told(False, summary, more=more)
    count = len(repair.set)
    these = "this change brings" if count == 1 else f"these {count} changes together bring"
    members = tuple(_row(member) for member in repair.members if count > 1)
    return Told(
        confirmed=True,
        headline=f"{these} it to learning",
        changes=tuple(edits({path: repair.set[path]}) for path in sorted(repair.set)),
        shown=(_shown(repair.verdict, diagnosis.scores), _minimal(repair)),
        members=members,
        more=tuple(
            filter(
                None,
                (
                    _suffices(repair),
                    _interaction(repair),
                    _chance(repair),
                    ceiling,
                    "" if diagnosis.verified else UNFINISHED,
                ),
            )
        ),
    )


def judged(finding: Finding) -> Judged | None:
    """Return what is told of a finding's verdict, or None where it has none."""
    verdict = finding.verdict
    if verdict is None:
        return None
    return Judged(
        tried=edits(verdict.set),
        outcome=verdict.outcome,
        together="" if verdict.alone else f"only together with {listing(verdict.others)}",
        grounds=_grounds(verdict),
        plateau=None if verdict.plateau is None else PLATEAU[verdict.plateau],
    )


def edits(paths: Mapping[str, Any]) -> str:
    """Return changes as they are written in a study file."""
    return ", ".join(f"{path} = {json.dumps(value)}" for path, value in paths.items())


def effect(verdict: Verdict) -> str:
    """Return an effect with its interval: "-0.90 [-0.93, -0.87]"."""
    decimals = _decimals(verdict)
    mean = number(verdict.effect, decimals, signed=True)
    if verdict.interval is None:
        return mean
    ends = (number(end, decimals, signed=True) for end in verdict.interval)
    return f"{mean} [{', '.join(ends)}]"


def is_unfinished(diagnosis: Diagnosis) -> bool:
    """Tell whether carrying remedies out, for the first time or for longer, would show more."""
    wanted = bool(diagnosis.suspects) or any(found.remedies for found in diagnosis.findings)
    return wanted and not diagnosis.verified and diagnosis.state in VERIFIABLE


def shown_cause(diagnosis: Diagnosis) -> str | None:
    """Return the first cause that was confirmed, else the first one, or None."""
    confirmed = (found.cause for found in diagnosis.findings if is_confirmed(found))
    return next(confirmed, diagnosis.top_cause)


def is_confirmed(finding: Finding) -> bool:
    """Tell whether carrying a remedy out has confirmed the cause."""
    return finding.verdict is not None and finding.verdict.outcome == "confirmed"


def _shown(verdict: Verdict, scores: RunScores) -> str:
    decimals = _decimals(verdict)
    control, treatment = number(verdict.control, decimals), number(verdict.treatment, decimals)
    p = "" if verdict.p is None else f", sign-flip p = {verdict.p:.2g}"
    words = (
        f"Validation loss {control} -> {treatment} over {plural(verdict.seeds, 'pair')} of seeds, "
        f"effect {effect(verdict)}{p}, {_steps(verdict)}."
    )
    if verdict.attained is None:
        return words
    ends = (scores.naive or "the naive floor", scores.best or "the best reference")
    begin, end = (name.replace("_", " ") for name in ends)
    return f"{words} That is {100 * verdict.attained:.0f} % of the way from {begin} to {end}."


def _steps(verdict: Verdict) -> str:
    each = plural(verdict.steps, "step") + ("" if verdict.seeds == 1 else " each")
    longer = "training.max_steps" in verdict.set
    return f"{each}, with training.max_steps in proportion" if longer else each


def _minimal(repair: Repair) -> str:
    if len(repair.set) == 1:
        return "Minimal: it is a single change."
    if repair.minimal:
        surely = ", by one seed" if repair.missed_on == 1 else ""
        return (
            f"Minimal{surely}: without any one of them it goes less than 90 % as far, or cannot be "
            "built."
        )
    return "Not shown to be minimal: not every change was left out and missed."


def _suffices(repair: Repair) -> str:
    """Name the parts that by themselves bring the run to learning, though not as far."""
    enough = [
        f"{listing(sorted(member.set))} alone {100 * member.alone.attained:.0f} %"
        for member in repair.members
        if member.alone is not None and member.alone.learns and member.alone.attained is not None
    ]
    return f"Learning, too, but less far: {listing(enough)} of the way." if enough else ""


def _grounds(verdict: Verdict) -> str:
    """Return what an outcome rests on; one pair never reads like more than one."""
    if verdict.effect is None:
        return verdict.why
    if verdict.seeds == 1:
        return f"a screen of 1 seed: {effect(verdict)} in {_steps(verdict)}, no proof yet"
    over = f"over {verdict.seeds} seeds, {_steps(verdict)}"
    why = "" if verdict.outcome == "confirmed" else f" ({verdict.why})"
    return f"loss moved by {effect(verdict)} {over}{why}"


def _row(member: Member) -> tuple[str, str, str]:
    """Return what a part does by itself, and what it adds to the others."""
    alone, added = member.alone, member.without
    return (
        _named(sorted(member.set)),
        _missing(member.builds_alone) if alone is None else _cell(alone, alone.outcome),
        _missing(member.builds_without) if added is None else _cell(added),
    )


def _named(paths: Sequence[str]) -> str:
    """Return "model.d_model + embedding": both would not fit beside two effects."""
    section = paths[0].partition(".")[0]
    return " + ".join([paths[0], *(path.removeprefix(f"{section}.") for path in paths[1:])])


def _missing(builds: bool) -> str:
    return MISSING if builds else UNBUILT


def _cell(verdict: Verdict, outcome: str = "") -> str:
    if verdict.seeds < ENOUGH:
        return f"{effect(verdict)} ({plural(verdict.seeds, 'seed')})"
    return f"{effect(verdict)} {outcome}".strip()


def _ceiling(diagnosis: Diagnosis) -> str:
    """Say what losses count as that are worse than knowing nothing, where any effect has them."""
    repair = diagnosis.repair
    shown = [found.verdict for found in diagnosis.findings]
    if repair is not None:
        shown += [repair.verdict]
        shown += [verdict for part in repair.members for verdict in (part.alone, part.without)]
    levels = [verdict.ceiling for verdict in shown if verdict and verdict.ceiling is not None]
    if not levels:
        return ""
    level = number(levels[0])
    return f"In effects, losses above {level} (predicting the mean) are counted as {level}."


def _interaction(repair: Repair) -> str:
    whole, interaction = repair.verdict.effect, repair.interaction
    if whole is None or interaction is None:
        return ""
    decimals = _decimals(repair.verdict)
    both, parts = (number(value, decimals, signed=True) for value in (whole, whole - interaction))
    against = f"the sum of what each does alone ({both} against {parts})"
    if abs(interaction) < SAME * abs(whole):
        return f"Together they do about {against}."
    share = number(abs(interaction), decimals)
    if interaction < 0:
        return f"Together they do {share} more than {against}."
    return f"Together they do {share} less than {against}: what they do overlaps."


def _chance(repair: Repair) -> str:
    if repair.random is None:
        return "Not compared with random edits yet."
    better = (
        "Better than chance" if repair.random.better else "As good as chance, with no more changes"
    )
    so_far = "" if repair.random.complete else ", as far as time allowed"
    return f"{better}{so_far}: {repair.random.why}."


def _decimals(verdict: Verdict) -> int:
    """Return how many decimals show a digit of the interval, or without one two of the effect."""
    low, high = verdict.interval or (0.0, 0.0)
    finest = (high - low) / 2 or abs(verdict.effect or 0.0) / 10
    if not (finest > 0 and math.isfinite(finest)):
        return 2
    return min(4, max(2, -math.floor(math.log10(finest))))
