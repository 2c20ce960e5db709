"""The audit of a data set: what can be known of it before any run, measured once per study.

Everything is bounded, see ``audits.problem``: on beijing33 (35,064 rows of 33 channels, windows of
240 rows) it takes about a fifth of the time of fitting the floors. No test row is read; how many
cells were filled is known of all rows together, see ``columns.missing_share``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tsdiag.data.dataset import Dataset
from tsdiag.diagnostics.audit import DataAudit
from tsdiag.models.floors import FittedFloor
from tsdiag.runs.audits.columns import measure_columns
from tsdiag.runs.audits.lags import measure_lags
from tsdiag.runs.audits.leaks import measure_leaks
from tsdiag.runs.audits.order import measure_order
from tsdiag.runs.audits.permutation import measure_permutation
from tsdiag.runs.audits.problem import Problem, pose
from tsdiag.runs.audits.target import measure_target
from tsdiag.training.evaluation import Pause, go_on

Part = TypeVar("Part")


def audit(
    dataset: Dataset,
    floors: Mapping[str, FittedFloor] | None,
    validation_windows: int,
    seed: int = 0,
    pause: Pause = go_on,
) -> DataAudit:
    """Measure every part; one that cannot be measured leaves its reason.

    ``floors`` are those already fitted, or None; ``validation_windows`` how many windows trials
    are measured on (0 = all); ``pause`` is called between the parts, and what it raises ends them.
    """
    found: dict[str, Any] = {
        "columns": _attempt(measure_columns, dataset),
        "target": _attempt(measure_target, dataset),
    }
    pause()
    problem = _attempt(pose, dataset, floors, validation_windows)
    for name, measure in PARTS.items():
        pause()
        found[name] = problem if isinstance(problem, str) else _attempt(measure, problem, seed)
    reasons = {name: part for name, part in found.items() if isinstance(part, str)}
    parts = {name: part for name, part in found.items() if name not in reasons}
    return DataAudit(**parts, reasons=reasons)


def _attempt(measure: Callable[..., Part | str], *given: Any) -> Part | str:
    """Measure one part; what goes wrong becomes its reason."""
    try:
        return measure(*given)
    except Exception as error:
        # Whatever it is: data that nobody thought of, or a defect. The audit adds remarks to a
        # study, and a missing remark is no reason to lose the study. ``pause`` is called outside.
        return f"failed: {type(error).__name__}: {' '.join(str(error).split())}"[:300]


PARTS: dict[str, Callable[[Problem, int], Any]] = {
    "permutation": measure_permutation,
    "leaks": lambda problem, _: measure_leaks(problem),
    "lag_scan": lambda problem, _: measure_lags(problem),
    "order": lambda problem, _: measure_order(problem),
}
