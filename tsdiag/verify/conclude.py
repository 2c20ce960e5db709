"""From the losses of all arms to the verification: the repair, what its parts do, each verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tsdiag.diagnostics.states import LEARNS
from tsdiag.diagnostics.verdicts import (
    Member,
    RandomSearch,
    Repair,
    Rescue,
    Tried,
    Verdict,
    Verification,
)
from tsdiag.statistics import t_interval
from tsdiag.verify.arms import canonical
from tsdiag.verify.course import RESTORES, Course, Edits, forkable
from tsdiag.verify.effects import verdict
from tsdiag.verify.hypotheses import described, refusal
from tsdiag.verify.plan import SEEDS


def conclude(course: Course, complete: bool, runs: int, seconds: float) -> Verification:
    """Return what is shown so far; nothing is called confirmed that has not had its five pairs."""
    plan = course.plan
    chosen = course.chosen()
    chance = _random(course, chosen)
    repair = _repair(course, chosen, chance) if chosen else None
    return Verification(
        run=plan.run,
        complete=complete,
        repair=repair,
        verdicts=_by_cause(course, repair),
        tried=_tried(course),
        left_out=plan.left_out,
        random=chance,
        runs=runs,
        seconds=seconds,
        summary=_summary(course, chosen, repair, chance),
    )


def compared(
    course: Course,
    changes: Edits,
    against: Edits | None = None,
    others: Sequence[str] = (),
    origin: str | None = None,
) -> Verdict:
    """Return the verdict on a set against another one (None: the control), on all seeds known."""
    treatment, control = course.losses(changes, origin), course.losses(against or {}, origin)
    seeds = sorted(treatment.keys() & control.keys())
    found = verdict(
        course.plan,
        changes,
        [control[seed] for seed in seeds],
        [treatment[seed] for seed in seeds],
        course.plan.steps,
        others,
    )
    return found if found.seeds else _screen(course, changes, against or {}, found)


def _screen(course: Course, changes: Edits, against: Edits, found: Verdict) -> Verdict:
    """Return what one seed showed, where there are no pairs of the confirmation."""
    here, plain = course.screened(changes), course.screened(against)
    if here is None or plain is None or here[0] != plain[0]:
        return found
    return verdict(course.plan, changes, [plain[1]], [here[1]], here[0], found.others)


def _repair(course: Course, chosen: Edits, chance: RandomSearch | None) -> Repair | None:
    """Return the set that brings the run to learning, surely, or None."""
    best = _smaller(course, chosen)
    found = compared(course, best)
    if found.outcome != "confirmed" or not learns(course, best):
        return None
    if chance is not None and not chance.beaten:
        return None
    members = tuple(_member(course, best, path) for path in sorted(best))
    alone = [m.alone.effect for m in members if m.alone is not None and m.alone.seeds >= SEEDS]
    whole = found.effect
    interaction = (
        whole - sum(e for e in alone if e is not None)
        if whole is not None and len(alone) == len(members) > 1
        else None
    )
    missed = all(_is_missed(course, best, member) for member in members)
    return Repair(
        set=best,
        verdict=found,
        minimal=len(best) == 1 or missed,
        members=members if len(best) > 1 else (),
        interaction=interaction,
        random=chance,
    )


def _smaller(course: Course, chosen: Edits) -> Edits:
    """Return a part of the set that restores as well on all seeds: screening had only one."""
    whole = _mean(course, chosen)
    if whole is None or len(chosen) == 1:
        return chosen
    parts = [{path: value} for path, value in chosen.items()]
    parts += [{p: v for p, v in chosen.items() if p != path} for path in chosen]
    for part in sorted(parts, key=len):
        loss = _mean(course, part)
        if loss is None or len(course.losses(part)) < SEEDS:
            continue
        if course.plan.attained(loss) >= RESTORES * course.plan.attained(whole) and learns(
            course, part
        ):
            return part
    return chosen


def learns(course: Course, changes: Edits) -> bool:
    """Tell whether a set surely goes more than half of the way, over the seeds: then it learns."""
    attained = [course.plan.attained(loss) for loss in course.losses(changes).values()]
    interval = t_interval(np.asarray(attained))
    return interval is not None and interval.low > LEARNS


def _mean(course: Course, changes: Edits) -> float | None:
    losses = list(course.losses(changes).values())
    return float(np.mean(losses)) if losses else None


def _member(course: Course, repair: Edits, path: str) -> Member:
    rest = {p: v for p, v in repair.items() if p != path}
    part = {path: repair[path]}
    alone = compared(course, part)
    without = compared(course, repair, rest, tuple(sorted(rest)))
    return Member(
        path=path,
        value=repair[path],
        alone=alone if alone.seeds else None,
        without=without if without.seeds else None,
        builds_alone=_builds(course, part),
        builds_without=_builds(course, rest),
    )


def _builds(course: Course, changes: Edits) -> bool:
    return refusal(course.plan.base, changes, course.shapes) is None


def _is_missed(course: Course, repair: Edits, member: Member) -> bool:
    """Tell whether the repair does not restore without a path, or cannot be built without it."""
    if not member.builds_without:
        return True
    rest = {path: value for path, value in repair.items() if path != member.path}
    whole, left = _mean(course, repair), _mean(course, rest)
    if whole is not None and left is not None:
        plan = course.plan
        return plan.attained(left) < RESTORES * plan.attained(whole) or not learns(course, rest)
    # By the one seed of screening, on which leaving it out was asked.
    return course.screened(rest) is not None


def _by_cause(course: Course, repair: Repair | None) -> dict[str, Verdict]:
    """Return for each cause the verdict on its remedy: alone, or else as a part of the repair."""
    found: dict[str, Verdict] = {}
    for hypothesis in course.plan.hypotheses:
        for cause in hypothesis.causes:
            here = _of_cause(course, hypothesis.set, repair)
            if cause not in found or _weight(here) > _weight(found[cause]):
                found[cause] = here
    return {cause: told for cause, told in found.items() if told.seeds}


def _of_cause(course: Course, changes: Edits, repair: Repair | None) -> Verdict:
    alone = compared(course, changes)
    plateau = _plateau(course, changes, alone)
    alone = alone.model_copy(update={"plateau": plateau})
    if alone.outcome == "confirmed" or repair is None:
        return alone
    mine = {path: value for path, value in repair.set.items() if path in changes}
    if not mine:
        return alone
    rest = {path: value for path, value in repair.set.items() if path not in mine}
    if not rest:
        return compared(course, repair.set).model_copy(update={"plateau": plateau})
    together = compared(course, repair.set, rest, tuple(sorted(rest)))
    if together.outcome != "confirmed":
        return alone
    return together.model_copy(update={"set": mine, "plateau": plateau})


def _weight(found: Verdict) -> tuple[int, int, int, float]:
    """Return what makes one remedy's verdict more telling than another's of the same cause."""
    sure = {"confirmed": 2, "refuted": 1, "inconclusive": 0}[found.outcome]
    return sure, int(found.alone), found.seeds, -(found.effect or 0.0)


def _plateau(course: Course, changes: Edits, scratch: Verdict) -> Rescue | None:
    """Tell whether a remedy saves the stalled weights, or only a run that begins anew."""
    if not forkable(changes):
        return None
    there = compared_at_plateau(course, changes)
    if there is None:
        return None
    if there.outcome == "confirmed":
        return "rescued"
    if there.seeds < SEEDS or scratch.seeds < SEEDS or there.outcome == "inconclusive":
        return "inconclusive"
    return "only from scratch" if scratch.outcome == "confirmed" else "not at all"


def compared_at_plateau(course: Course, changes: Edits) -> Verdict | None:
    """Return the verdict on a set of changes from the weights that the run had stalled with."""
    run = course.plan.run
    treatment, control = course.losses(changes, run), course.losses({}, run)
    seeds = sorted(treatment.keys() & control.keys())
    if not seeds:
        return None
    before, after = [control[s] for s in seeds], [treatment[s] for s in seeds]
    return verdict(course.plan, changes, before, after, course.plan.steps)


def _random(course: Course, repair: Edits | None) -> RandomSearch | None:
    """Return how far random edits came, and whether the repair is better."""
    best = course.random_best()
    if best is None or not repair:
        return None
    plan, changes = course.plan, best[0]
    ran = course.random_arms()
    theirs, mine = _mean(course, changes), _mean(course, repair)
    if theirs is None or mine is None:
        screened = course.screened(repair)
        theirs, mine = best[1], None if screened is None else screened[1]
    if mine is None:
        return None
    far, theirs_far = plan.attained(mine), plan.attained(theirs)
    smaller = len(changes) < len(repair) and theirs_far >= RESTORES * far
    beaten = not smaller and far >= RESTORES * theirs_far
    words = f"the best of {len(ran)} random edits, {described(changes)}, reaches {theirs:.4g}"
    why = f"{words}; the repair {mine:.4g}"
    return RandomSearch(
        runs=len(ran),
        steps=sum(arm.steps for arm in ran),
        set=changes,
        loss=theirs,
        beaten=beaten,
        why=why if beaten else f"{why}, with {len(repair)} changes to {len(changes)}",
    )


def _tried(course: Course) -> tuple[Tried, ...]:
    causes: dict[str, tuple[str, ...]] = {
        canonical(hypothesis.set): hypothesis.causes for hypothesis in course.plan.hypotheses
    }
    return tuple(
        Tried(set=s, causes=causes.get(canonical(s), ()), verdict=compared(course, s))
        for s in course.sets()
    )


def _summary(
    course: Course, chosen: Edits | None, repair: Repair | None, chance: RandomSearch | None
) -> str:
    """Return in one or two sentences what came of it."""
    plan = course.plan
    if repair is not None:
        return (
            f"confirmed: {described(repair.set)} brings it to learning; over {SEEDS} seeds and "
            f"{plan.steps} steps the loss is {_number(repair.verdict.treatment)} instead of "
            f"{_number(repair.verdict.control)}"
        )
    if chosen is None:
        return "the budget ended before a set of remedies was found; --verify goes on"
    if not chosen:
        return "no repair: none of the remedies can be carried out within the same steps"
    best = _smaller(course, chosen)
    found = compared(course, best)
    if found.seeds < SEEDS:
        return (
            f"{described(best)} did most in screening, and has {found.seeds} of {SEEDS} pairs; "
            "--verify, with more time, goes on"
        )
    if found.outcome != "confirmed":
        return f"no repair: {described(best)} did most in screening, and is {found.outcome}"
    if not learns(course, best):
        return (
            f"{described(best)} helps ({_number(found.control)} to {_number(found.treatment)}), "
            f"but {_way(course, best)}; it may need more steps than {plan.steps}"
        )
    assert chance is not None
    return f"no repair: {described(best)} helps, but chance does as well: {chance.why}"


def _way(course: Course, changes: Edits) -> str:
    """Return how far a set that does not surely learn takes the run."""
    attained = [course.plan.attained(loss) for loss in course.losses(changes).values()]
    interval = t_interval(np.asarray(attained))
    assert interval is not None
    low, mean, high = (100 * x for x in (interval.low, interval.value, interval.high))
    limit = f"learning means surely above {100 * LEARNS:.0f} %"
    return f"takes the run {mean:.0f} % [{low:.0f}, {high:.0f}] of the way, and {limit}"


def _number(value: float | None) -> str:
    return "?" if value is None or not math.isfinite(value) else f"{value:.4g}"
