"""What a benchmark ran on: a figure means little without."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console

from tsdiag.errors import redact

# Of the processor's flags, those that decide how fast bfloat16 is.
TELLING_FLAGS = ("avx512f", "avx512_bf16", "amx_bf16")
TELLING_PACKAGES = ("torch", "keras", "neuralforecast", "pytorch-lightning")


def show_environment(console: Console) -> None:
    """Print processor, its flags, load, versions, date and command."""
    fields = _processor()
    flags = set(fields.get("flags", "").split())
    told = ", ".join(f"{flag}: {'yes' if flag in flags else 'no'}" for flag in TELLING_FLAGS)
    load = f"load of the last minute {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    kind = fields.get("model name", platform.processor() or "unknown")
    family = f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
    console.print(f"processor   {kind} ({family}); {told}", highlight=False)
    console.print(f"threads     {torch.get_num_threads()}; {load}", highlight=False)
    console.print(f"versions    {_versions()}", highlight=False)
    console.print(f"date        {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", highlight=False)
    # Tables are copied and kept, and a server's URL may hold a password.
    words = " ".join(redact(word) for word in sys.argv)
    console.print(f"command     python {words}", highlight=False, markup=False)


def _processor() -> dict[str, str]:
    """Return the first processor's fields where the system lists them (Linux)."""
    listed = Path("/proc/cpuinfo")
    if not listed.exists():
        return {}
    first = listed.read_text().split("\n\n")[0].splitlines()
    pairs = (line.split(":", 1) for line in first if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _versions() -> str:
    found = [f"python {platform.python_version()}"]
    for name in TELLING_PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
