"""From paired losses to an effect and an outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tsdiag.diagnostics.states import LEARNS
from tsdiag.diagnostics.verdicts import Outcome, Verdict
from tsdiag.statistics import Estimate, sign_flip, t_interval
from tsdiag.verify.plan import SEEDS, WORTHWHILE, Plan

# One-sided, since a remedy says beforehand which way the loss should move.
LEVEL = 0.05


def verdict(
    plan: Plan,
    changes: Mapping[str, Any],
    control: Sequence[float],
    treatment: Sequence[float],
    steps: int,
    others: Sequence[str] = (),
) -> Verdict:
    """Return what pairs of validation losses show, one pair a seed.

    Confirmed: at least five pairs, the sign-flip test's p at most .05 (1/32 where all of five
    agree; Fisher 1935), Student's 95 % interval below 0, and the effect at least 5 % of what is
    within reach. Refuted: at least five pairs, and the interval leaves no such effect. Else, and
    always with fewer pairs, inconclusive.

    A loss above that of the training mean counts as it (``Plan.counted``): of controls between
    1.3 and 7.3 beside treatments of .18, Student's interval held 0. A gain above that level alone
    is no skill, and yet a gain: it is not refuted.
    """
    worthwhile = WORTHWHILE * (plan.naive - plan.reference)
    before, after = (np.asarray([plan.counted(x) for x in some]) for some in (control, treatment))
    differences = after - before
    count = len(differences)
    if count == 0:
        return Verdict(
            outcome="inconclusive",
            why="no pair of runs has ended",
            set=dict(changes),
            effect=None,
            seeds=0,
            steps=steps,
            alone=not others,
            others=tuple(others),
        )
    estimate = t_interval(differences)
    interval = None if estimate is None else (estimate.low, estimate.high)
    p = sign_flip(differences, alternative="less") if count > 1 else None
    effect = float(differences.mean())
    outcome, why = _outcome(count, effect, interval, p, worthwhile)
    lowest = min(before.min(), after.min())
    if outcome == "refuted" and lowest >= plan.constant and sum(treatment) < sum(control):
        outcome = "inconclusive"
        why = f"{count} pairs gain above the training mean's loss alone, where nothing is learned"
    return Verdict(
        outcome=outcome,
        why=why,
        set=dict(changes),
        effect=effect,
        ceiling=plan.constant if max(*control, *treatment) > plan.constant else None,
        interval=interval,
        p=p,
        control=float(np.mean(control)),
        treatment=float(np.mean(treatment)),
        attained=plan.attained(float(after.mean())),
        learns=learns(plan, treatment),
        seeds=count,
        steps=steps,
        alone=not others,
        others=tuple(others),
    )


def learns(plan: Plan, losses: Sequence[float]) -> bool:
    """Tell whether runs surely go more than half of the way, over seeds: then they learn."""
    interval = way(plan, losses)
    return len(losses) >= SEEDS and interval is not None and interval.low > LEARNS


def way(plan: Plan, losses: Sequence[float]) -> Estimate | None:
    """Return the mean share of the way that runs go, with its interval over seeds."""
    return t_interval(np.asarray([plan.attained(loss) for loss in losses]))


def _outcome(
    count: int,
    effect: float,
    interval: tuple[float, float] | None,
    p: float | None,
    worthwhile: float,
) -> tuple[Outcome, str]:
    if count < SEEDS or interval is None or p is None:
        return "inconclusive", f"a screen of {count} of the {SEEDS} pairs that a verdict needs"
    low, high = interval
    if p <= LEVEL and high < 0 and effect <= -worthwhile:
        return "confirmed", f"{count} pairs, sign-flip p = {p:.3f}, and the interval is below 0"
    if low > -worthwhile:
        return "refuted", (
            f"{count} pairs leave no gain of {worthwhile:.3g}, {100 * WORTHWHILE:.0f} % of what is "
            "within reach"
        )
    if high >= 0:
        return "inconclusive", f"the interval of {count} pairs holds 0 and a gain worth having"
    return "inconclusive", f"{count} pairs: too small, or too unsure, to be called a gain"
