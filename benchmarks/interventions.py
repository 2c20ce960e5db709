"""Does the reported repair restore what a planted fault took, and is nothing confirmed that is not?

    python benchmarks/interventions.py [--short] [--singles] [--pairs] [--nulls N] [--seeds 1 2]
        [--only NAME ...]

Singles: each fault of tests/traces/plants.py is planted as trial 0 of a study, explained as a
worker does, and verified with 80 times its own time. The repair and the healthy configuration are
then trained on three seeds that had no part in it. Pairs: two faults at once, and whether the
repair is an accepted repair of each and nothing more. Nulls: what changes weights and order of data
alone. Without one of the three names all are done. Takes hours: a run takes two to fifteen seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from measuring.environment import show_environment
from rich.console import Console

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS / "traces")]

from measuring.nulls import (  # noqa: E402
    NULLS,
    Group,
    judged,
    over_groups,
    plan_of,
    spread,
    train_group,
)
from measuring.pairing import PairTold, pair_of_faults  # noqa: E402
from measuring.restoring import STALLED, Garden, Told  # noqa: E402
from pairs import PAIRS  # noqa: E402
from plants import FAULTS, MACD, PATCH, Plant  # noqa: E402
from record import configuration, read, surroundings  # noqa: E402

from tsdiag.diagnostics.findings import RunScores  # noqa: E402
from tsdiag.diagnostics.states import CONSTANT  # noqa: E402
from tsdiag.diagnostics.verdicts import Verdict  # noqa: E402
from tsdiag.statistics import proportion_interval  # noqa: E402
from tsdiag.verify.plan import reach  # noqa: E402

SHORT, SHORT_PAIRS = ("learning-rate-too-low", "frozen-parameters"), ("slow-narrow",)
LONGER = "its remedy is a longer budget, which is no repair within the same steps"
IN_DATA = "the fault lies in the rows: no configuration path repairs it at the same target"
LEFT_OUT = {
    "late-plateau": LONGER,
    "distribution-shift": IN_DATA,
    "misaligned-target": IN_DATA,
    "no-signal": IN_DATA,
    "no-signal-random-walk": IN_DATA,
    "leaking-baseline": IN_DATA,
    "leaking-baseline-interpolated": IN_DATA,
    "constant-target": IN_DATA,
    "corrupt-inputs": IN_DATA,
}
# A run of a fifth of a second that ends half-way, where seeds differ most: by a quarter of what is
# within reach, five times the least effect that is worth confirming.
NULL = {**PATCH, "model.n_layers": 1, "optimizer.lr": 0.03}
NULL_DATA = {**MACD, "context_length": 24}
NULL_STEPS = {"max_steps": 60, "evaluate_every": 15, "validation_windows": 256}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="two faults, one seed, 20 nulls")
    parser.add_argument("--singles", action="store_true")
    parser.add_argument("--pairs", action="store_true")
    parser.add_argument("--nulls", type=int, metavar="N", help="how many; with no other: 200")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="plants or pairs by name")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=160, highlight=False, markup=False)
    show_environment(console)
    everything = not (asked.singles or asked.pairs or asked.nulls)
    seeds = asked.seeds[:1] if asked.short else asked.seeds
    with TemporaryDirectory() as folder:
        garden = Garden(Path(folder))
        if asked.singles or everything:
            singles(console, garden, seeds, SHORT if asked.short else asked.only)
        if asked.pairs or everything:
            pairs(console, garden, seeds, SHORT_PAIRS if asked.short else asked.only)
    if asked.nulls or everything:
        nulls(console, asked.nulls or (20 if asked.short else 200))


def singles(
    console: Console, garden: Garden, seeds: Sequence[int], only: Sequence[str] | None
) -> list[Told]:
    """Plant, verify and judge one fault at a time; print each, then the table and the shares."""
    found: list[Told] = []
    for seed in seeds:
        for name, plant in FAULTS.items():
            if name in LEFT_OUT or (only and name not in only):
                continue
            found.append(garden.grow(name, plant, seed).told)
            console.print(f"{line(found[-1])}\n    {found[-1].why}", soft_wrap=True)
    show_singles(console, found)
    if not only:
        for name, why in LEFT_OUT.items():
            console.print(f"left out: {name}: {why}", soft_wrap=True)
    return found


def show_singles(console: Console, found: Sequence[Told]) -> None:
    header = (
        "| planted | seed | state | found, first three | repair | of healthy skill | restored "
        "| runs | CPU [s] |"
    )
    console.print(header, "|---|---|---|---|---|---|---|---|---|", sep="\n", soft_wrap=True)
    for told in found:
        console.print(line(told), soft_wrap=True)
    counted = [told for told in found if told.counts]
    restored = sum(told.is_restored for told in counted)
    console.print(share("planted faults that stalled, restored", restored, len(counted)))
    rest = Counter(
        f"its healthy self goes {told.healthy:.0%} of the way"
        if told.state in STALLED
        else told.state
        for told in found
        if not told.counts
    )
    for words, count in sorted(rest.items()):
        console.print(f"not counted: {count} ({words})")


def line(told: Told) -> str:
    """Return what came of a plant as a row of a Markdown table."""
    cells = (
        told.name,
        str(told.seed),
        told.state,
        ", ".join(told.causes),
        "none" if told.repair is None else json.dumps(told.repair)[1:-1],
        "" if told.attained is None else f"{told.attained:.0%}",
        ("yes" if told.is_restored else "no") if told.counts else "not counted",
        str(told.runs),
        f"{told.seconds:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def pairs(
    console: Console, garden: Garden, seeds: Sequence[int], only: Sequence[str] | None
) -> list[PairTold]:
    """Plant, verify and judge two faults at a time; print each, then the table and the share."""
    found: list[PairTold] = []
    for seed in seeds:
        for name, pair in PAIRS.items():
            if only and name not in only:
                continue
            found.append(pair_of_faults(garden, name, pair, seed))
            console.print(f"{pair_line(found[-1])}\n    {found[-1].told.why}", soft_wrap=True)
    header = (
        "| planted | seed | healthy skill with the first, the second, both | repair | "
        "of healthy skill | exact | runs | CPU [s] |"
    )
    console.print(header, "|---|---|---|---|---|---|---|---|", sep="\n", soft_wrap=True)
    for told in found:
        console.print(pair_line(told), soft_wrap=True)
    counted = [told for told in found if told.counts]
    restored = sum(told.told.is_restored for told in counted)
    console.print(share("pairs of which both hurt, restored", restored, len(counted)))
    exact = sum(told.is_exact for told in counted)
    console.print(share("... by the exact minimal set", exact, len(counted)))
    console.print(f"not counted: {len(found) - len(counted)}")
    return found


def pair_line(found: PairTold) -> str:
    """Return what came of a pair as a row of a Markdown table."""
    told = found.told
    cells = (
        told.name,
        str(told.seed),
        ", ".join(f"{share:.0%}" for share in found.left),
        "none" if told.repair is None else json.dumps(told.repair)[1:-1],
        "" if told.attained is None else f"{told.attained:.0%}",
        f"{'yes' if found.is_exact else 'no'}: {found.why}" if found.counts else "not counted",
        str(told.runs),
        f"{told.seconds:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def nulls(console: Console, count: int) -> list[Group]:
    """Judge interventions that do nothing, each by itself and the best of some."""
    data = read(NULL_DATA)
    config = configuration(Plant(NULL, training=NULL_STEPS), data.config)
    around = surroundings(data)
    floors = {name: floor["loss"] for name, floor in around["floors"].items()}
    baseline = around["baseline"]["loss"]
    naive, reference = reach(RunScores(validation_loss=None, floors=floors, baseline=baseline))
    assert naive is not None
    assert reference is not None
    plan, began = plan_of(naive, floors[CONSTANT], reference), time.process_time()
    groups = [train_group(config, data, number) for number in range(-(-count // NULLS))]
    attained, deviation = spread(groups, plan)
    console.print(
        f"nulls: runs of {config.training.max_steps} steps go {attained:.0%} of the way, standard "
        f"deviation over seeds {deviation:.0%} of it; {time.process_time() - began:.0f} s"
    )
    steps = config.training.max_steps
    each = [judged(group.controls, group.nulls, plan, steps) for group in groups]
    best = [judged(group.controls, group.best, plan, steps) for group in groups]
    show_nulls(console, "nulls", each)
    show_nulls(console, "nulls, the best of six on one seed", best)
    return groups


def show_nulls(console: Console, words: str, verdicts: Sequence[Sequence[Verdict]]) -> None:
    """Print how many were confirmed, with both intervals."""
    outcomes = Counter(found.outcome for group in verdicts for found in group)
    console.print(share(f"{words}, confirmed", outcomes["confirmed"], outcomes.total()))
    if (found := over_groups(verdicts)) is not None:
        console.print(
            f"    over {len(verdicts)} groups, which share controls: "
            f"[{100 * found.low:.1f}, {100 * found.high:.1f}] %; {dict(outcomes)}"
        )


def share(words: str, hits: int, count: int) -> str:
    """Return a share in words, with Clopper and Pearson's interval."""
    found = proportion_interval(hits, count)
    if found is None:
        return f"{words}: none to count"
    interval = f"[{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{words}: {hits} of {count}, {100 * found.value:.1f} % {interval}"


if __name__ == "__main__":
    main()
