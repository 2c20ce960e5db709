"""What is recorded: healthy runs, and the same with one fault planted, on small generated series.

A fault is an edit of configuration paths, a remedy read backwards. It counts as one only where it
was seen to hurt: `record.py` prints both losses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MACD = {
    "generate": {"kind": "macd", "rows": 6000, "channels": 10},
    "target": "level",
    "transform": "difference",
    "context_length": 48,
}
LAG = {"generate": {"kind": "lag", "rows": 6000, "channels": 10}, "context_length": 24}
STEPS = {"batch_size": 32, "max_steps": 400, "evaluate_every": 50, "validation_windows": 1000}
# Learns the series in four seconds: attention is not what it needs.
PATCH = {
    "model.d_model": 32,
    "model.n_heads": 2,
    "model.head_dim": 16,
    "model.ff_dim": 64,
    "model.patch_length": 4,
}
ROWS = {**PATCH, "model.embedding": "linear"}
DEEP = {**PATCH, "model.n_layers": 12}
# Averages features and learns all the same, because its stream is wide.
PROJECTED = {
    **ROWS,
    "model.d_model": 64,
    "model.n_heads": 4,
    "model.positions": "sinusoidal",
    "model.pooling": "mean_channels",
    "optimizer.lr": 1e-3,
}
# Rows matter one by one and only attention brings them to the last token: eight rows, two a token.
EIGHT_ROWS = {
    "generate": {"kind": "lag", "rows": 12000, "channels": 10},
    "context_length": 8,
}
GATHER = {
    **PATCH,
    "model.patch_length": 2,
    "model.pooling": "last",
    "model.n_layers": 1,
    "model.n_heads": 4,
    "model.ff_dim": 8,
    "optimizer.lr": 1e-2,
}
LONGER = {"max_steps": 800, "evaluate_every": 100}
# The founding model's shape with heads of 64 and a rate at which it learns.
FOUNDING = {
    "model.d_model": "channels",
    "model.positions": "none",
    "model.n_layers": 4,
    "model.n_heads": 4,
    "model.head_dim": 64,
    "model.ff_dim": 8,
    "model.activation": "elu",
    "model.pooling": "mean_channels",
    "model.head_units": [32],
}


@dataclass(frozen=True)
class Plant:
    """A run to record: a healthy configuration, and what is done to it."""

    base: dict[str, Any]
    fault: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)  # beside MACD
    training: dict[str, Any] = field(default_factory=dict)  # beside STEPS
    kind: str = "transformer"
    preset: str = "default"
    cause: str = ""  # of the fault; "": the name of the trace


HEALTHY = {
    "healthy-patch": Plant(PATCH),
    "healthy-rows": Plant(ROWS),
    "healthy-inverted": Plant({**PATCH, "model.embedding": "inverted"}),
    "healthy-deep": Plant({**PATCH, "model.n_layers": 6, "optimizer.lr": 1e-3}),
    "healthy-post-norm": Plant({**PATCH, "model.norm": "post", "optimizer.lr": 1e-3}),
    "healthy-rotary": Plant({**PATCH, "model.positions": "rotary", "model.qk_norm": True}),
    "healthy-last": Plant({**PATCH, "model.patch_length": 12, "model.pooling": "last"}),
    "healthy-revin": Plant({**PATCH, "model.window_norm": "revin", "model.activation": "relu"}),
    "healthy-sgd": Plant({**PATCH, "optimizer.name": "sgd", "optimizer.lr": 0.03}),
    "healthy-sam": Plant({**PATCH, "optimizer.name": "sam"}),
    "healthy-founding": Plant(FOUNDING),
    "healthy-lstm": Plant({}, kind="lstm", preset="small"),
    "healthy-late-bloomer": Plant({**ROWS, "model.pooling": "mean_channels"}, training=LONGER),
    "healthy-late-founding": Plant({**FOUNDING, "optimizer.lr": 1e-3}, training=LONGER),
    "healthy-gather": Plant(GATHER, data=EIGHT_ROWS, training=LONGER),
    "healthy-drift": Plant(PATCH, data={"path": "drifting-level.csv"}),
    "healthy-mixed-units": Plant(
        {**PATCH, "model.window_norm": "revin"},
        data={"path": "mixed-units.csv", "scale_inputs": False},
    ),
    "healthy-wide": Plant(
        {
            **PATCH,
            "model.d_model": 128,
            "model.head_dim": 64,
            "model.n_heads": 8,
            "optimizer.lr": 1e-3,
        }
    ),
}

FAULTS = {
    "pooling-discards-channels": Plant(PATCH, {"model.pooling": "mean_channels"}),
    "order-blind": Plant(ROWS, {"model.pooling": "mean_time", "model.positions": "none"}),
    "positions-swamped": Plant(
        {**PATCH, "model.positions": "sinusoidal", "model.pooling": "mean_time"},
        {"model.positions": "learned"},
    ),
    "degenerate-normalization": Plant(PATCH, {"model.d_model": 1}),
    "degenerate-normalization-pooled": Plant(
        {
            **PROJECTED,
            "model.embedding": "patch",
            "optimizer.name": "sgd",
            "optimizer.lr": 0.03,
        },
        {"model.final_norm": True},
        cause="degenerate-normalization",
    ),
    "missing-input-projection": Plant(
        PROJECTED, {"model.d_model": "channels", "model.head_dim": 64}
    ),
    "feature-bottleneck": Plant(PATCH, {"model.d_model": 4}),
    "blind-time-steps": Plant(
        PATCH, {"model.pooling": "last", "model.residual_scale": 0.0}, data=LAG
    ),
    "vanishing-gradients": Plant(
        {**DEEP, "model.patch_length": 48, "optimizer.lr": 1e-3},
        {"model.norm": "post", "model.residual_scale": 10.0, "model.n_layers": 24},
    ),
    "exploding-gradients": Plant(
        {**PATCH, "optimizer.name": "sgd", "optimizer.lr": 0.03}, {"optimizer.clip_norm": 0.0}
    ),
    "attention-never-specializes": Plant(
        GATHER, {"model.attention_scale": 1e-5}, data=EIGHT_ROWS, training=LONGER
    ),
    "attention-entropy-collapse": Plant(
        {**GATHER, "model.init_scale": 0.2},
        {"model.attention_scale": 16.0},
        data=EIGHT_ROWS,
        training=LONGER,
    ),
    "rank-collapse": Plant(
        {**DEEP, "optimizer.lr": 1e-3}, {"model.norm": "post", "model.residual_scale": 10.0}
    ),
    "unscaled-attention-logits": Plant(
        GATHER, {"model.attention_scale": 4.0}, data=EIGHT_ROWS, training=LONGER
    ),
    "learning-rate-too-high": Plant(PATCH, {"optimizer.lr": 0.3}),
    "learning-rate-too-high-founding": Plant(
        FOUNDING, {"optimizer.lr": 0.03}, cause="learning-rate-too-high"
    ),
    "learning-rate-too-low": Plant(PATCH, {"optimizer.lr": 1e-6}),
    "learning-rate-too-low-founding": Plant(
        FOUNDING, {"optimizer.lr": 1e-4}, cause="learning-rate-too-low"
    ),
    "missing-warmup": Plant(
        {
            **PATCH,
            "model.n_layers": 6,
            "model.norm": "post",
            "optimizer.warmup_fraction": 0.3,
        },
        {"optimizer.warmup_fraction": 0.0},
    ),
    "clipping-saturated": Plant(
        {**PATCH, "optimizer.name": "sgd", "optimizer.lr": 0.03}, {"optimizer.clip_norm": 1e-3}
    ),
    "poor-initialization": Plant(PATCH, {"model.init_scale": 0.0}),
    "poor-initialization-large": Plant(
        PATCH, {"model.init_scale": 12.0}, cause="poor-initialization"
    ),
    "gradient-noise-dominates": Plant(PATCH, {"training.batch_size": 1}),
    "weight-decay-too-strong": Plant(PATCH, {"optimizer.weight_decay": 100.0}),
    "late-plateau": Plant(
        {**ROWS, "model.pooling": "mean_channels", "training.max_steps": 600},
        {"training.max_steps": 300},
    ),
    "dropout-too-strong": Plant(FOUNDING, {"model.dropout": 0.9, "model.head_dropout": 0.9}),
    "overfitting": Plant(
        {
            **PATCH,
            "model.head_units": [512],
            "model.dropout": 0.0,
            "optimizer.lr": 1e-3,
            "optimizer.weight_decay": 30.0,
        },
        {"optimizer.weight_decay": 0.0},
        data={"split": {"train": 0.1, "validation": 0.4, "test": 0.5}},
    ),
    "under-capacity": Plant(
        {**PATCH, "model.pooling": "last"},
        {
            "model.d_model": 3,
            "model.n_heads": 1,
            "model.head_dim": 1,
            "model.ff_dim": 1,
            "model.n_layers": 1,
        },
    ),
    "dead-activations": Plant(
        {**PATCH, "model.activation": "relu", "model.head_units": [32]},
        {"optimizer.lr": 0.1, "optimizer.clip_norm": 0.0, "optimizer.warmup_fraction": 0.0},
    ),
    "saturated-gates": Plant({}, {"model.init_scale": 4.0}, kind="lstm", preset="small"),
    "frozen-parameters": Plant(
        {**PATCH, "model.patch_length": 12, "model.pooling": "last"},
        {"optimizer.frozen": ["embedding", "blocks"]},
    ),
    "frozen-parameters-embedding": Plant(
        {**PATCH, "model.patch_length": 12, "model.pooling": "last"},
        {"optimizer.frozen": ["embedding"]},
        cause="frozen-parameters",
    ),
    "unscaled-inputs": Plant(PATCH, data={"path": "mixed-units.csv", "scale_inputs": False}),
    "unscaled-inputs-far": Plant(
        PATCH, data={"path": "far-from-zero.csv", "scale_inputs": False}, cause="unscaled-inputs"
    ),
    "unscaled-target": Plant(PATCH, data={"path": "large-target.csv", "scale_target": False}),
    "unscaled-target-small": Plant(
        PATCH, data={"path": "small-target.csv", "scale_target": False}, cause="unscaled-target"
    ),
    "distribution-shift": Plant(PATCH, data={"path": "drifting-level.csv", "transform": "none"}),
    "misaligned-target": Plant(PATCH, data={"path": "misaligned.csv"}),
    "no-signal": Plant(PATCH, data={"path": "independent.csv", "transform": "none"}),
    "no-signal-random-walk": Plant(
        PATCH, data={"path": "random-walk.csv", "transform": "none"}, cause="no-signal"
    ),
    "leaking-baseline": Plant(PATCH, data={"path": "knows-the-next-level.csv"}),
    "leaking-baseline-interpolated": Plant(
        PATCH, data={"path": "interpolated.csv"}, cause="leaking-baseline"
    ),
    "constant-target": Plant(PATCH, data={"path": "rarely-moving.csv"}),
    "corrupt-inputs": Plant(PATCH, data={"path": "with-sentinels.csv"}),
}
