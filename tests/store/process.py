"""What the tests run in processes of their own: says "ready", waits for a line, acts, tells."""

from __future__ import annotations

import sys

from tsdiag.diagnostics.findings import Diagnosis, RunScores
from tsdiag.store.database import open_store
from tsdiag.store.findings import save_diagnosis
from tsdiag.store.interventions import save_plan, settle
from tsdiag.store.leases import claim
from tsdiag.store.owners import owner
from tsdiag.store.runs import get_run
from tsdiag.store.studies import add_look, save_study


def main(what: str, url: str, *rest: str) -> None:
    store = None if what == "open" else open_store(url)
    print("ready", flush=True)
    sys.stdin.readline()
    match what:
        case "open":
            opened = open_store(url)
            save_study(opened, "same", {"from": owner()})
            print("opened", flush=True)
        case "claim":
            won = claim(store, rest[0], owner(), float(rest[1]))
            print("won" if won else "lost", flush=True)
            sys.stdin.readline()  # stays alive, so that its lease is that of a live process
        case "plan":
            save_plan(store, get_run(store, rest[0]), "{}")
            print("planned", flush=True)
            sys.stdin.readline()
            print(settle(store, *rest), flush=True)
        case "diagnose":
            said = Diagnosis(
                study="wind",
                trial=3,
                state="learning",
                state_reason=rest[1],
                scores=RunScores(validation_loss=0.9),
            )
            for run in rest[0].split(","):
                save_diagnosis(store, get_run(store, run), "transformer", said)
            print("diagnosed", flush=True)
        case "look":
            for _ in range(int(rest[0])):
                add_look(store, "same")
            print("looked", flush=True)


main(*sys.argv[1:])
