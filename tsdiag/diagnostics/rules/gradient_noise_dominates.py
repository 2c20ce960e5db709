"""The batch is far too small: what it calls the gradient is mostly chance.

What it looks for: a batch of at most eight windows that is smaller than a third of the gradient
noise scale, the batch size at which chance and gradient are equally large.

Why training stalls: steps point in directions of chance and undo each other, and a run of so many
steps has seen few windows. With the same number of steps a batch of 1, 2, 4, 8 and 32 reached a
loss of .80, .64, .33, .24 and .19.

Told apart from: learning-rate-too-high, where the loss of fixed windows jumps too; no-signal, where
the gradient is chance at any batch size; late-plateau, where the batch is of a usual size.

Remedies: eight times the batch and more.

Limits: the scale is known to a factor of three, and grows as the loss falls: at batches of 32 it
says little here, because healthy runs lie below it as well. So only small batches are judged.

References: McCandlish et al. 2018, section 2 and appendix A.1 (the noise scale and its two terms).
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, Remedy, strength
from tsdiag.diagnostics.measures import average
from tsdiag.diagnostics.rules.rule import Rule

# Windows. Batches of 8 still reached what larger ones do in the same number of steps.
SMALL = 8
# Batch over noise scale: a tenth (McCandlish et al.: ten times the steps for the same loss), times
# the factor of three to which it is known here. Stalled runs had 0.03 to 0.27.
NOISY, DROWNED = 0.3, 0.01
USUAL = 32


def share(record: Record) -> float | None:
    """Return batch size over noise scale: 0 where the gradient is lost in noise."""
    square = average(record.signal("gradient_square"), record.warmup)
    trace = average(record.signal("gradient_covariance_trace"), record.warmup)
    batch = int(record.setting("training.batch_size", 0))
    if square is None or trace is None or trace <= 0 or not 0 < batch <= SMALL:
        return None
    return batch * max(0.0, square) / trace


def check(case: Case) -> Answer:
    """Hold a small batch against the noise scale."""
    record = case.record
    square, trace = (record.signal(f"gradient_{s}") for s in ("square", "covariance_trace"))
    observed, limit = share(record), case.lower(share, NOISY)
    if square is None or trace is None or observed is None or observed >= limit:
        return Clear()
    batch = int(case.setting("training.batch_size"))
    words = f"about {batch / observed:.2g} windows" if observed > 0 else "more than was measurable"
    chance = average(trace, record.warmup) or 0.0
    shown = (
        # The least with which such a batch would do.
        evidence(square, average(square, record.warmup) or 0.0, limit * chance / batch),
        evidence(trace, chance),
    )
    return Finding(
        cause="gradient-noise-dominates",
        score=strength(max(observed, DROWNED), limit, DROWNED),
        summary=f"a batch of {batch} where chance and gradient are equal at {words}: "
        "its steps are mostly noise",
        evidence=shown,
        remedies=(_larger(batch),),
    )


def _larger(batch: int) -> Remedy:
    return Remedy(
        set={"training.batch_size": max(USUAL, 8 * batch)},
        expects="train_loss and gradient_norm vary less, validation_loss falls",
        safety="each step costs more; the rate may then be raised",
        source="McCandlish et al. 2018; measured: .80 at 1, .24 at 8, .19 at 32 (tests/traces)",
    )


RULE = Rule(
    cause="gradient-noise-dominates",
    page=__doc__,
    check=check,
    needs={"gradient_square": "", "gradient_covariance_trace": ""},
    explains=("late-plateau", "positions-swamped"),
)
