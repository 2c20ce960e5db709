"""Nothing that is read can run code."""

from __future__ import annotations

import ast

RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def calls(sources):
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call):
                yield f"{source.name}:{node.lineno}", ast.unparse(node.func), node


def is_true(node, keyword):
    return any(
        item.arg == keyword and isinstance(item.value, ast.Constant) and item.value.value is True
        for item in node.keywords
    )


def test_no_pickle(package):
    found = [
        source.name
        for source in package
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and RUNS_CODE & {getattr(node, "module", None), *(alias.name for alias in node.names)}
    ]
    assert found == []


def test_weights_are_loaded_as_weights_only(package):
    unsafe = [
        place
        for place, name, node in calls(package)
        if (name == "torch.load" and not is_true(node, "weights_only"))
        or name.endswith("read_pickle")
        or is_true(node, "allow_pickle")
    ]
    assert unsafe == []


def test_no_text_is_run_as_code(package):
    assert [place for place, name, _ in calls(package) if name in ("eval", "exec")] == []
