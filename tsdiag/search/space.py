"""From a trial to a RunConfig: the architecture's own space, and what a study changes in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.errors import ConfigError
from tsdiag.models import architecture, imply, preset
from tsdiag.search.spec import Choice, Range, StudySpec

KIND = "transformer"
# Optuna's fixed parameters of a waiting trial; what does not fit its range travels as an attribute.
ENQUEUED = "tsdiag:enqueued"
# The name of the preset from which a trial has what its ranges can hold.
PRESET = "tsdiag:preset"
# Of so many trials one may be a preset's: of a few, none is.
_TRIALS_PER_PRESET = 5
# The number under which a trial was first asked, kept through all its successors.
ORIGIN = "tsdiag:origin"


class StudySpace:
    """What a model's ``suggest`` asks; answers from the study file, the queue, or Optuna."""

    def __init__(
        self,
        trial: optuna.trial.BaseTrial,
        space: Mapping[str, Choice],
        wanted: Mapping[str, Any] | None = None,
    ) -> None:
        self._trial = trial
        self._space = space
        self._wanted = wanted

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = False, step: float | None = None
    ) -> float:
        """Return a real number of an interval."""
        return float(self._resolve(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(
        self, name: str, low: int, high: int, *, log: bool = False, step: int = 1
    ) -> int:
        """Return an integer of an interval, both ends included."""
        return int(self._resolve(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of several values."""
        return self._resolve(name, categorical(choices))

    def rest(self, done: Mapping[str, Any]) -> dict[str, Any]:
        """Return values for the study's paths that the architecture did not ask for."""
        return {path: self._resolve(path, None) for path in self._space if path not in done}

    def _resolve(self, name: str, own: BaseDistribution | None) -> Any:
        choice = self._space.get(name)
        distribution = own if name not in self._space else distribution_of(choice)
        if self._wanted is not None and name in self._wanted:
            value = self._wanted[name]
            if distribution is None or not _contains(distribution, value):
                return value
        if distribution is None:
            return choice
        return _decoded(_suggest(self._trial, name, distribution))


def distribution_of(choice: Choice) -> BaseDistribution | None:
    """Return Optuna's distribution of a choice in a study file, or None for a fixed value."""
    if isinstance(choice, Range) and choice.whole:
        low, high, step = int(choice.low), int(choice.high), int(choice.step or 1)
        return IntDistribution(low, high, log=choice.log, step=step)
    if isinstance(choice, Range):
        return FloatDistribution(choice.low, choice.high, log=choice.log, step=choice.step)
    return categorical(choice) if isinstance(choice, tuple) else None


def categorical(choices: Sequence[Any]) -> CategoricalDistribution:
    """Return a categorical distribution; lists become JSON text, for Optuna takes scalars only."""
    return CategoricalDistribution([_encoded(choice) for choice in choices])


def default_config(spec: StudySpec, given: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the transformer that a study means where nothing but ``given`` is said.

    Raises:
        ConfigError: a path is unknown or a value does not fit.
    """
    fixed = {path: choice for path, choice in spec.space.items() if distribution_of(choice) is None}
    bare = preset(_bare(spec, KIND), KIND, "default")
    return bare.edits(imply(bare, {**fixed, **(given or {})}))


def baseline_config(spec: StudySpec) -> RunConfig:
    """Return the baseline: its preset, under the data, budget and seed of the study.

    Raises:
        ConfigError: there is no such preset.
    """
    kind = spec.baseline.model
    return preset(_bare(spec, kind), kind, spec.baseline.preset)


def check_space(spec: StudySpec) -> None:
    """Try every value of a list, and the ends and an inner point of every range, by itself.

    Raises:
        ConfigError: a path is unknown or a value does not fit it.
    """
    for path, choice in spec.space.items():
        for value in _examples(choice):
            try:
                default_config(spec, {path: value})
            except ConfigError as error:
                shown = choice.model_dump(exclude_none=True) if isinstance(choice, Range) else value
                raise ConfigError(f'[space] "{path}" = {shown}: {error}') from error


def enqueued_parameters(spec: StudySpec, paths: Mapping[str, Any]) -> dict[str, Any]:
    """Return Optuna's parameters of a configuration to try first: all that its ranges can hold.

    Told with them, a sampler learns from the trial like from any other.
    """
    base = default_config(spec, paths)
    wanted = base.paths()
    trial = optuna.trial.FixedTrial({path: _encoded(value) for path, value in wanted.items()})
    space = StudySpace(trial, spec.space, wanted)
    space.rest(architecture(base.model.kind).suggest(space, base))
    return trial.params


def presets_tried_first(spec: StudySpec, trials: int) -> list[tuple[str, dict[str, Any]]]:
    """Return presets to try before ``trials`` are drawn: their names, and parameters for Optuna.

    A few draws seldom hold a whole model that is sound, and a sampler that has seen an embedding in
    unsound company alone does not come back to it. What a range cannot hold is drawn, but for what
    tells presets apart; a model that the study enqueues itself is left out.
    """
    presets, names = architecture(KIND).presets, architecture(KIND).tried_first
    own = {name: dict(presets[name].items() - presets["default"].items()) for name in names}
    telling = {path for paths in own.values() for path in paths}
    known = [default_config(spec, paths) for paths in spec.enqueue]
    found = []
    for name, paths in own.items():
        try:
            config, parameters = default_config(spec, paths), enqueued_parameters(spec, paths)
        except ConfigError:  # the study fixes what does not go with it
            continue
        searched = telling.intersection(spec.space).difference(parameters)
        if config not in known and all(spec.space[path] == config.get(path) for path in searched):
            known.append(config)
            found.append((name, parameters))
    return found[: max(0, trials) // _TRIALS_PER_PRESET]


def resolve(spec: StudySpec, trial: optuna.Trial) -> RunConfig:
    """Return the configuration of a trial, asking Optuna for what is to be searched."""
    enqueued = trial.user_attrs.get(ENQUEUED)
    base = default_config(spec, enqueued)
    wanted = None if enqueued is None else base.paths()
    space = StudySpace(trial, spec.space, wanted)
    found = architecture(base.model.kind).suggest(space, base)
    found |= space.rest(found)
    return base.edits({**found, **(enqueued or {})})


def resolve_baseline(spec: StudySpec, trial: optuna.Trial) -> RunConfig:
    """Return the configuration of a baseline's trial: the preset first, then its own space."""
    base = baseline_config(spec)
    if trial.user_attrs.get(ORIGIN, trial.number) == 0 or not spec.baseline.tune:
        return base
    return base.edits(architecture(base.model.kind).suggest(StudySpace(trial, {}), base))


def open_engine(spec: StudySpec, given: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the paths that the choice by timing may set in a trial that was ``given`` others."""
    named = {*spec.space, *(given or {})}
    return frozenset() if "training.precision" in named else spec.training.open_paths - named


def _bare(spec: StudySpec, kind: str) -> RunConfig:
    return RunConfig(
        data=spec.data,
        model=ModelConfig(kind=kind),
        training=spec.training.plain,
        seed=spec.search.seed,
    )


def _suggest(trial: optuna.trial.BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case IntDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_int(name, low, high, log=log, step=step)
        case FloatDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_float(name, low, high, log=log, step=step)
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
    raise TypeError(f"no such distribution: {distribution!r}")


def _examples(choice: Choice) -> Sequence[Any]:
    """Return values that a choice can take, among them one that only a real number can be."""
    match distribution_of(choice):
        case IntDistribution() | FloatDistribution(step=float()) as grid:
            return [grid.low, grid.high]
        case FloatDistribution(low=low, high=high):
            return [low, high, low + (high - low) / math.e]
    return choice if isinstance(choice, tuple) else [choice]


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return _encoded(value) in distribution.choices
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Optuna refuses a 0 outright where a range is logarithmic.
    if isinstance(distribution, FloatDistribution | IntDistribution) and value < distribution.low:
        return False
    return bool(distribution._contains(distribution.to_internal_repr(value)))


def _encoded(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value
