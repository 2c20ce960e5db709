"""Comparison -> words: the answer first, then what it rests on, then what it does not show."""

from __future__ import annotations

from tsdiag.compare.comparison import Comparison, Contender, Difference, Interval
from tsdiag.compare.metrics import Scores, skill
from tsdiag.escaping import plain
from tsdiag.report.wording import (
    clock,
    decimals_for,
    listing,
    number,
    paragraph,
    percent,
    plural,
    size,
    table,
)

NOT_SHOWN = (
    "What this does not show: other series or other times than this test span, models outside "
    "the searched space, or what either would reach with a larger budget."
)


def verdict_text(
    comparison: Comparison, candidate: str = "the best transformer", baseline: str = "your LSTM"
) -> str:
    """Return the verdict for a terminal of 80 columns; the names are what the sides are called."""
    named = candidate if comparison.candidate.trial is None else _with_trial(comparison, candidate)
    parts = [
        paragraph(_answer(comparison, plain(named), plain(baseline))),
        *(paragraph(line) for line in (_needs(comparison), _against_floor(comparison)) if line),
        _scores_table(comparison),
        _surely(comparison),
        paragraph(_counted(comparison)),
        paragraph(NOT_SHOWN),
    ]
    return "\n\n".join(parts)


def _with_trial(comparison: Comparison, candidate: str) -> str:
    return f"{candidate} (trial {comparison.candidate.trial})"


def _answer(comparison: Comparison, candidate: str, baseline: str) -> str:
    say = {
        "beats": f"{candidate} beats {baseline}",
        "does not beat": f"{candidate} does not beat {baseline}",
        "cannot tell yet": f"cannot tell yet whether {candidate} beats {baseline}",
    }[comparison.outcome]
    decimals = decimals_for(comparison.difference.mean)
    ours, theirs = comparison.candidate.mean.mse, comparison.baseline.mean.mse
    return (
        f"{say[0].upper()}{say[1:]}: test MSE {number(ours, decimals)} against "
        f"{number(theirs, decimals)}, difference {_difference(comparison.difference, decimals)}."
    )


def _difference(difference: Difference, decimals: int) -> str:
    mean = number(difference.mean, decimals, signed=True)
    return f"{mean} {_interval(difference.combined, decimals)}" if difference.combined else mean


def _interval(interval: Interval | None, decimals: int) -> str:
    if interval is None:
        return "no interval"
    ends = (number(end, decimals, signed=True) for end in (interval.low, interval.high))
    return f"[{', '.join(ends)}]"


def _needs(comparison: Comparison) -> str:
    """Return why it cannot be told, and what would tell."""
    if comparison.outcome != "cannot tell yet":
        return ""
    why = f"Why: {plain(comparison.reason)}."
    needs, seeds = comparison.needs, len(comparison.seeds)
    if needs is None:
        return why
    if needs.more_seeds is not None and comparison.difference.combined is None:
        asked = seeds + needs.more_seeds
        return f"{why} Train at least {asked}: final_seeds = {asked} under [search]."
    if needs.more_seeds is not None:
        asked = seeds + needs.more_seeds
        return (
            f"{why} About {plural(needs.more_seeds, 'more seed')} would tell, if the difference "
            f"stays as it is: final_seeds = {asked} under [search]."
        )
    if needs.times_test_rows is not None:
        return (
            f"{why} No number of seeds would tell: the test span is too short. It would take "
            f"about {needs.times_test_rows:.1f} times as many test rows"
            f"{_with_seeds(needs.with_seeds, seeds)}."
        )
    return f"{why} At a difference this small, no sensible number of seeds or rows would tell."


def _with_seeds(wanted: int | None, seeds: int) -> str:
    return "" if wanted in (None, seeds) else f" and {wanted} seeds in all"


def _against_floor(comparison: Comparison) -> str:
    """Call out a contest between two models that a floor beats: winning it means little."""
    floor = next((f for f in comparison.floors if f.name == comparison.best_floor), None)
    if floor is None:
        return ""
    name, mse = _floor_name(floor.name), number(floor.scores.mse)
    sides = (
        ("the transformer", comparison.candidate, floor.candidate_outcome),
        ("your LSTM", comparison.baseline, floor.baseline_outcome),
    )
    worse = [who for who, side, _ in sides if side.mean.mse >= floor.scores.mse]
    close = [who for who, _, outcome in sides if outcome == "cannot tell yet"]
    unsure = f" (too close to tell for {listing(close)})" if close else ""
    if not worse:
        return f"Both are better than the best floor, {name}{unsure}."
    if len(worse) == len(sides):
        shown = "shown to be " if close else ""
        return (
            f"But neither is {shown}below the best floor, {name}, with test MSE {mse}: "
            "use that until a model does better."
        )
    return (
        f"But {worse[0]} is not below the best floor, {name}, with test MSE {mse}{unsure}: "
        f"{'a low bar' if worse[0] == 'your LSTM' else 'use that, or the LSTM'}."
    )


