"""The Kubernetes objects fit each other, and run what the compose file runs."""

from __future__ import annotations

import copy
import os
import shlex
import signal
import subprocess

import kubernetes_validate
import pytest

from tsdiag.store.database import open_store
from tsdiag.store.leases import leases
from tsdiag.store.runs import find_runs

ENDLESS = {"max_steps": 1_000_000, "evaluate_every": 50}
# The oldest whose schema lets a rule of podFailurePolicy have one of its two conditions, as it may;
# and the newest.
VERSIONS = ["1.29", "1.37"]


@pytest.fixture
def job(manifests):
    return manifests["Job"]["spec"]


@pytest.fixture
def pod(job):
    return job["template"]["spec"]


@pytest.fixture
def containers(pod):
    """The containers by name, those that come first included."""
    return {item["name"]: item for item in [*pod["initContainers"], *pod["containers"]]}


@pytest.fixture
def worker(containers, registered, start):
    """Register the study with changes, and start a pod's worker as tini does, with real tsdiag."""

    def begin(**changes):
        tini, group, dashes, *words = containers["worker"]["command"]
        assert (tini, group, dashes) == ("tini", "-g", "--")
        *args, _ = containers["worker"]["args"]
        return start(*words, *args, "tiny", **registered(**changes))

    return begin


def faults(item, version):
    """Of an object, what Kubernetes' schema has against it; fields it does not know are faults."""
    try:
        kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return error.message
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_all_objects_follow_the_schemas_of_kubernetes(manifests, version):
    for item in manifests.values():
        assert faults(item, version) is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("kind", "path", "change"),
    [
        ("Job", "spec", {"backofLimit": 20}),
        ("Job", "spec", {"backoffLimit": "many"}),
        ("Job", "spec podFailurePolicy rules 0", {"onExitCode": {"operator": "In"}}),
        ("Job", "spec podFailurePolicy rules 0 onExitCodes", {"values": 2}),
        ("Job", "spec template spec", {"terminationGracePeriodSecond": 30}),
        ("Job", "spec template spec containers 0", {"resource": {}}),
        ("Job", "spec template spec containers 0 resources", {"limit": {"memory": "4Gi"}}),
        ("Job", "spec template spec initContainers 0 securityContext", {"readOnlyRoot": True}),
        ("PersistentVolumeClaim", "spec", {"accessMode": ["ReadWriteMany"]}),
        ("PersistentVolumeClaim", "spec", {"accessModes": "ReadWriteMany"}),
        ("PodDisruptionBudget", "spec", {"unhealthyPodsEvictionPolicy": "AlwaysAllow"}),
        ("PodDisruptionBudget", "spec selector", {"matchLabel": {}}),
        ("Secret", "", {"stringdata": {}}),
        ("Secret", "stringData", {"PGPASSWORD": 5}),
    ],
)
def test_the_schemas_find_faults(manifests, version, kind, path, change):
    item = copy.deepcopy(manifests[kind])
    place = item
    for step in path.split():
        place = place[int(step) if step.isdecimal() else step]
    place |= change
    assert faults(item, version)


def test_all_kinds_are_there_in_the_versions_that_have_them(manifests):
    assert {kind: item["apiVersion"] for kind, item in manifests.items()} == {
        "Job": "batch/v1",
        "PersistentVolumeClaim": "v1",
        "PodDisruptionBudget": "policy/v1",
        "Secret": "v1",
    }


def test_each_container_does_what_the_service_of_its_name_does(containers, compose):
    services = compose()["services"]
    assert set(containers) == {"migrate", "worker"}
    for name, container in containers.items():
        # Compose starts the database itself; here it may be away for a while.
        patient = ["--patience", "10m"] if name == "migrate" else []
        assert container["args"] == [*services[name]["command"], *patient]
        assert container["image"] == services[name]["image"]
        artifacts = services[name]["environment"]["TSDIAG_ARTIFACTS"]
        assert container["env"] == [{"name": "TSDIAG_ARTIFACTS", "value": artifacts}]
        assert artifacts in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_the_job_goes_on_in_parallel_until_a_worker_finds_nothing_left(job):
    assert job["parallelism"] > 1
    # With a number of completions each worker would have to end by itself, also a replaced one.
    assert "completions" not in job
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # what podFailurePolicy asks for
    # It counts over the whole life of all workers, and a database that is away fails all at once.
    assert job["backoffLimit"] >= 20 * job["parallelism"]


