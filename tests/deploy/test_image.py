"""The image: what the Dockerfile asks for is there, pinned, and does not run as root."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
import zipfile

import pytest


@pytest.fixture(scope="session")
def stages(root):
    """The instructions of each stage as (word, rest), continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (root / "deploy/Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    found = []
    for word, _, rest in (line.partition(" ") for line in lines):
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


@pytest.fixture(scope="session")
def ignored(root):
    """Say of a path whether .dockerignore keeps it from the builder; the last pattern decides."""
    lines = (root / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]

    def fits(path, pattern):
        parts = path.split("/")
        deep = pattern.removeprefix("**/")
        if deep != pattern:
            return any(fnmatch.fnmatch(part, deep) for part in parts)
        heads = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        return any(fnmatch.fnmatch(head, pattern) for head in heads)

    def decide(path):
        out = False
        for rule in rules:
            if fits(path, rule.lstrip("!")):
                out = not rule.startswith("!")
        return out

    return decide


def test_the_first_stage_builds_and_the_last_one_runs_without_root(stages):
    assert len(stages) == 2
    last = dict(stages[-1])
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert last["ENTRYPOINT"] == '["tini", "--", "tsdiag"]'
    # The compilers' and pip's leavings stay behind.
    assert not any("pip install" in rest for _, rest in stages[-1])


def test_whatever_is_installed_is_pinned(stages, root):
    calls = [
        call
        for word, rest in stages[0]
        if word == "RUN"
        for call in re.split(r"&&|;", rest)
        if "pip install" in call
    ]
    assert len(calls) == 3
    assert [call for call in calls if "-c constraints.txt" not in call] == []
    assert "torch==2.13.0" in (root / "constraints.txt").read_text().splitlines()


def test_torch_s_build_is_an_argument_that_compose_passes_on(stages, compose):
    assert ("ARG", 'TORCH_INDEX=""') in stages[0]
    (install,) = [rest for word, rest in stages[0] if "${TORCH_INDEX}" in rest]
    assert '--index-url "${TORCH_INDEX}"' in install
    build = compose(POSTGRES_PASSWORD="x", TORCH_INDEX="an-index")["services"]["migrate"]["build"]
    assert build["args"] == {"TORCH_INDEX": "an-index"}


def test_what_is_copied_is_there_and_reaches_the_builder(stages, root, ignored):
    arguments = dict(rest.split("=", 1) for word, rest in stages[-1] if word == "ARG")
    for word, rest in (line for stage in stages for line in stage):
        if word == "COPY" and "--from" not in rest:
            *sources, _ = [part for part in rest.split() if not part.startswith("--")]
            for source in sources:
                name = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], source)
                assert (root / name).exists()
                assert not ignored(name)


@pytest.mark.parametrize(
    "name",
    [
        ".git/config",
        ".venv/bin/python",
        ".env",
        "tsdiag.db",
        "studies/mine/tsdiag.db-wal",
        "tsdiag-artifacts/x",
        "deploy/kubernetes/secret.yaml",
        "tsdiag/cli/__pycache__/main.pyc",
    ],
)
def test_what_is_private_or_made_here_stays_here(ignored, name):
    assert ignored(name)


def test_a_wheel_is_built_from_what_reaches_the_builder(root, ignored, tmp_path):
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in files.stdout.splitlines():
        if not ignored(name) and (root / name).is_file():
            target = tmp_path / "build" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path / "wheel"), "."]
    subprocess.run(command, cwd=tmp_path / "build", check=True, timeout=300)
    (wheel,) = (tmp_path / "wheel").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert "tsdiag/cli/prepare.py" in names
    assert "tsdiag/shipped_studies/beijing33/study.toml" in names


def test_the_requirements_are_those_of_the_project(stages, root):
    """Run the line that lists them: the builder has nothing else to tell."""
    (line,) = [rest for word, rest in stages[0] if word == "RUN" and "tomllib" in rest]
    code = re.search(r'python -c "(.*?)"\s+>', line).group(1)
    told = subprocess.check_output(
        ["sh", "-c", f'"$0" -c "{code}"', sys.executable], cwd=root, text=True
    )
    assert {"hatchling", "torch>=2.7", "psycopg[binary]>=3.2", "pymysql>=1.1"} <= set(
        told.splitlines()
    )
