"""From a diagnosis to what is worth carrying out: remedies that can be built and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

from tsdiag.config import Frozen, RunConfig
from tsdiag.diagnostics.findings import Diagnosis, Finding, Remedy, Suspect
from tsdiag.errors import ConfigError
from tsdiag.models import Shapes, complete, sketch
from tsdiag.training.engine import refuse_parts
from tsdiag.verify.arms import canonical

# So many remedies are tried by themselves: of planted faults, the cause was among the first two
# findings in 55 of 56 (benchmarks/diagnosis.py), and a finding has one or two remedies.
MOST = 6
# Pairs are made of the first few.
PAIRED = 4
# What an intervention may change of the data: all else changes what is predicted, and its loss.
COMPARABLE = ("data.scale_inputs", "data.scale_target")


class Hypothesis(Frozen):
    """A set of changes, and the causes that name it as their remedy."""

    set: dict[str, Any]
    causes: tuple[str, ...]

    @property
    def is_longer(self) -> bool:
        """Whether it asks for more steps: no repair at the same budget, and as dear as it is long.

        Such remedies are carried out last, by themselves.
        """
        return "training.max_steps" in self.set


def hypotheses(
    diagnosis: Diagnosis, base: RunConfig, shapes: Shapes
) -> tuple[tuple[Hypothesis, ...], dict[str, str]]:
    """Return what to carry out, most telling first, and by its name what is left out, with why.

    Findings come before what is merely suspected, and each one's first remedy before any second.
    """
    found: dict[str, Hypothesis] = {}
    left_out = {
        finding.cause: "its remedy is no configuration path"
        for finding in diagnosis.findings
        if not finding.remedies
    }
    # A suspect that was confirmed is a finding, too, and keeps its place: the plan is the same.
    suspected = {suspect.cause for suspect in diagnosis.suspects}
    findings = [finding for finding in diagnosis.findings if finding.cause not in suspected]
    for finding, remedy in _in_order([*findings, *diagnosis.suspects]):
        changes = changing(base, remedy.set)
        name = described(changes or remedy.set)
        if (why := refusal(base, changes, shapes)) is not None:
            left_out[name] = why
        elif name in found:
            causes = (*found[name].causes, finding.cause)
            found[name] = found[name].model_copy(update={"causes": tuple(dict.fromkeys(causes))})
        elif len(found) == MOST:
            left_out[name] = f"{MOST} more telling remedies are tried"
        else:
            found[name] = Hypothesis(set=changes, causes=(finding.cause,))
    return tuple(found.values()), left_out


def _in_order(findings: Sequence[Finding | Suspect]) -> list[tuple[Finding | Suspect, Remedy]]:
    deepest = max((len(finding.remedies) for finding in findings), default=0)
    return [
        (finding, finding.remedies[rank])
        for rank in range(deepest)
        for finding in findings
        if rank < len(finding.remedies)
    ]


def changing(base: RunConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a set of changes is not so already: one configuration, one arm."""
    before = base.paths()
    return {path: value for path, value in changes.items() if before.get(path) != value}


def refusal(base: RunConfig, changes: Mapping[str, Any], shapes: Shapes) -> str | None:
    """Return why a set of changes cannot be carried out and compared, or None."""
    return _refusal(base.to_json(), canonical(changes), shapes)


# A course is followed anew whenever a run ends, and sketching a model takes tens of milliseconds.
@lru_cache(maxsize=4096)
def _refusal(config: str, edits: str, shapes: Shapes) -> str | None:
    base, changes = RunConfig.from_json(config), json.loads(edits)
    for path in changes:
        if path.startswith("data.") and path not in COMPARABLE:
            return f"{path} changes what is predicted, so that losses could not be compared"
    if "data.scale_target" in changes and shapes.targets > 1:
        return "data.scale_target changes the loss of each target by another factor"
    if not changing(base, changes):
        return "the run is so already"
    try:
        changed = complete(base).edits(changes)
        refuse_parts(sketch(changed, shapes), changed.training)
    except ConfigError as error:
        return f"it cannot be built by itself: {error}"
    return None


def joined(sets: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return several sets of changes as one, or None where they contradict each other."""
    whole: dict[str, Any] = {}
    for changes in sets:
        if any(whole.get(path, value) != value for path, value in changes.items()):
            return None
        whole |= changes
    return whole


def union(base: RunConfig, sets: Sequence[Mapping[str, Any]], shapes: Shapes) -> dict[str, Any]:
    """Return all sets at once; what contradicts an earlier one stays out."""
    whole: dict[str, Any] = {}
    for changes in sets:
        more = joined([whole, changes])
        if more is not None and refusal(base, more, shapes) is None:
            whole = more
    return whole


def pairs(
    base: RunConfig, sets: Sequence[Mapping[str, Any]], shapes: Shapes
) -> list[dict[str, Any]]:
    """Return the buildable pairs of the first few sets, beside those that are there already."""
    found: list[dict[str, Any]] = []
    for pair in (joined(two) for two in combinations(sets[:PAIRED], 2)):
        new = pair is not None and pair not in sets and pair not in found
        if pair is not None and new and refusal(base, pair, shapes) is None:
            found.append(pair)
    return found


def described(changes: Mapping[str, Any]) -> str:
    """Return a set of changes in words."""
    return ", ".join(f"{path} = {_shown(value)}" for path, value in sorted(changes.items()))


def _shown(value: Any) -> str:
    # A rate that was drawn has seventeen digits, of which nobody reads more than four.
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
