"""Exact attention entropy from the fused kernel against the explicit pattern: cost and error.

    python benchmarks/entropy.py [--short]

The error is that of all queries against the explicit pattern in float64, at logits of several
deviations.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from jaxtyping import Float
from measuring.environment import show_environment
from measuring.interleaved import Side, interleaved, timed
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tsdiag.diagnostics.probes.entropy import (
    attention_entropy,
    logits,
    pattern_entropy,
    why_not_fused,
)

HEAD_DIM = 16
# Tokens with windows and heads: at 8192 the explicit pattern alone takes 256 MiB.
CASES = ((240, 16, 4), (2048, 2, 2), (8192, 1, 1))
DEVIATIONS = (1, 5, 60)


def explicit(query: Tensor, key: Tensor, scale: float) -> Float[Tensor, "batch head query"]:
    """Return the entropy the obvious way: from the whole pattern."""
    return pattern_entropy(logits(query, key, scale).softmax(dim=-1))


def random_heads(tokens: int, windows: int, heads: int, deviation: float) -> tuple[Tensor, Tensor]:
    """Return queries and keys whose scaled products have this standard deviation."""
    generator = torch.Generator().manual_seed(tokens)
    shape = (windows, heads, tokens, HEAD_DIM)
    query, key = (torch.randn(shape, generator=generator) for _ in range(2))
    return deviation * query, key


def largest_error(query: Tensor, key: Tensor, scale: float) -> float:
    """Return the largest error of a query [nats]; in float64 one window and head at a time."""
    found = attention_entropy(query, key, scale)
    worst = 0.0
    for window, head in _places(query):
        one = (slice(window, window + 1), slice(head, head + 1))
        exact = explicit(query[one].double(), key[one].double(), scale)
        worst = max(worst, float((found[one] - exact).abs().max()))
    return worst


def _places(query: Tensor) -> Iterator[tuple[int, int]]:
    return ((window, head) for window in range(query.shape[0]) for head in range(query.shape[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="three rounds instead of fifteen")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=150)
    show_environment(console)
    if (reason := why_not_fused("cpu")) is not None:
        console.print(f"no fused entropy here: {reason}")
        return
    table = Table(title=f"Entropy of attention, heads of {HEAD_DIM}", title_justify="left")
    for header in ("tokens", "windows x heads", "explicit (ms)", "fused (ms)", "ratio"):
        table.add_column(header, justify="right")
    for deviation in DEVIATIONS:
        table.add_column(f"error at logit s.d. {deviation} (nats)", justify="right")
    for tokens, windows, heads in CASES:
        table.add_row(*measured(tokens, windows, heads, rounds=3 if options.short else 15))
    console.print(table)


def measured(tokens: int, windows: int, heads: int, rounds: int) -> list[str]:
    """Return a row of the table."""
    scale = HEAD_DIM**-0.5
    query, key = random_heads(tokens, windows, heads, deviation=1)
    ways = (explicit, attention_entropy)
    # Without gradients, as the probes ask.
    with torch.inference_mode():
        sides = [
            Side(way.__name__, timed(lambda _, way=way: way(query, key, scale), 1)) for way in ways
        ]
        slow, fast = (1000 * min(costs) for costs in interleaved(sides, rounds))
        errors = [
            largest_error(*random_heads(tokens, windows, heads, deviation), scale)
            for deviation in DEVIATIONS
        ]
    costs = [f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}"]
    return [str(tokens), f"{windows} x {heads}", *costs, *(f"{error:.1e}" for error in errors)]


if __name__ == "__main__":
    main()
