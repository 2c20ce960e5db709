"""``--dry-run``: the resolved study, its data, and what it will cost, measured on a few steps."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

import optuna
import torch

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.diagnostics.case import Facts
from tsdiag.diagnostics.diagnose import warnings
from tsdiag.diagnostics.rules.rule import Plan
from tsdiag.models import build, complete, count_parameters
from tsdiag.report.data_summary import data_summary_text
from tsdiag.report.wording import duration, paragraph, plural, size, table
from tsdiag.runs.engine import choose_engine, engine_name
from tsdiag.runs.environment import choose_device
from tsdiag.runs.weights import shapes_of
from tsdiag.search.conduct import default_workers
from tsdiag.search.registration import check_buildable
from tsdiag.search.space import (
    KIND,
    baseline_config,
    default_config,
    open_engine,
    presets_tried_first,
    resolve,
)
from tsdiag.search.spec import Choice, Range, StudySpec
from tsdiag.training.evaluation import evaluate
from tsdiag.training.loop import Training
from tsdiag.training.observer import Moment

# The first step warms caches up; the next few are alike.
_STEPS = 4
_DRAWS = 6


@dataclass(frozen=True)
class Cost:
    """What one run of a configuration takes."""

    name: str
    engine: str
    parameters: int
    step_seconds: float
    seconds: float


def measure_cost(
    name: str,
    config: RunConfig,
    dataset: Dataset,
    device: torch.device,
    free: Collection[str] = (),
) -> Cost:
    """Time a few steps and one evaluation, computed as a worker would, and scale them to a run."""
    if (choice := choose_engine(config, dataset, device, free)) is not None:
        config = choice.config
    model = build(config, shapes_of(dataset), torch.Generator().manual_seed(0)).to(device)
    endless = config.edits({"training.max_steps": 10**9, "training.evaluate_every": 10**9})
    training = Training(model, dataset.train.to(device), dataset.validation.to(device), endless)
    marks: list[float] = []

    def mark(moment: Moment) -> str | None:
        if not moment.evaluating:
            marks.append(time.perf_counter())
        return "timed" if len(marks) > _STEPS else None

    training.run(mark)
    step = (marks[-1] - marks[0]) / _STEPS
    began = time.perf_counter()
    evaluate(model, training.validation, precision=config.training.precision)
    evaluation = time.perf_counter() - began
    steps, every = config.training.max_steps, config.training.evaluate_every
    whole = step * steps + evaluation * (steps // every + 1)
    parameters = count_parameters(config, shapes_of(dataset))
    return Cost(name, engine_name(config.training), parameters, step, whole)


def dry_run_text(spec: StudySpec, workers: int, device: str) -> str:
    """Return the study, its data and its cost in words; nothing is trained to an end or stored.

    Raises:
        DataError: the rows cannot be used.
        ConfigError: a configuration of the study cannot be built.
    """
    torch.set_num_threads(1)
    dataset = load_dataset(spec.data)
    check_buildable(spec, dataset)
    chosen = choose_device(device)
    count = workers or default_workers(chosen)
    costs = [
        measure_cost(
            f"baseline ({spec.baseline.preset})",
            baseline_config(spec),
            dataset,
            chosen,
            spec.training.open_paths,
        ),
        _sampled_cost(spec, dataset, chosen),
        *(
            measure_cost(
                f"enqueued {number}",
                default_config(spec, paths),
                dataset,
                chosen,
                open_engine(spec, paths),
            )
            for number, paths in enumerate(spec.enqueue)
        ),
        *(
            measure_cost(name, config, dataset, chosen, open_engine(spec, None))
            for name, config in _presets(spec).items()
        ),
    ]
    parts = [
        _study(spec, count),
        data_summary_text(dataset.summary),
        _costs(costs),
        _total(spec, costs, count),
        _warnings(spec, dataset),
    ]
    return "\n\n".join(part for part in parts if part)


def _warnings(spec: StudySpec, dataset: Dataset) -> str:
    """Return what in the configurations that are known now often hurts, by the rules' first look.

    Patterns, not findings: whether they hurt here is measured while they train.
    """
    shapes = shapes_of(dataset)
    facts = Facts(shapes.context_length, shapes.channels, shapes.outputs, len(dataset.train))
    named = {"the default": default_config(spec), "the baseline": baseline_config(spec)}
    named |= {f"enqueued {n}": default_config(spec, p) for n, p in enumerate(spec.enqueue)}
    named |= _presets(spec)
    lines = [
        paragraph(f"{name}: {words} ({cause})", "  ")
        for name, config in named.items()
        for cause, words in warnings(Plan(complete(config).paths(), facts)).items()
    ]
    return "\n".join(["may hurt (tsdiag causes CAUSE tells how):", *lines]) if lines else ""


def _presets(spec: StudySpec) -> dict[str, RunConfig]:
    """Return the configurations of the presets that a new study tries first."""
    found, study = {}, _drawing(spec)
    for name, parameters in presets_tried_first(spec, spec.search.trials - len(spec.enqueue)):
        study.enqueue_trial(parameters)
        found[f"preset {name}"] = resolve(spec, study.ask())
    return found


def _sampled_cost(spec: StudySpec, dataset: Dataset, device: torch.device) -> Cost:
    """Return the mean cost of a few random draws: the space holds far dearer models than others."""
    study = _drawing(spec)
    free = open_engine(spec, None)
    drawn = [resolve(spec, study.ask()) for _ in range(_DRAWS)]
    costs = [measure_cost("", config, dataset, device, free) for config in drawn]

    def mean(name: str) -> float:
        return sum(float(getattr(cost, name)) for cost in costs) / len(costs)

    name = f"transformer, mean of {_DRAWS} draws"
    engines = ", ".join(sorted({cost.engine for cost in costs}))
    return Cost(name, engines, int(mean("parameters")), mean("step_seconds"), mean("seconds"))


def _drawing(spec: StudySpec) -> optuna.Study:
    """Return a study of its own, for draws that leave nothing behind."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler(seed=spec.search.seed)
    return optuna.create_study(storage=optuna.storages.InMemoryStorage(), sampler=sampler)


