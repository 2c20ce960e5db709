"""What a run's dropout draws from."""

from __future__ import annotations

import torch

# Its own stream of random numbers: dropout must not repeat those of the initial weights.
_DROPOUT_STREAM = 1 << 32


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed what a run's dropout draws from: torch's default generators, on its device alone."""
    # Not torch.manual_seed: it would reach the generators of GPUs that this run does not use.
    torch.default_generator.manual_seed(seed + _DROPOUT_STREAM)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed + _DROPOUT_STREAM)
