"""Whether a repair of two faults is the exact minimal set: decided by training, not by opinion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from measuring.restoring import RESTORED, Garden, Grown, Told
from pairs import Pair

from tsdiag.config import RunConfig
from tsdiag.errors import ConfigError
from tsdiag.models import imply

Edits = dict[str, Any]
# A remedy that came so far on the one seed of screening is asked whether it does all by itself.
PROMISING = 0.8


@dataclass(frozen=True)
class PairTold:
    """What came of a pair; not asked further where it did not stall the run."""

    told: Told
    left: tuple[float, ...] = ()  # share of healthy skill with the first fault, the second, both
    is_exact: bool = False
    why: str = ""

    @property
    def counts(self) -> bool:
        """Whether the pair stalled the run and both faults hurt by themselves."""
        return self.told.counts and max(self.left) < RESTORED


class Labels:
    """What training on held-out seeds says of sets of changes to a pair and to its halves."""

    def __init__(self, pair: Pair, grown: Grown) -> None:
        self.both = grown.faulty
        self.halves = tuple(
            grown.healthy.edits(imply(grown.healthy, fault)) for fault in (pair.first, pair.second)
        )
        self._held_out = grown.held_out
        self._healthy = grown.held_out.skill(grown.healthy, {})

    def attained(self, config: RunConfig, changes: Edits) -> float:
        """Return the share of the healthy skill; what cannot be built has none."""
        try:
            return self._held_out.skill(config, changes) / self._healthy
        except ConfigError:
            return 0.0

    def restores(self, config: RunConfig, changes: Edits) -> bool:
        """Tell whether the changes bring a configuration back."""
        return self.attained(config, changes) >= RESTORED


def pair_of_faults(garden: Garden, name: str, pair: Pair, seed: int) -> PairTold:
    """Plant two faults, verify the run, and judge its repair."""
    grown = garden.grow(name, pair.plant, seed)
    if not grown.told.counts:
        return PairTold(grown.told)
    labels = Labels(pair, grown)
    left = tuple(labels.attained(config, {}) for config in (*labels.halves, labels.both))
    return PairTold(grown.told, left, *exact(labels, grown))


def exact(labels: Labels, grown: Grown) -> tuple[bool, str]:
    """Tell whether a repair restores, with one accepted repair of each fault and nothing more."""
    repair = grown.told.repair
    if repair is None:
        return False, "no repair"
    if not grown.told.is_restored:
        return False, "it does not restore"
    for part in (*parts(repair), *_promising(grown)):
        if len(part) < len(repair) and labels.restores(labels.both, part):
            return False, f"{part} is enough"
    if len(repair) == 1:
        return True, "one change is enough"
    return _addressed(labels, repair)


def parts(whole: Edits) -> Iterator[Edits]:
    """Yield the parts of a set, smallest first, without the empty one and the whole."""
    for size in range(1, len(whole)):
        for paths in combinations(whole, size):
            yield {path: whole[path] for path in paths}


def _promising(grown: Grown) -> list[Edits]:
    """Return single changes that came far by themselves when they were screened."""
    assert grown.treated is not None
    tried = [(tried.set, tried.verdict.attained) for tried in grown.treated.verification.tried]
    return [s for s, attained in tried if len(s) == 1 and (attained or 0.0) >= PROMISING]


def _addressed(labels: Labels, repair: Edits) -> tuple[bool, str]:
    """Tell whether each fault has its own repair in the set, and these make up the whole."""
    found = []
    for half, words in zip(labels.halves, ("first", "second"), strict=True):
        restoring = [part for part in (*parts(repair), repair) if labels.restores(half, part)]
        if not restoring:
            return False, f"no part of it restores the {words} fault by itself"
        found.append(restoring)
    if any((a | b).keys() == repair.keys() for a in found[0] for b in found[1]):
        return True, "a repair of each fault, and nothing more"
    return False, "more than a repair of each fault"
