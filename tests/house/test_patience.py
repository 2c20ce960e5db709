"""What opens the store can wait for it: no function of the store is without patience."""

from __future__ import annotations

import ast


def impatient(tree):
    """Return the functions that open a transaction and would not try it again."""
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(words in ast.unparse(node) for words in ("store.read()", "store.write()"))
        and "store.patience(" not in ast.unparse(node)
        and "patient" not in [ast.unparse(given) for given in node.decorator_list]
    ]


def test_all_are_patient(package):
    found = {source.name: impatient(source.tree) for source in package}
    assert {name: names for name, names in found.items() if names} == {}


def test_an_impatient_one_would_be_found():
    code = "def one(store):\n    with store.read() as connection:\n        return connection"
    assert impatient(ast.parse(code)) == ["one"]
    assert impatient(ast.parse(f"@patient\n{code}")) == []
