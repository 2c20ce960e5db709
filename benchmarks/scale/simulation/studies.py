"""The study that simulated workers search: the real space's parameters, of models that are tiny."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tsdiag.search.spec import StudySpec, find_spec, parse_spec

# Every parameter of the transformer's own space is drawn; sizes are small, since models are built.
_STUDY = """
[study]
name = "{name}"
[data]
generate = {{ kind = "lag", rows = 2000, channels = 10 }}
target = "level"
transform = "difference"
context_length = 48
[space]
"model.d_model" = [8, 16]
"model.n_layers" = {{ low = 1, high = 2 }}
"model.n_heads" = [1, 2]
"model.head_dim" = [4, 8]
"model.ff_dim" = {{ low = 8, high = 16, log = true }}
[training]
batch_size = 16
max_steps = {steps}
evaluate_every = {every}
validation_windows = 256
precision = "float32"
[search]
trials = {trials}
final_seeds = {seeds}
"""
# Above what any measurement reaches.
ENDLESS = 1_000_000


def simulated_study(
    steps: int, every: int, trials: int = ENDLESS, seeds: int = 5, name: str = "simulated"
) -> StudySpec:
    """Return a study on the step grid of a recorded run."""
    text = _STUDY.format(name=name, steps=steps, every=every, trials=trials, seeds=seeds)
    return parse_spec(tomllib.loads(text), Path("study.toml"))


def recorded_study(short: bool) -> StudySpec:
    """Return the study whose default transformer is trained for real, once, to be replayed."""
    if short:
        return simulated_study(steps=20, every=5, name="recorded")
    spec = find_spec("beijing33")
    plain = spec.training.model_copy(update={"precision": "float32"})
    return spec.model_copy(update={"training": plain})
