"""How many times cheaper is a training step here than in what people use otherwise?

    python benchmarks/engine.py [--short] [--only encoder|founding|lstm|neuralforecast]

Against a plain PyTorch loop, against Keras 3 running the founding question's models literally, and
against neuralforecast. Our side is a ``Training`` as a study runs it, with the engine (precision,
micro-batches) that the study's own "auto" chooses on this machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from measuring.environment import show_environment
from measuring.interleaved import Contest, Goal, Side, fight, show_outcomes, timed
from measuring.subjects import generated, our_side, side_of, subject
from rich.console import Console
from torch import nn

from tsdiag.data.dataset import Dataset
from tsdiag.data.generator import TARGET
from tsdiag.data.windows import Windows
from tsdiag.training.loop import Training

CONTEXT_LENGTH = 240  # rows, as in the founding question

# Keras's and nn.TransformerEncoder's dropout hits single entries of the patterns, too.
PATTERNS_DROPPED = {"model.attention_dropout": 0.1, "model.attention_dropout_kind": "probability"}
NOTHING_DROPPED = {"model.dropout": 0.0, "model.attention_dropout": 0.0}


@dataclass(frozen=True)
class Effort:
    """Rounds of a contest, and the batches of the two models that Keras is slowest at."""

    rounds: int
    founding_batch: int
    lstm_batch: int


SHORT = Effort(rounds=3, founding_batch=4, lstm_batch=8)
LONG = Effort(rounds=5, founding_batch=16, lstm_batch=32)


def encoder(_: Effort) -> Iterator[Contest]:
    """Our encoder with the very modules of nn.TransformerEncoder in a loop as first written."""
    dataset = generated(CONTEXT_LENGTH)
    goal = Goal(2.5, 1.8)
    yield _encoder_contest("rows, dropout as in PyTorch", dataset, 1, PATTERNS_DROPPED, goal)
    yield _encoder_contest("rows, ours drops no patterns (default)", dataset, 1, {}, None)
    yield _encoder_contest("rows, no dropout on either side", dataset, 1, NOTHING_DROPPED, None)
    yield _encoder_contest(
        "patches of 8, dropout as in PyTorch", dataset, 8, PATTERNS_DROPPED, None
    )


def _encoder_contest(
    title: str, dataset: Dataset, patch: int, dropped: dict[str, Any], goal: Goal | None
) -> Contest:
    from rivals.torch_loop import Encoder, naive_loop

    same = {
        "model.patch_length": patch,
        "model.activation": "relu",
        "model.norm": "post",
        "model.final_norm": False,
        "training.batch_size": 32,
    }
    config = subject(dataset, "transformer", "default", {**same, **dropped})
    rival = Encoder(dataset.train, patch, width=64, dropout=config.get("model.dropout"))
    steps = 2 * patch
    return Contest(
        f"encoder of {title}",
        Side("DataLoader loop", timed(naive_loop(rival, dataset.train, 32), steps)),
        our_side(config, dataset, steps),
        goal,
    )


def founding(effort: Effort) -> Iterator[Contest]:
    """The literal founding transformer: eight blocks of six heads of 512 on a stream of 33."""
    from rivals.keras_models import founding_transformer, keras_batches

    dataset, batch = generated(CONTEXT_LENGTH), effort.founding_batch
    cases: tuple[tuple[str, float, dict[str, Any], Goal], ...] = (
        ("without dropout", 0.0, NOTHING_DROPPED, Goal(20, 9)),
        ("with its dropout", 0.1, {}, Goal(10, 5.5)),
    )
    for title, dropout, dropped, goal in cases:
        model = founding_transformer(dataset.train, dropout)
        theirs = timed(keras_batches(model, dataset.train, batch), 1)
        changes = {"training.batch_size": batch, **dropped}
        ours = our_side(subject(dataset, "transformer", "founding", changes), dataset, 4)
        title = f"founding transformer {title}, batch {batch}"
        yield Contest(title, Side("Keras, train_on_batch", theirs), ours, goal)


def lstm(effort: Effort) -> Iterator[Contest]:
    """The founding CNN/BiLSTM, by both of Keras's ways to train."""
    from rivals.keras_models import founding_lstm, keras_batches, keras_fit

    dataset, batch = generated(CONTEXT_LENGTH), effort.lstm_batch
    config = subject(dataset, "lstm", "founding", {"training.batch_size": batch})
    for name, way in (("train_on_batch", keras_batches), ("fit", keras_fit)):
        theirs = timed(way(founding_lstm(dataset.train), dataset.train, batch), 1)
        title = f"founding CNN/BiLSTM, batch {batch}"
        rival = Side(f"Keras, {name}", theirs)
        yield Contest(title, rival, our_side(config, dataset, 2), Goal(6, 4))


def neuralforecast(_: Effort) -> Iterator[Contest]:
    """Its transformer at its own default sizes, and the step of a model without any maths."""
    from neuralforecast.models import MLP, VanillaTransformer
    from rivals.forecasting import spend_of_fit

    dataset = generated(96, features=(TARGET,), horizon=24)
    # Two layers of encoder and one of decoder, and the other sizes that it takes by default.
    same = {
        "model.n_layers": 3,
        "model.d_model": 128,
        "model.head_dim": 32,
        "model.ff_dim": 32,
        "model.embedding": "conv",
        "model.dropout": 0.05,
        "model.attention_dropout": 0.05,
        "model.attention_dropout_kind": "probability",
        "training.batch_size": 32,
    }
    yield Contest(
        "VanillaTransformer, 96 rows to 24, batch 32",
        Side("neuralforecast, fit", spend_of_fit(VanillaTransformer, dataset.train, 32, 5)),
        our_side(subject(dataset, "transformer", "default", same), dataset, 5),
        Goal(2.5, 1.6),
    )
    tiny = {"hidden_size": TINY, "num_layers": 1}
    yield Contest(
        f"step overhead: one hidden layer of {TINY}",
        Side("neuralforecast, fit", spend_of_fit(MLP, dataset.train, 32, 100, **tiny)),
        side_of(_tiny_training(dataset), 100, "the same layers"),
        Goal(10, 4),
    )


TINY = 8  # units; the maths of such a step takes no time


def _tiny_training(dataset: Dataset) -> Training:
    """Return a training of the layers of neuralforecast's MLP."""
    windows: Windows = dataset.train
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(windows.context_length, TINY),
        nn.ReLU(),
        nn.Linear(TINY, windows.prediction_length),
        nn.Unflatten(1, (windows.prediction_length, 1)),
    )
    config = subject(dataset, "lstm", "small", {"training.batch_size": 32})
    return Training(model, windows, dataset.validation, config)


CONTESTS: dict[str, Callable[[Effort], Iterator[Contest]]] = {
    "encoder": encoder,
    "founding": founding,
    "lstm": lstm,
    "neuralforecast": neuralforecast,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    # Each by itself: argparse checks an empty list against its choices, and finds it wanting.
    parser.add_argument("--only", choices=list(CONTESTS), help="one of the contests")
    parser.add_argument("--short", action="store_true", help="few rounds and small batches")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console, effort = Console(width=150), SHORT if options.short else LONG
    show_environment(console)
    for name in [options.only] if options.only else CONTESTS:
        # One contest after the other is built, so that no two hold their memory at once.
        outcomes = [fight(contest, effort.rounds) for contest in CONTESTS[name](effort)]
        show_outcomes(console, name, outcomes)


if __name__ == "__main__":
    main()
