"""Imports go one way, and what must answer at once loads nothing heavy."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

LISTS_MODULES = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for found in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + "."):
    importlib.import_module(found.name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
HEAVY = {"torch", "optuna"}
SLOW = HEAVY | {"pandas", "sqlalchemy", "scipy", "numpy", "plotly", "pyarrow", "pydantic", "rich"}


def loaded_by(module, root):
    """Return the top-level modules that are loaded after importing a module and all under it."""
    command = [sys.executable, "-c", LISTS_MODULES, module]
    answer = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return set(json.loads(answer.stdout))


def test_contracts_hold(root, capsys, monkeypatch):
    from importlinter import cli

    monkeypatch.chdir(root)
    failed = cli.lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert not failed, capsys.readouterr().out


def test_the_command_line_answers_at_once(root):
    # Not a timed test: which modules load is what decides, on any machine.
    assert loaded_by("tsdiag.cli.main", root) & SLOW == set()


@pytest.mark.parametrize(
    "module",
    [
        "tsdiag.cli",
        "tsdiag.statistics",
        "tsdiag.config",
        "tsdiag.diagnostics.diagnose",
        "tsdiag.explanation",
        "tsdiag.plots",
        "tsdiag.store",
        "tsdiag.report",
        "tsdiag.search.spec",
    ],
)
def test_reading_results_loads_neither_torch_nor_optuna(module, root):
    assert loaded_by(module, root) & HEAVY == set()


def test_only_search_imports_optuna(package):
    outside = [
        source.name
        for source in package
        if not source.name.startswith("tsdiag/search/") and "optuna" in imported(source.tree)
    ]
    assert outside == []


def imported(tree):
    """Return the top-level names that a file imports anywhere in it, also inside functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names
