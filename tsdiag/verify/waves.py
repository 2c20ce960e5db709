"""What a course is made of: sets of changes, waves of arms, and what is known of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tsdiag.verify.arms import Arm

Edits = dict[str, Any]


class Results(Protocol):
    """Loss by arm; a dictionary fits. None: it could not be carried out."""

    def __contains__(self, arm: Arm, /) -> bool:
        """Tell whether the run of an arm has ended."""
        ...

    def get(self, arm: Arm, /) -> float | None:
        """Return the validation loss of an arm, or None."""
        ...


@dataclass(frozen=True)
class Wave:
    """Arms that can run side by side, and what they are for."""

    name: str
    arms: tuple[Arm, ...]

    def pending(self, results: Results) -> list[Arm]:
        """Return the arms whose runs have not ended."""
        return [arm for arm in self.arms if arm not in results]


def without(changes: Edits, paths: Collection[str]) -> Edits:
    """Return a set of changes without some of its paths."""
    return {path: value for path, value in changes.items() if path not in paths}


def forkable(changes: Mapping[str, Any]) -> bool:
    """Tell whether a run's weights can go on under these changes: of how it is optimised alone."""
    fixed = ("optimizer.frozen", "training.max_steps")
    paths = ("optimizer.", "training.batch_size")
    return bool(changes) and all(p.startswith(paths) and p not in fixed for p in changes)
