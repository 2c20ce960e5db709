"""Signal and Trace: what a run leaves behind for the rules to read. No torch, no database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# What costs as much as tens of steps, so it is asked only of a run that looks stalled. Both lists
# are held to the probes by a test.
DEAR = frozenset(
    {
        *("readout_skill", "readout_order", "readout_features", "bypass_skill"),
        *("one_batch_loss_share", "one_batch_steps", "one_batch_rate"),
        *("tolerated_rate", "best_rate", "rate_ratio"),
    }
)
# Measured when a run has ended, so a run under way has none of them.
AT_THE_END = DEAR | {
    *("time_shuffle_effect", "time_shuffle_loss", "channel_shuffle_effect", "batch_influence"),
    *("blind_time_share", "blind_channel_share", "gradient_age", "last_row_share"),
    *("last_tenth_share", "top_channels_share", "batch_gradient_share", "input_gradient"),
    *("readout_channel_rank", "readout_channel_effective_rank", "readout_token_rank"),
    *("readout_token_effective_rank", "readout_token_share"),
}


@dataclass(frozen=True)
class SignalName:
    """The declaration of a signal: its name, its unit and what it says.

    ``of`` tells what its value at step s belongs to: the "update" that begins after s updates, or
    the "state" of the model after s updates. A run resumed at s repeats the one, not the other.
    """

    name: str
    unit: str
    meaning: str
    of: Literal["update", "state"]


@dataclass(frozen=True)
class Signal:
    """A named scalar over steps.

    ``where`` is a ``named_modules`` path, the name of a parameter, or "" for the whole model; a
    head is told by its number behind the path, as in ``blocks.0.attention[3]``.
    """

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

    def until(self, step: int, states: Collection[str], again: Collection[str] = ()) -> Trace:
        """Return what was measured before the update of a step, such as that of a checkpoint.

        ``states`` names the signals that belong to a state rather than to an update, and ``again``
        those that are left out: whoever goes on from there measures them anew.
        """
        kept = (
            _until(signal, step, signal.name in states)
            for signal in self.signals
            if signal.name not in again
        )
        return Trace(tuple(kept), self.end_state)

    def signal(self, name: str, where: str = "") -> Signal | None:
        """Return the signal of that name and place, or None where the run did not measure it."""
        for signal in self.signals:
            if signal.name == name and signal.where == where:
                return signal
        return None


def _until(signal: Signal, step: int, inclusive: bool) -> Signal:
    kept = signal.steps <= step if inclusive else signal.steps < step
    return Signal(signal.name, signal.where, signal.unit, signal.steps[kept], signal.values[kept])
