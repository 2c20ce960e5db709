"""What do a step and its memory cost as context, width and depth grow?

    python benchmarks/scaling.py [--short]

Memory is what autograd keeps for the backward pass: no pattern of tokens x tokens may be in it,
so it grows no faster than batch x context x width. "growth" is the exponent between a row and the
one before: 1 is linear, 2 quadratic. Time may grow faster, since attention computes all pairs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from measuring.environment import show_environment
from measuring.interleaved import interleaved
from measuring.subjects import generated, new_training, side_of, subject
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from tsdiag.training.loop import Training

BATCH = 8
ROWS = {"model.embedding": "linear"}
DROPPED = {"model.attention_dropout": 0.1, "model.attention_dropout_kind": "probability"}
CONTEXTS = (240, 480, 960, 1920)
Case = tuple[float, int, dict[str, Any]]  # the size itself, context length, changed paths

# The size that grows in each table.
TABLES: dict[str, list[Case]] = {
    "context (rows), patches of 8": [(rows, rows, {}) for rows in CONTEXTS],
    "context (rows), a token a row": [(rows, rows, ROWS) for rows in CONTEXTS],
    "context (rows), a token a row, dropout of patterns": [
        (rows, rows, {**ROWS, **DROPPED}) for rows in CONTEXTS
    ],
    "width, with heads and feed-forward in proportion": [
        (
            width,
            240,
            {
                **ROWS,
                "model.d_model": width,
                "model.head_dim": width // 4,
                "model.ff_dim": 2 * width,
            },
        )
        for width in (32, 64, 128, 256)
    ],
    "head_dim on a width of 33 (folded from 35 on)": [
        (
            dim,
            240,
            {"model.d_model": "channels", "model.embedding": "identity", "model.head_dim": dim},
        )
        for dim in (16, 32, 64, 128, 512)
    ],
    "depth (blocks)": [(depth, 240, {**ROWS, "model.n_layers": depth}) for depth in (1, 2, 4, 8)],
}


def saved_bytes(model: nn.Module, inputs: Tensor) -> int:
    """Return how much a forward pass keeps for its backward pass, weights not counted [bytes]."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        predicted = model(inputs)
    total = sum(kept.values())
    del predicted
    return total


def training_of(case: Case) -> Training:
    """Return a training in float32 of the default transformer with this case's changes."""
    _, context_length, changes = case
    dataset = generated(context_length)
    config = subject(dataset, "transformer", "default", {"training.batch_size": BATCH, **changes})
    return new_training(config, dataset)


def table_of(title: str, cases: Sequence[Case], rounds: int) -> Table:
    """Time the cases in turns and return their table."""
    trainings = [training_of(case) for case in cases]
    costs = [1000 * median(found) for found in interleaved(_sides(trainings), rounds)]
    memory = [
        saved_bytes(training.model, training.feed.batch(0)[0]) / 2**20 for training in trainings
    ]
    table = Table(title=f"{title}; batch {BATCH}", title_justify="left")
    for header in ("size", "step (ms)", "growth", "kept for backward (MiB)", "growth"):
        table.add_column(header, justify="right")
    sizes = [size for size, *_ in cases]
    rows = zip(sizes, costs, growth(sizes, costs), memory, growth(sizes, memory), strict=True)
    for size, cost, steeper, held, more in rows:
        table.add_row(f"{size}", f"{cost:.1f}", steeper, f"{held:.1f}", more)
    return table


def _sides(trainings: Sequence[Training]) -> list[Any]:
    return [side_of(training, 1, "") for training in trainings]


def growth(sizes: Sequence[float], found: Sequence[float]) -> list[str]:
    """Return the exponents from row to row, as words."""
    pairs = zip(sizes, sizes[1:], found, found[1:], strict=False)
    return ["", *(f"{math.log(b / a) / math.log(y / x):.2f}" for x, y, a, b in pairs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="two rounds instead of nine")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=150)
    show_environment(console)
    for title, cases in TABLES.items():
        console.print(table_of(title, cases, rounds=2 if options.short else 9))


if __name__ == "__main__":
    main()