def _floor_name(name: str) -> str:
    return plain(name).replace("_", " ")


def _scores_table(comparison: Comparison) -> str:
    floors = {floor.name: floor.scores for floor in comparison.floors}
    best = floors[comparison.best_floor] if comparison.best_floor else None
    decimals = min(5, decimals_for(comparison.difference.mean))
    rows = [
        [_row_name(comparison.candidate), *_cells(comparison.candidate.mean, best, decimals)],
        [_row_name(comparison.baseline), *_cells(comparison.baseline.mean, best, decimals)],
    ]
    for row, side in zip(rows, (comparison.candidate, comparison.baseline), strict=True):
        row.extend([size(side.parameters), clock(_mean(side.seconds))])
    for name, scores in sorted(floors.items(), key=lambda item: item[1].mse):
        rows.append([f"{_floor_name(name)} (floor)", *_cells(scores, best, decimals), "", ""])
    header = ["on test data", "MSE", "MAE", "R2", "skill", "sign", "params", "training"]
    gained = f"skill: 1 - MSE / MSE of {_floor_name(comparison.best_floor or '')}" if best else ""
    notes = [gained, "sign: share of moves whose direction was predicted"]
    return "\n".join([table(header, rows), *(paragraph(note) for note in notes if note)])


def _row_name(side: Contender) -> str:
    return f"trial {side.trial}" if side.trial is not None else plain(side.label)


def _cells(scores: Scores, best: Scores | None, decimals: int) -> list[str]:
    gained = skill(scores.mse, best.mse) if best else None
    return [
        number(scores.mse, decimals),
        number(scores.mae),
        number(scores.r2),
        number(gained),
        percent(scores.directional_accuracy),
    ]


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def _surely(comparison: Comparison) -> str:
    """Return how surely: one line per view of the same losses."""
    difference, decimals = comparison.difference, decimals_for(comparison.difference.mean)
    sure = f"{100 * comparison.confidence:g} %"
    won = sum(value < 0 for value in difference.per_seed)
    lines = [
        f"{sure} interval over seeds and windows at once, on which the verdict rests: "
        f"{_interval(difference.combined, decimals)}",
        f"over seeds alone {_interval(difference.seeds, decimals)}, over test windows alone "
        f"{_interval(difference.windows, decimals)} (blocks of {difference.block_length})",
        f"better with {won} of {plural(len(comparison.seeds), 'paired seed')}"
        f"{_superiority(comparison)}",
        _tests(comparison),
    ]
    return "How surely (difference in MSE, negative: the transformer's is lower)\n" + "\n".join(
        paragraph(line, "  ") for line in lines if line
    )


def _superiority(comparison: Comparison) -> str:
    found = comparison.superiority
    if found is None:
        return ""
    return f"; P(better with another seed) {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _tests(comparison: Comparison) -> str:
    tests = []
    if comparison.diebold_mariano is not None:
        tested = comparison.diebold_mariano
        tests.append(f"Diebold-Mariano {tested.statistic:+.2f}, {_p(tested.p)}")
    if comparison.sign_flip_p is not None:
        # with S pairs no pattern of signs is rarer than one in 2^(S-1)
        least = 2.0 ** (1 - len(comparison.seeds))
        floor = f" ({least:.3g} is the least they can say)" if least > 0.01 else ""
        tests.append(f"sign flips over seeds {_p(comparison.sign_flip_p)}{floor}")
    return "; ".join(tests)


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _counted(comparison: Comparison) -> str:
    sentences = [f"Counted: {plural(comparison.windows, 'test window')}"]
    if comparison.overlap > 1:
        sentences.append(f"{comparison.overlap} in a row share target rows")
    ties = plural(comparison.ties, "target")
    sentences.append(f"{ties} equal to the last value (no direction, left out of it)")
    for side in (comparison.candidate, comparison.baseline):
        if side.failed_seeds:
            failed = plural(len(side.failed_seeds), "final run")
            sentences.append(f"{failed} of {_row_name(side)} did not finish")
    return "; ".join(sentences) + f". {_looks(comparison.looks)}"


def _looks(looks: int) -> str:
    if looks <= 1:
        return "The test data were scored once."
    before = "once" if looks == 2 else f"{looks - 1} times"
    return (
        f"The test data were scored {before} before for this study: "
        "the more looks, the less a win means."
    )
