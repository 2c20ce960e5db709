"""From the losses of all arms to the verification: the repair, what its parts do, each verdict."""

from __future__ import annotations

import math

from tsdiag.diagnostics.states import LEARNS
from tsdiag.diagnostics.verdicts import (
    Member,
    RandomSearch,
    Repair,
    Tried,
    Verdict,
    Verification,
)
from tsdiag.verify.arms import canonical
from tsdiag.verify.chance import against_chance
from tsdiag.verify.course import Course
from tsdiag.verify.effects import way
from tsdiag.verify.hypotheses import described
from tsdiag.verify.pairing import compared, falls_short, rescued
from tsdiag.verify.plan import SEEDS
from tsdiag.verify.screening import RATE
from tsdiag.verify.waves import Edits, without

PLATEAU = "from the stalled weights"


def conclude(course: Course, complete: bool, runs: int, seconds: float) -> Verification:
    """Return what is shown so far; nothing is called confirmed that has not had its five pairs."""
    chosen = course.chosen()
    # Only of a confirmed set, so that the seeds do not choose what they confirm.
    whole = bool(chosen) and compared(course, chosen or {}).outcome == "confirmed"
    best = course.smallest(chosen) if chosen and whole else chosen or {}
    chance = against_chance(course, best) if best else None
    repair = _repair(course, best, chance) if best else None
    return Verification(
        run=course.plan.run,
        complete=complete,
        repair=repair,
        verdicts=_by_cause(course, repair),
        tried=_tried(course),
        left_out=_left_out(course),
        random=chance,
        runs=runs,
        seconds=seconds,
        summary=_summary(course, chosen, best, repair, chance),
    )


def _repair(course: Course, best: Edits, chance: RandomSearch | None) -> Repair | None:
    """Return the set that brings the run to learning, surely, or None."""
    found = compared(course, best)
    if found.outcome != "confirmed" or not found.learns:
        return None
    if chance is not None and not chance.beaten:
        return None
    members = tuple(_member(course, best, part) for part in course.parts(best))
    alone = [m.alone.effect for m in members if m.alone is not None and m.alone.seeds >= SEEDS]
    known = [effect for effect in alone if effect is not None]
    whole = found.effect
    rests = course.rests(best)
    return Repair(
        set=best,
        verdict=found.model_copy(update={"plateau": rescued(course, best)}),
        minimal=all(falls_short(course, rest, best) for rest in rests),
        missed_on=min((_seeds(course, rest, best) for rest in rests), default=0),
        members=members if len(members) > 1 else (),
        interaction=whole - sum(known) if whole and len(known) == len(members) > 1 else None,
        random=chance,
    )


def _seeds(course: Course, rest: Edits, whole: Edits) -> int:
    """Return on how many seeds a part has been compared with the whole."""
    if course.is_enough(rest, whole) is not None:
        return SEEDS
    return 0 if course.restores(rest, whole) is None else 1


def _member(course: Course, repair: Edits, part: Edits) -> Member:
    rest = without(repair, part.keys())
    alone = compared(course, part)
    added = compared(course, repair, rest, tuple(sorted(rest)))
    return Member(
        set=part,
        alone=alone if alone.seeds else None,
        without=added if rest and added.seeds else None,
        builds_alone=course.builds(part),
        builds_without=course.builds(rest),
    )


def _by_cause(course: Course, repair: Repair | None) -> dict[str, Verdict]:
    """Return for each cause the verdict on its remedy: alone, or else as a part of the repair."""
    found: dict[str, Verdict] = {}
    shares = _shares(course, repair)
    for hypothesis in course.plan.hypotheses:
        mine = shares.get(canonical(hypothesis.set), {})
        here = _of_remedy(course, hypothesis.set, mine, repair)
        for cause in hypothesis.causes:
            if cause not in found or _weight(here) > _weight(found[cause]):
                found[cause] = here
    return {cause: told for cause, told in found.items() if told.seeds}


def _shares(course: Course, repair: Repair | None) -> dict[str, Edits]:
    """Return by remedy what it has brought to the repair.

    A remedy whose paths are all claimed by others, of which more is in the repair, brought nothing:
    positions that come with a pool do not show that a projection was missing.
    """
    if repair is None:
        return {}
    shared = {
        canonical(h.set): {p: v for p, v in repair.set.items() if _agrees(course, h.set, p, v)}
        for h in course.plan.hypotheses
    }
    of = {canonical(h.set): h.set for h in course.plan.hypotheses}
    claimed: set[str] = set()
    found: dict[str, Edits] = {}
    for key in sorted(shared, key=lambda key: -len(shared[key]) / len(of[key])):
        if shared[key].keys() - claimed:
            found[key] = shared[key]
        claimed |= shared[key].keys()
    return found


