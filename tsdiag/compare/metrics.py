"""What a set of predictions is worth: errors, directional accuracy, skill against a floor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tsdiag.config import Frozen

Array = NDArray[np.floating]


class Scores(Frozen):
    """The metrics of one run on one span; None where a metric has no meaning there."""

    mse: float = Field(description="mean squared error [target variance]")
    mae: float = Field(description="mean absolute error [target standard deviation]")
    r2: float | None = Field(description="None where the targets are constant")
    directional_accuracy: float | None = Field(
        description="share of moves whose sign was predicted; None without moves or predicted moves"
    )
    moves: int = Field(ge=0, description="targets that moved: what directional accuracy is over")
    ties: int = Field(ge=0, description="targets equal to the last value: in no direction, dropped")
    windows: int = Field(ge=1)


def window_losses(predictions: Array, targets: Array) -> NDArray[np.float64]:
    """Return the mean squared error of each window [target variance]; windows come first."""
    errors = predictions.astype(np.float64) - targets
    squared: NDArray[np.float64] = np.square(errors).reshape(len(errors), -1).mean(axis=1)
    return squared


def score(predictions: Array, targets: Array, predicted_moves: Array, moves: Array) -> Scores:
    """Score predictions "window horizon target" in standardised units.

    ``moves`` are directions from the last known value, in the same shape (``data.targets.moves``);
    where they are 0 the target equals the last value: a tie, which is in no direction.
    """
    errors = predictions.astype(np.float64) - targets
    tied = moves == 0
    return Scores(
        mse=float(np.square(errors).mean()),
        mae=float(np.abs(errors).mean()),
        r2=_r2(errors, targets.astype(np.float64)),
        directional_accuracy=directional_accuracy(predicted_moves, moves, tied),
        moves=int((~tied).sum()),
        ties=int(tied.sum()),
        windows=len(errors),
    )


def _r2(errors: Array, targets: Array) -> float | None:
    """Return the share of variance explained, pooled over horizon and targets."""
    total = float(np.square(targets - targets.mean(axis=0)).sum())
    return 1 - float(np.square(errors).sum()) / total if total > 0 else None


def directional_accuracy(predicted: Array, moves: Array, tied: NDArray[np.bool_]) -> float | None:
    """Return the share of moves whose sign was predicted; a predicted standstill is a miss.

    None where nothing moved, or where nothing but standstill was predicted (the last value does
    that by definition: it calls no direction, so it cannot be wrong about one).
    """
    if tied.all() or not predicted.any():
        return None
    agree = np.sign(predicted) == np.sign(moves)
    return float(agree[~tied].mean())


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Return the mean over runs; a metric that any run lacks is None."""

    def mean(name: str) -> float | None:
        values = [getattr(one, name) for one in scores]
        return None if None in values else float(np.mean(values))

    means = {name: mean(name) for name in ("mse", "mae", "r2", "directional_accuracy")}
    return scores[0].model_copy(update=means)


def skill(loss: float, floor: float) -> float | None:
    """Return 1 - loss / floor: 1 is perfect, 0 is the floor's level, below 0 is worse than it."""
    return 1 - loss / floor if floor > 0 else None