def test_a_lost_node_is_no_failure_and_misuse_is_not_tried_again(job):
    from tsdiag.cli.failures import MISUSED

    misuse, disruption = job["podFailurePolicy"]["rules"]
    assert misuse == {
        "action": "FailJob",
        "onExitCodes": {"operator": "In", "values": [MISUSED]},
    }
    assert disruption == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }


def test_drains_leave_some_workers_and_may_take_some(manifests, job):
    budget = manifests["PodDisruptionBudget"]["spec"]
    assert budget["selector"]["matchLabels"] == job["template"]["metadata"]["labels"]
    # Of a Job's pods Kubernetes counts no percentage and no maxUnavailable.
    assert 0 < budget["minAvailable"] < job["parallelism"]
    assert "maxUnavailable" not in budget


def test_secrets_and_claims_are_those_of_this_folder(manifests, pod, containers):
    secret = manifests["Secret"]
    for container in containers.values():
        assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
    claims = [v["persistentVolumeClaim"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [{"claimName": manifests["PersistentVolumeClaim"]["metadata"]["name"]}]
    # On whatever node the next worker of a trial is.
    assert manifests["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_secret_is_an_example_and_holds_what_compose_gives(manifests, compose, root):
    told = manifests["Secret"]["stringData"]
    given = compose()["services"]["worker"]["environment"]
    assert set(told) == set(given) - {"TSDIAG_ARTIFACTS"}
    assert told["PGPASSWORD"] == "PASSWORD"
    # The one that is filled in stays out of the history.
    filled = "deploy/kubernetes/secret.yaml"
    assert filled in (root / ".gitignore").read_text().splitlines()


def test_every_mount_has_its_volume(pod, containers):
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in containers.values():
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts) == volumes
        assert "/tmp" in mounts.values()  # the root is read-only


def test_nothing_runs_as_root(pod, containers, root):
    ids = pod["securityContext"]
    assert ids["runAsNonRoot"]
    dockerfile = (root / "deploy/Dockerfile").read_text()
    assert f"USER {ids['runAsUser']}:{ids['runAsGroup']}" in dockerfile
    assert ids["fsGroup"] == ids["runAsGroup"]
    for container in containers.values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize(
    ("ends", "stopped", "code"),
    [("exit 0", False, 0), ("exit 2", False, 2), ("exit 0", True, 143), ("exit 1", True, 143)],
)
def test_a_worker_that_was_stopped_is_told_from_one_that_is_done(
    containers, tmp_path, ends, stopped, code
):
    tini, group, dashes, *words = containers["worker"]["command"]
    assert (tini, group, dashes) == ("tini", "-g", "--")
    worker = tmp_path / "tsdiag"
    loop = "trap 'told=1' TERM; echo ready; until [ $told ]; do sleep 0.1; done;" if stopped else ""
    worker.write_text(f'#!/bin/sh\necho "$@" >&2\n{loop} {ends}\n')
    worker.chmod(0o755)
    process = subprocess.Popen(
        [*words, *containers["worker"]["args"]],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    if stopped:
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGTERM)  # as tini -g does
    said = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert said.splitlines()[0] == shlex.join(containers["worker"]["args"])


def test_the_worker_of_a_study_that_is_done_completes_the_job(worker, server):
    one = worker(trials=1)
    assert one.wait() == 0, one.text
    rows = find_runs(open_store(server.render_as_string(hide_password=False)), "tiny")
    assert {row.state for row in rows} == {"completed"}
    assert {row.role for row in rows} == {"baseline", "trial", "final"}


def test_a_worker_whose_pod_is_stopped_hands_its_trial_back_and_is_replaced(worker, server, until):
    one = worker(**ENDLESS)
    store = open_store(server.render_as_string(hide_password=False))
    until(lambda: any(row.step > 0 for row in find_runs(store, "tiny")), message=one.text)
    os.killpg(one.process.pid, signal.SIGTERM)  # as tini -g does
    assert one.wait(30) == 143, one.text
    (row,) = find_runs(store, "tiny")
    assert row.state == "interrupted"
    assert row.checkpoint is not None
    assert [lease for lease in leases(store) if lease.live] == []