def _agrees(course: Course, remedy: Edits, path: str, value: object) -> bool:
    """Tell whether a remedy asks for this change; of a rate, for one in the same direction."""
    if path != RATE or path not in remedy:
        return path in remedy and bool(remedy[path] == value)
    before = course.plan.base.optimizer.lr
    return (float(remedy[path]) > before) == (float(str(value)) > before)


def _of_remedy(course: Course, changes: Edits, mine: Edits, repair: Repair | None) -> Verdict:
    alone = compared(course, changes)
    alone = alone.model_copy(update={"plateau": rescued(course, changes)})
    if alone.outcome == "confirmed" or repair is None or not mine:
        return alone
    rest = {path: value for path, value in repair.set.items() if path not in mine}
    if not rest:
        return repair.verdict
    together = compared(course, repair.set, rest, tuple(sorted(rest)))
    if together.outcome != "confirmed":
        return alone
    return together.model_copy(update={"set": mine, "plateau": rescued(course, mine)})


def _weight(found: Verdict) -> tuple[int, bool, bool, int, float]:
    """Return what makes one remedy's verdict more telling than another's of the same cause."""
    sure = {"confirmed": 2, "refuted": 1, "inconclusive": 0}[found.outcome]
    same_budget = "training.max_steps" not in found.set
    return sure, found.alone, same_budget, found.seeds, -(found.effect or 0.0)


def _left_out(course: Course) -> dict[str, str]:
    """Return what was not carried out, with the reason."""
    left_out = dict(course.plan.left_out)
    if course.plan.weights is None:
        left_out[PLATEAU] = "the run left no weights but its first"
    return left_out


def _tried(course: Course) -> tuple[Tried, ...]:
    causes = {canonical(h.set): h.causes for h in course.plan.hypotheses}
    return tuple(
        Tried(set=s, causes=causes.get(canonical(s), ()), verdict=compared(course, s))
        for s in course.sets()
    )


def _summary(
    course: Course,
    chosen: Edits | None,
    best: Edits,
    repair: Repair | None,
    chance: RandomSearch | None,
) -> str:
    """Return in one or two sentences what came of it."""
    if repair is not None:
        told = repair.verdict
        return (
            f"confirmed: {described(repair.set)} brings it to learning; over {told.seeds} seeds "
            f"and {told.steps} steps the loss is {_number(told.treatment)} instead of "
            f"{_number(told.control)}"
        )
    if chosen is None:
        return "no set of remedies was found yet; the same line with --verify goes on"
    if not chosen:
        return "no repair: none of the remedies can be carried out within the same steps"
    found, blind = compared(course, best), _blind(course, best)
    if found.seeds < SEEDS:
        return (
            f"{described(best)} did most in screening, and has {found.seeds} of {SEEDS} pairs, "
            f"which is no proof yet{blind}"
        )
    if found.outcome != "confirmed":
        return (
            f"no repair: {described(best)} did most in screening, and is {found.outcome}; no other "
            f"set was given five pairs{blind}"
        )
    if not found.learns:
        return (
            f"{described(best)} helps ({_number(found.control)} to {_number(found.treatment)}), "
            f"but {_way(course, best)}; it may need more steps than {course.steps}"
        )
    why = "" if chance is None else f": {chance.why}"
    return (
        f"no repair to recommend: {described(best)} brings it to learning, but chance goes "
        f"farther{why}; [[enqueue]] in study.toml tries either"
    )


def _blind(course: Course, best: Edits) -> str:
    """Return a warning where screening chose among sets that had not begun to learn."""
    screened = course.screened(best, best)
    if screened is None or screened[1] < course.plan.naive:
        return ""
    return (
        f"; in {screened[0]} steps of screening nothing got below the naive floor, so this choice "
        "is little more than chance: a larger --budget takes more steps"
    )


def _way(course: Course, changes: Edits) -> str:
    """Return how far a set that does not surely learn takes the run."""
    interval = way(course.plan, list(course.losses(changes).values()))
    assert interval is not None
    low, middle, high = (100 * x for x in (interval.low, interval.value, interval.high))
    limit = f"learning means surely above {100 * LEARNS:.0f} %"
    return f"takes the run {middle:.0f} % [{low:.0f}, {high:.0f}] of the way, and {limit}"


def _number(value: float | None) -> str:
    return "?" if value is None or not math.isfinite(value) else f"{value:.4g}"
