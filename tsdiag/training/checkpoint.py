"""A checkpoint is one safetensors file: tensors, and JSON in its header. Nothing is pickled."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn, optim

from tsdiag.errors import StoreError


@dataclass
class Progress:
    """Where a run stands on its step axis, beside the weights."""

    step: int = 0
    train_loss: float = float("nan")  # of the latest step
    gradient_norm: float = 0.0
    evaluated_step: int = -1  # behind ``step`` on the grid where an evaluation was broken off
    best_validation_loss: float = float("inf")
    best_step: int = 0
    last_validation_loss: float = float("nan")
    evaluations_without_gain: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    # What observers must know of earlier steps; a dictionary for all of them, so names say whose.
    memory: dict[str, Tensor] = field(default_factory=dict)


_TENSORS = ("best_weights", "memory")
# What JSON, torch and safetensors raise where a file is not what it should be: RuntimeError, too,
# where brackets are nested without end.
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
    struct.error,
)


def pack_checkpoint(model: nn.Module, optimizer: optim.Optimizer, progress: Progress) -> bytes:
    """Return model, optimizer, progress and torch's random states as bytes."""
    slots = optimizer.state_dict()
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in progress.best_weights.items()}
    tensors |= {f"memory.{k}": v for k, v in progress.memory.items()}
    tensors |= {
        f"optimizer.{number}.{slot}": value
        for number, state in slots["state"].items()
        for slot, value in state.items()
        if value is not None
    }
    tensors |= _random_states(model)
    facts = {name: value for name, value in vars(progress).items() if name not in _TENSORS}
    return pack(tensors, {"progress": facts, "groups": slots["param_groups"]})


def restore_checkpoint(data: bytes, model: nn.Module, optimizer: optim.Optimizer) -> Progress:
    """Put back what ``pack_checkpoint`` took: the next step is bit-identical to an unbroken run's.

    Raises:
        StoreError: the bytes are damaged or belong to another architecture.
    """
    tensors, facts = unpack(data)
    try:
        model.load_state_dict(_below(tensors, "model."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "optimizer.").items():
            number, slot = name.split(".", 1)
            state.setdefault(int(number), {})[slot] = value
        optimizer.load_state_dict({"state": state, "param_groups": facts["groups"]})
        _set_random_states(model, tensors)
        best, memory = _below(tensors, "best."), _below(tensors, "memory.")
        if best and _sizes(best) != _sizes(model.state_dict()):
            raise ValueError("its best weights are those of another model")
        reached = _typed(facts["progress"])
        # An older version's lacks it, and an evaluation would be counted twice.
        return Progress(
            **{**reached, "evaluated_step": reached["evaluated_step"]},
            best_weights=best,
            memory=memory,
        )
    except UNREADABLE as error:
        raise StoreError(
            f"resume from a checkpoint: it does not fit this model ({brief(error)}); start the run "
            "afresh"
        ) from error


def pack(tensors: dict[str, Tensor], facts: dict[str, Any]) -> bytes:
    """Return a safetensors file with JSON facts in its header."""
    # Separate memory for each tensor, which safetensors insists on; and a copy on the CPU.
    separate = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    # In one entry: safetensors writes several in any order, and equal runs leave equal files.
    content = {"facts": facts, "crc32": _checksum(separate, facts)}
    return save(separate, metadata={"tsdiag": json.dumps(content)})


def unpack(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and facts of a file that ``pack`` made.

    Raises:
        StoreError: the bytes are not such a file.
    """
    try:
        (length,) = struct.unpack("<Q", data[:8])
        content = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["tsdiag"])
        tensors, facts = load(data), content["facts"]
        if content["crc32"] != _checksum(tensors, facts):
            raise ValueError("its checksum does not fit its content")
        return tensors, facts
    except UNREADABLE as error:
        raise StoreError(
            f"read a weights file of {len(data)} bytes: it is damaged or not one of tsdiag's "
            f"({error}); restore it from a copy, or run the trial again"
        ) from error


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _typed(reached: dict[str, Any]) -> dict[str, Any]:
    """Refuse what would be found out only at a later step: a count or a loss that is no number."""
    for name, value in reached.items():
        kind = int if isinstance(getattr(Progress, name, None), int) else int | float
        if isinstance(value, bool) or not isinstance(value, kind):
            raise TypeError(f"its {name} is {value!r}")
    return reached


def brief(error: Exception) -> str:
    """Return the first thing that an error complains about; torch lists all tensors in lines."""
    lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
    return lines[min(1, len(lines) - 1)]


def _checksum(tensors: dict[str, Tensor], facts: dict[str, Any]) -> int:
    """Return one number over all that is in a file: safetensors itself checks sizes only."""
    found = zlib.crc32(json.dumps(facts).encode())
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, found)
    return found


def _random_states(model: nn.Module) -> dict[str, Tensor]:
    """Return the states that dropout draws from: on a GPU, the GPU's own."""
    device = next(model.parameters()).device
    states = {"rng.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["rng.cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_states(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    device = next(model.parameters()).device
    torch.set_rng_state(tensors["rng.cpu"])
    if device.type == "cuda" and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"], device)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
