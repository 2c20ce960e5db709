"""Columns hold values that were never measured: marks for missing ones, or long gaps carried on.

What it looks for: a value that stands in many rows far from all others (-999, 9999, 0) and inflates
the deviation of its column, in a notable share of the columns or in the one that tells most; a
share of missing cells, or of constant columns, that leaves little of the table.

Why training stalls: scaled by a deviation that the marks have made, what was measured shrinks to
nothing, and the marks are all that the model can see. A gap carried forward says "no change" where
nobody knows.

Told apart from: unscaled-inputs, where columns differ in unit; no-signal, where clean columns tell
nothing either.

Remedies: none by configuration. Leave such cells empty before the file is read (they are then
filled or left out, see data.fill), and drop columns that are mostly empty.

Limits: a machine that is off half of the time looks like a mark of missing values, and is called so
where its zeros inflate the deviation. Marks inside of a column's usual range are not seen. Constant
or doubled columns are told in the audit, but alone they hurt no training.

References: Rahm and Do 2000 (data cleaning: problems and current approaches); Little and Rubin
2002, chapter 1; measured on the macd series: marks (-9999) in one cell of 50 leave ridge no skill.
"""

from __future__ import annotations

from tsdiag.diagnostics.audit import Columns, Sentinel
from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, NotMeasured, strength
from tsdiag.diagnostics.rules.rule import Rule

# Times that a mark inflates its column's deviation; without marks it is 1.
INFLATED = 3.0
# Share of columns with such marks.
SOME, MOST = 0.1, 0.5
# Share of cells missing before filling (beijing33: .017), and of constant columns.
EMPTY, NEARLY_ALL = 0.3, 0.8


def check(case: Case) -> Answer:
    """Weigh marks, gaps and constants, and report the worst of them."""
    columns = case.audit.columns
    if columns is None:
        return NotMeasured(why=case.audit.why_not("columns"))
    total = max(1, case.facts.channels)
    found = [
        part
        for part in (
            _marks(case, columns, total),
            _share("cells that are missing", columns.missing_share),
            _share("columns that are constant", len(columns.constant) / total),
        )
        if part is not None
    ]
    return max(found, key=lambda finding: finding.score, default=Clear())


def _marks(case: Case, columns: Columns, total: int) -> Finding | None:
    marked = [mark for mark in columns.sentinels if mark.inflation >= INFLATED]
    if not marked:
        return None
    share = len({mark.channel for mark in marked}) / total
    leaks = case.audit.leaks
    strongest = leaks.dominating.channel if leaks and leaks.dominating else None
    tells_most = any(mark.channel == strongest for mark in marked)
    if share < SOME and not tells_most:
        return None
    worst = max(marked, key=lambda mark: mark.inflation)
    return Finding(
        cause="corrupt-inputs",
        score=strength(max(share, SOME), SOME, MOST),
        summary=f"{worst.value:g} stands in {100 * worst.share:.1f} % of the rows of "
        f'"{worst.channel}" and makes its deviation {worst.inflation:.0f} times as large; '
        f"{share * total:.0f} of {total} columns have such marks",
        evidence=(_inflation(worst), _evidence("columns with marks", share, SOME)),
    )


def _share(what: str, share: float) -> Finding | None:
    if share < EMPTY:
        return None
    return Finding(
        cause="corrupt-inputs",
        score=strength(share, EMPTY, NEARLY_ALL),
        summary=f"{100 * share:.0f} % of the {what}",
        evidence=(_evidence(what, share, EMPTY),),
    )


def _inflation(mark: Sentinel) -> Evidence:
    return Evidence(
        signal="deviation with the mark over that without",
        where=mark.channel,
        observed=mark.inflation,
        reference=INFLATED,
        unit="ratio",
    )


def _evidence(what: str, share: float, limit: float) -> Evidence:
    return Evidence(signal=what, observed=share, reference=limit, unit="share")


RULE = Rule(
    cause="corrupt-inputs",
    page=__doc__,
    check=check,
    # The model sees marks alone, and learns by heart what they happen to stand beside.
    explains=("no-signal", "overfitting", "under-capacity"),
)
