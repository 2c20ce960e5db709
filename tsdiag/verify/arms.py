"""An arm: one configuration that is trained for the sake of comparison, on one seed.

``Arm("{}", 1001, 400)`` is a control; ``Arm('{"optimizer.lr": 0.001}', 1001, 400)`` its treatment.
The two differ in the named paths alone: seed, order of the data and number of steps are the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.store.runs import WHOLE, RunRow

# Evaluations within an arm's steps: the best of them is its loss, in every arm alike. More would
# cost the founding model a quarter of its time.
EVALUATIONS = 2
# Runs whose result counts; of one that diverged, see ``loss_of``.
ENDED = (*WHOLE, "diverged", "infeasible")
_STEPS = "training.max_steps"


@dataclass(frozen=True)
class Arm:
    """A set of changes (as canonical JSON, so that arms can be counted), a seed and a length."""

    edits: str
    seed: int
    steps: int
    origin: str | None = None  # a run with whose weights this one begins

    @classmethod
    def of(
        cls, changes: Mapping[str, Any], seed: int, steps: int, origin: str | None = None
    ) -> Self:
        """Return the arm of a set of changes."""
        return cls(canonical(changes), seed, steps, origin)

    @property
    def set(self) -> dict[str, Any]:
        """The changes, by path; none: a control."""
        changes: dict[str, Any] = json.loads(self.edits)
        return changes

    @property
    def role(self) -> str:
        """Which part it has in a comparison."""
        return "treatment" if self.set else "control"

    @property
    def label(self) -> str:
        """What it changes, in words that fit into a column of the store."""
        words = ", ".join(f"{path} = {json.dumps(value)}" for path, value in self.set.items())
        return (words or "as it was")[:255]


def canonical(changes: Mapping[str, Any]) -> str:
    """Return a set of changes as text: equal sets, equal text."""
    return json.dumps(changes, sort_keys=True)


def config_of(base: RunConfig, arm: Arm) -> RunConfig:
    """Return the configuration that an arm trains.

    A change of the number of steps keeps its proportion: where a remedy says ten times the steps of
    a run of 2,000, an arm of 100 gets 1,000.

    Raises:
        ConfigError: a path is unknown or a value does not fit.
    """
    steps = round(arm.steps * longer(base, arm.set))
    return base.edits(
        {
            **arm.set,
            "seed": arm.seed,
            _STEPS: steps,
            "training.evaluate_every": max(1, math.ceil(steps / EVALUATIONS)),
        }
    )


def longer(base: RunConfig, changes: Mapping[str, Any]) -> float:
    """Return how many times as many steps the changes take."""
    return float(changes.get(_STEPS, base.training.max_steps)) / base.training.max_steps


def target_variance(dataset: Dataset) -> float:
    """Return the variance of the target on the training span, in its own unit."""
    config = dataset.config
    scaled = dataset
    if not config.scale_target:
        scaled = load_dataset(config.model_copy(update={"scale_target": True}))
    return float((scaled.target_scaler.std**2).mean())


def loss_of(row: RunRow, base: RunConfig, constant: float, variance: float) -> float | None:
    """Return the validation loss that counts [as the verified run's], None where there is none.

    A run that diverged is worth no more than the training mean, whatever it had been at before. A
    remedy may scale the target in another way, which changes the loss by the target's variance.
    """
    if row.state == "infeasible":
        return None
    scaled = RunConfig.from_json(row.config).data.scale_target
    factor = {(True, False): variance, (False, True): 1 / variance}
    unit = factor.get((scaled, base.data.scale_target), 1.0)
    best = constant if row.validation_loss is None else row.validation_loss * unit
    return max(best, constant) if row.state == "diverged" else float(best)
