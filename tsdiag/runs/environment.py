"""What a run ran on: stored with it, because numbers mean little without."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from tsdiag import __version__
from tsdiag.errors import ConfigError


def describe(device: torch.device) -> dict[str, Any]:
    """Return versions, processor, threads and device as JSON values."""
    return {
        "tsdiag": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def choose_device(asked: str) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda".

    Raises:
        ConfigError: another word, or a GPU was asked for and there is none.
    """
    if asked not in ("auto", "cpu", "cuda"):
        raise ConfigError(f'--device "{asked}" is not known; take one of: auto, cpu, cuda')
    if asked == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: torch finds no CUDA device here; use --device cpu, or install a CUDA "
            "build of torch"
        )
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(asked)
