"""Nothing that is read can run code, and nothing that a person named is a part of a statement."""

from __future__ import annotations

import ast

import pytest

RUNS_CODE = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# By the end of their names, since modules go by several.
PICKLES = (
    *("read_pickle", "to_pickle", "PickleType", "torch.save", "torch.jit.load", "PackageImporter"),
    *("np.save", "numpy.save"),
)


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), node


def given(call, keyword):
    """Return the value of a keyword as it is written, or None."""
    found = [ast.unparse(item.value) for item in call.keywords if item.arg == keyword]
    return found[0] if found else None


def imports(tree):
    """Yield line and name of all that a file imports, by statement or by function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
    for line, name, call in calls(tree):
        if name.endswith(("import_module", "__import__")) and call.args:
            yield line, ast.unparse(call.args[0]).strip("'\"")


def unpickles(tree):
    """Return the lines of a file that could read or write a pickle."""
    found = {
        line
        for line, name in imports(tree)
        if RUNS_CODE & set(name.split(".")) or name in ("torch.load", "torch.save", "numpy.load")
    }
    for line, name, call in calls(tree):
        loads = name == "torch.load" and given(call, "weights_only") != "True"
        if loads or name.endswith(PICKLES) or given(call, "allow_pickle") not in (None, "False"):
            found.add(line)
    return sorted(found)


def runs_text(tree):
    """Return the lines of a file that hand a text to Python or to a shell."""
    return [
        line
        for line, name, call in calls(tree)
        if name in ("eval", "exec", "os.system", "os.popen")
        or given(call, "shell") not in (None, "False")
    ]


def is_composed(node):
    """Tell whether a text is put together from others."""
    if isinstance(node, ast.BinOp):
        sides = (node.left, node.right)
        return any(isinstance(s, ast.Constant) and isinstance(s.value, str) for s in sides)
    return isinstance(node, ast.JoinedStr)


def composes(tree):
    """Return the lines of a file in which a statement of SQL is put together from words."""
    takes = {"exec_driver_sql", "execute"}
    if any(name == "sqlalchemy.text" for _, name in imports(tree)):
        takes.add("text")
    return sorted(
        {
            line
            for line, name, call in calls(tree)
            if name.rpartition(".")[2] in takes and any(map(is_composed, ast.walk(call)))
        }
    )


def found_in(package, look):
    return {source.name: lines for source in package if (lines := look(source.tree))}


def test_no_pickle(package):
    assert found_in(package, unpickles) == {}


@pytest.mark.parametrize(
    "text",
    [
        *("import pickle", "from pickle import loads", "from six.moves import cPickle"),
        *("import joblib", "import_module('pickle')", "__import__('dill')"),
        *("torch.load(f)", "torch.load(f, weights_only=False)", "from torch import load"),
        *("numpy.load(f, allow_pickle=True)", "np.load(f, allow_pickle=asked)", "torch.save(x, f)"),
        *("pandas.read_pickle(f)", "frame.to_pickle(f)", "Column('x', sqlalchemy.PickleType())"),
    ],
)
def test_a_pickle_would_be_found(text):
    assert unpickles(ast.parse(text)) == [1]


@pytest.mark.parametrize("text", ["torch.load(f, weights_only=True)", "np.load(f)", "json.load(f)"])
def test_what_is_safe_passes(text):
    assert unpickles(ast.parse(text)) == []


def test_no_text_is_run_as_code(package):
    assert found_in(package, runs_text) == {}


@pytest.mark.parametrize("text", ["eval(x)", "exec(x)", "subprocess.run(x, shell=True)"])
def test_text_run_as_code_would_be_found(text):
    assert runs_text(ast.parse(text)) == [1]


def test_statements_are_never_put_together_from_words(package):
    found = found_in(package, composes)
    # A migration names a table and a column of our own schema, which no parameter can.
    assert list(found) == ["tsdiag/store/migrations.py"]
    assert len(found["tsdiag/store/migrations.py"]) == 1


@pytest.mark.parametrize("statement", ["f'SELECT {x}'", "'SELECT ' + x", "'SELECT %s' % x"])
def test_a_statement_put_together_would_be_found(statement):
    assert composes(ast.parse(f"from sqlalchemy import text; text({statement})")) == [1]
    assert composes(ast.parse(f"connection.exec_driver_sql({statement})")) == [1]
    assert composes(ast.parse(f"style.text({statement})")) == []
