"""The transformer: an encoder over the tokens of a window, a pooling and a head.

Every part is a choice by configuration path, from the founding model to iTransformer and
PatchTST-like ones. Only the projections are drawn at random; see ``initialisation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Annotated, Any, Literal

from jaxtyping import Float
from pydantic import ConfigDict, Field, model_validator
from torch import Tensor, nn

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.errors import ConfigError
from tsdiag.models.architecture import Architecture, Shapes
from tsdiag.models.attention import NORM_EPSILON, Attention
from tsdiag.models.blocks import Block, FeedForward
from tsdiag.models.embedding import embedding
from tsdiag.models.head import Head
from tsdiag.models.normalisation import WindowNorm
from tsdiag.models.pooling import pooling
from tsdiag.models.positions import added_positions
from tsdiag.models.suggest import Suggest

DEFAULT_WIDTH = 64
MOST_TOKENS = 64  # in the search space: attention and feed-forward cost grow with the tokens


class TransformerConfig(ModelConfig):
    """Settings of a transformer; usable without building one."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["transformer"] = "transformer"
    d_model: Annotated[int, Field(ge=1)] | Literal["channels"] = Field(
        DEFAULT_WIDTH, description='"channels" = no input projection'
    )
    n_layers: int = Field(2, ge=1)
    n_heads: int = Field(4, ge=1)
    head_dim: int = Field(16, ge=1, description="of each head, whatever d_model is")
    ff_dim: int = Field(128, ge=1)
    activation: Literal["relu", "gelu", "elu", "silu"] = "gelu"
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    attention_dropout_kind: Literal["none", "key", "probability"] = "none"
    norm: Literal["pre", "post", "post_sublayer"] = "pre"
    final_norm: bool = True
    positions: Literal["none", "sinusoidal", "learned", "rotary"] = "learned"
    embedding: Literal["identity", "linear", "conv", "patch", "inverted"] = "patch"
    patch_length: int = Field(8, ge=1, description="rows")
    pooling: Literal["mean_time", "last", "attention", "flatten", "mean_channels"] = "flatten"
    head_units: tuple[int, ...] = ()
    head_dropout: float = Field(0.0, ge=0, lt=1)
    qk_norm: bool = False
    attention_scale: float | None = Field(
        None, description="what multiplies q.k; null = 1/sqrt(head_dim)"
    )
    init_scale: float = Field(1.0, ge=0, description="multiplies every drawn weight")
    residual_scale: float = Field(1.0, description="multiplies what a layer adds to the stream")
    window_norm: Literal["none", "revin"] = "none"

    @model_validator(mode="before")
    @classmethod
    def _fill_implied(cls, given: Any) -> Any:
        return {**given, **implied(given, {})} if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _fits_together(self) -> TransformerConfig:
        if (self.d_model == "channels") != (self.embedding == "identity"):
            raise ValueError(
                f'd_model = {self.d_model!r} with embedding = "{self.embedding}"; d_model ='
                ' "channels" and embedding = "identity" go together: set both or neither'
            )
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(
                f'positions = "rotary" with head_dim = {self.head_dim}; rotary turns pairs of'
                " dimensions: take an even head_dim"
            )
        if any(units < 1 for units in self.head_units):
            raise ValueError(f"head_units = {self.head_units}; every layer needs at least 1 unit")
        return self


