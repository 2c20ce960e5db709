"""Case: all that a rule may look at. Numbers and settings only; no tensor, no database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tsdiag.diagnostics.audit import DataAudit
from tsdiag.diagnostics.findings import Evidence
from tsdiag.diagnostics.signals import Signal, Trace
from tsdiag.diagnostics.states import Standing

# A healthy run of the same study may lie this close to a limit without being called ill.
MARGIN = 1.5


@dataclass(frozen=True)
class Facts:
    """The sizes that the data fix."""

    context_length: int  # [rows]
    channels: int
    outputs: int = 1  # numbers predicted for one window
    train_windows: int = 0


@dataclass(frozen=True, eq=False)
class Record:
    """A run's configuration, by path, and what was measured of it."""

    config: Mapping[str, Any]
    trace: Trace

    def setting(self, path: str, default: Any = None) -> Any:
        """Return the value at a configuration path, or the default where the model has no such."""
        return self.config.get(path, default)

    def signal(self, name: str, where: str = "") -> Signal | None:
        """Return one curve, or None where it was not measured."""
        return self._curves.get((name, where))

    def places(self, name: str) -> tuple[Signal, ...]:
        """Return a signal at all of its places, in the order of the model."""
        return self._by_name.get(name, ())

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Paths of the model's blocks in order."""
        return tuple(signal.where for signal in self.places("block_gradient_norm"))

    @cached_property
    def warmup(self) -> int:
        """Steps after which the rate no longer rises."""
        share = float(self.setting("optimizer.warmup_fraction", 0.0))
        return round(share * int(self.setting("training.max_steps", 0)))

    @cached_property
    def steps_done(self) -> int:
        """Steps that were taken; a run that was stopped or is under way took fewer than planned."""
        # What is measured at every step, so the last one tells.
        each = self.signal("train_loss") or self.signal("learning_rate")
        planned = int(self.setting("training.max_steps", 0))
        return planned if each is None else int(each.steps[-1]) + 1

    @cached_property
    def _curves(self) -> dict[tuple[str, str], Signal]:
        return {(s.name, s.where): s for s in self.trace.signals if len(s.steps)}

    @cached_property
    def _by_name(self) -> dict[str, tuple[Signal, ...]]:
        found: dict[str, list[Signal]] = {}
        for signal in self._curves.values():
            found.setdefault(signal.name, []).append(signal)
        return {name: tuple(sorted(some, key=_place)) for name, some in found.items()}


Measure = Callable[[Record], float | None]


@dataclass(frozen=True, eq=False)
class Case:
    """One run to be explained, and what is known around it."""

    record: Record
    facts: Facts
    standing: Standing
    audit: DataAudit = field(default_factory=DataAudit)
    baseline: Record | None = None
    healthy: tuple[Record, ...] = ()  # learning runs of the same study and kind of model
    # Signals that a probe could not, or was not asked to, measure, and why.
    unmeasured: Mapping[str, str] = field(default_factory=dict)

    def setting(self, path: str, default: Any = None) -> Any:
        """Return the value at a configuration path."""
        return self.record.setting(path, default)

    def upper(self, measure: Measure, limit: float) -> float:
        """Return a limit from above, moved up where a healthy sibling is near or beyond it."""
        return max([limit, *(MARGIN * value for value in self._seen(measure))])

    def lower(self, measure: Measure, limit: float) -> float:
        """Return a limit from below, moved down where a healthy sibling is near or beyond it."""
        return min([limit, *(value / MARGIN for value in self._seen(measure))])

    def _seen(self, measure: Measure) -> list[float]:
        found = (measure(record) for record in self.healthy)
        return [value for value in found if value is not None and np.isfinite(value)]


def evidence(signal: Signal, observed: float, reference: float | None = None) -> Evidence:
    """Return a number taken from a whole curve as evidence."""
    return Evidence(
        signal=signal.name,
        where=signal.where,
        steps=(int(signal.steps[0]), int(signal.steps[-1])),
        observed=float(observed),
        reference=None if reference is None else float(reference),
        unit=signal.unit,
    )


def _place(signal: Signal) -> tuple[Any, ...]:
    """Sort blocks.2 before blocks.10."""
    parts = signal.where.replace("[", ".").replace("]", "").split(".")
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)
