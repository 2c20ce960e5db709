"""From readings to signals, in chunks, so that a running trial can be read."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tsdiag.diagnostics.signals import Signal, SignalName


class Recorder:
    """Collects readings; ``take`` hands over what has come since the last call."""

    def __init__(self) -> None:
        self._points: dict[tuple[SignalName, str], list[tuple[int, float]]] = defaultdict(list)

    def note(self, signal: SignalName, where: str, step: int, value: float) -> None:
        """Keep one value of a signal at a place and step, finite or not."""
        self._points[signal, where].append((step, value))

    def take(self) -> list[Signal]:
        """Return the new points as signals and forget them."""
        signals = []
        for (declared, where), points in self._points.items():
            steps, values = np.asarray(points, dtype=np.float64).T
            with np.errstate(over="ignore"):  # beyond float32 a value is as good as infinite
                steps, values = steps.astype(np.float32), values.astype(np.float32)
            signals.append(Signal(declared.name, where, declared.unit, steps, values))
        self._points.clear()
        return signals
