"""Comparison: the verdict on test data with every number it rests on, stored and shown as JSON."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field

from tsdiag.compare.metrics import Scores
from tsdiag.config import Frozen

Outcome = Literal["beats", "does not beat", "cannot tell yet"]


class Interval(Frozen):
    """The ends of an interval at the comparison's confidence."""

    low: float
    high: float


class Contender(Frozen):
    """One side: its runs, seed by seed, and what they cost."""

    label: str
    trial: int | None
    parameters: int
    seeds: tuple[int, ...]
    failed_seeds: tuple[int, ...] = Field(description="final runs that ended without predictions")
    seconds: tuple[float, ...] = Field(description="training time of each run [s]")
    cpu_seconds: tuple[float, ...] = Field(description="processor time of each run [s]")
    scores: tuple[Scores, ...]
    mean: Scores


class Difference(Frozen):
    """Candidate minus other in mean squared error [target variance]; negative: the candidate's."""

    mean: float
    per_seed: tuple[float, ...]
    combined: Interval | None = Field(
        description="over seeds and windows at once; the outcome rests on it; None: too few of one"
    )
    windows: Interval | None = Field(description="moving-block bootstrap of the seed-mean losses")
    seeds: Interval | None = Field(description="Student's t over seeds")
    seed_variance: float | None = Field(description="of the mean, from training with other seeds")
    window_variance: float | None = Field(description="of the mean, from testing on other windows")
    degrees_of_freedom: float | None = Field(description="of combined; None where nothing varies")
    block_length: int = Field(description="neighbouring windows kept together [windows]")


class Needs(Frozen):
    """What would tell, if the difference stayed as observed; all None: nothing sensible would."""

    more_seeds: int | None = None
    times_test_rows: float | None = Field(None, description="as many test rows as now")
    with_seeds: int | None = Field(None, description="seeds in all, on that longer test span")


class FloorResult(Frozen):
    """A floor on the same windows, and how both sides stand against it."""

    name: str
    scores: Scores
    candidate_skill: float | None
    baseline_skill: float | None
    candidate_outcome: Outcome | None = Field(description="None: the floor's window losses unknown")
    baseline_outcome: Outcome | None


class SignedTest(Frozen):
    """A test statistic with its two-sided p."""

    statistic: float
    p: float


class Superiority(Frozen):
    """P(candidate's error < baseline's) over paired seeds."""

    value: float
    low: float
    high: float


class Comparison(Frozen):
    """Candidate against baseline on test data."""

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    version: Literal[1] = Field(1, alias="schema")
    outcome: Outcome
    reason: str
    confidence: float
    candidate: Contender
    baseline: Contender
    seeds: tuple[int, ...] = Field(description="seeds that both finished; the pairs")
    difference: Difference
    needs: Needs | None = Field(description="only where the outcome is: cannot tell yet")
    floors: tuple[FloorResult, ...]
    best_floor: str | None
    diebold_mariano: SignedTest | None
    sign_flip_p: float | None
    superiority: Superiority | None
    windows: int
    overlap: int = Field(description="windows that share a target row [windows]")
    ties: int
    looks: int = Field(description="times that test data were scored for this study, this included")

    def to_json(self) -> str:
        """Return the comparison as JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        return cls.model_validate_json(text)
