"""How long does `tsdiag explain` take on a database of many trials?

    python benchmarks/explain_speed.py [--short]

A database is filled with copies of a recorded run (tests/traces), a real one's rows in number and
size; then the command is started anew each time, as a person would, in turns with `python -c pass`
and `tsdiag --version`. `--short` has 100 trials, else 1,000.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from measuring.environment import show_environment
from rich.console import Console
from rich.table import Table

from tsdiag.diagnostics.findings import Diagnosis, RunScores
from tsdiag.store.curves import append_curves
from tsdiag.store.database import Store, open_store
from tsdiag.store.findings import save_diagnosis
from tsdiag.store.runs import RunRow, create_run
from tsdiag.store.studies import save_study, set_study

ROUNDS = 7
TESTS = Path(__file__).parents[1] / "tests"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true")
    trials = 100 if parser.parse_args().short else 1000
    console = Console(width=100)
    show_environment(console)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tsdiag.db"
        url = f"sqlite:///{file}"
        curves = fill(open_store(url), trials)
        console.print(f"{trials} trials of {curves} curves, {file.stat().st_size / 2**20:.0f} MiB")
        show(console, url, trials)


def fill(store: Store, trials: int) -> int:
    """Write a study of stalled and learning trials; return the curves of a trial."""
    sys.path.insert(0, str(TESTS / "diagnostics"))
    from recorded import TRACES, load_case

    told = json.loads((TRACES / "order-blind" / "config.json").read_text())
    case = load_case("order-blind")
    save_study(store, "many", {})
    floors = {
        name: {"validation_loss": floor["loss"], "validation_blocks": floor["blocks"]}
        for name, floor in told["floors"].items()
    }
    summary = {"channels": ["x"] * told["facts"]["channels"], "targets": ["level"]}
    set_study(store, "many", floors={"floors": floors}, summary=summary)
    row = RunRow(
        "many",
        "trial",
        json.dumps(told["config"]),
        state="completed",
        step=told["outcome"]["step"],
        max_steps=told["outcome"]["max_steps"],
        validation_loss=told["outcome"]["loss"],
        last_validation_loss=told["outcome"]["last_loss"],
        metrics={"validation_blocks": told["outcome"]["blocks"]},
    )
    lstm = {**told["config"], "model": {"kind": "lstm"}}
    blocks = {"validation_blocks": told["baseline"]["blocks"]}
    loss = told["baseline"]["loss"]
    rows = [
        replace(
            row,
            role="baseline",
            id="b",
            config=json.dumps(lstm),
            validation_loss=loss,
            metrics=blocks,
        )
    ]
    rows += [replace(row, id=f"{number:032x}", trial=number) for number in range(trials)]
    for number, one in enumerate(rows):
        create_run(store, one)
        append_curves(store, one.id, list(case.record.trace.signals))
        state = "learning" if number % 2 else "stalled"
        save_diagnosis(store, one, "transformer", diagnosis(one, state))
    return len(case.record.trace.signals)


def diagnosis(row: RunRow, state: str) -> Diagnosis:
    scores = RunScores(validation_loss=row.validation_loss)
    return Diagnosis.model_validate(
        {
            "study": row.study,
            "trial": row.trial,
            "state": state,
            "state_reason": "",
            "scores": scores,
        }
    )


def show(console: Console, url: str, trials: int) -> None:
    tsdiag = [sys.executable, "-m", "tsdiag"]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "tsdiag --version": [*tsdiag, "--version"],
        "tsdiag explain, first trial": [*tsdiag, "explain", "0", "--storage", url],
        "tsdiag explain, last trial": [*tsdiag, "explain", str(trials - 1), "--storage", url],
        "tsdiag trials": [*tsdiag, "trials", "--storage", url],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - began)
    table = Table("command", "median [s]", "least [s]")
    for name, found in seconds.items():
        table.add_row(name, f"{median(found):.2f}", f"{min(found):.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
