"""Each service's command, run against a real PostgreSQL, from an empty database to the verdict."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request

import optuna
import pytest
from optuna.trial import TrialState

from tsdiag.search.storage import open_storage
from tsdiag.store.database import open_store
from tsdiag.store.leases import leases
from tsdiag.store.runs import find_runs, newest
from tsdiag.store.studies import list_studies, load_study
from tsdiag.store.urls import parse

SECRET = "s3cret@/:%"  # what would need escaping in a URL


@pytest.fixture
def services(compose, server):
    """The services with the test's server in the place of theirs."""
    password = str(server.password or SECRET)
    found = compose(POSTGRES_PASSWORD=password, TSDIAG_STUDY="tiny")["services"]
    for name in ("migrate", "worker", "dashboard"):
        environment = found[name]["environment"]
        theirs = parse(environment["TSDIAG_STORAGE"])
        assert theirs.password is None
        environment["TSDIAG_STORAGE"] = server._replace(password=None).render_as_string()
    return found


@pytest.fixture
def serve(services, start, study, tmp_path):
    """Start a service as its container would, with words that replace or follow its command."""
    started = []

    def begin(name, *words, more=()):
        command = [*(words or services[name]["command"]), *more]
        # Where the container has a mount or an address of its own, the test has another.
        here = {"/study": str(study), "0.0.0.0": "127.0.0.1"}
        command = [here.get(word, word) for word in command]
        environment = services[name]["environment"]
        environment |= {"TSDIAG_ARTIFACTS": str(tmp_path / "artifacts")}
        started.append(start(sys.executable, "-m", "tsdiag", *command, **environment))
        return started[-1]

    yield begin
    for one in started:
        assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] not in one.text


def test_the_migration_may_run_twice_and_several_at_once(serve, server):
    for processes in ([serve("migrate") for _ in range(2)], [serve("migrate")]):
        for one in processes:
            assert one.wait() == 0, one.text
            assert "Next: tsdiag worker tiny" in one.text
    store = open_store(server.render_as_string(hide_password=False))
    assert [study.name for study in list_studies(store)] == ["tiny"]
    storage = open_storage(store)
    assert {s.study_name for s in storage.get_all_studies()} == {"tiny", "tiny/lstm"}
    # What the study enqueues is in the queue, and there once.
    (trial,) = optuna.load_study(study_name="tiny", storage=storage).trials
    assert trial.state == TrialState.WAITING
    assert leases(store) == []


def test_before_the_migration_a_worker_says_what_is_missing(serve):
    worker = serve("worker")
    assert worker.wait() == 1
    assert "no study at" in worker.text


def test_two_workers_do_the_study_and_the_dashboard_shows_it(serve, server):
    assert serve("migrate").wait() == 0
    for worker in [serve("worker") for _ in range(2)]:
        assert worker.wait() == 0, worker.text
    store = open_store(server.render_as_string(hide_password=False))
    done = newest(find_runs(store, "tiny"))
    assert {row.state for row in done} <= {"completed", "pruned"}
    assert sum(row.role == "trial" for row in done) == 3
    assert {row.role for row in done} == {"trial", "baseline", "final"}
    verdict = serve("worker", "compare", "tiny")
    assert verdict.wait() == 0, verdict.text
    assert load_study(store, "tiny").verdict is not None
    check_dashboard(serve("dashboard", more=("--port", "0")))


def check_dashboard(dashboard):
    said = ""
    while dashboard.process.poll() is None and "http://" not in said:
        said = dashboard.text
    address = re.search(r"http://127\.0\.0\.1:\d+/", said).group()
    with urllib.request.urlopen(f"{address}api/studies", timeout=30) as answer:
        found = json.loads(answer.read())
    assert {s["study_name"] for s in found["study_summaries"]} == {"tiny", "tiny/lstm"}
    dashboard.process.terminate()
    assert dashboard.wait(30) == 0


@pytest.mark.skipif(shutil.which("pg_isready") is None, reason="no pg_isready here")
@pytest.mark.parametrize("up", [True, False])
def test_the_health_check_tells_a_server_that_answers(services, server, up):
    kind, *command = services["postgres"]["healthcheck"]["test"]
    assert kind == "CMD"
    port = (server.port or 5432) if up else 1
    command = [*command, f"--host={server.host or '127.0.0.1'}", f"--port={port}"]
    answer = subprocess.run(command, capture_output=True, check=False, timeout=30)
    assert (answer.returncode == 0) == up