def _study(spec: StudySpec, workers: int) -> str:
    search, training = spec.search, spec.training
    limit = f", at most {duration(search.timeout)} in all" if search.timeout else ""
    lines = [
        f"study {spec.name}: {plural(search.trials, 'trial')}{limit}, {plural(workers, 'worker')}",
        f"sampler {search.sampler}, pruner {search.pruner}, seed {search.seed}",
        f"baseline: {spec.baseline.model} {spec.baseline.preset}"
        + (f", with {plural(search.trials, 'trial')} of its own" if spec.baseline.tune else ""),
        f"training: {training.max_steps} steps of {training.batch_size} windows, "
        f"validation every {training.evaluate_every} steps",
    ]
    for path, choice in spec.space.items():
        lines.append(f"  {path} {_told(choice)}")
    if not spec.space:
        lines.append(f"space: the {KIND}'s own")
    return "\n".join(lines)


def _told(choice: Choice) -> str:
    if isinstance(choice, Range):
        kind = " (log)" if choice.log else f" by {choice.step}" if choice.step else ""
        return f"from {choice.low} to {choice.high}{kind}"
    if isinstance(choice, tuple):
        return "one of " + ", ".join(map(str, choice))
    return f"= {choice}"


def _costs(costs: list[Cost]) -> str:
    rows = [
        [
            c.name,
            c.engine,
            size(c.parameters),
            f"{1000 * c.step_seconds:.0f} ms",
            duration(c.seconds),
        ]
        for c in costs
    ]
    return table(["model", "computed in", "params", "step", "whole run"], rows, words=2)


def _total(spec: StudySpec, costs: list[Cost], workers: int) -> str:
    baseline, transformer, *first = (cost.seconds for cost in costs)
    sampled = max(0, spec.search.trials - len(first)) * transformer
    searching = (baseline + sampled + sum(first)) / workers
    finals = spec.search.final_seeds * (baseline + 2 * transformer) / workers
    if spec.baseline.tune:
        searching += (spec.search.trials - 1) * baseline / workers
    lines = [
        f"about {duration(searching)} for the search if no trial is pruned,",
        f"and {duration(finals)} for the final runs",
    ]
    limit = spec.search.timeout
    if limit and searching + finals > limit:
        lines.append(f"more than the {duration(limit)} given: fewer trials will be done")
    if limit and baseline > limit / 2:
        lines.append("the baseline alone takes over half of that: raise --timeout")
    return "\n".join(lines)
