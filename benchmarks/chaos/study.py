"""The study that is stormed: a tiny transformer on a generated series, a trial about a second."""

from __future__ import annotations

import random

NAME = "chaos"
FINAL_SEEDS = 2
# The baseline, and final runs of it and of two finalists (see tsdiag/compare/finals.py).
BESIDE = 1 + 3 * FINAL_SEEDS

# Optuna reads every trial that waits whenever it looks at the others.
_MOST_ASKED = 40

_TEXT = """
[study]
name = "{name}"
[data]
generate = {{ kind = "macd", rows = 900, channels = 10 }}
target = "level"
transform = "difference"
context_length = 32
[space]
"model.d_model" = 8
"model.n_layers" = 1
"model.n_heads" = [1, 2]
"model.head_dim" = 4
"model.ff_dim" = 16
"model.embedding" = "patch"
"model.patch_length" = 8
"model.dropout" = {{ low = 0.0, high = 0.3 }}
"optimizer.lr" = {{ low = 1e-4, high = 3e-2, log = true }}
[training]
batch_size = 16
max_steps = {steps}
evaluate_every = {every}
validation_windows = 64
precision = "float32"
[search]
trials = {trials}
timeout = "{timeout}"
final_seeds = {final_seeds}
seed = {seed}
"""
_ASKED = """
[[enqueue]]
"optimizer.lr" = {lr!r}
"model.dropout" = {dropout!r}
"""


def study_text(seed: int, trials: int, steps: int, timeout: str) -> str:
    """Return a study.toml: some trials are asked for one by one, the sampler draws the others.

    Those that are asked for all differ in their rate, so that each can be found again.
    """
    rng = random.Random(seed)
    text = _TEXT.format(
        name=NAME,
        trials=trials,
        steps=steps,
        every=steps // 5,
        timeout=timeout,
        final_seeds=FINAL_SEEDS,
        seed=seed,
    )
    asked = min(trials // 2, _MOST_ASKED)
    for number in range(asked):
        lr = 1e-4 * 300 ** ((number + 0.5) / asked)
        text += _ASKED.format(lr=lr, dropout=round(rng.uniform(0, 0.3), 3))
    return text
