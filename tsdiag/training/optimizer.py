"""From OptimizerConfig to a torch optimizer, with decay on matrices only."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn, optim

from tsdiag.config import OptimizerConfig
from tsdiag.errors import ConfigError

# SAM wraps AdamW, as SAMformer does (Ilbert et al. 2024, section 4.1).
_OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "adamw": optim.AdamW,
    "sam": optim.AdamW,
    "adam": optim.Adam,
    "sgd": lambda groups, **options: optim.SGD(groups, momentum=0.9, **options),
}


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> optim.Optimizer:
    """Freeze what the configuration names, and return an optimizer of the rest.

    Vectors (biases, gains) are not decayed. ``adam`` couples decay with the gradient (L2),
    ``adamw`` does not (Loshchilov and Hutter 2019).

    Raises:
        ConfigError: a frozen pattern matches no parameter, or nothing is left to train.
    """
    freeze(model, config.frozen)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ConfigError(
            f"optimizer.frozen = {list(config.frozen)} leaves no parameter to train; "
            "name fewer modules"
        )
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    # fused: one kernel for all tensors, on CPU too; a loop over tensors costs more than the maths.
    return _OPTIMIZERS[config.name]([g for g in groups if g["params"]], lr=config.lr, fused=True)


def freeze(model: nn.Module, patterns: tuple[str, ...]) -> None:
    """Take every parameter below a module whose name matches a pattern out of training."""
    for pattern in patterns:
        matched = [
            parameter
            for name, parameter in model.named_parameters()
            if fnmatchcase(name, pattern) or fnmatchcase(name, pattern + ".*")
        ]
        if not matched:
            modules = ", ".join(name for name, _ in model.named_children())
            raise ConfigError(
                f'optimizer.frozen names "{pattern}", which matches no parameter; '
                f"modules of this model: {modules}"
            )
        for parameter in matched:
            parameter.requires_grad_(False)
