"""What is committed is finished, true of this version, and speaks of no one machine."""

from __future__ import annotations

import re
import tomllib

# Written in pieces, or this file would find itself. In a URL, /home may be an example's.
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:wo" + r"rk|ro" + r"ot)/|(?<![\w.~}/])/ho" + r"me/")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def places(texts, pattern):
    return [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_paths_of_one_machine(texts):
    assert places(texts, MACHINE_PATH) == []


def test_nothing_is_left_for_later(texts):
    assert places(texts, UNFINISHED) == []


def test_the_version_is_one(root):
    import tsdiag

    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    assert tsdiag.__version__ == version
    assert f"## {version}" in (root / "CHANGELOG.md").read_text()


def test_every_dependency_is_pinned(root):
    pins = (root / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower() for line in pins if "==" in line}
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = project["dependencies"] + [
        need for name in ("bench", "dev", "postgres", "mysql", "s3") for need in extras[name]
    ]
    names = {re.split(r"[\[<>=]", need)[0].lower() for need in needed}
    assert names - pinned == set()
    assert "torch==2.13.0" in pins
    assert [line for line in pins if "://" in line] == []


def test_every_command_is_in_the_readme(root):
    from tsdiag.cli.main import COMMANDS

    readme = (root / "README.md").read_text()
    assert [name for name in COMMANDS if f"tsdiag {name}" not in readme] == []


def test_the_readme_enqueues_the_founding_model(root):
    from tsdiag.models.transformer import FOUNDING

    blocks = (root / "README.md").read_text().split("```toml\n")[1:]
    (block,) = (block.partition("```")[0] for block in blocks if block.startswith("[[enqueue]]"))
    (told,) = tomllib.loads(block)["enqueue"]
    assert told == {k: list(v) if isinstance(v, tuple) else v for k, v in FOUNDING.items()}


def test_every_make_target_is_told(root):
    makefile = (root / "Makefile").read_text()
    told = (root / "CONTRIBUTING.md").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.M).group(1).split()
    asides = {
        "help",
        "lint",
        "types",
        "imports",
        "clean",
    }  # parts of check, and what explains itself
    assert [name for name in targets if f"make {name}" not in told and name not in asides] == []


def test_relative_links_lead_somewhere(root, texts):
    link = re.compile(r"\]\((?!https?://|#)([^)#]+)")
    pages = [name for name in texts if name.endswith(".md")]
    assert "README.md" in pages
    broken = [
        f"{name}: {target}"
        for name in pages
        for target in link.findall(texts[name])
        if not ((root / name).parent / target).exists()
    ]
    assert broken == []
