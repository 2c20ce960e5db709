"""The file that a finished run leaves: best weights, configuration and scalers, to predict with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset
from tsdiag.data.scaling import Scaler
from tsdiag.models import Shapes, build, complete
from tsdiag.training.checkpoint import pack, unpack


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
    """Return a safetensors file with everything but the data."""
    facts: dict[str, Any] = {
        "config": config.to_json(),
        "shapes": vars(shapes_of(dataset)),
        "channels": dataset.series.channels,
        "targets": dataset.series.targets,
        "input_scaler": dataset.input_scaler.to_dict(),
        "target_scaler": dataset.target_scaler.to_dict(),
    }
    return pack({f"model.{k}": v for k, v in model.state_dict().items()}, facts)


def unpack_trained(data: bytes) -> Trained:
    """Rebuild the model; raises ``StoreError`` where the bytes are damaged."""
    tensors, facts = unpack(data)
    config = complete(RunConfig.from_json(facts["config"]))
    shapes = Shapes(**facts["shapes"])
    model = build(config, shapes, torch.Generator().manual_seed(config.seed))
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items()})
    return Trained(
        model.eval(),
        config,
        shapes,
        tuple(facts["channels"]),
        tuple(facts["targets"]),
        Scaler.from_dict(facts["input_scaler"]),
        Scaler.from_dict(facts["target_scaler"]),
    )
