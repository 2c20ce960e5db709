"""A run in one line, for the log of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsdiag.escaping import plain
from tsdiag.report.wording import duration, number, plural

if TYPE_CHECKING:
    from tsdiag.store.runs import RunRow


def run_line(row: RunRow) -> str:
    """Return a line like "trial 3: completed, validation loss 0.4170, 800 steps in 13 s"."""
    parts = [row.state.replace("_", " ")]
    if row.validation_loss is not None:
        parts.append(f"validation loss {number(row.validation_loss, 4)}")
    if row.step:
        parts.append(f"{plural(row.step, 'step')} in {duration(row.seconds)}")
    why = f" ({plain(row.reason)})" if row.reason and row.state != "completed" else ""
    return f"{_name(row)}: {', '.join(parts)}{why}"


def _name(row: RunRow) -> str:
    if row.role == "final":
        return f"final run of {plain(row.label)}, seed {row.seed}"
    number_of = "" if row.trial is None else f" {row.trial}"
    return f"{row.role}{number_of}"
