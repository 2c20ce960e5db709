"""A proven repair is carried out again by one file: to the same bits, or with a clear refusal."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tsdiag.cli.main import app
from tsdiag.config import (
    DataConfig,
    GeneratorConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainingConfig,
)
from tsdiag.data.dataset import load_dataset
from tsdiag.data.generator import generate
from tsdiag.diagnostics.findings import Diagnosis, RunScores
from tsdiag.diagnostics.probes.loss import STEP_LOSS, VALIDATION_LOSS
from tsdiag.diagnostics.verdicts import Repair, Verdict, Verification
from tsdiag.errors import UsageError
from tsdiag.models import complete
from tsdiag.runs.execute import Execution, Request
from tsdiag.search.artifacts import artifact_store
from tsdiag.store.database import open_store
from tsdiag.store.findings import save_diagnosis
from tsdiag.store.interventions import save_plan, save_verification
from tsdiag.store.runs import RunRow, create_run, find_runs
from tsdiag.store.studies import save_study, set_attribute, set_study
from tsdiag.training.loop import never
from tsdiag.verify.arms import Arm, config_of
from tsdiag.verify.effects import verdict
from tsdiag.verify.replay import Bench, Facts, replay_main
from tsdiag.verify.script import script_of

sys.path.insert(0, str(Path(__file__).parent))
from simulated import plan

# What ends a docstring and a literal, should it be pasted into the script as it is.
NAME = 'wind"""\n\'{} \\'.replace("\n", " ")
REPAIR = {"optimizer.lr": 1e-2, "model.head_units": [8]}
STEPS, SEEDS, NAIVE = 40, (1001, 1002, 1003, 1004, 1005), 1.5
CPU = torch.device("cpu")
SMALL = {"d_model": 8, "n_layers": 1, "n_heads": 1, "head_dim": 4, "ff_dim": 8, "patch_length": 4}


def config_for(**data):
    return complete(
        RunConfig(
            data=DataConfig(target="level", transform="difference", context_length=12, **data),
            model=ModelConfig(kind="transformer", **SMALL),
            optimizer=OptimizerConfig(lr=1e-6),
            training=TrainingConfig(batch_size=16, max_steps=12, validation_windows=20),
        )
    )


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Return a file with rows."""
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    generate(GeneratorConfig(kind="lag", rows=300, channels=10)).to_csv(file, index=False)
    return file


def plan_of(row, base):
    known = {"run": row.id, "study": row.study, "trial": row.trial, "config": base.to_json()}
    given = {"seeds": SEEDS, "naive": NAIVE, "constant": 99.0, "weights": None}
    return plan(REPAIR).model_copy(update={**known, **given})


def carry_out(store, base, dataset, changes, seed):
    arm = Arm.of(changes, seed, STEPS)
    request = Request(NAME, arm.role, config_of(base, arm), trial=0, label=arm.label)
    execution = Execution(
        request, dataset, store, artifact_store(store), CPU, probes=(STEP_LOSS, VALIDATION_LOSS)
    )
    return execution.carry_out(never).row


def proven(store, planned, row, found):
    save_plan(store, row, planned.model_dump_json())
    repair = Repair(set=REPAIR, verdict=found, minimal=True)
    save_verification(store, Verification(run=row.id, complete=True, repair=repair))


@pytest.fixture(scope="module")
def verified(rows, tmp_path_factory):
    """Return a store with a run whose repair has its five pairs, and that run."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('verified')}/tsdiag.db")
    base = config_for(path=str(rows))
    dataset = load_dataset(base.data)
    save_study(store, NAME, {})
    set_study(store, NAME, summary=dataset.summary.model_dump(mode="json"))
    set_attribute(store, NAME, "digest", dataset.digest)
    row = create_run(store, RunRow(NAME, "trial", base.to_json(), trial=0, state="completed"))
    losses = [
        [carry_out(store, base, dataset, changes, seed).validation_loss for seed in SEEDS]
        for changes in ({}, REPAIR)
    ]
    planned = plan_of(row, base)
    proven(store, planned, row, verdict(planned, REPAIR, *losses, STEPS))
    return store, row


@pytest.fixture
def facts(verified):
    return facts_in(script_of(*verified))


