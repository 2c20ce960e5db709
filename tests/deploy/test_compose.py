"""The compose file is one, starts things in order, and gives nothing away."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest
import yaml
from jsonschema.validators import validator_for

import tsdiag
from tsdiag.store.urls import parse

OURS = ("migrate", "worker", "dashboard")


@pytest.fixture(scope="session")
def faults():
    """Of a compose file, what the schema of the Compose Specification says against it."""
    vendored = files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    validator = validator_for(schema)(schema)
    return lambda tree: [f"{e.json_path}: {e.message}" for e in validator.iter_errors(tree)]


def test_it_follows_the_compose_specification(compose, faults):
    assert faults(compose()) == []
    assert faults(compose(POSTGRES_PASSWORD="x", TORCH_INDEX="y", TSDIAG_STUDY="z")) == []


@pytest.mark.parametrize(
    ("service", "change"),
    [
        ("worker", {"comand": ["worker"]}),
        ("worker", {"depends_on": {"migrate": {"condition": "service_done"}}}),
        ("postgres", {"healthcheck": {"test": 5}}),
        ("dashboard", {"ports": "8080"}),
    ],
)
def test_the_schema_finds_faults(compose, faults, service, change):
    tree = compose()
    tree["services"][service] |= change
    assert faults(tree) != []


def test_every_name_that_is_used_is_declared(compose):
    tree = compose()
    services = tree["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        named = {v.partition(":")[0] for v in service["volumes"] if isinstance(v, str)}
        assert named <= set(tree["volumes"])


def test_the_database_is_healthy_before_the_one_migration_and_that_is_before_the_rest(compose):
    services = compose()["services"]
    assert "healthcheck" in services["postgres"]
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("worker", "dashboard"):
        done = {"migrate": {"condition": "service_completed_successfully"}}
        assert services[name]["depends_on"] == done
    # What is restarted whatever happens would never be completed.
    assert "restart" not in services["migrate"]


def test_without_a_password_it_refuses(compose):
    with pytest.raises(LookupError, match=r"POSTGRES_PASSWORD: set it"):
        compose(TSDIAG_STUDY="z")


def test_no_password_is_in_the_file(compose, root):
    told = json.dumps(compose(POSTGRES_PASSWORD="s3cret"))
    for service in compose(POSTGRES_PASSWORD="s3cret")["services"].values():
        for name, value in service["environment"].items():
            assert ("s3cret" in value) == name.endswith("PASSWORD")
        assert "s3cret" not in json.dumps(service.get("command", []))
    # Once for the server and once for each of our services, with their template: nowhere else.
    assert told.count("s3cret") == 1 + len(OURS) + 1
    assert "s3cret" not in (root / "docker-compose.yml").read_text()


def test_the_storage_is_the_database_that_the_server_makes(compose):
    services = compose()["services"]
    made = services["postgres"]["environment"]
    for name in OURS:
        environment = services[name]["environment"]
        url = parse(environment["TSDIAG_STORAGE"])
        assert url.drivername == "postgresql+psycopg"
        assert (url.host, url.port, url.password) == ("postgres", 5432, None)
        assert (url.username, url.database) == (made["POSTGRES_USER"], made["POSTGRES_DB"])
        assert environment["PGPASSWORD"] == made["POSTGRES_PASSWORD"]


def test_only_the_dashboard_is_published_and_on_loopback_alone(compose):
    services = compose()["services"]
    assert [name for name in services if "ports" in services[name]] == ["dashboard"]
    assert services["dashboard"]["ports"] == ["127.0.0.1:8080:8080"]
    # Inside its container it must answer to more than itself, or the port leads nowhere.
    assert services["dashboard"]["command"] == ["dashboard", "--host", "0.0.0.0"]


def test_artifacts_are_shared_and_the_study_cannot_be_written(compose):
    services = compose(POSTGRES_PASSWORD="x", TSDIAG_STUDY_FOLDER="./mine")["services"]
    for name in OURS:
        artifacts, rows = services[name]["volumes"]
        assert artifacts == f"artifacts:{services[name]['environment']['TSDIAG_ARTIFACTS']}"
        assert (rows["source"], rows["target"], rows["read_only"]) == ("./mine", "/study", True)


def test_the_default_study_is_the_default_folder_s(compose, root):
    from tsdiag.search.spec import read_spec

    services = compose()["services"]
    folder = services["migrate"]["volumes"][1]["source"]
    assert services["worker"]["command"] == ["worker", read_spec(root / folder).name]


def test_all_services_run_the_image_of_this_version(compose):
    services = compose()["services"]
    assert {services[name]["image"] for name in OURS} == {f"tsdiag:{tsdiag.__version__}"}


def test_an_image_is_built_once_and_by_a_service_that_all_others_of_it_wait_for(compose, root):
    services = compose()["services"]
    (builder,) = [name for name in services if "build" in services[name]]
    assert services[builder]["build"]["dockerfile"] == "deploy/Dockerfile"
    assert "pull_policy" not in services[builder]  # pulled where it can be, and else built
    for name in set(OURS) - {builder}:
        assert builder in services[name]["depends_on"]
        assert services[name]["pull_policy"] == "never"
    for addition in (root / "deploy").glob("docker-compose.*.yml"):
        for service in yaml.safe_load(addition.read_text())["services"].values():
            assert not {"build", "image"} & set(service)


def test_each_worker_has_its_part_of_the_machine_s_memory(compose):
    """Any number of them, since --scale tells no worker how many there are."""
    given = compose(POSTGRES_PASSWORD="x", TSDIAG_WORKER_MEMORY="512m")["services"]["worker"]
    assert given["mem_limit"] == "512m"
    worker = compose()["services"]["worker"]
    assert worker["mem_limit"] == "2g"
    assert "--of" not in worker["command"]  # it would divide the limit once more


def test_the_addition_for_gpus_is_one_to_a_service_of_the_file(compose, faults, root):
    more = yaml.safe_load((root / "deploy/docker-compose.cuda.yml").read_text())
    assert faults(more) == []
    tree = compose()
    assert set(more["services"]) == {"worker"}
    tree["services"]["worker"] |= more["services"]["worker"]
    assert faults(tree) == []


def test_the_addition_for_s3_is_one_to_all_of_our_services(compose, faults, root):
    more = yaml.safe_load((root / "deploy/docker-compose.s3.yml").read_text())
    assert faults(more) == []
    assert set(more["services"]) == set(OURS)
    tree, told = compose(), (root / "deploy/README.md").read_text()
    rows = [line.split("|")[1] for line in told.splitlines() if line.startswith("| `AWS_")]
    table = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    for name, service in more["services"].items():
        assert set(service) == {"environment"}
        tree["services"][name]["environment"] |= service["environment"]
        place, *passed_on = service["environment"]
        # Without values, which compose takes from where it runs: no key is written down.
        assert (place, {service["environment"][key] for key in passed_on}) == (
            "TSDIAG_ARTIFACTS",
            {None},
        )
        assert set(passed_on) == table
    assert faults(tree) == []


def test_every_variable_is_told_with_its_default(root):
    text = (root / "docker-compose.yml").read_text()
    used = set(re.findall(r"\$\{(\w+)(?::-([^}]*))?", text))
    told = re.findall(
        r"^\| `([A-Z_]+)` \|.*\| (?:`(.*)`|none.*) \|$",
        (root / "deploy/README.md").read_text(),
        re.MULTILINE,
    )
    assert set(told) == used
