"""How far the weights of a run went, and whether the loss would have let them go further."""

from __future__ import annotations

from itertools import pairwise

from tsdiag.diagnostics.case import Record
from tsdiag.diagnostics.measures import last

# Configured over tolerated rate: healthy traces 0.1 to 10 (tests/traces). Above, no room is left.
ROOM = 0.5
# The way of the weights in lengths of themselves: healthy traces 0.22 to 1.4; the founding model in
# 200 steps at 1e-4 0.11 (loss 1.00), at 5e-4 five times that (loss .47), at 1e-3 ten times (.32).
NEAR = 0.15


def distance(record: Record) -> float | None:
    """Return how far the weights have gone, step after step, in lengths of themselves."""
    ratio = record.signal("global_update_ratio")
    if ratio is None:
        return None
    steps = [*ratio.steps.tolist(), max(float(record.steps_done), float(ratio.steps[-1]) + 1)]
    # A reading stands for the steps up to the next one.
    spans = [after - before for before, after in pairwise(steps)]
    return float(sum(v * n for v, n in zip(ratio.values.tolist(), spans, strict=True) if v == v))


def crawls(record: Record) -> bool:
    """Return whether the weights stayed near where they began although there was room."""
    gone, ratio = distance(record), last(record.signal("rate_ratio"))
    return gone is not None and ratio is not None and gone < NEAR and ratio < ROOM
