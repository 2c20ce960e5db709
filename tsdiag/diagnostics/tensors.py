"""Signals that stand at single tensors: to which of them something happened, and what they make up.

A model's direct children count alike, each by the share of its tensors: an embedding of two
tensors in front of thirty-two of blocks is as much of a way to the output as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from tsdiag.diagnostics.case import Record
from tsdiag.diagnostics.measures import greatest
from tsdiag.diagnostics.signals import Signal

Names = frozenset[str]

# Names that tables of positions go by, and not "post_norm" or "pos_ffn".
_POSITION = re.compile(r"w?pe|pos|positions?|positional|pos(ition(al)?)?_?(emb|enc|table).*")


def measured(record: Record, name: str) -> Names:
    """Return the tensors of which a signal says anything."""
    return frozenset(signal.where for signal in record.places(name))


def ever(record: Record, name: str) -> Names:
    """Return the tensors at which a 0-or-1 signal, or a norm, was above 0 at any step."""
    return frozenset(s.where for s in record.places(name) if (greatest(s) or 0.0) > 0)


def never(record: Record, name: str) -> Names:
    """Return the tensors at which it was measured and always 0."""
    return measured(record, name) - ever(record, name)


def is_key_bias(name: str) -> bool:
    """Tell the bias of attention keys: the softmax does not see it, so its gradient is zero."""
    *module, last = name.split(".")
    return last == "bias" and bool(module) and module[-1] in ("key", "k_proj", "key_proj", "w_k")


def is_position(name: str) -> bool:
    """Tell a table of positions, which does as well fixed as trained (Vaswani et al. 2017)."""
    return any(_POSITION.fullmatch(part) for part in name.lower().split("."))


def share(chosen: Collection[str], everything: Collection[str]) -> float:
    """Return the mean over the model's children of the share of tensors that are chosen."""
    children: dict[str, list[bool]] = {}
    start = _common(everything)
    for name in everything:
        child = name[start:].split(".")[0]
        children.setdefault(child, []).append(name in chosen)
    shares = [sum(members) / len(members) for members in children.values()]
    return sum(shares) / len(shares) if shares else 0.0


def wholes(chosen: Collection[str], everything: Collection[str]) -> tuple[str, ...]:
    """Return the shortest paths below which all tensors are chosen."""
    others = {path for name in everything if name not in chosen for path in _paths(name)}
    tops = (next(path for path in _paths(name) if path not in others) for name in sorted(chosen))
    return tuple(dict.fromkeys(tops))


def curves(
    record: Record, name: str, tensors: Collection[str], paths: Collection[str]
) -> list[Signal]:
    """Return a signal of one of these tensors below each of the first paths, as evidence."""
    some = {s.where: s for s in record.places(name) if s.where in tensors}
    below = ([s for where, s in some.items() if path in _paths(where)] for path in paths)
    return [found[-1] for found in below if found][:3]


def listed(paths: Collection[str], most: int = 3) -> str:
    """Return the first paths in words: "embedding, blocks and 2 more"."""
    shown = list(paths)[:most]
    if len(paths) > most:
        shown.append(f"{len(paths) - most} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _paths(name: str) -> list[str]:
    """Return a, a.b and a.b.c of a.b.c."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def _common(names: Collection[str]) -> int:
    """Return how long the path is that all names share, as below a wrapper "module."."""
    length = 0
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        length += len(parts[0]) + 1
    return length
