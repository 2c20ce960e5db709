"""What do the probes of a running trial cost, as a share of its training?

    python benchmarks/probes_cost.py [--short]

CPU time is taken inside the watcher's hooks, where a hundredth of a step can still be told. Costs
per call come from a short stretch and are counted out for a run of ``RUN`` steps, whose first
steps are watched more densely than the later ones. The long form adds the blunt check of the small
models: turns of ``EVERY`` steps with all probes on against turns without any.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

import torch
from measuring.environment import show_environment
from measuring.interleaved import interleaved
from measuring.subjects import advance, chosen, generated, new_training, side_of, subject
from rich.console import Console
from rich.table import Table
from torch import nn

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset
from tsdiag.diagnostics.probes import AT_END, LIVE
from tsdiag.diagnostics.probes.probe import Probe, Sample, is_due
from tsdiag.diagnostics.probes.watcher import Watcher
from tsdiag.runs.examination import examine
from tsdiag.runs.recorder import Recorder
from tsdiag.training.evaluation import Evaluation
from tsdiag.training.observer import Moment

# As in the shipped studies: steps of a run, and from evaluation to evaluation.
RUN, EVERY = 1000, 100
# Where a pruner stops many.
STOPPED = (100, 300, RUN)
# Beyond this the blunt check would take a quarter of an hour [s].
LONG_STEP = 0.1
# The stretch, and its denser evaluations.
STRETCH, STRETCH_EVERY = 32, 8

SUBJECTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("transformer", "default", {}),
    ("lstm", "small", {}),
    ("transformer", "founding", {"training.batch_size": 16}),
)


class Meter:
    """Takes the CPU time of functions, by name [s]."""

    def __init__(self) -> None:
        self.costs: dict[str, list[float]] = defaultdict(list)

    def metered(self, name: str, work: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the same function, timed."""

        def meter(given: Any) -> Any:
            began = time.process_time()
            result = work(given)
            self.costs[name].append(time.process_time() - began)
            return result

        return meter

    def probe(self, probe: Probe[Any]) -> Probe[Any]:
        """Return the same probe, timed until its last reading."""
        measure = self.metered(probe.name, lambda subject: list(probe.measure(subject)))
        return replace(probe, measure=measure)


class Timed:
    """A watcher whose hooks are timed; ``steps`` holds what each step spent in them [CPU s]."""

    def __init__(self, watcher: Watcher) -> None:
        self.steps: dict[int, float] = defaultdict(float)
        self._watcher = watcher

    def after_backward(self, moment: Moment) -> None:
        """Pass on, under the step under way."""
        self._pass_on(self._watcher.after_backward, moment, moment.step)

    def after_update(self, moment: Moment) -> None:
        """Pass on, under the step just made."""
        self._pass_on(self._watcher.after_update, moment, moment.step - 1)

    def after_evaluation(self, moment: Moment) -> None:
        """Pass on, under the step before it."""
        self._pass_on(self._watcher.after_evaluation, moment, moment.step - 1)

    def _pass_on(self, hook: Callable[[Moment], None], moment: Moment, step: int) -> None:
        began = time.process_time()
        hook(moment)
        self.steps[step] += time.process_time() - began


@dataclass(frozen=True)
class Costs:
    """CPU time of one model [s]: its step, a step's hooks, a due moment's hooks, each probe.

    A due moment's hooks are without the probes of a sample, which are asked at evaluations alone.
    """

    step: float
    quiet: float
    due: float
    probes: dict[str, float]
    at_end: float
    failures: dict[str, str]

    def share(self, steps: int = RUN) -> float:
        """Return what all probes of a training add to a run of so many steps."""
        hooks = steps * self.quiet + due_moments(steps, EVERY) * self.due
        drawn = sum(self.share_of(probe, steps) for probe in LIVE if probe.sees is Sample)
        return hooks / (steps * self.step) + drawn

    def share_of(self, probe: Probe[Any], steps: int = RUN) -> float:
        """Return what one probe's own calls add."""
        asked = steps if probe.sees is Moment else due_moments(steps, EVERY)
        if probe.sees in (Evaluation, Sample):
            asked = steps // EVERY + 1
        return asked * self.probes.get(probe.name, 0.0) / (steps * self.step)

    def told(self) -> str:
        """Return the shares of runs that were stopped early, in words."""
        parts = [
            f"{steps} steps {100 * self.share(steps):.1f} %"
            f" + {100 * self.at_end / (steps * self.step):.1f} %"
            for steps in STOPPED
        ]
        return f"of runs stopped after, while they train + at their end: {', '.join(parts)}"


