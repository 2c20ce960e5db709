"""Taking a view: one forward pass that leaves no trace in the model, its mode or its generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tsdiag.diagnostics.probes.probe import View


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and forked generators inside; outside everything is as it was.

    Modes are put back module by module: a part that its owner froze in evaluation mode stays so.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    model.eval()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """As ``undisturbed``, with gradients.

    Without cuDNN: its recurrent layers have no backward pass in evaluation mode.
    """
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        with undisturbed(model), torch.enable_grad():
            yield
    finally:
        torch.backends.cudnn.enabled = enabled


def look(
    model: nn.Module,
    inputs: Float[Tensor, "batch time channel"],
    targets: Float[Tensor, "batch horizon target"],
) -> View:
    """Return what every module takes in and gives for this batch.

    Raises:
        TypeError: the model gives no tensor.
    """
    entered: dict[str, Tensor] = {}
    left: dict[str, Tensor] = {}

    def catch(path: str) -> Any:
        def hook(_: nn.Module, given: tuple[Any, ...], returned: Any) -> None:
            if (first := _first_tensor(given)) is not None:
                entered[path] = first
            if (first := _first_tensor(returned)) is not None:
                left[path] = first

        return hook

    handles = [m.register_forward_hook(catch(path)) for path, m in model.named_modules()]
    try:
        with undisturbed(model), torch.no_grad():
            predictions = _first_tensor(model(inputs))
    finally:
        for handle in handles:
            handle.remove()
    if predictions is None:
        raise TypeError(f"{type(model).__name__} gives no tensor to look at; let it return one")
    return View(model, inputs, targets, predictions, entered, left)


def _first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, tuple | list):
        return next((found for part in value if (found := _first_tensor(part)) is not None), None)
    return value if isinstance(value, Tensor) else None
