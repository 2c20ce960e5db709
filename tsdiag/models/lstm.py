"""The baseline: convolutions, a stack of BiLSTMs and a dense head.

The founding question (Data Science Stack Exchange 124488) gives its widths: Conv1D 128 and
256 (kernel 3, relu, batch norm), BiLSTM 256, 128, 64, dropout .3, Dense 64 (elu, L1/L2), batch
norm, Dense 1. So each convolution doubles the width and each BiLSTM halves it.
It leaves open, and here is chosen: one batch norm after the convolutions, valid padding, dropout
after each BiLSTM, L1 = 1e-5 and L2 = 1e-4 (the example in Keras's manual; its string "l1_l2" means
0.01, which outweighs a standardised loss several times), Adam at a constant 1e-3.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.errors import ConfigError
from tsdiag.models.architecture import Architecture, Shapes
from tsdiag.models.dropout import Dropout
from tsdiag.models.suggest import Suggest

# Keras's batch normalisation, in PyTorch's words (its momentum is 1 - Keras's).
NORM_EPSILON = 1e-3


class LstmConfig(ModelConfig):
    """Settings of the CNN/BiLSTM; usable without building one."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["lstm"] = "lstm"
    conv_layers: int = Field(1, ge=0)
    conv_channels: int = Field(32, ge=1, description="of the first convolution; each next doubles")
    conv_kernel: int = Field(3, ge=1, description="rows")
    pool: int = Field(4, ge=1, description="rows per step of the LSTM, by maximum; 1 = no pooling")
    batch_norm: bool = False
    batch_norm_momentum: float = Field(0.1, gt=0, le=1, description="share of the newest batch")
    lstm_layers: int = Field(1, ge=1)
    lstm_units: int = Field(32, ge=1, description="of the first BiLSTM, each way; each next halves")
    dropout: float = Field(0.1, ge=0, lt=1)
    dense_units: int = Field(32, ge=1)
    dense_l1: float = Field(0.0, ge=0)
    dense_l2: float = Field(0.0, ge=0)
    init_scale: float = Field(1.0, ge=0, description="multiplies every drawn weight")


