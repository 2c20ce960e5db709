"""Small files of small functions; names that say what is inside."""

from __future__ import annotations

import ast
from pathlib import PurePath
from statistics import median

FILE_CEILING, FILE_MEDIAN, FUNCTION_MEDIAN = 400, 130, 12
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
# Registries list what a folder offers, and `tsdiag.search` is a function of the public surface too;
# the others stay empty, so that importing a part is cheap.
WITH_CONTENT = {
    "tsdiag/__init__.py",
    "tsdiag/diagnostics/probes/__init__.py",
    "tsdiag/diagnostics/rules/__init__.py",
    "tsdiag/models/__init__.py",
    "tsdiag/plots/__init__.py",
    "tsdiag/search/__init__.py",
}


def functions(sources):
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def test_no_file_is_long(python):
    long = {source.name: source.lines for source in python if source.lines > FILE_CEILING}
    assert long == {}


def test_files_are_short(package):
    assert median(source.lines for source in package if source.lines > 1) <= FILE_MEDIAN


def test_functions_are_short(package):
    lengths = [node.end_lineno - node.lineno + 1 for node in functions(package)]
    assert median(lengths) <= FUNCTION_MEDIAN


def test_names_say_what_is_inside(python):
    empty = [
        source.name
        for source in python
        if SAYS_NOTHING & {word for part in PurePath(source.name).parts for word in split(part)}
    ]
    assert empty == []


def split(part):
    return part.removesuffix(".py").split("_")


def test_packages_load_nothing_by_themselves(package):
    busy = [
        source.name
        for source in package
        if source.name.endswith("/__init__.py")
        and source.name not in WITH_CONTENT
        and any(not isinstance(node, ast.Expr) for node in source.tree.body)
    ]
    assert busy == []


def test_test_folders_are_no_packages(python):
    names = [source.name for source in python if source.name.startswith("tests/")]
    assert [name for name in names if name.endswith("__init__.py")] == []
