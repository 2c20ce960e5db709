"""Columns reach the model in their own units, and the largest drown the others.

What it looks for: inputs that are not standardised, and differ in size between columns or lie far
from zero.

Why training stalls: a first layer adds its columns up, so those with large numbers make the stream
and its gradients; a normalisation behind it then shrinks the others to nothing. Numbers far from
zero leave only a constant, on which what varies is lost in the same way.

Told apart from: corrupt-inputs, where columns are standardised and a few false values make the
deviation; distribution-shift, where units are right and the level moves between the spans.

Remedies: standardise each column on the train span, or each window by itself.

Limits: says how far apart the columns are, not which of them matters. A model that standardises its
windows (RevIN) is not judged.

References: LeCun et al. 1998 (Efficient BackProp, section 4.3); Kim et al. 2022 (RevIN); measured
on the macd series with two columns that tell nothing made larger: 10 times still learns .76 of what
is within reach, 30 times .43, 100 times nothing; all columns moved by 30 deviations learn .77, by
100 nothing.
"""

from __future__ import annotations

from tsdiag.diagnostics.audit import Columns
from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.findings import (
    Answer,
    Clear,
    Evidence,
    Finding,
    NotMeasured,
    Remedy,
    strength,
)
from tsdiag.diagnostics.measures import last
from tsdiag.diagnostics.rules.rule import Plan, Rule

# Largest over smallest root mean square of a column: 1 where inputs are scaled. See References.
MIXED, DROWNED = 20.0, 300.0
# Largest mean of a column over its deviation: 0 where inputs are scaled.
FAR, LOST = 30.0, 300.0


def check(case: Case) -> Answer:
    """Judge the sizes of the columns as the model gets them."""
    columns = case.audit.columns
    if case.setting("data.scale_inputs") is True or case.setting("model.window_norm") == "revin":
        return Clear()
    if columns is None:
        return NotMeasured(why=case.audit.why_not("columns"))
    ratio, offset = columns.largest_scale_ratio, columns.largest_offset
    if ratio < MIXED and offset < FAR:
        return Clear()
    mixed, far = strength(ratio, MIXED, DROWNED), strength(offset, FAR, LOST)
    return Finding(
        cause="unscaled-inputs",
        score=max(mixed if ratio >= MIXED else 0.0, far if offset >= FAR else 0.0),
        summary=_summary(columns),
        evidence=_evidence(case, columns),
        remedies=_remedies(case),
    )


def warn(plan: Plan) -> str | None:
    """Say so where nothing brings the columns to one size."""
    if plan.setting("data.scale_inputs") is not False:
        return None
    if plan.setting("model.window_norm") == "revin":
        return None
    return "data.scale_inputs = false: the columns reach the model in units of their own"


def _summary(columns: Columns) -> str:
    if columns.largest_scale_ratio >= MIXED:
        return (
            f'inputs are not scaled: "{columns.largest}" is '
            f'{columns.largest_scale_ratio:.3g} times as large as "{columns.smallest}"'
        )
    return (
        f"inputs are not scaled: a column lies {columns.largest_offset:.3g} of its standard "
        "deviations from zero"
    )


def _evidence(case: Case, columns: Columns) -> tuple[Evidence, ...]:
    shown = [
        Evidence(
            signal="largest over smallest size of a column",
            where=columns.largest or "",
            observed=columns.largest_scale_ratio,
            reference=MIXED,
            unit="ratio",
        ),
        Evidence(
            signal="largest distance of a column from zero",
            observed=columns.largest_offset,
            reference=FAR,
            unit="standard deviations",
        ),
    ]
    share = case.record.signal("channel_share")
    found = last(share)
    if share is not None and found is not None:
        shown.append(Evidence(signal=share.name, observed=found, unit=share.unit))
    return tuple(shown)


def _remedies(case: Case) -> tuple[Remedy, ...]:
    scaled = Remedy(
        set={"data.scale_inputs": True},
        expects="channel_share falls, validation_loss falls",
        safety="means and deviations are those of the train span; predictions need them as well",
        source="LeCun et al. 1998, section 4.3",
    )
    if case.setting("model.window_norm") is None:
        return (scaled,)
    windowed = Remedy(
        set={"model.window_norm": "revin"},
        expects="validation_loss falls",
        safety="hides the level of each window from the model",
        source="Kim et al. 2022; measured on the macd series in mixed units: .719 to .188",
    )
    return (scaled, windowed)


RULE = Rule(cause="unscaled-inputs", page=__doc__, check=check, warn=warn)
