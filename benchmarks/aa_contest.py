"""A/A contest: LSTM against the same LSTM, many times. How often does the verdict say "beats"?

Trains a pool of small LSTMs on a generated series, one per seed, keeps their squared error of each
test window, and judges contests between disjoint draws of seeds. Every "beats" is wrong, and so is
every "does not beat". A second table judges the same contests with the naive interval (test
windows alone, as if training had no seeds).

    python benchmarks/aa_contest.py --pool 60 --contests 200 --seeds 5 3
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tsdiag.compare.comparison import Comparison
from tsdiag.compare.judge import Side, judge
from tsdiag.compare.metrics import Scores, window_losses
from tsdiag.config import DataConfig, GeneratorConfig, RunConfig, TrainingConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.data.generator import TARGET
from tsdiag.models import Shapes, build, preset
from tsdiag.training.evaluation import predict
from tsdiag.training.loop import Training

Losses = NDArray[np.float64]


def base_config(rows: int, context_length: int, steps: int) -> RunConfig:
    """Return the small LSTM on the generated macd series."""
    data = DataConfig(
        generate=GeneratorConfig(kind="macd", rows=rows, channels=10),
        target=TARGET,
        transform="difference",
        context_length=context_length,
    )
    training = TrainingConfig(max_steps=steps, evaluate_every=steps, validation_windows=64)
    return preset(RunConfig(data=data, training=training), "lstm", "small")


def train_pool(config: RunConfig, size: int) -> Losses:
    """Train one model per seed; return squared errors "seed window" on the test span."""
    data = load_dataset(config.data)
    return np.stack([_losses_of_seed(config.edit("seed", seed), data) for seed in range(size)])


def _losses_of_seed(config: RunConfig, data: Dataset) -> Losses:
    windows = data.test
    shapes = Shapes(
        windows.context_length, windows.n_channels, windows.prediction_length, windows.n_targets
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)  # dropout takes no other generator
        model = build(config, shapes, torch.Generator().manual_seed(config.seed))
        Training(model, data.train, data.validation, config).run()
    targets = windows.targets_at(torch.arange(len(windows)))
    return window_losses(predict(model, windows).numpy(), targets.numpy())


def side(label: str, losses: Losses) -> Side:
    """Return runs that are known by their losses alone."""
    count, windows = losses.shape
    scores = tuple(
        Scores(
            mse=float(row.mean()),
            mae=0.0,
            r2=None,
            directional_accuracy=None,
            moves=0,
            ties=0,
            windows=windows,
        )
        for row in losses
    )
    return Side(label, None, tuple(range(count)), losses, scores, 0, (0.0,) * count, (0.0,) * count)


def contests(
    pool: Losses, count: int, seeds: int, rng: np.random.Generator
) -> Iterator[Comparison]:
    """Judge draws of ``seeds`` models against as many others of the same pool."""
    for _ in range(count):
        drawn = rng.permutation(len(pool))[: 2 * seeds]
        ours, theirs = pool[drawn[:seeds]], pool[drawn[seeds:]]
        yield judge(side("A", ours), side("also A", theirs), rng=rng)


def naive_outcome(comparison: Comparison) -> str:
    """Return what the interval over test windows alone would have said."""
    interval = comparison.difference.windows
    assert interval is not None
    if interval.high < 0:
        return "beats"
    return "does not beat" if interval.low > 0 else "cannot tell yet"


def binomial_interval(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of Clopper and Pearson."""
    from scipy.special import betaincinv

    low = betaincinv(hits, count - hits + 1, 0.025) if hits else 0.0
    high = betaincinv(hits + 1, count - hits, 0.975) if hits < count else 1.0
    return float(low), float(high)


def show(console: Console, title: str, counts: Counter[str]) -> None:
    total = counts.total()
    table = Table(title=title, title_justify="left")
    for header in ("outcome", "contests", "share", "95 % interval"):
        table.add_column(header, justify="left" if header == "outcome" else "right")
    for outcome in ("beats", "does not beat", "cannot tell yet"):
        low, high = binomial_interval(counts[outcome], total)
        share = f"{100 * counts[outcome] / total:.1f} %"
        table.add_row(
            outcome, str(counts[outcome]), share, f"{100 * low:.1f} to {100 * high:.1f} %"
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=int, default=60)
    parser.add_argument("--contests", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 3])
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--context-length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--short", action="store_true", help="a pool of 20, trained 60 steps")
    options = parser.parse_args()
    if options.short:
        options.pool, options.steps, options.seeds = 20, 60, [5]
    torch.set_num_threads(1)
    console, started = Console(), time.perf_counter()
    pool = train_pool(
        base_config(options.rows, options.context_length, options.steps), options.pool
    )
    losses = pool.mean(axis=1)
    console.print(
        f"{len(pool)} LSTMs, {pool.shape[1]} test windows, MSE {losses.mean():.4f} "
        f"(s.d. over seeds {losses.std(ddof=1):.4f}), {time.perf_counter() - started:.0f} s"
    )
    for seeds in options.seeds:
        rng = np.random.default_rng(seeds)
        judged = list(contests(pool, options.contests, seeds, rng))
        title = f"{options.contests} contests of {seeds} seeds against {seeds}"
        show(console, title, Counter(found.outcome for found in judged))
        show(console, title + ", naive", Counter(map(naive_outcome, judged)))


if __name__ == "__main__":
    main()