class Convolutions(nn.Module):
    """Convolutions over time with relu, then maximum pooling and batch normalisation."""

    def __init__(self, config: LstmConfig, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.width = channels
        for index in range(config.conv_layers):
            after = config.conv_channels * 2**index
            layers += [nn.Conv1d(self.width, after, config.conv_kernel), nn.ReLU()]
            self.width = after
        if config.pool > 1:
            layers.append(nn.MaxPool1d(config.pool, ceil_mode=True))
        if config.batch_norm:
            layers.append(_batch_norm(config, self.width))
        self.layers = nn.Sequential(*layers)

    def forward(
        self, window: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch token width"]:
        """Return fewer, wider steps."""
        steps: Tensor = self.layers(window.transpose(1, 2))
        return steps.transpose(1, 2)


class BiLstm(nn.Module):
    """BiLSTMs on top of each other, with dropout after each."""

    def __init__(self, config: LstmConfig, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for index in range(config.lstm_layers):
            units = max(1, config.lstm_units // 2**index)
            self.layers.append(nn.LSTM(width, units, batch_first=True, bidirectional=True))
            width = 2 * units
        self.width = width
        self.dropout = Dropout(config.dropout)

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch features"]:
        """Return the final states of both directions of the topmost layer."""
        final = stream
        for layer in self.layers:
            stream, (final, _) = layer(stream)
            stream = self.dropout(stream)
        # Not stream[:, -1]: there the backward direction has read one step only.
        both: Tensor = self.dropout(torch.cat((final[0], final[1]), dim=-1))
        return both


class CnnBiLstm(nn.Module):
    """Convolutions -> BiLSTMs -> dense layer -> projection."""

    def __init__(self, config: LstmConfig, shapes: Shapes) -> None:
        super().__init__()
        self.config = config
        self.shape = (shapes.prediction_length, shapes.targets)
        self.convolutions = Convolutions(config, shapes.channels)
        self.lstm = BiLstm(config, self.convolutions.width)
        self.dense = nn.Linear(self.lstm.width, config.dense_units)
        self.activation = nn.ELU()
        self.norm = _batch_norm(config, config.dense_units) if config.batch_norm else nn.Identity()
        self.projection = nn.Linear(config.dense_units, shapes.outputs)

    def forward(
        self, window: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch horizon target"]:
        """Return predictions [standard deviations of the target]."""
        read = self.lstm(self.convolutions(window))
        hidden = self.norm(self.activation(self.dense(read)))
        predicted: Tensor = self.projection(hidden)
        return predicted.view(-1, *self.shape)

    def penalty(self) -> Tensor:
        """Return the L1/L2 term of the dense kernel."""
        kernel = self.dense.weight
        absolute = self.config.dense_l1 * kernel.abs().sum()
        return absolute + self.config.dense_l2 * kernel.square().sum()


def _batch_norm(config: LstmConfig, width: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(width, eps=NORM_EPSILON, momentum=config.batch_norm_momentum)


def _build(config: LstmConfig, shapes: Shapes) -> CnnBiLstm:
    lost = config.conv_layers * (config.conv_kernel - 1)
    if shapes.context_length <= lost:
        raise ConfigError(
            f"model.conv_layers = {config.conv_layers} with model.conv_kernel ="
            f" {config.conv_kernel} needs more than {lost} rows a window, and"
            f" data.context_length is {shapes.context_length}; take fewer layers or longer windows"
        )
    return CnnBiLstm(config, shapes)


# Rate and schedule are left open by the question. After 1,000 steps of 16 windows of the generated
# series (macd, 240 rows), validation loss on 512 windows: .229 so, .265 at a constant 1e-3.
FOUNDING: dict[str, Any] = {
    "model.conv_layers": 2,
    "model.conv_channels": 128,
    "model.pool": 1,
    "model.batch_norm": True,
    "model.batch_norm_momentum": 0.01,
    "model.lstm_layers": 3,
    "model.lstm_units": 256,
    "model.dropout": 0.3,
    "model.dense_units": 64,
    "model.dense_l1": 1e-5,
    "model.dense_l2": 1e-4,
    "optimizer.name": "adam",
    "optimizer.lr": 2e-3,
    "optimizer.weight_decay": 0.0,
    "optimizer.warmup_fraction": 0.1,
    "optimizer.schedule": "cosine",
    "optimizer.clip_norm": 0.0,
}
# The defaults above are its sizes. After 600 steps, validation loss on beijing33 and the generated
# series (macd): .49 and .19 at this rate, .52 and .21 at half of it; with batch norm .53 and .20.
SMALL: dict[str, Any] = {"optimizer.lr": 6e-3}


def suggest(trial: Suggest, base: RunConfig) -> dict[str, Any]:
    """Return one configuration of the baseline's own space, by path."""
    integer, number, choice = trial.suggest_int, trial.suggest_float, trial.suggest_categorical
    rows = base.data.context_length
    pools = tuple(pool for pool in (2, 4, 8) if 4 * pool <= rows) or (1,)
    kernels = tuple(kernel for kernel in (3, 5, 7) if 4 * kernel <= rows) or (1,)
    return {
        "model.conv_layers": integer("model.conv_layers", 1, 2),
        "model.conv_channels": choice("model.conv_channels", (16, 32, 64)),
        "model.conv_kernel": choice("model.conv_kernel", kernels),
        "model.pool": choice("model.pool", pools),
        "model.lstm_layers": integer("model.lstm_layers", 1, 2),
        "model.lstm_units": choice("model.lstm_units", (16, 32, 64)),
        "model.dense_units": choice("model.dense_units", (16, 32, 64)),
        "model.dropout": number("model.dropout", 0.0, 0.4),
        "optimizer.lr": number("optimizer.lr", 3e-4, 1e-2, log=True),
        "optimizer.warmup_fraction": number("optimizer.warmup_fraction", 0.0, 0.3),
        "optimizer.weight_decay": number("optimizer.weight_decay", 1e-4, 0.3, log=True),
    }


LSTM = Architecture(
    kind="lstm",
    config=LstmConfig,
    build=_build,
    suggest=suggest,
    presets={"small": SMALL, "founding": FOUNDING},
)
