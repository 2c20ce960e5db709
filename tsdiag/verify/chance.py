"""A repair against random edits for as much time: what does not beat them is no repair."""

from __future__ import annotations

from tsdiag.diagnostics.verdicts import RandomSearch
from tsdiag.verify.course import Course
from tsdiag.verify.hypotheses import described
from tsdiag.verify.pairing import mean
from tsdiag.verify.plan import SEEDS
from tsdiag.verify.screening import RESTORES
from tsdiag.verify.waves import Edits


def against_chance(course: Course, repair: Edits) -> RandomSearch | None:
    """Return how far random edits came, and whether the repair is better; None: not known yet.

    On all seeds of the confirmation where the best edit came near enough to be given them, else by
    what it reached on the one of screening. Chance wins where its loss is lower, unless it takes as
    many changes to go little farther: then it has found much the same.
    """
    best = course.random_best()
    if best is None:
        return None
    plan, changes = course.plan, best[0]
    theirs, mine = mean(course, changes), mean(course, repair)
    over = f"over {SEEDS} seeds"
    if theirs is None or mine is None:
        over = "on one seed"
        theirs, mine = best[2], course.reached(repair, best[1])
        if mine is None:
            return None
    ran = course.random_arms()
    near = plan.attained(mine) >= RESTORES * plan.attained(theirs)
    beaten = mine <= theirs or (near and len(repair) <= len(changes))
    sizes = "" if beaten else f", with {_changes(repair)} to {len(changes)}"
    return RandomSearch(
        runs=len(ran),
        steps=sum(arm.steps for arm in ran),
        set=changes,
        loss=theirs,
        beaten=beaten,
        better=mine <= theirs,
        complete=course.is_random_done(),
        why=f"the best of {len(ran)} random edits, {described(changes)}, reaches {theirs:.4g} "
        f"{over}; the repair {mine:.4g}{sizes}",
    )


def _changes(repair: Edits) -> str:
    return "1 change" if len(repair) == 1 else f"{len(repair)} changes"
