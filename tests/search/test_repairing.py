"""A verified repair becomes the study's next trial: once, whole, and beyond its budget."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState
from typer.testing import CliRunner

from tsdiag.cli.main import app
from tsdiag.config import ENGINE, RunConfig
from tsdiag.diagnostics.verdicts import Repair, Verdict, Verification
from tsdiag.errors import ConfigError
from tsdiag.search import conduct
from tsdiag.search.queue import REPAIRS
from tsdiag.search.registration import open_queue
from tsdiag.search.repairing import (
    asked_repair,
    enqueue_repair,
    repaired_paths,
    repairs_of,
    study_to_repair,
)
from tsdiag.search.space import ENQUEUED, default_config, enqueued_parameters, resolve
from tsdiag.search.spec import SEARCHABLE, StudySpec
from tsdiag.search.storage import open_storage
from tsdiag.store.interventions import save_plan, save_verification
from tsdiag.store.runs import RunRow, create_run, find_runs

REPAIR = {"model.positions": "sinusoidal", "optimizer.lr": 3e-3}
FREE = frozenset(ENGINE)


def verified(store, row, changes=REPAIR, complete=True):
    """Store what a verification would have found; None: no repair."""
    told = {"outcome": "confirmed", "why": "", "effect": -0.5, "seeds": 5, "steps": 10}
    found = changes and Repair(set=changes, verdict=Verdict(set=changes, **told), minimal=True)
    save_plan(store, row, "{}")
    made = Verification(run=row.id, complete=complete, repair=found, summary="nothing helps")
    save_verification(store, made)
    return row


@pytest.fixture
def stalled(prepared, store):
    """Return a function that puts a study's first trial into the store, as if it had run."""

    def make(*changes, repair=REPAIR, **how):
        spec, _ = prepared(("trials = 3", "trials = 1"), *changes)
        queue = open_queue(store, open_storage(store), spec, "trial", 0)
        trial = queue.claim(1)
        config = resolve(spec, trial)
        row = RunRow(
            "tiny", "trial", config.to_json(), trial=0, state="completed", validation_loss=1.0
        )
        row = create_run(store, row)
        queue.finish(0, row)
        return spec, queue, verified(store, row, repair, **how)

    return make


def enqueue(store, spec, trial=0):
    return enqueue_repair(store, spec, asked_repair(store, spec, trial))


def test_it_runs_next_although_all_trials_are_done(stalled, store, work, optuna_study):
    spec, _, row = stalled(("final_seeds = 2", "final_seeds = 1"))
    assert "enqueued as the next trial" in enqueue(store, spec)
    work()
    before, repaired = find_runs(store, "tiny", role="trial")
    assert repaired.state == "completed"
    meant = RunConfig.from_json(before.config).edits(REPAIR)
    assert different(meant, RunConfig.from_json(repaired.config)) <= FREE
    trials = optuna_study().trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert trials[1].user_attrs[REPAIRS] == row.trial
    assert repairs_of(store, spec) == {row.trial: 1}


def different(one, other):
    there = other.paths()
    return {path for path, value in one.paths().items() if there[path] != value}


def test_it_comes_before_what_the_study_enqueued(stalled, store):
    spec, queue, _ = stalled()
    queue.enqueue([({"model.ff_dim": 8}, {})])
    enqueue(store, spec)
    assert REPAIRS in queue.claim(3).user_attrs
    assert queue.claim(3).user_attrs == {ENQUEUED: {"model.ff_dim": 8}}


def test_beyond_the_budget_nothing_else_runs(stalled, store):
    spec, queue, _ = stalled()
    queue.enqueue([({"model.ff_dim": 8}, {})])
    assert queue.claim(1) is None
    enqueue(store, spec)
    assert queue.claim(1) is not None
    assert queue.claim(1) is None


def test_it_takes_none_of_the_trials_that_the_search_was_given(stalled, store):
    spec, queue, _ = stalled()
    enqueue(store, spec)
    assert REPAIRS in queue.claim(2).user_attrs
    assert REPAIRS not in queue.claim(2).user_attrs
    assert queue.claim(2) is None


def test_broken_off_it_goes_on_without_being_asked_for_again(stalled, store):
    spec, queue, _ = stalled()
    enqueue(store, spec)
    queue.hand_back(queue.claim(1).number)
    again = queue.claim(1)
    assert again.number == 2
    assert again.user_attrs[REPAIRS] == 0


def test_it_is_enqueued_once_and_the_trial_is_named(stalled, store):
    spec, queue, _ = stalled()
    enqueue(store, spec)
    told = enqueue(store, spec)
    assert "as trial 1 (waiting); not enqueued again" in told
    assert len(queue.study.trials) == 2


def test_the_same_in_other_words_is_the_same(stalled, store):
    spec, queue, row = stalled()
    paths = RunConfig.from_json(row.config).edits(REPAIR).paths()
    words = {p: value for p, value in paths.items() if p.startswith(SEARCHABLE) and p not in FREE}
    queue.enqueue([(words, {})])
    assert "as trial 1 (waiting)" in enqueue(store, spec)
    assert len(queue.study.trials) == 2


