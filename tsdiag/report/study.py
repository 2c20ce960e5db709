"""The end of a search in words: what was done, what came out, what to type next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tsdiag.escaping import plain
from tsdiag.report.leaderboard import Leaderboard
from tsdiag.report.wording import duration, listing, number, paragraph, plural

if TYPE_CHECKING:
    from tsdiag.store.runs import RunRow  # loads SQLAlchemy

# In the order in which a person wants to know; the words after "3 trials: 1 ..."
STATES = {
    "completed": "finished",
    "early_stopped": "stopped early",
    "timed_out": "out of time",
    "pruned": "pruned",
    "diverged": "diverged",
    "infeasible": "too large",
    "failed": "failed",
    "interrupted": "interrupted",
    "running": "running",
}
# States of a diagnosis in which nothing was learned; of suspect data nobody can say.
UNLEARNED = ("stalled", "diverged", "nothing-to-learn")
ENDED = frozenset(STATES) - {"interrupted", "running"}
WHOLE = ("completed", "early_stopped")


def search_summary(
    board: Leaderboard, asked: int, seconds: float, next_line: str | None = None
) -> str:
    """Return the summary of a search for ``asked`` trials that took ``seconds`` [s]."""
    counts = Counter(row.state for row in board.trials)
    ended = sum(counts[state] for state in ENDED)
    asked = max(asked, len(board.trials))  # a repair comes on top
    states = [f"{counts[state]} {words}" for state, words in STATES.items() if counts[state]]
    kinds = f" ({', '.join(states)})" if states else ""
    return "\n".join(
        [
            paragraph(
                f"{plain(board.study)}: {ended} of {plural(asked, 'trial')} done{kinds} in "
                f"{duration(seconds)}."
            ),
            paragraph(_best(board)),
            *([paragraph(stalls)] if (stalls := _stalls(board)) else []),
            f"Next: {next_line or _next(board, ended < asked)}",
        ]
    )


def repairs_text(board: Leaderboard, repairs: Mapping[int, int]) -> str:
    """Say of each repair that was tried how far it brought its trial; "" where none was."""
    losses = {row.trial: row.validation_loss for row in board.trials}
    return "\n".join(
        f"Trial {repair} is the repair of trial {trial}: validation loss "
        f"{number(losses.get(trial), 4)} -> {number(losses[repair], 4)}."
        for trial, repair in sorted(repairs.items())
        if losses.get(repair) is not None
    )


def no_verdict(runs: Sequence[RunRow]) -> str:
    """Return why a search has no verdict: what is missing of a pair of final runs."""
    for role, who in (("baseline", "the baseline"), ("trial", "a transformer")):
        ended = [run for run in runs if run.role == role and run.state in ENDED]
        if not any(run.state in WHOLE for run in ended):
            return paragraph(
                f"No verdict yet: it needs {who} trained to its last step{_last(ended)}."
            )
    return "No verdict yet: the final runs are not done."


def suspicion(reason: str) -> str:
    """Return the warning that stands before a verdict on data with a leak."""
    return paragraph(
        f"Careful, the data are suspect: {plain(reason)}. No verdict on them proves anything."
    )


def _stalls(board: Leaderboard) -> str:
    """Sum up why trials did not learn, most frequent cause first."""
    stuck = [row for row in board.trials if row.diagnosis in UNLEARNED]
    if not stuck:
        return ""
    counts = Counter(row.cause or f"{row.diagnosis}, no cause found" for row in stuck)
    first = {cause: row.trial for row in reversed(stuck) for cause in [row.cause] if cause}
    told = [
        f"{count} {cause}" + (f" (trial {first[cause]})" if cause in first else "")
        for cause, count in counts.most_common()
    ]
    return f"{plural(len(stuck), 'trial')} did not learn: {', '.join(told)}."


def _last(ended: Sequence[RunRow]) -> str:
    if not ended:
        return ""
    run = ended[-1]
    return f"; the last one was {STATES[run.state]}: {run.reason}"


def _best(board: Leaderboard) -> str:
    best, baseline = board.best, board.baseline
    if best is None:
        return "No trial has a validation loss yet."
    words = f"Best: trial {best.trial}, validation loss {number(best.validation_loss, 4)}"
    if baseline is None or best.against_baseline is None:
        return words + "; the baseline has none to compare with."
    way = "below" if best.against_baseline < 0 else "above"
    change = f"{100 * abs(best.against_baseline):.1f} % {way} the LSTM's"
    return f"{words}, {change} {number(baseline.validation_loss, 4)}.{_floors_below(board)}"


def _floors_below(board: Leaderboard) -> str:
    """Name the floors that the best trial has not reached: no search result to be glad of."""
    best = board.best
    loss = best.validation_loss if best else None
    if loss is None:
        return ""
    better = [name.replace("_", " ") for name, floor in board.floors.items() if floor <= loss]
    if not better:
        return ""
    return f" It is not below the {'floor' if len(better) == 1 else 'floors'} {listing(better)}."


def _next(board: Leaderboard, unfinished: bool) -> str:
    command = "search" if unfinished and board.best is None else "compare"
    return f"tsdiag {command} {shlex.quote(plain(board.study))}"
