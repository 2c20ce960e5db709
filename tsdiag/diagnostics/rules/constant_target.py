"""Nearly all targets have one value, and the few others are all there is to learn.

What it looks for: a share of train windows with exactly the same target above nine in ten.

Why training stalls: the forecast of that value is right nine times in ten and its loss is hard to
beat; a batch holds few windows, or none, that would say anything else.

Told apart from: no-signal, where targets vary and nothing explains them; a target that is the same
in all windows, which is refused before training.

Remedies: none by configuration that keeps the question. Ask for a longer horizon, over which more
rows move; leave out hours in which nothing can; or ask whether it moves, as a question of its own.

Limits: judged by values that are equal to nine digits. A target that hardly moves and carries noise
in its last digits is not seen.

References: Croston 1972 (intermittent demand); Japkowicz and Stephen 2002 (the class imbalance
problem); measured: the lag series with moves kept in one row of 23 stalls at .18 of what is within
reach, with moves in one row of 8 it learns.
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, NotMeasured, strength
from tsdiag.diagnostics.rules.rule import Rule

# Share of windows whose target differs from the usual value: generated series have all, beijing33
# has .92. Measured: .13 learns, .07 is undecided, .04 stalls.
RARE, HARDLY_ANY = 0.1, 0.01


def check(case: Case) -> Answer:
    """Count the windows that say anything else than the usual value."""
    target = case.audit.target
    if target is None:
        return NotMeasured(why=case.audit.why_not("target"))
    others = 1 - target.most_frequent_share
    if others > RARE:
        return Clear()
    batch = int(case.setting("training.batch_size", 0))
    held = f", {batch * others:.1f} of a batch of {batch}" if batch else ""
    return Finding(
        cause="constant-target",
        score=strength(others, RARE, HARDLY_ANY),
        summary=f"{100 * target.most_frequent_share:.1f} % of the train windows have one and the "
        f"same target: only {100 * others:.1f} %{held}, say anything else",
        evidence=(
            Evidence(
                signal="windows with another target than the usual",
                observed=others,
                reference=RARE,
                unit="share",
            ),
        ),
    )


RULE = Rule(
    cause="constant-target",
    page=__doc__,
    check=check,
    # Few windows that say anything are soon learned by heart, and drown in every batch.
    explains=("overfitting", "gradient-noise-dominates", "no-signal"),
)
