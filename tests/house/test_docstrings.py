"""Everything public says what it is for, in one sentence first."""

from __future__ import annotations

import ast

DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(node):
    """Yield the public definitions of a module and the public methods of its public classes."""
    for child in node.body:
        if isinstance(child, DEFINITIONS) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


def is_overload(node):
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


def test_every_module_has_a_docstring(package):
    empty_package = {source.name for source in package if not source.text.strip()}
    silent = [source.name for source in package if not ast.get_docstring(source.tree)]
    assert set(silent) - empty_package == set()


def test_everything_public_has_a_docstring(package):
    silent = [
        f"{source.name}:{node.lineno} {node.name}"
        for source in package
        for node in public(source.tree)
        if not ast.get_docstring(node) and not is_overload(node)
    ]
    assert silent == []


def test_docstrings_leave_types_to_annotations(package):
    typed = [
        f"{source.name}:{node.lineno} {node.name}"
        for source in package
        for node in public(source.tree)
        if any(mark in (ast.get_docstring(node) or "") for mark in (":param", ":rtype", ":type"))
    ]
    assert typed == []
