"""Which part of a model is what: repeated blocks, the body up to them, and the head behind."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Anatomy:
    """Paths of the blocks in order; names of the parameters up to the last block and after it."""

    blocks: tuple[str, ...]
    body: tuple[str, ...]
    head: tuple[str, ...]


def anatomy(model: nn.Module) -> Anatomy:
    """Return the parts of a model; modules are taken to be registered in the order of the data.

    The blocks are the children of the container with the most parameters whose children are all
    of one class. Without such a container there are no blocks, and all parameters are body.
    """
    names = tuple(name for name, _ in model.named_parameters())
    stacks = [
        (sum(p.numel() for p in module.parameters()), path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Sequential | nn.ModuleList) and _is_stack(module)
    ]
    if not stacks:
        return Anatomy((), names, ())
    _, path, stack = max(stacks, key=lambda found: found[0])
    prefix = f"{path}." if path else ""
    blocks = tuple(prefix + name for name, _ in stack.named_children())
    last = max(index for index, name in enumerate(names) if name.startswith(prefix))
    return Anatomy(blocks, names[: last + 1], names[last + 1 :])


def block_of(name: str, blocks: tuple[str, ...]) -> str | None:
    """Return the block that a parameter or module belongs to, or None."""
    return next((block for block in blocks if name.startswith(f"{block}.")), None)


def _is_stack(container: nn.Module) -> bool:
    kinds = {type(child) for child in container.children()}
    return len(kinds) == 1 and any(True for _ in container.parameters())
