"""The text of a replay: one file that carries a proven repair out again, wherever tsdiag is."""

from __future__ import annotations

import json
from pprint import pformat
from typing import Any

from tsdiag import __version__
from tsdiag.config import RunConfig
from tsdiag.errors import redact
from tsdiag.models import Shapes
from tsdiag.store.database import Store
from tsdiag.store.interventions import stored_plan
from tsdiag.store.runs import RunRow, find_runs
from tsdiag.store.studies import StudyRow, load_study
from tsdiag.verify.desk import Desk
from tsdiag.verify.plan import Plan, read_plan
from tsdiag.verify.proven import proven_repair

# Names come into it as literals alone: a docstring would end where one of them says so.
_SCRIPT = '''\
"""Replay of a verified repair: trains control and treatment again, seed by seed, and compares.

It needs the data, and a Python that has tsdiag (this is of version {version}):

    python THIS_FILE              --seeds N: fewer of the seeds; --data FILE: rows from elsewhere

Exit code 0: the effect is reproduced; 1: it is not; 2: it cannot be carried out.
"""

import sys

try:
    from tsdiag.verify.replay import replay_main
except ModuleNotFoundError as error:
    print(f"Error: replay: {{error}}; use the Python that has tsdiag installed", file=sys.stderr)
    raise SystemExit(2) from None

FACTS = (
{facts}
)

if __name__ == "__main__":
    raise SystemExit(replay_main(FACTS))
'''


def script_of(store: Store, row: RunRow) -> str:
    """Return a Python file that replays the confirmed repair of a run, without any password.

    Raises:
        UsageError: the run is not verified, or its verification found no repair.
    """
    facts = pformat(_facts(store, row), width=100, sort_dicts=False)
    return _SCRIPT.format(version=__version__, facts=facts)


def _facts(store: Store, row: RunRow) -> dict[str, Any]:
    """Return what ``tsdiag.verify.replay.Facts`` declares, as literals."""
    repair = proven_repair(store, row)
    plan = read_plan(stored_plan(store, row.id) or "")
    study = load_study(store, row.study)
    course = Desk(store, plan, _shapes(study, plan.base), started=0.0, deadline=0.0).look()
    steps = repair.verdict.steps
    control, treatment = course.losses({}, steps), course.losses(repair.set, steps)
    return {
        "study": row.study,
        "trial": "the baseline" if row.role == "baseline" else f"trial {row.trial}",
        "set": repair.set,
        "steps": steps,
        "effect": repair.verdict.effect,
        "interval": repair.verdict.interval,
        "losses": {
            seed: (control[seed], treatment[seed])
            for seed in sorted(control.keys() & treatment.keys())
        },
        "constant": plan.constant,
        "ceiling": repair.verdict.ceiling,
        "digest": study.attributes.get("digest"),
        "ran_on": _ran_on(store, plan),
        "config": json.loads(_public(plan.base).to_json()),
    }


def _shapes(study: StudyRow, base: RunConfig) -> Shapes:
    """Return the sizes of the study's windows from what was counted, without reading the data."""
    counted = study.summary or {}
    return Shapes(
        base.data.context_length,
        len(counted.get("channels", ())),
        base.data.prediction_length,
        len(counted.get("targets", ())),
    )


def _ran_on(store: Store, plan: Plan) -> str:
    """Return in words what the stored losses were computed with."""
    rows = find_runs(store, plan.study, role="control", trial=plan.trial)
    told = rows[-1].environment if rows else {}
    return f"torch {told.get('torch', '?')} on {told.get('device', '?')}"


def _public(config: RunConfig) -> RunConfig:
    """Return a configuration without its data's password."""
    if config.data.url is None:
        return config
    data = config.data.model_copy(update={"url": redact(config.data.url)})
    return config.model_copy(update={"data": data})
