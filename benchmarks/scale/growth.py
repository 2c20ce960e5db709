"""What does one operation cost in a study of 100, 1,000 and 10,000 trials?

    python benchmarks/scale/growth.py [--short] [--plans] [--on sqlite|postgresql|mysql ...]

One trial is really trained, the others are copies of it with values of their own, in Optuna's
tables and in tsdiag's. At each size every operation is timed and what it fetches is counted. The
exponent is the slope of log cost over log trials: 0 is flat, 1 linear. --plans also prints how the
database carries out each of tsdiag's own queries at the largest size. Servers are private ones,
started for this and removed. --short stops at 300 trials.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import optuna
import torch
from filling import begin, fill, finish_finals, occupy, read_pattern
from measuring.environment import show_environment
from measuring.servers import private
from operations import Sample, measure
from plans import show_plans
from rich.console import Console
from rich.table import Table

from tsdiag.store.database import open_store

SIZES, TIMES = (100, 1000, 10_000), 5
SHORT_SIZES, SHORT_TIMES = (100, 300), 2
ENGINES = ("sqlite", "postgresql", "mysql")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--plans", action="store_true")
    parser.add_argument("--on", nargs="+", choices=ENGINES, default=["sqlite"])
    asked = parser.parse_args()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    torch.set_num_threads(1)
    console = Console(width=170)
    show_environment(console)
    for kind in asked.on:
        with database(kind) as (url, folder):
            grow(console, kind, url, folder, asked)


@contextlib.contextmanager
def database(kind: str) -> Iterator[tuple[str, Path]]:
    """Give a new database and a folder."""
    with contextlib.ExitStack() as made:
        folder = Path(made.enter_context(tempfile.TemporaryDirectory()))
        made.enter_context(pointing_to(folder / "artifacts"))
        if kind == "sqlite":
            yield f"sqlite:///{folder}/tsdiag.db", folder
        else:
            server = made.enter_context(private(kind))
            yield server.url.render_as_string(hide_password=False), folder


@contextlib.contextmanager
def pointing_to(artifacts: Path) -> Iterator[None]:
    """Keep artifacts in a folder of the benchmark's."""
    os.environ["TSDIAG_ARTIFACTS"] = str(artifacts)
    try:
        yield
    finally:
        del os.environ["TSDIAG_ARTIFACTS"]


def grow(console: Console, kind: str, url: str, folder: Path, asked: argparse.Namespace) -> None:
    """Fill a database step by step and measure at each size."""
    store = open_store(url)
    spec = begin(store, folder)
    pattern = read_pattern(store)
    occupy(store, spec, pattern)
    sizes, times = (SHORT_SIZES, SHORT_TIMES) if asked.short else (SIZES, TIMES)
    found: dict[int, dict[str, Sample]] = {}
    first = 5
    for size in sizes:
        fill(store, pattern, first, size)
        if first == 5:
            finish_finals(store, spec, pattern)
        found[size] = measure(store, spec, pattern, times)
        # Trials that were carried out while measuring have taken numbers.
        first = size + 100
        console.print(f"{kind}: {size} trials measured", highlight=False)
    show(console, kind, found)
    if asked.plans:
        show_plans(console, store, found[sizes[-1]])


def show(console: Console, kind: str, found: dict[int, dict[str, Sample]]) -> None:
    """Print what each operation costs at each size, and how that grows from the first to the last.

    Of several times the least is told, and of counts the median: other programs can only add.
    """
    sizes = list(found)
    shown = " / ".join(f"{size:,}" for size in sizes)
    table = Table("operation", title=f"{kind}, {shown} trials")
    for name in ("ms", "statements", "rows", "KiB", "exponent of ms", "of rows"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in found[sizes[0]]:
        samples = [found[size][name] for size in sizes]
        milliseconds = [1000 * min(sample.seconds) for sample in samples]
        counts = [
            [median(len(one.statements) for one in sample.fetched) for sample in samples],
            [median(one.rows for one in sample.fetched) for sample in samples],
            [median(one.bytes for one in sample.fetched) / 1024 for sample in samples],
        ]
        cells = [" / ".join(f"{value:,.0f}" for value in values) for values in counts]
        slopes = [exponent(sizes, milliseconds), exponent(sizes, counts[1])]
        table.add_row(
            name,
            " / ".join(f"{value:,.1f}" for value in milliseconds),
            *(cells if any(counts[0]) else ["", "", ""]),  # a command is a process of its own
            *(f"{slope:.2f}" for slope in slopes),
        )
    console.print(table)


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Return the slope of log cost over log size, from the first to the last."""
    if min(costs) <= 0:
        return 0.0
    return math.log(costs[-1] / costs[0]) / math.log(sizes[-1] / sizes[0])


if __name__ == "__main__":
    main()
