"""What interventions showed: values that go to JSON and back, beside what rules found.

A remedy is carried out as pairs of runs that differ in the named paths alone, one pair a seed. Its
effect is the mean difference of their validation losses, treatment minus control: below 0 is
better [target variance].
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from tsdiag.config import Frozen

Outcome = Literal["confirmed", "refuted", "inconclusive"]
# Whether a run learns when it goes on from where it stalled: only then were its weights not lost.
Rescue = Literal["rescued", "only from scratch", "not at all", "inconclusive"]


class Verdict(Frozen):
    """What carrying out a remedy showed, and how surely."""

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    outcome: Outcome
    why: str = Field(description="the rule that gave this outcome, with its numbers")
    set: dict[str, Any] = Field(description="what the treatment changed")
    effect: float | None = Field(description="mean of treatment minus control; None: no pair yet")
    ceiling: float | None = Field(
        None, description="what losses above it count as in the effect; None: none were above"
    )
    interval: tuple[float, float] | None = Field(None, description="95 %, Student's over seeds")
    p: float | None = Field(None, description="sign-flip, of an effect below 0; one-sided")
    control: float | None = Field(None, description="mean validation loss without the change")
    treatment: float | None = Field(None, description="mean validation loss with it")
    attained: float | None = Field(
        None, description="share of the way from the naive floor to the best reference, with it"
    )
    learns: bool = Field(False, description="with it, surely more than half of that way")
    seeds: int
    steps: int
    alone: bool = Field(True, description="False: it helps only together with the paths in `with`")
    others: tuple[str, ...] = Field((), alias="with")
    plateau: Rescue | None = Field(None, description="when it was tried from the stalled weights")


class Member(Frozen):
    """One change of a repair, or two of which neither is possible without the other.

    What it does by itself, and what the repair is without it.
    """

    set: dict[str, Any]
    alone: Verdict | None = Field(None, description="against the control")
    without: Verdict | None = Field(None, description="the repair against the repair without it")
    builds_alone: bool = Field(True, description="whether it can be carried out alone")
    builds_without: bool = Field(True, description="whether the others can be without it")

    @model_validator(mode="before")
    @classmethod
    def _of_one_path(cls, given: Any) -> Any:
        """Read what was stored when a member was one path with its value."""
        if not (isinstance(given, dict) and "path" in given):
            return given
        rest = {name: value for name, value in given.items() if name not in ("path", "value")}
        return {"set": {given["path"]: given.get("value")}, **rest}


class RandomSearch(Frozen):
    """Random edits of the same configuration, given the time that the repair's search took."""

    runs: int
    steps: int = Field(description="of all its runs together")
    set: dict[str, Any] = Field(default_factory=dict, description="the best of them")
    loss: float | None = None
    beaten: bool = Field(description="the repair is better, or as good with no more changes")
    better: bool = Field(False, description="the repair's loss is the lower one")
    complete: bool = Field(True, description="False: the budget ended before their time did")
    why: str = ""


class Repair(Frozen):
    """The smallest set of changes after which the run learns."""

    set: dict[str, Any]
    verdict: Verdict
    minimal: bool = Field(description="each part was left out, and was missed")
    missed_on: int = Field(0, description="seeds that show that, of the part that had fewest")
    members: tuple[Member, ...] = ()
    interaction: float | None = Field(
        None, description="effect of the whole minus the sum of its members' effects alone"
    )
    random: RandomSearch | None = None


class Tried(Frozen):
    """A set of changes that was carried out, for the record."""

    set: dict[str, Any]
    causes: tuple[str, ...] = ()
    verdict: Verdict


class Verification(Frozen):
    """All that carrying out the remedies of one run's diagnosis has shown."""

    version: Literal[1] = 1
    run: str
    complete: bool = Field(description="False: the budget ended first; the same line goes on")
    repair: Repair | None = None
    # By cause: the verdict on its most telling remedy.
    verdicts: dict[str, Verdict] = Field(default_factory=dict)
    tried: tuple[Tried, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict, description="what was not tried: why")
    random: RandomSearch | None = None
    runs: int = 0
    seconds: float = 0.0
    summary: str = ""