def due_moments(steps: int, every: int) -> int:
    """Return how often the standard tier is asked in a run."""
    return sum(is_due(step, every) for step in range(steps + 1))


def new_watcher(probes: list[Probe[Any]], config: RunConfig, dataset: Dataset) -> Watcher:
    """Return a watcher as ``Execution`` sets it up."""
    return Watcher(probes, dataset.train, config, Recorder().note)


def costs_of(config: RunConfig, dataset: Dataset) -> Costs:
    """Watch a short stretch closely."""
    config = config.edit("training.evaluate_every", STRETCH_EVERY)
    # What is set up once per process is no cost of a run.
    advance(new_training(config, dataset, [new_watcher(list(LIVE), config, dataset)]), 2)
    meter = Meter()
    watcher = new_watcher([meter.probe(probe) for probe in LIVE], config, dataset)
    timed = Timed(watcher)
    bare = side_of(new_training(config.edit("training.evaluate_every", 10**9), dataset), 4, "")
    watched = new_training(config, dataset, [timed])
    spent = []
    for _ in range(STRETCH // 4):
        spent.append(bare.spend())
        advance(watched, 4)
    quiet = median(
        cost
        for step, cost in timed.steps.items()
        if not is_due(step, STRETCH_EVERY) and not is_due(step + 1, STRETCH_EVERY)
    )
    sparse = sum(sum(meter.costs[probe.name]) for probe in LIVE if probe.sees is Sample)
    dense = sum(timed.steps.values()) - STRETCH * quiet - sparse
    each = {name: mean(found) for name, found in meter.costs.items()}
    due = dense / due_moments(STRETCH, STRETCH_EVERY)
    at_end = cost_at_end(watched.model, config, dataset)
    return Costs(median(spent[1:]), quiet, due, each, at_end, watcher.failures)


def cost_at_end(model: nn.Module, config: RunConfig, dataset: Dataset) -> float:
    """Return what the probes take that are asked once, when a run has ended [CPU s]."""
    began = time.process_time()
    examine(model, config, dataset, AT_END, 0, Recorder().note)
    return time.process_time() - began


def blunt(config: RunConfig, dataset: Dataset, rounds: int) -> str:
    """Return the median, least and largest cost of turns with all probes over turns without."""
    config = config.edit("training.evaluate_every", EVERY)
    watcher = new_watcher(list(LIVE), config, dataset)
    sides = [
        side_of(new_training(config, dataset, observers), EVERY, "")
        for observers in ([watcher], [])
    ]
    with_probes, without = interleaved(sides, rounds)
    added = [100 * (a / b - 1) for a, b in zip(with_probes, without, strict=True)]
    return f"{median(added):+.1f} % ({min(added):+.1f} to {max(added):+.1f})"


def table_of(title: str, costs: Costs) -> Table:
    """Return the costs as rows."""
    heading = f"{title}: a step takes {1000 * costs.step:.1f} ms"
    table = Table(title=heading, title_justify="left")
    for header in ("probe", "tier", "per call (ms)", "of a run's steps (%)"):
        table.add_column(header, justify="left" if header in ("probe", "tier") else "right")
    for probe in LIVE:
        cost = f"{1000 * costs.probes.get(probe.name, 0.0):.3f}"
        table.add_row(probe.name, probe.tier, cost, f"{100 * costs.share_of(probe):.3f}")
    rest = costs.share() - sum(costs.share_of(probe) for probe in LIVE)
    table.add_row("views, copies, schedule", "", "", f"{100 * rest:.3f}")
    table.add_row("together", "", "", f"{100 * costs.share():.3f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="without the blunt check")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console, dataset = Console(width=150), generated(240)
    show_environment(console)
    console.print(f"runs of {RUN} steps, evaluated every {EVERY}; aim 1 %, floor 3 %")
    for kind, name, changes in SUBJECTS:
        config, engine = chosen(subject(dataset, kind, name, changes), dataset)
        title = f"{kind} {name}, batch {config.training.batch_size}, {engine}"
        costs = costs_of(config, dataset)
        console.print(table_of(title, costs))
        console.print(costs.told(), highlight=False)
        for probe, reason in costs.failures.items():
            console.print(f"{probe} failed: {reason}")
        if not options.short and costs.step < LONG_STEP:
            console.print(f"all on against all off: {blunt(config, dataset, rounds=7)}")


if __name__ == "__main__":
    main()
