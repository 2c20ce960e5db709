"""What a probe is: a pure function from something seen during training to named numbers.

What it sees decides when it is called: a ``Moment`` at every step, an ``Evaluation`` at every
evaluation and a ``Sample`` with it, an ``Update`` and a ``View`` on the schedule of the standard
tier, a ``Specimen`` when somebody asks and at the end of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from torch import Tensor, nn, optim

from tsdiag.config import RunConfig
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.signals import SignalName
from tsdiag.training.evaluation import Pause, go_on

# cheap: at every step; standard: on the schedule of ``is_due``; full: on demand and at the end.
Tier = Literal["cheap", "standard", "full"]
Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Reading:
    """One number of a signal at one place; the step is known to whoever asked."""

    name: str
    value: float
    where: str = ""


@dataclass(frozen=True)
class Probe(Generic[Subject]):
    """A family's function with what it declares: its signals with their units, and its cost."""

    name: str
    tier: Tier
    sees: type[Subject]
    signals: tuple[SignalName, ...]
    measure: Callable[[Subject], Iterable[Reading]]


@dataclass(frozen=True)
class Update:
    """One optimizer step from both sides; ``model`` holds the weights after it.

    All mappings are by parameter name. A gradient that is None never reached the optimizer, which
    is not the same as zero. With SAM the gradients are those at the sharpened point.
    """

    model: nn.Module
    optimizer: optim.Optimizer
    learning_rate: float
    before: Mapping[str, Tensor]  # weights before the step
    gradients: Mapping[str, Tensor | None]  # before clipping
    previous: Mapping[str, Tensor] | None  # gradients of the step before, None where unknown
    clip_share: float  # what clipping multiplied the gradients by, 1 where nothing was clipped


@dataclass(frozen=True)
class View:
    """One forward pass of a fixed batch, in evaluation mode, in float32, without gradients.

    ``entered`` and ``left`` hold the first tensor that went into and came out of each module, by
    ``named_modules`` path; a module that was not called is absent.
    """

    model: nn.Module
    inputs: Tensor  # batch time channel
    targets: Tensor  # batch horizon target
    predictions: Tensor  # batch horizon target
    entered: Mapping[str, Tensor]
    left: Mapping[str, Tensor]


@dataclass(frozen=True)
class Sample:
    """Train windows drawn anew at every evaluation, in no order, by seed and step alone.

    On the windows of a ``View``, which are always the same, errors never average out over steps.
    """

    model: nn.Module
    inputs: Tensor  # batch time channel
    targets: Tensor  # batch horizon target


@dataclass(frozen=True)
class Specimen:
    """A model as it stands and the data around it; who trains it takes a copy.

    ``pause`` is called between the steps of whatever takes long; what it raises ends the probe.
    """

    model: nn.Module
    config: RunConfig
    train: Windows
    validation: Windows
    pause: Pause = go_on


def is_due(step: int, every: int) -> bool:
    """Return whether the standard tier measures here: at evaluations, before them at 1, 2, 4, ...

    Structural signatures can vanish after one Adam step, so the first steps are dense.
    """
    return step % every == 0 or (step < every and step & (step - 1) == 0)
