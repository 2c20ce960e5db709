"""What makes a good score on a data set suspect: a judgement of the audit's numbers."""

from __future__ import annotations

from dataclasses import dataclass

from tsdiag.diagnostics.audit import DataAudit, FeatureSkill, Leaks
from tsdiag.diagnostics.findings import Evidence

# Of the naive floor's errors: no forecast of a next row is that good by itself. Generated series
# have at most .2, beijing33 .40.
FORESEES = 0.9
# What the target's own past leaves unexplained must be worth foreseeing: a smooth curve is not.
SMOOTH = 0.99
# Share of ridge's skill that one channel has by itself.
DOMINATES = 0.8
# Interpolation to half of the step repeats every second move. Chance is subtracted: beijing33 has
# .035 above it.
INTERPOLATED, STRAIGHT = 0.4, 0.6
# Share of a notable skill that must survive a gap between the spans, beyond two standard errors.
PURGED, NOTHING, NOTABLE = 0.5, 0.05, 0.1


@dataclass(frozen=True)
class Leak:
    """Why the data are suspect, the number that says so, and the one that leaves no doubt."""

    reason: str
    evidence: Evidence
    certain: float
    next_to_train: bool = False  # whether an embargo would repair it


def find_leak(audit: DataAudit) -> Leak | None:
    """Return the plainest sign of a leak, or None."""
    found = audit.leaks
    if found is None:
        return None
    for feature, rows in ((found.foreseeing, "last two rows"), (found.dominating, "past alone")):
        if feature is not None and _knows_its_future(feature, found):
            return _foreseen(feature, rows)
    return _interpolated(found) or _shared(found)


def leak(audit: DataAudit) -> str | None:
    """Return what makes a good score on these data suspect, or None."""
    found = find_leak(audit)
    return None if found is None else found.reason


def _knows_its_future(feature: FeatureSkill, leaks: Leaks) -> bool:
    past = max(0.0, leaks.past_skill or 0.0)
    beyond_the_past = 1 - feature.skill < (1 - FORESEES) * (1 - past) and past < SMOOTH
    return (
        not feature.is_target
        and feature.skill > FORESEES
        and feature.share > DOMINATES
        and beyond_the_past
    )


def _foreseen(feature: FeatureSkill, rows: str) -> Leak:
    return Leak(
        f'the {rows} of "{feature.channel}" explain {100 * feature.skill:.1f} % of what the naive '
        "floor leaves of the target: it seems to know its future, so a model that reads it proves "
        "nothing",
        Evidence(
            signal=f'skill of "{feature.channel}" alone',
            observed=feature.skill,
            reference=FORESEES,
            unit="skill",
        ),
        certain=1.0,
    )


def _interpolated(leaks: Leaks) -> Leak | None:
    share, chance = leaks.interpolated_share, leaks.repeated_by_chance
    if share is None or chance is None or chance >= 1:
        return None
    # Of the moves that chance would not repeat.
    excess = (share - chance) / (1 - chance)
    if excess <= INTERPOLATED:
        return None
    return Leak(
        f"{100 * share:.0f} % of the target's moves repeat the move before exactly "
        f"({100 * chance:.0f} % would by chance), as in an interpolated series: whoever continues "
        "a straight line scores well",
        Evidence(
            signal="moves that repeat the one before, beyond chance",
            observed=excess,
            reference=INTERPOLATED,
            unit="share",
        ),
        certain=STRAIGHT,
    )


def _shared(leaks: Leaks) -> Leak | None:
    full, purged, error = leaks.full_skill, leaks.purged_skill, leaks.purged_error
    if full is None or purged is None or error is None or full < NOTABLE:
        return None
    if purged + 2 * error >= PURGED * full:
        return None
    return Leak(
        f"with a gap of window and horizon between the spans, the skill of ridge falls from "
        f"{full:.2f} to {purged:.2f}: what it knows lies in rows next to the train span",
        Evidence(
            signal="ridge's skill beyond the gap",
            observed=purged,
            reference=PURGED * full,
            unit="skill",
        ),
        certain=NOTHING * full,
        next_to_train=True,
    )
