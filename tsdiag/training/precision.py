"""Mixed precision: the model in bfloat16 where that is faster, everything else in float32.

Weights, gradients, optimizer, loss and checkpoints stay in float32: autocast casts copies of the
weights for matrix products, convolutions and LSTMs, and Attention takes itself out of it.

A trial's validation is measured in the precision of its training, since it is part of the run.
Predictions of a finished model, and so the scores of the test span, are in float32 always: there
the time is not spent, and a model answers alike on every machine.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsdiag.config import Precision


class InBfloat16(nn.Module):
    """A model whose matrix products are carried out in bfloat16; its answer is float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return predictions [standard deviations of the target]."""
        # No cache of the cast weights: it serves weights used twice, and CUDA graphs forbid it.
        with torch.autocast(inputs.device.type, torch.bfloat16, cache_enabled=False):
            predicted: Tensor = self.model(inputs)
        return predicted.float()


def in_precision(model: nn.Module, precision: Precision) -> nn.Module:
    """Return the model with its forward pass in that precision; weights are shared.

    It obeys on every device: a CPU without bfloat16 emulates it, slowly and to the same result up
    to rounding, so that a stored run can be carried out again anywhere. Only the choice of a
    precision asks what is fast (``supports_bfloat16``).
    """
    return model if precision == "float32" else InBfloat16(model)


def supports_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies in bfloat16 by itself, so that it may be faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # No public way to ask: these are what torch's own inductor asks.
    supported = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return bool(supported)
