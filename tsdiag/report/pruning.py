"""What pruning did to a study, and how often it was wrong, as its controls measure it."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import TYPE_CHECKING

from pydantic import Field

from tsdiag.config import Frozen
from tsdiag.report.wording import paragraph
from tsdiag.statistics import proportion_interval

if TYPE_CHECKING:
    from tsdiag.store.runs import RunRow  # loads SQLAlchemy


class Pruning(Frozen):
    """Trials that a pruner stopped, and those that it would have stopped had they not run on."""

    stopped: int
    controls: int = Field(description="trials that were spared by chance, to see how they end")
    ended: int = Field(description="controls that ended whole or diverged")
    false: int = Field(description="of those, better than the median of all whole trials")
    rate: float | None = Field(description="false / ended; None where no control has ended")
    low: float | None = Field(description="lower end of its 95 % interval")
    high: float | None = Field(description="upper end")


def measure_pruning(runs: Iterable[RunRow]) -> Pruning | None:
    """Judge the pruning of trials by their last runs; None where nothing was stopped or spared.

    A control that diverged was rightly condemned; one that failed or ran out of time tells nothing.
    """
    from tsdiag.store.runs import WHOLE

    rows = list(runs)
    controls = [row for row in rows if "spared" in row.metrics]
    stopped = sum(row.state == "pruned" for row in rows)
    if not stopped and not controls:
        return None
    whole = {row.id: row.validation_loss for row in rows if row.state in WHOLE}
    losses = [loss for loss in whole.values() if loss is not None]
    ended = [row for row in controls if row.id in whole or row.state == "diverged"]
    ends = [whole[row.id] for row in ended if row.id in whole]
    false = sum(loss is not None and loss < median(losses) for loss in ends)
    rate = proportion_interval(false, len(ended))
    return Pruning(
        stopped=stopped,
        controls=len(controls),
        ended=len(ended),
        false=false,
        rate=rate.value if rate else None,
        low=rate.low if rate else None,
        high=rate.high if rate else None,
    )


def pruning_text(found: Pruning | None) -> str:
    """Return how many were stopped and how often that was wrong, or nothing where nothing was."""
    if found is None:
        return ""
    spared = (
        "1 spared as a control" if found.controls == 1 else f"{found.controls} spared as controls"
    )
    text = f"pruning: {found.stopped} stopped, {spared}"
    if found.rate is None or found.low is None or found.high is None:
        return paragraph(f"{text}; with no control that has ended, false prunes are not measured")
    return paragraph(
        f"{text}; of {found.ended} that would have been stopped {found.false} ended in the better "
        f"half of whole trials: false prunes {100 * found.rate:.0f} % "
        f"[{100 * found.low:.0f}, {100 * found.high:.0f}]"
    )
