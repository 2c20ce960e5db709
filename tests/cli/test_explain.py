"""``tsdiag explain`` and ``tsdiag causes`` as typed, on a database of recorded runs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tsdiag.cli.explain import _print
from tsdiag.cli.main import app
from tsdiag.diagnostics.findings import Diagnosis
from tsdiag.diagnostics.verdicts import RandomSearch, Repair, Verdict
from tsdiag.explanation import explain
from tsdiag.store.curves import append_curves
from tsdiag.store.database import open_store
from tsdiag.store.runs import RunRow, create_run
from tsdiag.store.studies import save_study, set_attribute, set_study

sys.path.insert(0, str(Path(__file__).parents[1] / "diagnostics"))
from recorded import TRACES, load_case

# By the number of their trials; 3 to 6 are the first one in other states.
NAMES = ("order-blind", "healthy-patch", "learning-rate-too-low")
STATES = {3: "running", 4: "failed", 5: "pruned", 6: "diverged"}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('explain')}/tsdiag.db"
    store = open_store(url)
    told = json.loads((TRACES / NAMES[0] / "config.json").read_text())
    save_study(store, "wind", {})
    floors = {
        name: {"validation_loss": floor["loss"], "validation_blocks": floor["blocks"]}
        for name, floor in told["floors"].items()
    }
    summary = {"channels": ["x"] * told["facts"]["channels"], "targets": ["level"]}
    set_study(store, "wind", floors={"floors": floors}, summary=summary)
    set_attribute(store, "wind", "audit", told.get("audit") or {})
    for number, name in enumerate(NAMES):
        put(store, name, number)
    for number, state in STATES.items():
        put(store, NAMES[0], number, state=state, step=100)
    broken_off = put(store, NAMES[0], 7, state="interrupted", step=100)
    put(store, NAMES[0], 8, parent=broken_off.id)
    baseline = {"validation_blocks": told["baseline"]["blocks"]}
    loss = told["baseline"]["loss"]
    put(store, "healthy-lstm", None, role="baseline", validation_loss=loss, metrics=baseline)
    return url


def put(store, name, number, **columns):
    told = json.loads((TRACES / name / "config.json").read_text())
    outcome = told["outcome"]
    row = RunRow(
        "wind",
        "trial",
        json.dumps(told["config"]),
        trial=number,
        state="completed",
        step=outcome["step"],
        max_steps=outcome["max_steps"],
        validation_loss=outcome["loss"],
        last_validation_loss=outcome["last_loss"],
        metrics={"validation_blocks": outcome["blocks"]},
    )
    row = create_run(store, replace(row, **columns))
    append_curves(store, row.id, list(load_case(name).record.trace.signals))
    return row


@pytest.fixture
def ask(url):
    def run(*words):
        return CliRunner().invoke(app, [*words, "--storage", url], env={"COLUMNS": "80"})

    return run


def test_a_stalled_trial_is_told_on_one_screen(ask):
    found = ask("explain", "0")
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert lines[0] == "trial 0 of wind: stalled"
    # A line to paste is as long as it must be.
    assert max(len(line) for line in lines if "tsdiag explain" not in line) <= 80
    assert len(lines) <= 40
    assert "1. order-blind" in found.stdout
    assert 'model.positions = "sinusoidal"' in found.stdout
    assert "Next: tsdiag causes order-blind" in found.stdout


def test_the_next_line_means_the_same_trial(ask, url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ask("explain", "0", "--study", "wind").stdout.splitlines()[-1].strip()
    assert line == f"tsdiag explain 0 --html trial-0.html --study wind --storage {url}"
    done = CliRunner().invoke(app, line.split()[1:])
    assert done.exit_code == 0
    assert (tmp_path / "trial-0.html").exists()


def test_what_is_not_verified_yet_can_be(ask, url):
    lines = [line.strip() for line in ask("explain", "0").stdout.splitlines()]
    assert f"tsdiag explain 0 --verify --storage {url}" in lines
    assert "--verify" not in ask("explain", "1").stdout


def test_a_repair_leads_to_a_search(url, capsys):
    known = {"set": {"optimizer.lr": 0.01}, "outcome": "confirmed", "why": "", "effect": -0.5}
    verdict = Verdict(seeds=5, steps=80, interval=(-0.6, -0.4), **known)
    chance = RandomSearch(runs=3, steps=240, beaten=True)
    repair = Repair(set=verdict.set, verdict=verdict, minimal=True, random=chance)
    changes = {"repair": repair, "verification": "confirmed", "verified": True}
    diagnosis = explain(0, storage=url).model_copy(update=changes)
    told = f" --study wind --storage {url}"
    _print(diagnosis, "0", None, told)
    shown = capsys.readouterr().out
    assert f"Next: tsdiag search wind --repair 0 --storage {url}" in shown
    assert f"tsdiag explain 0 --html trial-0.html{told}" in shown
    assert "--verify" not in shown
    bare = diagnosis.model_copy(update={"verified": False})
    _print(bare, "0", None, told)
    assert f"tsdiag explain 0 --verify{told}" in capsys.readouterr().out


def test_a_healthy_trial_has_no_findings(ask):
    found = ask("explain", "1")
    assert found.stdout.splitlines()[0] == "trial 1 of wind: learning"
    assert "1. " not in found.stdout


def test_json_is_the_contract(ask, url):
    told = json.loads(ask("explain", "0", "--json").stdout)
    assert told["schema"] == 1
    assert (told["study"], told["trial"], told["state"]) == ("wind", 0, "stalled")
    assert {"validation_loss", "floors", "baseline", "skill"} <= set(told["scores"])
    first = told["findings"][0]
    assert first["cause"] == "order-blind"
    assert first["verdict"] is None
    assert {"signal", "where", "steps", "observed", "reference", "unit"} <= set(
        first["evidence"][0]
    )
    assert {"set", "expects", "safety"} <= set(first["remedies"][0])
    assert told["repair"] is None
    assert {"cause", "why"} == set(told["not_measured"][0])
    assert Diagnosis.from_json(json.dumps(told)) == Diagnosis.from_json(
        explain(0, storage=url).to_json()
    )


def test_markdown(ask):
    text = ask("explain", "0", "--markdown").stdout
    assert text.startswith("**stalled**: ")
    assert "1. **order-blind** (score " in text


@pytest.mark.parametrize(("number", "state"), STATES.items())
def test_trials_in_every_state_are_explained(ask, number, state):
    told = json.loads(ask("explain", str(number), "--json").stdout)
    expected = {
        "running": {"undecided"},
        "failed": {"undecided"},
        "diverged": {"diverged"},
    }
    assert told["state"] in expected.get(state, {"stalled", "undecided"})
    assert told["state_reason"]


def test_a_trial_that_went_on_under_another_number_is_told_and_named_by_that(ask):
    found = ask("explain", "7")
    assert "trial 7 was broken off, and went on as 8" in found.stderr
    assert "trial 8 of wind" in found.stdout
    assert "tsdiag explain 8 --html trial-8.html" in found.stdout
    assert not ask("explain", "8").stderr


def test_the_baseline_is_explained_against_the_floors(ask):
    found = ask("explain", "baseline")
    assert found.stdout.splitlines()[0] == "the baseline of wind: learning"


def test_html_is_one_page_without_network(ask, url, tmp_path):
    file = tmp_path / "page.html"
    found = ask("explain", "0", "--html", str(file))
    assert found.exit_code == 0
    page = file.read_text(encoding="utf-8")
    assert "order-blind" in page
    assert 'src="http' not in page
    assert f"wrote {file}" in found.stderr
    assert explain(0, storage=url).to_html().lstrip().lower().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("explain", "99"), 2, 'unknown trial 99 in study "wind" (it has 0..8)'),
        (("explain", "best"), 2, 'explain "best": a trial is named by its number'),
        (("explain", "0", "--study", "wnd"), 2, 'did you mean "wind"'),
        (("explain", "0", "--json", "--markdown"), 2, "print one or the other"),
    ],
)
def test_what_cannot_be_explained_is_told(ask, words, code, message):
    found = ask(*words)
    assert found.exit_code == code
    assert message in found.stderr


def test_a_page_that_cannot_be_written_is_told(ask, tmp_path):
    found = ask("explain", "0", "--html", str(tmp_path / "no" / "page.html"))
    assert found.exit_code == 2
    assert "name another file" in found.stderr


def test_explaining_loads_neither_torch_nor_optuna(url):
    code = (
        "import sys; from tsdiag.explanation import explain; "
        f"explain(0, storage={url!r}); "
        "print(sorted({'torch', 'optuna', 'pandas', 'plotly'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == "[]"


def test_causes_lists_and_shows_pages():
    run = CliRunner().invoke
    listed = run(app, ["causes"])
    assert listed.exit_code == 0
    assert "order-blind" in listed.stdout
    assert "What it looks for" in run(app, ["causes", "order-blind"]).stdout
    unknown = run(app, ["causes", "order"])
    assert unknown.exit_code == 2
    assert "tsdiag causes" in unknown.stderr or "did you mean" in unknown.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("0", "--budget", "5m"), "--budget 5m is the time of --verify: add it"),
        (("0", "--verify", "--budget", "soon"), '"soon" is not a duration'),
        (("0", "--verify", "--budget", "5s"), "no run can end in that; give at least 20s"),
        (("9", "--verify"), "unknown trial 9"),
    ],
)
def test_what_cannot_be_verified_is_misuse_and_trains_nothing(ask, words, told):
    found = ask("explain", *words)
    assert found.exit_code == 2
    assert told in " ".join(found.stderr.split())
