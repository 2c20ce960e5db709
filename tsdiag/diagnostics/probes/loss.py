"""The loss and what surrounds it: at every step, on fixed train windows, on validation windows.

Everything is in standardised units, so a loss of 1 is about that of predicting the train mean.
"""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from tsdiag.diagnostics.probes.probe import Probe, Reading, View
from tsdiag.diagnostics.signals import SignalName
from tsdiag.training.evaluation import Evaluation
from tsdiag.training.observer import Moment

STEP_SIGNALS = (
    SignalName(
        "train_loss",
        "target variance",
        "mean squared error of the batch before the step, dropout on",
        of="update",
    ),
    SignalName(
        "learning_rate",
        "weight change per direction",
        "what multiplies the optimizer's direction: with Adam about the change of a single weight, "
        "with SGD the change per unit of gradient",
        of="update",
    ),
    SignalName("gradient_norm", "loss per weight", "L2 norm of all gradients, unclipped", "update"),
    SignalName("clipped", "share", "1 where the step's gradients were scaled down", of="update"),
)
EVALUATION_SIGNALS = (
    SignalName("validation_loss", "target variance", "mean squared error, dropout off", "state"),
    SignalName(
        "validation_loss_ratio",
        "ratio",
        "validation loss over the variance of the same targets: 1 is what their mean would reach, "
        "and far above 1 at step 0 is a start that predicts too far out",
        of="state",
    ),
    SignalName(
        "prediction_variance_ratio",
        "ratio",
        "variance of predictions over that of targets: 0 is a constant, a perfect model has 1",
        of="state",
    ),
    SignalName(
        "prediction_correlation",
        "correlation",
        "Pearson correlation of predictions and targets; 0 where predictions are constant",
        of="state",
    ),
    SignalName(
        "prediction_range_share",
        "share",
        "range of predictions over that of targets, summed over the target columns",
        of="state",
    ),
    SignalName(
        "unreached_share",
        "share",
        "share of targets below the least or above the largest prediction of their column",
        of="state",
    ),
)
FIXED_SIGNALS = (
    SignalName(
        "fixed_batch_loss",
        "target variance",
        "mean squared error of some train windows, dropout off, the same windows at every step: "
        "it rises where a step was too long, not where a batch is harder",
        of="state",
    ),
)

# Relative to the largest value: about ten roundings in float32, which batched sums add up to.
CONSTANT = 1e-6


def measure_step(moment: Moment) -> Iterator[Reading]:
    """Yield what the loop itself knows about the step under way, finite or not."""
    yield Reading("train_loss", moment.train_loss)
    yield Reading("learning_rate", moment.learning_rate)
    yield Reading("gradient_norm", moment.gradient_norm)
    yield Reading("clipped", float(moment.clipped))


def measure_evaluation(evaluation: Evaluation) -> Iterator[Reading]:
    """Yield how well predictions follow their targets.

    Without variance in the targets there is nothing to relate to, and of predictions that are not
    finite nothing is known: then only the loss is read.
    """
    yield Reading("validation_loss", evaluation.loss)
    predictions, spread = _centred(evaluation.predictions)
    targets, reference = _centred(evaluation.targets)
    if reference == 0 or not evaluation.predictions.isfinite().all():
        return
    yield Reading("validation_loss_ratio", evaluation.loss * targets.numel() / reference)
    yield Reading("prediction_variance_ratio", spread / reference)
    shared = float((predictions * targets).sum())
    correlation = shared / (spread * reference) ** 0.5 if spread > 0 else 0.0
    yield Reading("prediction_correlation", correlation)
    yield from _reach(evaluation.predictions.flatten(0, 1), evaluation.targets.flatten(0, 1))


def measure_fixed(view: View) -> Iterator[Reading]:
    """Yield the loss on the windows that are looked at each time."""
    error = (view.predictions - view.targets).double().square().mean()
    yield Reading("fixed_batch_loss", float(error))


def _reach(
    predictions: Float[Tensor, "row target"], targets: Float[Tensor, "row target"]
) -> Iterator[Reading]:
    """Yield how much of the targets' range the predictions cover: a bounded output covers little.

    Two signals, because a range can be wide and on the wrong side of zero.
    """
    least, largest = predictions.aminmax(dim=0)
    lowest, highest = targets.aminmax(dim=0)
    covered = float((largest - least).double().sum() / (highest - lowest).double().sum())
    yield Reading("prediction_range_share", covered)
    unreached = (targets < least) | (targets > largest)
    yield Reading("unreached_share", float(unreached.double().mean()))


def _centred(
    values: Float[Tensor, "window horizon target"],
) -> tuple[Float[Tensor, "window horizon target"], float]:
    """Return values around the mean of each target column, and the sum of their squares.

    Pooled over the columns: every column is standardised, so none outweighs the others. A column
    that differs by a few roundings only is constant, so that a correlation is never one of those.
    """
    wide = values.double()
    centred = wide - wide.mean(dim=(0, 1))
    resolution = CONSTANT * wide.abs().amax(dim=(0, 1))
    centred = centred * (centred.abs().amax(dim=(0, 1)) > resolution)
    return centred, float(centred.square().sum())


STEP_LOSS = Probe("step_loss", "cheap", Moment, STEP_SIGNALS, measure_step)
VALIDATION_LOSS = Probe(
    "validation_loss", "standard", Evaluation, EVALUATION_SIGNALS, measure_evaluation
)
FIXED_LOSS = Probe("fixed_loss", "standard", View, FIXED_SIGNALS, measure_fixed)
