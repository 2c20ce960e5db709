"""A whole verification of the founding shape at a reduced size, with real workers.

Two blocks of four heads of 64 on a stream of 12 channels, windows of 16 rows, 150 steps at 1e-4: it
stalls as the founding model does, mostly for its rate. All runs together take about a minute.
"""

from __future__ import annotations

import json

import pytest

from tsdiag.config import RunConfig
from tsdiag.explanation import explain, explained
from tsdiag.search.verification import TIMED, UNCHOSEN, verify
from tsdiag.store.chosen import chosen_run
from tsdiag.store.interventions import stored_plan, stored_verification
from tsdiag.store.runs import find_runs
from tsdiag.uptime import uptime
from tsdiag.verify.plan import read_plan

REDUCED = """
[study]
name = "reduced"
[data]
generate = { kind = "macd", rows = 3000, channels = 12 }
target = "level"
transform = "difference"
context_length = 16
[training]
batch_size = 32
max_steps = 150
evaluate_every = 50
validation_windows = 512
precision = "float32"
[search]
trials = 1
final_seeds = 1
[[enqueue]]
"optimizer.lr" = 1e-4
"model.d_model" = "channels"
"model.embedding" = "identity"
"model.positions" = "none"
"model.n_layers" = 2
"model.n_heads" = 4
"model.head_dim" = 64
"model.ff_dim" = 8
"model.activation" = "elu"
"model.pooling" = "mean_channels"
"model.final_norm" = false
"""
# What the longest stage of a confirmed repair needs on two busy cores [s]; ten minutes by default.
BUDGET = 160.0


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Search the founding shape and its LSTM; the verdict is not asked for."""
    import torch

    from tsdiag.search.conduct import prepare
    from tsdiag.search.interruption import Interruption
    from tsdiag.search.spec import read_spec
    from tsdiag.search.worker import Place, Worker
    from tsdiag.store.database import open_store

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("verification")
    (folder / "study.toml").write_text(REDUCED)
    store = open_store(f"sqlite:///{folder}/tsdiag.db")
    prepare(store, read_spec(folder))
    worker = Worker(store, "reduced", Place(device="cpu"), Interruption())
    worker._finals.pending = list
    worker.work()
    return store


def verified(store, seconds):
    row = chosen_run(store, "reduced", 0)
    stages = []
    found, _ = verify(
        store,
        row,
        explained(store, row),
        uptime() + seconds,
        workers=2,
        device="cpu",
        show=stages.append,
    )
    return found, stages


@pytest.fixture(scope="module")
def verification(study):
    return verified(study, BUDGET)


def runs(store):
    return [row for role in ("control", "treatment") for row in find_runs(store, "reduced", role)]


def test_the_reduced_founding_model_gets_a_confirmed_repair(verification):
    found, _ = verification
    assert found.repair is not None, found.summary
    assert found.repair.verdict.outcome == "confirmed"
    assert found.repair.verdict.seeds == 5
    assert "optimizer.lr" in found.repair.set
    assert found.repair.verdict.attained is not None
    assert found.repair.verdict.attained > 0.5


def test_pairs_differ_in_the_named_paths_alone(study, verification):
    base = RunConfig.from_json(chosen_run(study, "reduced", 0).config).paths()
    same = {"seed", "training.max_steps", "training.evaluate_every"}
    treatments = [row for row in runs(study) if row.role == "treatment"]
    assert treatments
    for row in treatments:
        paths = RunConfig.from_json(row.config).paths()
        changed = {path for path in base if base[path] != paths[path]} - same
        assert all(path in row.label for path in changed)


def test_controls_are_common_and_no_run_is_done_twice(study, verification):
    rows = [row for row in runs(study) if row.state == "completed"]
    assert len({(row.config, row.origin) for row in rows}) == len(rows)
    plan = read_plan(stored_plan(study, chosen_run(study, "reduced", 0).id))
    plain = [row for row in rows if row.role == "control" and row.origin is None]
    assert {row.seed for row in plain} == {plan.screen_seed, *plan.seeds}


def test_progress_tells_what_is_carried_out_and_how_much_is_left(verification):
    _, stages = verification
    waves = [stage.wave for stage in stages]
    assert waves[0] == TIMED
    assert waves.index(TIMED) < waves.index("screening") < waves.index("confirmation")
    assert stages[0].summary == UNCHOSEN
    assert [stage.runs for stage in stages] == sorted(stage.runs for stage in stages)


def test_what_was_verified_is_stored_and_told_by_explain(study, verification):
    found, _ = verification
    told = json.loads(explain(0, storage=study.url).to_json())
    assert told["repair"]["set"] == found.repair.set
    verdicts = {one["cause"]: one["verdict"] for one in told["findings"]}
    rate = verdicts["learning-rate-too-low"]
    assert rate["outcome"] == "confirmed"
    assert stored_verification(study, chosen_run(study, "reduced", 0).id) == found


def test_asked_again_it_goes_on_from_what_is_in_the_store(study, verification):
    before = {row.id for row in runs(study) if row.state == "completed"}
    found, _ = verified(study, 24.0)
    after = {row.id for row in runs(study) if row.state == "completed"}
    assert before <= after
    assert found.repair is not None
    assert found.repair.set == verification[0].repair.set


def test_the_dashboard_s_note_tells_the_repair(study, verification):
    from tsdiag.search.storage import open_storage

    storage = open_storage(study)
    found = storage.get_study_system_attrs(storage.get_study_id_from_name("reduced"))
    assert "**Verified**" in " ".join(str(value) for value in found.values())


def test_interventions_leave_the_study_as_it_was(study, verification):
    from tsdiag.compare.finals import Finals

    assert len(find_runs(study, "reduced", role="trial")) == 1
    assert Finals(study, "reduced", 2, 0).seeds == (1, 2)
