"""Set-up of every test: one thread, no settings of the person's own, reproducible examples."""

from __future__ import annotations

import os
from pathlib import Path

# Before anything loads torch: two test processes share two cores.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# The axes of tensors are checked in tests only: it costs time. beartype refuses `Self` in a
# function that is decorated alone, as the hook does it.
MODELS = Path(__file__).parents[1] / "tsdiag" / "models"
CHECKED = [file.stem for file in MODELS.glob("[!_]*.py") if "Self" not in file.read_text()]
install_import_hook([f"tsdiag.models.{name}" for name in sorted(CHECKED)], "beartype.beartype")

# Never by timed tests: an example that is slow on a busy machine is no failure.
settings.register_profile("tsdiag", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tsdiag")


@pytest.fixture(autouse=True)
def _no_personal_settings(monkeypatch):
    for name in ("TSDIAG_STORAGE", "TSDIAG_ARTIFACTS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
