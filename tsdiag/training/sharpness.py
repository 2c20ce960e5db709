"""Sharpness-aware minimisation: the gradient at the worst point nearby (Foret et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def sharpen(model: nn.Module, rho: float, backward: Callable[[], Tensor]) -> None:
    """Replace the gradients in place by those at w + rho * g / |g| (algorithm 1, eq. 2 and 3)."""
    parameters: list[Tensor] = [p for p in model.parameters() if p.grad is not None]
    gradients = [p.grad.clone() for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    offsets = torch._foreach_mul(gradients, rho / (norm + 1e-12))
    # With the buffers: running statistics of batch norm are those at w, not at the point nearby.
    places = [*parameters, *model.buffers()]
    before = [place.detach().clone() for place in places]
    with torch.no_grad():
        torch._foreach_add_(parameters, list(offsets))
    model.zero_grad(set_to_none=True)
    backward()
    with torch.no_grad():
        # Copied back, not subtracted: (w + e) - e is not w in floating point.
        for place, value in zip(places, before, strict=True):
            place.copy_(value)
