"""study.toml and the JSON of a configuration: read, or refused with where and why."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.errors import ConfigError
from tsdiag.search.spec import StudySpec, parse_spec, read_spec

sys.path.insert(0, str(Path(__file__).parent))
from damage import MANY, damaged, told

STUDY = b"""[study]
name = "wind"
[data]
path = "wind.csv"
target = ["speed", "heat"]
split = { train = 0.7, validation = 0.15, test = 0.15 }
[space]
"model.n_heads" = [1, 2, 4]
"model.head_dim" = { low = 8, high = 128, log = true }
"model.head_units" = [[256], []]
[training]
precision = "auto"
[search]
timeout = "1h30m"
[[enqueue]]
"model.d_model" = "channels"
"""
TOML = (
    b"=",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\n",
    b"0x",
    b"nan",
    b"inf",
    b"\\u0000",
    b"1979-05-27",
    b"'''",
)
HUGE = b"f" * 5000
CONFIG = RunConfig(model=ModelConfig(kind="lstm", a=[1, 2], b={"c": None})).to_json()
JSON = (b"{", b"}", b"[", b"null", b"NaN", b"1e999", b"\\ud800", b'"', b",", b"true", b"-")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def reads(folder, content):
    (folder / "study.toml").write_bytes(content)
    try:
        spec = read_spec(folder)
    except ConfigError as error:
        told(error)
        return False
    assert StudySpec.model_validate(spec.model_dump(mode="json")) == spec
    return True


def test_what_is_whole_is_read(folder):
    assert reads(folder, STUDY)


@MANY
@example(b"data = 5")
@example(b'data = "x"')
@example(b"data = [1]")
@example(b'[data]\npath = "a\\u0000b"')
@example(b"[study]\nname = 0x" + HUGE)
@example(b"[training]\nbatch_size = 0x" + HUGE)
@example(b"[[enqueue]]\n'model.x' = 0x" + HUGE)
@example(b"a = " + b"9" * 5000)
@example(b"a = " + b"[" * 3000)
@example(b"[search]\ntimeout = '" + b"9" * 400 + b"s'")
@given(damaged(STUDY, TOML) | st.binary(max_size=60))
def test_any_study(folder, content):
    reads(folder, content)


@MANY
@given(st.data())
def test_any_value_anywhere_in_a_study(folder, data):
    section = data.draw(
        st.sampled_from(["study", "data", "baseline", "space", "training", "search"])
    )
    known = StudySpec.model_fields[section].annotation
    keys = list(getattr(known, "model_fields", {})) or ["model.d_model", "optimizer.lr", "nothing"]
    tree = {section: {data.draw(st.sampled_from(keys)): data.draw(ANYTHING)}}
    try:
        parse_spec(tree, folder / "study.toml")
    except ConfigError as error:
        told(error, "study.toml")


def same_both_ways(text):
    try:
        config = RunConfig.from_json(text)
    except ConfigError:
        return False
    again = RunConfig.from_json(config.to_json())
    assert again.to_json() == config.to_json()
    assert again.paths() == config.paths()
    return True


def test_a_whole_configuration_is_read():
    assert same_both_ways(CONFIG)


@MANY
@example("[" * 50_000)
@example('{"a":' * 5000)
@example('{"seed": ' + "9" * 5000 + "}")
@example('{"model": {"kind": "x", "a": NaN}}')
@example('{"model": {"kind": "\\ud800"}}')
@example('{"data": {"url": "\ud800"}}')
@given(damaged(CONFIG.encode(), JSON).map(lambda text: text.decode("utf-8", "replace")) | st.text())
def test_any_configuration(text):
    same_both_ways(text)


@MANY
@given(st.data())
def test_any_value_anywhere_in_a_configuration(data):
    tree = json.loads(CONFIG)
    section = data.draw(st.sampled_from(sorted(tree)))
    inside = tree[section]
    if isinstance(inside, dict) and data.draw(st.booleans()):
        inside[data.draw(st.sampled_from([*sorted(inside), "other"]))] = data.draw(ANYTHING)
    else:
        tree[section] = data.draw(ANYTHING)
    same_both_ways(json.dumps(tree))