@pytest.mark.parametrize("seed", range(12))
def test_the_configuration_is_whole_whatever_was_drawn(seed):
    """Nothing of the trial is lost, and nothing is implied that it did not say."""
    fixed = {"optimizer.warmup_fraction": 0.2}
    spec = StudySpec.model_validate({"data": {"generate": {"channels": 10}}, "space": fixed})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    config = resolve(spec, study.ask())
    repairs = [
        {"model.pooling": "mean_channels", "model.final_norm": True},
        {"model.d_model": "channels", "model.embedding": "identity"},
        {"optimizer.warmup_fraction": 0.5, "optimizer.name": "sam"},
        {"model.head_units": [16, 8], "training.max_steps": 500},
    ]
    for changes in repairs:
        wanted = config.edits(changes)
        paths = repaired_paths(spec, config.to_json(), changes, FREE)
        assert changes.items() <= paths.items()
        assert different(default_config(spec, paths), wanted) == set()
        study.enqueue_trial(enqueued_parameters(spec, paths), user_attrs={ENQUEUED: paths})
        assert different(resolve(spec, study.ask()), wanted) == set()


def test_how_a_step_is_computed_is_left_to_the_timing(stalled):
    spec, _, row = stalled()
    fast = RunConfig.from_json(row.config).edits(
        {"training.precision": "bfloat16", "training.micro_batch": 4}
    )
    paths = repaired_paths(spec, fast.to_json(), REPAIR, FREE)
    assert FREE.isdisjoint(paths)
    asked = repaired_paths(spec, fast.to_json(), REPAIR)
    assert asked["training.precision"] == "bfloat16"


@pytest.fixture
def ask(store, tmp_path):
    def run(*words):
        file, url = str(tmp_path / "study.toml"), store.full_url
        return CliRunner().invoke(app, ["search", file, "--storage", url, *words])

    return run


def test_an_unknown_trial(stalled, ask):
    stalled()
    found = ask("--repair", "7")
    assert found.exit_code == 2
    assert 'unknown trial 7 in study "tiny" (it has 0..0); list them' in found.stderr


def test_an_unverified_trial(stalled, store, ask):
    _, _, row = stalled()
    create_run(store, RunRow("tiny", "trial", row.config, trial=1, state="completed"))
    found = ask("--repair", "1")
    assert found.exit_code == 2
    assert "trial 1" in found.stderr
    assert "not verified yet" in found.stderr
    assert "tsdiag explain 1 --study tiny --verify" in found.stderr


@pytest.mark.parametrize(
    ("complete", "told"),
    [
        (True, "none was found (nothing helps); see what each remedy did"),
        (False, "its verification is not finished (nothing helps); go on: tsdiag explain 0"),
    ],
)
def test_a_trial_without_a_repair(stalled, ask, complete, told):
    stalled(repair=None, complete=complete)
    found = ask("--repair", "0")
    assert found.exit_code == 2
    assert told in found.stderr


def test_a_repair_of_the_data_belongs_into_the_study_file(stalled, ask, optuna_study):
    stalled(repair={"data.scale_inputs": True, "optimizer.lr": 1e-3})
    found = ask("--repair", "0")
    assert found.exit_code == 2
    assert "sets data.scale_inputs = true, and all trials" in found.stderr
    assert "study.toml" in found.stderr
    assert len(optuna_study().trials) == 1


def test_a_study_that_never_began(write_study, ask):
    write_study()
    found = ask("--repair", "0")
    assert found.exit_code == 2
    assert 'unknown study "tiny"' in found.stderr


def test_a_database_that_is_not_there_is_not_made(write_study, tmp_path):
    words = ["search", str(write_study()), "--repair", "0"]
    found = CliRunner().invoke(app, [*words, "--storage", f"sqlite:///{tmp_path}/no.db"])
    assert found.exit_code == 1
    assert "no database" in found.stderr
    assert not (tmp_path / "no.db").exists()


def test_a_dry_run_repairs_nothing(write_study, ask):
    write_study()
    found = ask("--repair", "0", "--dry-run")
    assert found.exit_code == 2
    assert "leave one of them out" in found.stderr


def test_the_command_enqueues_then_searches(stalled, ask, monkeypatch, optuna_study):
    stalled()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(conduct, "conduct", interrupted)
    for expected in ("enqueued as the next trial", "not enqueued again"):
        found = ask("--repair", "0")
        assert found.exit_code == 130
        assert expected in found.stderr
        assert found.stdout == ""
    assert [trial.state for trial in optuna_study().trials][1:] == [TrialState.WAITING]


def test_the_study_is_known_by_its_name_or_by_being_the_only_one(stalled, store):
    spec, *_ = stalled()
    assert study_to_repair(store, None) == spec
    assert study_to_repair(store, "tiny") == spec
    with pytest.raises(ConfigError, match='find study "other"'):
        study_to_repair(store, "other")
