"""What chance would find: random edits of the same configuration, of a repair's size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tsdiag.config import RunConfig
from tsdiag.models import Shapes, architecture
from tsdiag.verify.hypotheses import refusal

# An edit changes so many paths at most: as a repair of three parts does.
MOST_PATHS = 3
_ATTEMPTS = 40


class Draw:
    """What a model's ``suggest`` asks; answers at random, evenly over each interval or list."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def suggest_float(
        self, _: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Return a number in [low, high]."""
        if step is not None:
            return low + step * int(self._rng.integers(0, math.floor((high - low) / step) + 1))
        if log:
            return float(math.exp(self._rng.uniform(math.log(low), math.log(high))))
        return float(self._rng.uniform(low, high))

    def suggest_int(self, _: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Return a whole number in [low, high]."""
        if log:
            return min(high, int(math.exp(self._rng.uniform(math.log(low), math.log(high + 1)))))
        return low + step * int(self._rng.integers(0, (high - low) // step + 1))

    def suggest_categorical(self, _: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""
        return choices[int(self._rng.integers(len(choices)))]


def random_edits(base: RunConfig, shapes: Shapes, count: int, seed: int) -> list[dict[str, Any]]:
    """Return up to ``count`` different edits of one to three paths, drawn from the model's space.

    Each takes its values from one random configuration of the space, so that they go together as
    far as so few can; what cannot be built is drawn anew.
    """
    rng = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []
    for _ in range(_ATTEMPTS * count):
        if len(found) == count:
            break
        drawn = architecture(base.model.kind).suggest(Draw(rng), base)
        before = base.paths()
        changed = [path for path in sorted(drawn) if before.get(path) != drawn[path]]
        size = min(len(changed), int(rng.integers(1, MOST_PATHS + 1)))
        picked = sorted(rng.choice(len(changed), size=size, replace=False)) if changed else []
        edit = {changed[i]: drawn[changed[i]] for i in picked}
        if edit and edit not in found and refusal(base, edit, shapes) is None:
            found.append(edit)
    return found