def implied(given: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that follow from ``given`` where it does not set them itself.

    ``base`` is what ``given`` changes, or empty. "channels" means that nothing is projected. A
    mean over channels after a fresh LayerNorm is exactly zero, so it goes without a final one.
    """
    width, kind = given.get("d_model"), given.get("embedding")
    follows: dict[str, Any] = {}
    if width == "channels":
        follows["embedding"] = "identity"
    elif width is not None and base.get("embedding") == "identity":
        follows["embedding"] = "linear"
    if kind == "identity":
        follows["d_model"] = "channels"
    elif kind is not None and base.get("d_model") == "channels":
        follows["d_model"] = DEFAULT_WIDTH
    if given.get("pooling") == "mean_channels":
        follows["final_norm"] = False
    return {name: value for name, value in follows.items() if name not in given}


class Transformer(nn.Module):
    """window norm -> embedding -> positions -> blocks -> norm -> pooling -> head."""

    def __init__(self, config: TransformerConfig, shapes: Shapes) -> None:
        super().__init__()
        self.window_norm = (
            WindowNorm(shapes.channels) if config.window_norm == "revin" else nn.Identity()
        )
        width = shapes.channels if config.d_model == "channels" else config.d_model
        self.embedding = embedding(
            config.embedding, shapes.context_length, shapes.channels, width, config.patch_length
        )
        tokens = self.embedding.tokens
        self.positions = added_positions(config.positions, tokens, width)
        self.blocks = nn.Sequential(
            *(_block(config, tokens, width) for _ in range(config.n_layers))
        )
        self.final_norm = (
            nn.LayerNorm(width, eps=NORM_EPSILON) if config.final_norm else nn.Identity()
        )
        self.pooling, pooled = pooling(config.pooling, tokens, width)
        self.head = Head(pooled, config.head_units, config.activation, config.head_dropout, shapes)

    def forward(
        self, window: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch horizon target"]:
        """Return predictions [standard deviations of the target]."""
        stream = self.positions(self.embedding(self.window_norm(window)))
        predicted: Tensor = self.head(self.pooling(self.final_norm(self.blocks(stream))))
        return predicted


def _block(config: TransformerConfig, tokens: int, width: int) -> Block:
    attention = Attention(
        width,
        config.n_heads,
        config.head_dim,
        scale=config.attention_scale,
        dropout=config.attention_dropout,
        dropout_kind=config.attention_dropout_kind,
        qk_norm=config.qk_norm,
        rotary_tokens=tokens if config.positions == "rotary" else None,
    )
    feed_forward = FeedForward(width, config.ff_dim, config.activation, config.dropout)
    return Block(
        attention,
        feed_forward,
        width,
        norm=config.norm,
        dropout=config.dropout,
        residual_scale=config.residual_scale,
    )


def _build(config: TransformerConfig, shapes: Shapes) -> Transformer:
    if config.embedding == "patch" and config.patch_length > shapes.context_length:
        raise ConfigError(
            f"model.patch_length = {config.patch_length} is longer than the window"
            f" (data.context_length = {shapes.context_length}); take a shorter patch"
        )
    return Transformer(config, shapes)


# The literal model of the founding question (Data Science Stack Exchange 124488). What the
# question leaves open is the common Keras example's: LayerNorm on the skip branch, biases on all
# projections. One known difference: Keras draws q, k and v about 2.3 times smaller, because
# it counts their three-axis kernels as a convolution's.
FOUNDING: dict[str, Any] = {
    "model.d_model": "channels",
    "model.embedding": "identity",
    "model.positions": "none",
    "model.n_layers": 8,
    "model.n_heads": 6,
    "model.head_dim": 512,
    "model.ff_dim": 8,
    "model.activation": "elu",
    "model.norm": "pre",
    "model.final_norm": False,
    "model.dropout": 0.1,
    "model.attention_dropout": 0.1,
    "model.attention_dropout_kind": "probability",
    "model.pooling": "mean_channels",
    "model.head_units": (256,),
    "model.head_dropout": 0.2,
}

# On the generated series (macd), 600 steps: 86 % at this rate, 85 % at a third of it.
DEFAULT: dict[str, Any] = {"optimizer.lr": 3e-3}

# A token per channel, as in iTransformer (Liu et al. 2024, arXiv:2310.06625). The default's tokens
# are patches of rows, as in PatchTST (Nie et al. 2023, arXiv:2211.14730), but of all channels.
INVERTED: dict[str, Any] = {**DEFAULT, "model.embedding": "inverted"}


def suggest(trial: Suggest, base: RunConfig) -> dict[str, Any]:
    """Return one configuration of the space, by path.

    A window becomes at most ``MOST_TOKENS`` tokens, so that any of them trains on a CPU:
    embeddings with a token a row are offered for short windows alone.
    """
    values: dict[str, Any] = {"model.d_model": _categorical(trial, "d_model", 32, 64, 128)}
    values |= _suggest_tokens(trial, base, values["model.d_model"])
    values["model.positions"] = _categorical(trial, "positions", "learned", "sinusoidal", "rotary")
    values["model.pooling"] = _categorical(
        trial, "pooling", "flatten", "mean_time", "last", "attention"
    )
    values["model.norm"] = _categorical(trial, "norm", "pre", "post")
    values["model.window_norm"] = _categorical(trial, "window_norm", "none", "revin")
    values["model.n_layers"] = trial.suggest_int("model.n_layers", 1, 4)
    values["model.n_heads"] = _categorical(trial, "n_heads", 1, 2, 4, 8)
    values["model.head_dim"] = _categorical(trial, "head_dim", 8, 16, 32, 64)
    values["model.ff_dim"] = trial.suggest_int("model.ff_dim", 32, 256, log=True)
    values["model.dropout"] = trial.suggest_float("model.dropout", 0.0, 0.3)
    values["optimizer.lr"] = trial.suggest_float("optimizer.lr", 1e-4, 1e-2, log=True)
    values["optimizer.warmup_fraction"] = trial.suggest_float("optimizer.warmup_fraction", 0.0, 0.3)
    values["optimizer.weight_decay"] = trial.suggest_float(
        "optimizer.weight_decay", 1e-4, 0.3, log=True
    )
    return values


def _suggest_tokens(trial: Suggest, base: RunConfig, width: int | str) -> dict[str, Any]:
    """Return embedding and, where it has one, patch length."""
    rows = base.data.context_length
    if width == "channels":  # fixed by a study
        return {"model.embedding": "identity"}
    kinds = (
        ("patch", "inverted", "linear", "conv") if rows <= MOST_TOKENS else ("patch", "inverted")
    )
    kind = _categorical(trial, "embedding", *kinds)
    if kind == "identity":
        return {"model.embedding": kind, "model.d_model": "channels"}
    if kind != "patch":
        return {"model.embedding": kind}
    shortest = ceil(rows / MOST_TOKENS)
    lengths = [length for length in (1, 2, 4, 8, 16, 24, 48) if shortest <= length <= rows]
    length = _categorical(trial, "patch_length", *(lengths[-5:] or [shortest]))
    return {"model.embedding": kind, "model.patch_length": length}


def _categorical(trial: Suggest, name: str, *choices: Any) -> Any:
    return trial.suggest_categorical(f"model.{name}", choices)


TRANSFORMER = Architecture(
    kind="transformer",
    config=TransformerConfig,
    build=_build,
    suggest=suggest,
    presets={"default": DEFAULT, "inverted": INVERTED, "founding": FOUNDING},
    tried_first=("default", "inverted"),
    implied=implied,
)
