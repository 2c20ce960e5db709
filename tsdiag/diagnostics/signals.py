"""Signal and Trace: what a run leaves behind for the rules to read. No torch, no database."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SignalName:
    """The declaration of a signal: its name, its unit and what it says.

    ``after_evaluation`` tells what its value at step s belongs to: the evaluation after s updates,
    or (False) the update that begins there.
    """

    name: str
    unit: str
    meaning: str
    after_evaluation: bool = False


DECLARED: tuple[SignalName, ...] = (
    SignalName("train_loss", "target variance", "loss of the batch of a step, before its update"),
    SignalName("validation_loss", "target variance", "mean over validation windows", True),
    SignalName("learning_rate", "1/step", "rate used by a step"),
    SignalName("gradient_norm", "loss per weight", "global L2 norm before clipping"),
    SignalName("clipped", "share", "1 where a step's gradient was clipped"),
)
BY_NAME = {declared.name: declared for declared in DECLARED}


@dataclass(frozen=True)
class Signal:
    """A named scalar over steps; ``where`` is a ``named_modules`` path, "" for the whole model."""

    name: str
    where: str
    unit: str
    steps: NDArray[np.float32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Trace:
    """All signals of one run and how the run ended."""

    signals: tuple[Signal, ...]
    end_state: str
    notes: dict[str, str] = field(default_factory=dict)

    def until(self, step: int) -> Trace:
        """Return what was measured before the update of a step, such as that of a checkpoint."""
        return Trace(tuple(_until(signal, step) for signal in self.signals), self.end_state)

    def signal(self, name: str, where: str = "") -> Signal | None:
        """Return the signal of that name and place, or None where the run did not measure it."""
        for signal in self.signals:
            if signal.name == name and signal.where == where:
                return signal
        return None


def _until(signal: Signal, step: int) -> Signal:
    declared = BY_NAME.get(signal.name)
    kept = signal.steps < step
    if declared is not None and declared.after_evaluation:
        kept = signal.steps <= step
    return Signal(signal.name, signal.where, signal.unit, signal.steps[kept], signal.values[kept])
