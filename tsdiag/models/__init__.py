"""The registry of architectures: from a RunConfig to a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from tsdiag.config import RunConfig, explain_validation, unknown_path
from tsdiag.errors import ConfigError, suggestion
from tsdiag.models.architecture import Architecture, Penalised, Shapes
from tsdiag.models.initialisation import initialise
from tsdiag.models.lstm import LSTM
from tsdiag.models.suggest import Suggest
from tsdiag.models.transformer import TRANSFORMER

__all__ = [
    "MODELS",
    "Architecture",
    "Penalised",
    "Shapes",
    "Suggest",
    "architecture",
    "build",
    "complete",
    "count_parameters",
    "imply",
    "preset",
    "sketch",
]

MODELS: tuple[Architecture, ...] = (TRANSFORMER, LSTM)


def architecture(kind: str) -> Architecture:
    """Return the architecture of that kind.

    Raises:
        ConfigError: there is none.
    """
    kinds = {found.kind: found for found in MODELS}
    if kind not in kinds:
        near = suggestion(kind, kinds) or f"; take one of: {', '.join(kinds)}"
        raise ConfigError(f'unknown model.kind "{kind}"{near}')
    return kinds[kind]


def complete(config: RunConfig) -> RunConfig:
    """Return the configuration with every path of its model checked and filled in.

    Raises:
        ConfigError: the kind, a path or a value is unknown or does not fit.
    """
    declared = architecture(config.model.kind).config
    given = config.model.model_dump(mode="json")
    known = {f"model.{name}": None for name in declared.model_fields}
    for name in given:
        if f"model.{name}" not in known:
            raise ConfigError(unknown_path(f"model.{name}", known))
    try:
        return config.model_copy(update={"model": declared.model_validate(given)})
    except ValidationError as error:
        raise ConfigError(explain_validation(f"model {given}", error)) from error


def preset(config: RunConfig, kind: str, name: str) -> RunConfig:
    """Return the configuration with its model replaced by a named one, and what goes with it.

    Raises:
        ConfigError: there is no such architecture or preset.
    """
    found = architecture(kind)
    if name not in found.presets:
        near = suggestion(name, found.presets) or f"; take one of: {', '.join(found.presets)}"
        raise ConfigError(f'unknown preset "{name}" of model "{kind}"{near}')
    bare = complete(config.model_copy(update={"model": found.config(kind=kind)}))
    return bare.edits(found.presets[name])


def imply(config: RunConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes with what follows from them for paths that they do not name.

    So ``model.d_model = "channels"`` alone also sets ``model.embedding = "identity"``.
    """
    prefix = "model."
    given = {
        path.removeprefix(prefix): value
        for path, value in changes.items()
        if path.startswith(prefix)
    }
    base = config.model.model_dump(mode="json")
    follows = architecture(config.model.kind).implied(given, base)
    return {**changes, **{prefix + name: value for name, value in follows.items()}}


def build(config: RunConfig, shapes: Shapes, generator: torch.Generator) -> nn.Module:
    """Return a new module in training mode; equal generators give equal weights.

    Raises:
        ConfigError: the configuration is impossible for windows of these shapes.
    """
    model = complete(config).model
    # The layers' own draws would move the global generator; they are replaced at once.
    with torch.random.fork_rng(devices=[]):
        module = architecture(model.kind).build(model, shapes)
    initialise(module, generator, scale=getattr(model, "init_scale", 1.0))
    return module


def sketch(config: RunConfig, shapes: Shapes) -> nn.Module:
    """Return the model without allocating its weights: all of it but numbers.

    Raises:
        ConfigError: the configuration is impossible for windows of these shapes.
    """
    model = complete(config).model
    with torch.device("meta"):
        return architecture(model.kind).build(model, shapes)


def count_parameters(config: RunConfig, shapes: Shapes) -> int:
    """Return how many trained numbers the model would have; raises what ``sketch`` does."""
    return sum(parameter.numel() for parameter in sketch(config, shapes).parameters())
