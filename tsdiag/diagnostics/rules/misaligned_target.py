"""The target stands in other rows than the columns that explain it.

What it looks for: ridge on a few rows of all columns but the target explains the target far better
two or three rows before the one that is asked for.

Why training stalls: what the columns tell is over by the time that is predicted. A table joined off
by a horizon, or a target shifted twice, leaves little or nothing to learn.

Told apart from: no-signal, where no shift of rows helps; a slow effect, where columns explain later
rows less and less and the asked for row best of those ahead.

Remedies: none by configuration. Shift the target column by the rows that are named, or join the
tables by time again; then measure the floors anew.

Limits: one row is never called a shift, because columns that are measured together with the target
explain it best in its own row. The scan looks three rows to both sides, and a horizon to both where
the window reaches so far: other shifts, as a day of hours, are not seen. Columns that follow the
target by two rows, as a river follows the rain, look the same and can only be told by who knows the
data. Rows that were shuffled apart show as no-signal.

References: Box and Jenkins 1970, chapter 11 (cross-correlation and transfer functions); Kaufman et
al. 2012 (time stamps and what was known when).
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, NotMeasured, strength
from tsdiag.diagnostics.rules.rule import Rule

# Unlike times: the best skill over that where the target belongs. ``LagScan.best`` asks for two;
# beijing33 has 1.02, the generated series at most 1.02.
TWICE, TEN_TIMES = 2.0, 10.0
NOTHING = 0.01  # skills below this are one


def check(case: Case) -> Answer:
    """Look for a row in the past that the columns explain far better."""
    scan = case.audit.lag_scan
    if scan is None:
        return NotMeasured(why=case.audit.why_not("lag_scan"))
    if scan.best <= 1:
        return Clear()
    skill = dict(zip(scan.lags, scan.skills, strict=True))[scan.best]
    times = skill / max(scan.aligned, NOTHING)
    return Finding(
        cause="misaligned-target",
        score=strength(times, TWICE, TEN_TIMES),
        summary=f"the columns explain the target {scan.best} rows before the one asked for (skill "
        f"{skill:.2f}), and hardly that one ({scan.aligned:.2f})",
        evidence=(
            Evidence(
                signal="skill of ridge on the moved target",
                where=f"{scan.best} rows earlier",
                observed=skill,
                reference=TWICE * max(scan.aligned, NOTHING),
                unit="skill",
            ),
        ),
    )


RULE = Rule(
    cause="misaligned-target",
    page=__doc__,
    check=check,
    # What is left to learn of such a target is little, and is then learned by heart.
    explains=("no-signal", "overfitting", "under-capacity"),
)
