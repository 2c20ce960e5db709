"""The text of a new study.toml: every section, with what can be changed beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsdiag.data.inspect import Proposal

REST = """\
[baseline]                        # the LSTM to beat: same rows, same split, same budget
model = "lstm"
preset = "small"                  # or founding: the large CNN/BiLSTM
tune = false                      # true: it gets a search of its own with the same budget

[space]                           # left out: the transformer's own space is searched
# "model.n_heads" = [1, 2, 4, 8]                             # a list: one of these
# "model.head_dim" = { low = 8, high = 128, log = true }     # a range
# "model.positions" = "sinusoidal"                           # a value: fixed

[training]
batch_size = 64
max_steps = 2000                  # optimizer steps of one trial
evaluate_every = 100              # steps from one validation to the next

[search]
trials = 50
timeout = "30m"                   # wall clock of the search with its verdict
sampler = "tpe"
pruner = "warmup-aware"           # or one of Optuna's by name
final_seeds = 5                   # paired seeds behind the verdict

# [[enqueue]]                     # a configuration to try first; repeat for more
# "model.n_layers" = 2
"""
OFFSET = "# offset = 273.15                 # added to the target first: degrees Celsius to kelvin"
COMMENT_COLUMN = 34


def write_study(name: str, source: Mapping[str, str], data: Sequence[Proposal]) -> str:
    """Return the study.toml of a source of rows and the proposals about it."""
    lines = [
        "[study]",
        f"name = {toml(name)}",
        "",
        "[data]",
        *(f"{key} = {toml(value)}" for key, value in source.items()),
        *(_commented(f"{item.key} = {toml(item.value)}", item.comment) for item in data),
        OFFSET,
        "",
        REST,
    ]
    return "\n".join(lines)


def toml(value: Any) -> str:
    """Return a value as TOML: text, number, truth, list or inline table."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, str):
        # TOML takes JSON's escapes; only it wants the delete character escaped too.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Sequence):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml(key)


def _commented(line: str, comment: str) -> str:
    words = " ".join(comment.split())
    return f"{line:<{COMMENT_COLUMN - 2}}  # {words}" if words else line
