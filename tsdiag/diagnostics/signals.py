"""Signal and Trace: what a run leaves behind for the rules to read. No torch, no database."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SignalName:
    """The declaration of a signal: its name, its unit and what it says."""

    name: str
    unit: str
    meaning: str


DECLARED: tuple[SignalName, ...] = (
    SignalName("train_loss", "target variance", "loss of the batch of a step, before its update"),
    SignalName("validation_loss", "target variance", "mean loss over the validation windows"),
    SignalName("learning_rate", "1/step", "rate used by a step"),
    SignalName("gradient_norm", "loss per weight", "global L2 norm before clipping"),
    SignalName("clipped", "share", "1 where a step's gradient was clipped"),
)
UNITS = {declared.name: declared.unit for declared in DECLARED}


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

    def signal(self, name: str, where: str = "") -> Signal | None:
        """Return the signal of that name and place, or None where the run did not measure it."""
        for signal in self.signals:
            if signal.name == name and signal.where == where:
                return signal
        return None
