"""Stored runs -> the leaderboard: trials by validation loss, among the baseline and the floors."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ConfigDict, Field

from tsdiag.compare.metrics import skill
from tsdiag.config import ENGINE, Frozen
from tsdiag.escaping import plain
from tsdiag.report.pruning import Pruning, measure_pruning, pruning_text
from tsdiag.report.wording import clock, number, paragraph, size, table

if TYPE_CHECKING:
    from tsdiag.store.findings import Told
    from tsdiag.store.runs import RunRow  # loads SQLAlchemy

# What a search chooses; data and training are the study's, the same for all of its trials.
_CHOSEN = ("model.", "optimizer.", "training.")
# A model of these ended in a state that no one wants to go on from, however good it once was.
BROKEN = frozenset({"diverged", "failed", "infeasible"})
_TOP_CAUSE = "top cause"


class LeaderboardRow(Frozen):
    """One trial, or the baseline (trial None)."""

    trial: int | None
    state: str
    validation_loss: float | None = Field(description="best of the run [target variance]")
    skill: float | None = Field(description="1 - loss / best floor's loss")
    against_baseline: float | None = Field(description="loss / baseline's loss - 1")
    step: int
    max_steps: int
    parameters: int | None
    seconds: float
    reason: str
    diagnosis: str | None = Field(None, description="state by `tsdiag explain`, when it ended")
    cause: str | None = Field(None, description="the first cause that was found then")
    run: str = Field(description="id of the run that stands for it")
    settings: dict[str, Any] = Field(description="its paths but the data's, with their values")


class Leaderboard(Frozen):
    """Trials of a study, best first, with what they are measured against."""

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    version: Literal[1] = Field(1, alias="schema")
    study: str
    baseline: LeaderboardRow | None
    floors: dict[str, float] = Field(description="validation loss of each floor [target variance]")
    trials: tuple[LeaderboardRow, ...]
    pruning: Pruning | None = Field(None, description="None where no trial was stopped or spared")

    @property
    def best(self) -> LeaderboardRow | None:
        """The trial with the lowest validation loss that did not break, or None."""
        first = next(iter(self.trials), None)
        usable = first is not None and first.state not in BROKEN
        return first if usable and first and first.validation_loss is not None else None

    def to_json(self) -> str:
        """Return the leaderboard as JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        return cls.model_validate_json(text)


def leaderboard(
    study: str,
    runs: Iterable[RunRow],
    baseline: RunRow | None = None,
    floors: Mapping[str, float] | None = None,
    told: Mapping[str, Told] | None = None,
) -> Leaderboard:
    """Rank the runs of trials, oldest first as stored; a trial's last run stands for it.

    ``floors`` are validation losses by name, measured on the same windows as the trials';
    ``told`` are diagnoses by the id of a run.
    """
    losses = {name: loss for name, loss in (floors or {}).items() if math.isfinite(loss)}
    best = min(losses.values(), default=None)
    reference = baseline.validation_loss if baseline else None
    latest = {run.trial: run for run in runs if run.role == "trial" and run.trial is not None}
    diagnoses = told or {}
    rows = [_row(run, best, reference, diagnoses.get(run.id)) for run in latest.values()]
    return Leaderboard(
        study=study,
        baseline=_row(baseline, best, reference, diagnoses.get(baseline.id)) if baseline else None,
        floors=losses,
        trials=tuple(sorted(rows, key=_rank)),
        pruning=measure_pruning(latest.values()),
    )


def _row(
    run: RunRow, floor: float | None, reference: float | None, told: Told | None
) -> LeaderboardRow:
    loss = run.validation_loss
    known = loss is not None
    return LeaderboardRow(
        trial=run.trial if run.role == "trial" else None,
        state=run.state,
        validation_loss=loss,
        skill=skill(loss, floor) if loss is not None and floor is not None else None,
        against_baseline=loss / reference - 1 if known and loss and reference else None,
        step=run.step,
        max_steps=run.max_steps,
        parameters=run.parameters,
        seconds=run.seconds,
        reason=run.reason,
        diagnosis=told.state if told else None,
        cause=told.cause if told else None,
        run=run.id,
        settings=_settings(run),
    )


def _settings(run: RunRow) -> dict[str, Any]:
    return {path: value for path, value in run.paths.items() if path.startswith(_CHOSEN)}


def _rank(row: LeaderboardRow) -> tuple[bool, float, int]:
    loss = math.inf if row.validation_loss is None else row.validation_loss
    return row.state in BROKEN or row.validation_loss is None, loss, row.trial or 0