def facts_in(script):
    (found,) = (node for node in ast.parse(script).body if isinstance(node, ast.Assign))
    return ast.literal_eval(found.value)


def test_the_script_reproduces_the_effect_to_the_bit(verified, tmp_path):
    file = tmp_path / "replay.py"
    file.write_text(script_of(*verified), encoding="utf-8")
    # Elsewhere, and with no thread settings: the script must bring its own.
    done = subprocess.run(
        [sys.executable, file.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "10 of 10 losses equal the stored ones to the last bit" in done.stdout
    assert done.stdout.count("equal\n") == len(SEEDS)
    assert "\nreproduced: " in done.stdout
    assert list(tmp_path.iterdir()) == [file]


def test_fewer_seeds_have_a_wider_interval(facts, capsys):
    assert replay_main(facts, ["--seeds", "2"]) == 0
    told = capsys.readouterr().out
    assert "4 of 4 losses" in told
    assert "over 2 other seeds" in told
    known = Facts.model_validate(facts)
    widths = [np.diff(known.expected(count))[0] for count in (1, 2, 5)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] > np.diff(known.interval)[0]


def test_the_interval_holds_95_of_100_means():
    rng = np.random.default_rng(0)
    inside = []
    for effects, others in zip(*rng.normal(-1, 1, (2, 4000, 5)), strict=True):
        mean, half = effects.mean(), 2.776 * effects.std(ddof=1) / np.sqrt(5)
        known = Facts.model_construct(
            effect=mean, interval=(mean - half, mean + half), losses=dict.fromkeys(range(5))
        )
        low, high = known.expected(2)
        inside.append(low <= others[:2].mean() <= high)
    assert 0.94 < np.mean(inside) < 0.96


@pytest.mark.parametrize("effect", [5.0, -50.0])
def test_another_effect_is_not_reproduced(facts, effect, capsys):
    told = {**facts, "effect": effect, "interval": (effect - 0.01, effect + 0.01)}
    assert replay_main(told, ["--seeds", "1"]) == 1
    assert "NOT reproduced" in capsys.readouterr().out


def test_the_sign_alone_can_refute(facts, capsys):
    mean = facts["effect"]
    told = {**facts, "effect": -mean, "interval": (-mean - 9, -mean + 9)}
    assert replay_main(told, ["--seeds", "1"]) == 1


def test_a_loss_above_the_training_mean_s_counts_as_that(facts, capsys):
    assert facts["ceiling"] is None
    seed, (control, treatment) = min(facts["losses"].items())
    capped = {**facts, "ceiling": (control + treatment) / 2}
    replay_main(capped, ["--seeds", "1"])
    told = capsys.readouterr().out
    assert f"above {capped['ceiling']:.6g}" in told
    assert f"mean effect {(treatment - control) / 2:.6g};" in told
    assert f"{seed:>8} {control:>10.6g} {treatment:>10.6g}" in told  # as they are


def test_other_data_are_refused(facts, rows, tmp_path, capsys):
    changed = tmp_path / "changed.csv"
    head, first, *rest = rows.read_text().splitlines()
    changed.write_text("\n".join([head, first.replace(first.split(",")[0], "7.5"), *rest]))
    assert replay_main(facts, ["--data", str(changed)]) == 2
    told = capsys.readouterr()
    assert "not those of the verdict" in told.err
    assert "--data FILE" in told.err
    assert "reproduced" not in told.out


def test_the_same_data_may_lie_elsewhere(facts, rows, tmp_path, capsys):
    moved = tmp_path / "moved.csv"
    moved.write_bytes(rows.read_bytes())
    facts["config"]["data"]["path"] = str(tmp_path / "gone.csv")
    assert replay_main(facts, ["--seeds", "1"]) == 2
    assert replay_main(facts, ["--seeds", "1", "--data", str(moved)]) == 0


def test_no_password_is_written_and_its_lack_is_told(verified, capsys):
    store, _ = verified
    url = "postgresql://me:s3cret@db.example/rows"
    base = config_for(url=url, query="SELECT * FROM rows")
    other = create_run(store, RunRow(NAME, "trial", base.to_json(), trial=1, state="completed"))
    found = Verdict(
        outcome="confirmed",
        why="",
        set=REPAIR,
        effect=-0.5,
        interval=(-0.6, -0.4),
        seeds=5,
        steps=STEPS,
    )
    proven(store, plan_of(other, base), other, found)
    script = script_of(store, other)
    assert "s3cret" not in script
    assert "me:***@db.example" in script
    told = {**facts_in(script), "losses": {1001: (1.0, 0.5)}}
    assert replay_main(told, []) == 2
    assert "--data URL" in capsys.readouterr().err


def test_names_cannot_become_code(facts):
    assert facts["study"] == NAME
    assert json.loads(json.dumps(facts["set"])) == REPAIR


def test_facts_of_another_version_are_refused(facts, capsys):
    assert replay_main({**facts, "new": 1}, []) == 2
    assert "write the script anew" in capsys.readouterr().err


def test_other_scaling_is_compared_in_the_unit_of_the_control(facts, verified):
    store, _ = verified
    known = Facts.model_validate({**facts, "set": {"data.scale_target": False}})
    plain, unscaled = known.config, known.config.edit("data.scale_target", False)
    scaled, bare = load_dataset(plain.data), load_dataset(unscaled.data)
    done = carry_out(store, plain, bare, {"data.scale_target": False}, 1001)
    unit = (bare.target_scaler.std / scaled.target_scaler.std) ** 2
    control, treatment = Bench(known, CPU).losses(1001)
    assert treatment == done.validation_loss * float(unit.mean())
    assert control == facts["losses"][1001][0]


def test_a_run_that_diverges_is_worth_the_training_mean(facts):
    broken = {"optimizer.name": "sgd", "optimizer.lr": 1e30, "optimizer.clip_norm": 0.0}
    known = Facts.model_validate({**facts, "set": broken, "constant": 123.0})
    assert Bench(known, CPU).losses(1001)[1] == 123.0


def test_a_run_that_learns_is_not_sent_to_a_verification_that_refuses_it(verified):
    store, row = verified
    other = create_run(store, RunRow(NAME, "trial", row.config, trial=3, state="completed"))
    scores = RunScores(validation_loss=0.2, floors={"last_value": 1.0})
    learning = Diagnosis(
        study=NAME, trial=3, state="learning", state_reason="it does", scores=scores
    )
    save_diagnosis(store, other, "transformer", learning)
    with pytest.raises(UsageError, match=r"trial 3 .*it learns, so there is nothing to repair"):
        script_of(store, other)


def test_without_a_repair_there_is_no_script(verified):
    store, row = verified
    base = RunConfig.from_json(row.config)
    other = create_run(store, RunRow(NAME, "trial", row.config, trial=2, state="completed"))
    with pytest.raises(UsageError, match=r"trial 2 .*not verified yet; .*tsdiag explain 2 .*--ver"):
        script_of(store, other)
    save_plan(store, other, plan_of(other, base).model_dump_json())
    for complete_, told in ((True, "none was found"), (False, "is not finished")):
        found = Verification(run=other.id, complete=complete_, summary="nothing helps")
        save_verification(store, found)
        with pytest.raises(UsageError, match=rf"{told} \(nothing helps\); "):
            script_of(store, other)


def explain(store, *words):
    return CliRunner().invoke(app, ["explain", "0", *words, "--storage", store.full_url])


def test_the_command_writes_the_script(verified, tmp_path):
    store, row = verified
    file = tmp_path / "replay it.py"
    found = explain(store, "--script", str(file))
    assert found.exit_code == 0, found.stderr
    assert found.stderr == f"wrote {file}; replay it with: {sys.executable} '{file}'\n"
    assert file.read_text(encoding="utf-8") == script_of(store, row)
    assert found.stdout.startswith("trial 0 of wind")


def test_a_script_that_cannot_be_written_is_told(verified, tmp_path):
    found = explain(verified[0], "--script", str(tmp_path / "no" / "replay.py"))
    assert found.exit_code == 2
    assert "name another file" in found.stderr


def test_controls_and_treatments_are_told_apart_by_their_configurations(verified, facts):
    store, _ = verified
    rows = {row.id: row.validation_loss for row in find_runs(store, NAME, role="control")}
    assert {control for control, _ in facts["losses"].values()} <= set(rows.values())
    effects = [treatment - control for control, treatment in facts["losses"].values()]
    assert np.mean(effects) == pytest.approx(facts["effect"], rel=1e-12)
