"""The project's own files, read once, for the tests of its architecture."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """A Python file with its syntax tree; ``name`` is its path inside the project."""

    name: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())


def _tracked() -> list[str]:
    """List what is or would be committed, also before it is."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return sorted(name for name in set(listed.stdout.split("\0")) if (ROOT / name).is_file())


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    """Every text file of the project by name."""
    found = {}
    for name in _tracked():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content:
            found[name] = content.decode("utf-8")
    return found


@pytest.fixture(scope="session")
def python(texts) -> list[Source]:
    """Every Python file of the project."""
    return [Source(name, text) for name, text in texts.items() if name.endswith(".py")]


@pytest.fixture(scope="session")
def package(python) -> list[Source]:
    """The Python files of the package itself."""
    return [source for source in python if source.name.startswith("tsdiag/")]