def leaderboard_text(board: Leaderboard, most: int = 0) -> str:
    """Return the leaderboard for a terminal; at most ``most`` trials, 0 for all of them."""
    if not (board.trials or board.baseline or board.floors):
        return "no run has ended yet; they are done by: tsdiag search STUDY, or tsdiag worker NAME"
    shown = board.trials[:most] if most else board.trials
    with_causes = any(row.cause for row in shown)
    width = max(len(name) for name in [_TOP_CAUSE, *(row.cause or "" for row in shown)])
    # The last column is padded here, since columns behind the second are set to the right.
    last = (lambda row: [f"{row.cause or '':<{width}}"]) if with_causes else _cost_cells
    lines = [(_rank(row), [*_trial_cells(row), *last(row)]) for row in shown]
    if board.baseline:
        cells = ["LSTM", *_trial_cells(board.baseline)[1:], *last(board.baseline)]
        lines.append((_rank(board.baseline), cells))
    best = min(board.floors.values(), default=None)
    for name, loss in board.floors.items():
        gained = skill(loss, best) if best is not None else None
        cells = [name.replace("_", " "), "floor", number(loss, 4), _skill(gained), ""]
        lines.append(((False, loss, -1), [*cells, *([""] if with_causes else [""] * 3)]))
    header = ["trial", "state", "val. loss", "skill", "vs LSTM"]
    header += [f"{_TOP_CAUSE:<{width}}"] if with_causes else ["steps", "params", "time"]
    ranked = [cells for _, cells in sorted(lines, key=lambda line: line[0])]
    left_out = len(board.trials) - len(shown)
    more = f"\n... and {left_out} more: tsdiag trials" if left_out else ""
    parts = [table(header, ranked, words=2) + more, _legend(board), pruning_text(board.pruning)]
    parts.append(_best_settings(board))
    return "\n".join(part for part in parts if part)


def _best_settings(board: Leaderboard) -> str:
    """Return what the best trial is, by the paths in which the trials differ.

    Not how its steps were computed: that was chosen by timing and says nothing about the model.
    """
    if board.best is None:
        return ""
    chosen = board.best.settings.items()
    varied = [
        f"{path.removeprefix('model.')} {_shown(value)}"
        for path, value in chosen
        if path not in ENGINE and any(row.settings.get(path) != value for row in board.trials)
    ]
    return paragraph(f"trial {board.best.trial}: {', '.join(varied)}") if varied else ""


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else plain(str(value))


def _trial_cells(row: LeaderboardRow) -> list[str]:
    against = row.against_baseline
    return [
        str(row.trial),
        _state(row),
        number(row.validation_loss, 4),
        _skill(row.skill),
        "-" if against is None or row.trial is None else _change(against),
    ]


def _state(row: LeaderboardRow) -> str:
    """Return how a run ended or, of one that went its whole way and did not learn, its state."""
    whole = row.state in ("completed", "early_stopped")
    if whole and row.diagnosis not in (None, "learning", "undecided"):
        return str(row.diagnosis)
    return row.state.replace("early_stopped", "early stop").replace("_", " ")


def _cost_cells(row: LeaderboardRow) -> list[str]:
    whole = row.step >= row.max_steps
    steps = str(row.step) if whole else f"{row.step}/{row.max_steps}"
    return [steps, size(row.parameters), clock(row.seconds)]


def _skill(skill: float | None) -> str:
    return "< -99" if skill is not None and skill < -99 else number(skill)


def _change(share: float) -> str:
    """Return a difference in percent; beyond ten times the loss only that it is so matters."""
    return f"{100 * share:+.1f} %" if share < 9 else "> 900 %"


def _legend(board: Leaderboard) -> str:
    best = min(board.floors, key=lambda name: board.floors[name], default=None)
    floor = f"skill: 1 - loss / loss of {plain(best).replace('_', ' ')}; " if best else ""
    return paragraph(f"{floor}vs LSTM: below 0 is better than it; validation data, one seed each")


def leaderboard_csv(board: Leaderboard) -> str:
    """Return the trials and the baseline as CSV; ratios are plain numbers, gaps are empty."""
    page = io.StringIO()
    rows = [_csv_cells(row) for row in board.trials]
    if board.baseline:
        rows.append({**_csv_cells(board.baseline), "trial": "baseline"})
    own = [name for name in LeaderboardRow.model_fields if name != "settings"]
    fields = dict.fromkeys([*own, *(name for row in rows for name in row)])
    writer = csv.DictWriter(page, list(fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return page.getvalue()


def _csv_cells(row: LeaderboardRow) -> dict[str, Any]:
    """Return a row with a column for each of its settings."""
    return row.model_dump(exclude={"settings"}) | row.settings
