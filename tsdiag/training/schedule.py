"""Learning rate by step: linear warmup, then constant, cosine or linear to zero."""

from __future__ import annotations

import math

from tsdiag.config import OptimizerConfig


def warmup_steps(config: OptimizerConfig, max_steps: int) -> int:
    """Return how many steps the rate rises [steps]."""
    return round(config.warmup_fraction * max_steps)


def learning_rate(config: OptimizerConfig, step: int, max_steps: int) -> float:
    """Return the rate of a 0-based step; a function of the step alone, so nothing to restore.

    Cosine: Loshchilov and Hutter 2017, eq. 5, one cycle down to zero.
    """
    warmup = warmup_steps(config, max_steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, max_steps - warmup)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * progress))
    if config.schedule == "linear":
        return config.lr * (1 - progress)
    return config.lr
