"""The observer that turns a run into signals, in chunks, so that a running trial can be read."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tsdiag.diagnostics.signals import BY_NAME, Signal
from tsdiag.training.observer import Moment


class Recorder:
    """Collects the loop's own signals; ``take`` hands over what has come since the last call."""

    def __init__(self) -> None:
        self._points: dict[str, list[tuple[int, float]]] = defaultdict(list)

    def after_backward(self, moment: Moment) -> None:
        """Note the step under way, a non-finite one too."""
        self._note("train_loss", moment.step, moment.train_loss)
        self._note("learning_rate", moment.step, moment.learning_rate)
        self._note("gradient_norm", moment.step, moment.gradient_norm)
        self._note("clipped", moment.step, float(moment.clipped))

    def after_update(self, moment: Moment) -> None:
        """Nothing to note: what an update does to the weights is for probes."""

    def after_evaluation(self, moment: Moment) -> None:
        """Note the validation loss at the number of finished updates."""
        self._note("validation_loss", moment.step, moment.validation_loss)

    def take(self) -> list[Signal]:
        """Return the new points as signals and forget them."""
        signals = []
        for name, points in self._points.items():
            steps, values = np.asarray(points, dtype=np.float32).T
            signals.append(Signal(name, "", BY_NAME[name].unit, steps, values))
        self._points.clear()
        return signals

    def _note(self, name: str, step: int, value: float) -> None:
        self._points[name].append((step, value))
