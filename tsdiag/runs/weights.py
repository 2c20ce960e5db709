"""The file that a finished run leaves: best weights, configuration and scalers, to predict with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset
from tsdiag.data.scaling import Scaler
from tsdiag.errors import ConfigError, StoreError, redact
from tsdiag.models import Shapes, build, complete
from tsdiag.training.checkpoint import UNREADABLE, brief, pack, unpack


@dataclass(frozen=True)
class Trained:
    """A trained model with all that turns rows into predictions."""

    model: nn.Module
    config: RunConfig
    shapes: Shapes
    channels: tuple[str, ...]
    targets: tuple[str, ...]
    input_scaler: Scaler
    target_scaler: Scaler


def shapes_of(dataset: Dataset) -> Shapes:
    """Return the sizes that a model must fit."""
    train = dataset.train
    return Shapes(train.context_length, train.n_channels, train.prediction_length, train.n_targets)


def pack_trained(model: nn.Module, config: RunConfig, dataset: Dataset) -> bytes:
    """Return a safetensors file with everything but the data, and without the data's password."""
    data = config.data
    public = data.model_copy(update={"url": None if data.url is None else redact(data.url)})
    facts: dict[str, Any] = {
        "config": config.model_copy(update={"data": public}).to_json(),
        "shapes": vars(shapes_of(dataset)),
        "channels": dataset.series.channels,
        "targets": dataset.series.targets,
        "input_scaler": dataset.input_scaler.to_dict(),
        "target_scaler": dataset.target_scaler.to_dict(),
    }
    return pack({f"model.{k}": v for k, v in model.state_dict().items()}, facts)


def unpack_trained(data: bytes) -> Trained:
    """Rebuild the model, in evaluation mode.

    Raises:
        StoreError: the bytes are damaged, or not those of a trained model.
    """
    tensors, facts = unpack(data)
    try:
        return _rebuild(tensors, facts)
    except (ConfigError, *UNREADABLE) as error:
        raise StoreError(
            "load a trained model: the file does not hold one that this version knows "
            f"({brief(error)}); take the version that wrote it, or run the trial again"
        ) from error


def _rebuild(tensors: dict[str, Tensor], facts: dict[str, Any]) -> Trained:
    config = complete(RunConfig.from_json(facts["config"]))
    shapes = Shapes(**facts["shapes"])
    model = build(config, shapes, torch.Generator().manual_seed(config.seed))
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items()})
    trained = Trained(
        model.eval(),
        config,
        shapes,
        tuple(facts["channels"]),
        tuple(facts["targets"]),
        Scaler.from_dict(facts["input_scaler"]),
        Scaler.from_dict(facts["target_scaler"]),
    )
    _require_fit(trained)
    return trained


def _require_fit(trained: Trained) -> None:
    """Refuse what would be found out only with rows at hand."""
    shapes, data = trained.shapes, trained.config.data
    if (shapes.context_length, shapes.prediction_length) != (
        data.context_length,
        data.prediction_length,
    ):
        raise ValueError("its windows are of other lengths than its configuration says")
    for count, names, scaler in (
        (shapes.channels, trained.channels, trained.input_scaler),
        (shapes.targets, trained.targets, trained.target_scaler),
    ):
        if not all(isinstance(name, str) for name in names) or len(names) != count:
            raise ValueError(f"it names {len(names)} columns where there are {count}")
        if not scaler.mean.shape == scaler.std.shape == (count,):
            raise ValueError(f"its scalers are not of {count} columns")
