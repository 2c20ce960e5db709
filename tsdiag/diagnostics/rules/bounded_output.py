"""The output cannot reach the targets: its last layer bounds it.

What it looks for: many targets lie beyond the least and the largest prediction although predictions
follow their targets, and more of them than the spread of the predictions would leave out.

Why training stalls: a sigmoid, a tanh or a ReLU at the end covers a range of its own. Targets
beyond it keep their error, and the gradient of a saturated output is zero.

Told apart from: a model that has learned little, whose predictions keep near the mean and leave the
same targets out, but no more than a bell of their width would; unscaled-target, where no
prediction is of the targets' size.

Remedies: none by configuration, because tsdiag's own models end in a linear layer. In a model of
your own: leave the last activation out, or bring the target into its range.

Limits: tsdiag's own models are not judged, because nothing bounds them. A bound is told by what it
leaves out, so one that only rare targets pass is not seen. Where predictions follow nothing,
nothing is said.

References: Bishop 1995, section 6.1 (linear outputs for regression); LeCun et al. 1998, section 4.5
(targets beyond a sigmoid's range saturate it).
"""

from __future__ import annotations

from math import erfc, sqrt

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, NotMeasured, strength
from tsdiag.diagnostics.measures import last
from tsdiag.diagnostics.rules.rule import Rule

# Share of targets out of reach beyond what a bell would leave out: healthy traces have up to .02;
# a tanh before standardised targets leaves out .3, a ReLU .5.
OUT_OF_REACH, HALF = 0.15, 0.4
# Range of predictions over that of the targets: healthy traces cover .8 and more, and predictions
# that are merely off by a level cover it as well.
NARROW = 0.7
# Correlation of predictions and targets, from which on a model knows where to go.
FOLLOWS = 0.4
# The largest of a thousand Gaussian predictions lies so many standard deviations away.
REACH = 3.0


def excess(record: Record) -> float | None:
    """Return the share of targets out of reach, less that which Gaussian predictions leave out."""
    missed = last(record.signal("unreached_share"))
    spread = last(record.signal("prediction_variance_ratio"))
    if missed is None or spread is None:
        return None
    return missed - erfc(REACH * sqrt(max(spread, 0.0)) / sqrt(2))


def check(case: Case) -> Answer:
    """Compare the targets out of reach with those that predictions of this spread leave out."""
    # Held back by decay or few windows, a linear layer leaves out as much (measured: .95 of one).
    if case.setting("model.kind") is not None:
        return NotMeasured(why="the models of tsdiag end in a linear layer, which bounds nothing")
    observed, limit = excess(case.record), case.upper(excess, OUT_OF_REACH)
    missed = case.record.signal("unreached_share")
    range_share = case.record.signal("prediction_range_share")
    correlation = last(case.record.signal("prediction_correlation"))
    covered = last(range_share)
    if observed is None or missed is None or correlation is None or correlation < FOLLOWS:
        return Clear()
    if observed < limit or range_share is None or covered is None or covered > NARROW:
        return Clear()
    return Finding(
        cause="bounded-output",
        score=strength(observed, limit, limit / OUT_OF_REACH * HALF),
        summary=f"{100 * observed:.0f} % more of the targets lie beyond all predictions than their "
        f"spread explains, though they follow the targets (correlation {correlation:.2f})",
        evidence=(
            evidence(missed, observed, limit),
            evidence(range_share, covered, NARROW),
        ),
    )


RULE = Rule(
    cause="bounded-output",
    page=__doc__,
    check=check,
    needs={
        "unreached_share": "",
        "prediction_variance_ratio": "",
        "prediction_correlation": "",
        "prediction_range_share": "",
    },
)
