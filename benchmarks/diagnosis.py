"""How often does a diagnosis name the fault that was planted, and cry where there is none?

    python benchmarks/diagnosis.py [--short] [--seeds 1 2 3]

Limits were set on the recorded traces (tests/traces: one seed, one series each), so those say
little. Here the same plants are trained on other series of the same kind, with other weights and
another order of batches. A plant that learns all the same is no fault with that seed, and is
counted apart; so is a healthy base that does not learn. Plants of whole data files are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import torch
from measuring.environment import show_environment
from rich.console import Console
from rich.table import Table

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS / "traces"), str(TESTS / "diagnostics")]

from plants import FAULTS, HEALTHY, Plant  # noqa: E402
from record import configuration, data_of, read, surroundings, train  # noqa: E402
from recorded import case_of  # noqa: E402

from tsdiag.diagnostics.case import Case  # noqa: E402
from tsdiag.diagnostics.diagnose import answer, diagnose  # noqa: E402
from tsdiag.diagnostics.findings import Diagnosis, Finding  # noqa: E402
from tsdiag.diagnostics.rules import RULES  # noqa: E402

SHORT = ("healthy-patch", "healthy-lstm", "order-blind", "learning-rate-too-low")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a few plants, one seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=100)
    show_environment(console)
    counts: Counter[str] = Counter()
    table = Table("plant", "seed", "state", "loss", "found, first three")
    for seed in asked.seeds[:1] if asked.short else asked.seeds:
        known: dict[str, tuple] = {}
        for name, plant in (HEALTHY | FAULTS).items():
            if "path" in plant.data or (asked.short and name not in SHORT):
                continue
            case = run(plant, seed, known)
            found = diagnose(case, "benchmark", 0)
            tally(counts, name, plant, case, found)
            told = ", ".join(f"{f.cause} {f.score:.2f}" for f in found.findings[:3])
            table.add_row(
                name,
                str(seed),
                found.state,
                f"{case.standing.scores.validation_loss or 0:.3f}",
                told,
            )
    console.print(table)
    for words, count in sorted(counts.items()):
        console.print(f"{count:4d}  {words}", highlight=False)


def run(plant: Plant, seed: int, known: dict[str, tuple]) -> Case:
    """Train a plant on a series of that seed, and return it as a Case."""
    data = data_of(plant)
    data = {**data, "generate": {**data["generate"], "seed": seed}}
    key = json.dumps(data, sort_keys=True)
    if key not in known:
        dataset = read(data)
        known[key] = dataset, surroundings(dataset)
    dataset, around = known[key]
    config = configuration(plant, dataset.config).edit("seed", seed)
    signals, outcome = train(config, dataset)
    return case_of({"config": json.loads(config.to_json()), **around, "outcome": outcome}, signals)


def tally(counts: Counter[str], name: str, plant: Plant, case: Case, found: Diagnosis) -> None:
    if name in HEALTHY:
        counts["healthy runs"] += 1
        if found.state != "learning":
            counts["healthy runs that did not learn with this seed"] += 1
            return
        counts["healthy runs with a finding"] += bool(found.findings)
        hidden = [r.cause for r in RULES if isinstance(answer(r, case), Finding)]
        counts["healthy runs with a finding when their state is hidden"] += bool(hidden)
        return
    counts["planted runs"] += 1
    if found.state in ("learning", "undecided"):
        counts["planted runs that learned all the same, or were undecided"] += 1
        return
    causes = [finding.cause for finding in found.findings]
    cause = plant.cause or name
    counts["stalled or diverged: the planted cause is first"] += causes[:1] == [cause]
    counts["stalled or diverged: it is first or second"] += cause in causes[:2]
    counts["stalled or diverged: it is among the findings"] += cause in causes
    counts["stalled or diverged: no finding at all"] += not causes


if __name__ == "__main__":
    main()
