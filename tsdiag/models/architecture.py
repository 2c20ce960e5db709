"""What an architecture declares, and the sizes that a model is built for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.models.suggest import Suggest


@dataclass(frozen=True)
class Shapes:
    """The sizes that the data fix: a window [rows, channels] and its targets [rows, columns]."""

    context_length: int
    channels: int
    prediction_length: int = 1
    targets: int = 1

    @property
    def outputs(self) -> int:
        """Numbers that a model predicts for one window."""
        return self.prediction_length * self.targets


@dataclass(frozen=True)
class Architecture:
    """One kind of model: its settings, its module, its search space and its named settings."""

    kind: str
    config: type[ModelConfig]
    build: Callable[[Any, Shapes], nn.Module]
    suggest: Callable[[Suggest, RunConfig], dict[str, Any]]
    presets: dict[str, dict[str, Any]]
    # Presets that a search tries before it draws: "default", and what differs from it by paths
    # that ``suggest`` asks for.
    tried_first: tuple[str, ...] = ()
    # (given, base) -> settings that nobody gave and that follow from those that were given.
    implied: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]] = lambda _, __: {}


@runtime_checkable
class Penalised(Protocol):
    """A module with a term of its own in the training loss (never in the validation loss)."""

    def penalty(self) -> Tensor:
        """Return the scalar that the training loop adds to the loss."""
        ...
