"""What is found out about a data set once per study, for states and rules to read. No torch.

``tsdiag.runs.audit`` measures it. A part that could not be measured is None, and ``reasons`` says
why, by the part's name. Every skill is 1 - loss / the best naive floor's, on validation windows.
"""

from __future__ import annotations

from pydantic import Field

from tsdiag.config import Frozen


class Permutation(Frozen):
    """Skill of the best cheap model against the same model on shuffled targets."""

    model: str = Field(description="ridge on the flattened window")
    against: str = Field(description="the naive floor whose errors it tries to explain")
    skill: float = Field(description="1 - its loss / the naive floor's, validation windows")
    shuffled: tuple[float, ...] = Field(description="the same with targets shuffled in blocks")
    p: float = Field(description="share of shuffles, itself counted, that reach the skill")
    detectable: float = Field(
        description="smallest signal found in 4 of 5 such data sets [share of the naive loss]"
    )
    block_length: int = Field(description="[windows] that were kept together")


class FeatureSkill(Frozen):
    """What one channel alone explains: ridge on its own part of the window."""

    channel: str
    skill: float = Field(description="1 - loss / naive floor's, validation windows")
    share: float = Field(description="of the skill of ridge on all channels")
    is_target: bool = Field(description="whether the channel is the target's own past")


class Leaks(Frozen):
    """Ways in which a score may be too good to be true."""

    dominating: FeatureSkill | None = Field(None, description="the strongest channel by itself")
    foreseeing: FeatureSkill | None = Field(
        None,
        description="the strongest channel, not the target, by its last two rows beside the "
        "target's own last two",
    )
    past_skill: float | None = Field(
        None, description="what the target's own past explains of the output foreseen best"
    )
    purged_skill: float | None = Field(
        None, description="ridge's, on windows that share no row with the train span"
    )
    purged_error: float | None = Field(None, description="standard error of the purged skill")
    full_skill: float | None = Field(None, description="ridge's, without the gap")
    interpolated_share: float | None = Field(
        None, description="share of moving rows whose change repeats the one before exactly"
    )
    repeated_by_chance: float | None = Field(
        None, description="the same share if changes came in random order"
    )


class Sentinel(Frozen):
    """A value that stands in many rows and far from all others, such as -999."""

    channel: str
    value: float
    share: float = Field(description="of rows")
    inflation: float = Field(description="deviation of all rows over that of the others")


class Columns(Frozen):
    """What is odd about the columns, over the train span unless said otherwise."""

    missing_share: float = Field(
        description="of cells of train and validation, before filling; at most, where values "
        "repeat by themselves, because which cells were filled is not kept"
    )
    constant: tuple[str, ...] = Field((), description="as a model gets them, in 32-bit floats")
    duplicates: tuple[tuple[str, str], ...] = ()
    sentinels: tuple[Sentinel, ...] = ()
    largest_scale_ratio: float = Field(
        1.0, description="largest over smallest root mean square of the inputs as a model gets them"
    )
    largest: str | None = Field(None, description="the channel with the largest")
    smallest: str | None = Field(None, description="the channel with the smallest")
    largest_offset: float = Field(
        0.0, description="largest mean of an input as a model gets it [its standard deviations]"
    )


class TargetFacts(Frozen):
    """What the transformed target looks like, before and after standardising."""

    standard_deviation: float = Field(description="as a model is trained on it, train span")
    mean: float = Field(description="as a model is trained on it, train span")
    most_frequent_share: float = Field(description="share of the most frequent value")
    validation_mean_shift: float = Field(description="[train standard deviations]")
    validation_std_ratio: float = Field(description="validation's over train's")
    input_shift: float = Field(
        description="largest shift of a channel's mean, validation against train [train std]"
    )
    input_shift_channel: str | None = None


class LagScan(Frozen):
    """Ridge on few rows of all channels but the target, fitted to the target moved by some rows.

    Moved by up to three rows to both sides, and by the horizon where a window reaches so far back.
    """

    lags: tuple[int, ...] = Field(description="[rows] that the target was moved into the past")
    skills: tuple[float, ...] = Field(description="1 - loss / the moved target's variance")
    block_error: float = Field(description="standard error of the best skill less the aligned one")

    @property
    def aligned(self) -> float:
        """The skill at no lag, or at one row: what happens in the same row explains itself."""
        return max(s for lag, s in zip(self.lags, self.skills, strict=True) if lag in (0, 1))

    @property
    def best(self) -> int:
        """The lag at which far more is explained than where the target belongs, or 0.

        Far more is twice as much, and surely so. Less would mean little: rows that follow a noisy
        measurement of the target explain more of it than its own row does. The nearest lag counts
        of those that are alike.
        """
        found = dict(zip(self.lags, self.skills, strict=True))
        top = max(found.values())
        if top - self.aligned <= max(top / 2, 3 * self.block_error):
            return 0
        return min((lag for lag, skill in found.items() if skill > 0.9 * top), key=abs)


class Order(Frozen):
    """Does the order of rows matter to a linear model?"""

    skill: float = Field(description="ridge's, on the windows' last rows")
    shuffled_skill: float = Field(
        description="ridge's on means of the windows' rows: what it tends to when they are shuffled"
    )


class DataAudit(Frozen):
    """Everything that was found out about one data set."""

    permutation: Permutation | None = None
    leaks: Leaks | None = None
    columns: Columns | None = None
    target: TargetFacts | None = None
    lag_scan: LagScan | None = None
    order: Order | None = None
    reasons: dict[str, str] = Field(default_factory=dict)

    def why_not(self, part: str) -> str:
        """Return why a part was not measured."""
        return self.reasons.get(part, "the data were not audited")
