"""Two sets of changes against each other, on the seeds that both have been carried out on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsdiag.diagnostics.verdicts import Rescue, Verdict
from tsdiag.verify.course import Course
from tsdiag.verify.effects import verdict
from tsdiag.verify.plan import SEEDS
from tsdiag.verify.waves import Edits, forkable


def compared(
    course: Course,
    changes: Edits,
    against: Edits | None = None,
    others: Sequence[str] = (),
    origin: str | None = None,
) -> Verdict:
    """Return the verdict on a set against another one (None: the control), on all seeds known.

    Where there are no pairs of the confirmation, it is what one seed showed in screening.
    """
    treatment = course.losses(changes, origin=origin)
    control = course.losses(against or {}, origin=origin)
    seeds = sorted(treatment.keys() & control.keys())
    before, after = [control[seed] for seed in seeds], [treatment[seed] for seed in seeds]
    steps = course.steps
    both = None if seeds or origin else course.screened(changes, against or {})
    if both is not None:
        steps, after, before = both[0], [both[1]], [both[2]]
    return verdict(course.plan, changes, before, after, steps, others)


def mean(course: Course, changes: Edits) -> float | None:
    """Return the mean loss over all seeds of the confirmation, None while one is missing.

    Of the losses as they count in a verdict.
    """
    losses = [course.plan.counted(loss) for loss in course.losses(changes).values()]
    return float(np.mean(losses)) if len(losses) >= SEEDS else None


def falls_short(course: Course, rest: Edits, whole: Edits) -> bool | None:
    """Tell whether a part goes less far than the whole; by one seed where there are no more."""
    enough = course.is_enough(rest, whole)
    if enough is not None:
        return not enough
    restored = course.restores(rest, whole)
    return None if restored is None else not restored


def rescued(course: Course, changes: Edits) -> Rescue | None:
    """Tell whether a remedy saves the stalled weights, or only a run that begins anew.

    None: it was not tried there, or is no matter of optimisation.
    """
    if not forkable(changes):
        return None
    there = compared(course, changes, origin=course.plan.run)
    if there.seeds == 0:
        return None
    if there.outcome == "confirmed" and there.learns:
        return "rescued"
    scratch = compared(course, changes)
    if there.seeds < SEEDS or scratch.seeds < SEEDS:
        return "inconclusive"
    if scratch.outcome == "confirmed" and scratch.learns:
        return "only from scratch"
    return "not at all" if scratch.outcome != "inconclusive" else "inconclusive"
