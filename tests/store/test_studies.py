from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.servers import lost
from tsdiag.errors import UsageError
from tsdiag.store import patience
from tsdiag.store.patience import Patience
from tsdiag.store.studies import (
    add_look,
    find_study,
    list_studies,
    load_study,
    save_study,
    set_attribute,
    set_study,
)

SPEC = {"data": {"target": ["Ozon µg/m³", "気温"], "split": {"train": 0.1 + 0.2}}, "nothing": None}


def test_a_study_comes_back_as_it_was_saved(store):
    saved = save_study(store, "beijing33", SPEC)
    assert load_study(store, "beijing33") == saved
    assert saved.spec == SPEC
    assert (saved.summary, saved.floors, saved.verdict) == (None, None, None)
    assert (saved.attributes, saved.looks) == ({}, 0)
    assert abs(saved.created - datetime.now(UTC)) < timedelta(seconds=30)


def test_saving_again_changes_the_spec_only(store):
    first = save_study(store, "a", {"trials": 50})
    set_study(store, "a", floors={"ridge": 0.5}, verdict={"outcome": "beats"})
    add_look(store, "a")
    again = save_study(store, "a", {"trials": 100})
    assert again.spec == {"trials": 100}
    assert (again.floors, again.looks, again.created) == ({"ridge": 0.5}, 1, first.created)


def test_names_are_told_apart_by_case_and_listed_newest_first(store):
    for name in ("beijing", "Beijing", "beijing/lstm"):
        save_study(store, name, {"name": name})
    assert [study.name for study in list_studies(store)] == ["beijing/lstm", "Beijing", "beijing"]
    assert load_study(store, "Beijing").spec == {"name": "Beijing"}


def test_each_look_at_the_test_span_is_counted(store):
    save_study(store, "a", {})
    assert [add_look(store, "a") for _ in range(3)] == [1, 2, 3]
    assert load_study(store, "a").looks == 3


def test_a_look_is_counted_once_where_only_the_answer_was_lost(store, monkeypatch):
    monkeypatch.setattr(patience, "_FIRST", 0.01)
    save_study(store, "a", {})
    set_attribute(store, "a", "digest", "abc")
    dialect, commits = store.engine.dialect, []

    def commit(connection):
        type(dialect).do_commit(dialect, connection)
        commits.append(connection)
        if len(commits) == 1:
            raise lost(dialect)

    monkeypatch.setattr(dialect, "do_commit", commit)
    patient = replace(store, patience=Patience(5.0))
    assert [add_look(patient, "a") for _ in range(2)] == [1, 2]
    assert len(commits) == 3
    found = load_study(store, "a")
    assert (found.looks, found.attributes["digest"]) == (2, "abc")


def test_attributes_are_set_one_by_one(store):
    save_study(store, "a", {})
    set_attribute(store, "a", "digest", "abc")
    set_attribute(store, "a", "ended", {"why": "timeout"})
    assert load_study(store, "a").attributes == {"digest": "abc", "ended": {"why": "timeout"}}


def test_an_unknown_study_is_told_with_what_there_is(store):
    with pytest.raises(UsageError, match="it has none yet: run tsdiag search or prepare first"):
        load_study(store, "beijing33")
    save_study(store, "beijing33", {})
    with pytest.raises(UsageError, match=r'unknown study "bejing" in .*did you mean "beijing33"'):
        load_study(store, "bejing")
    for change in (
        lambda: set_study(store, "zzz", floors={}),
        lambda: set_attribute(store, "zzz", "a", 1),
        lambda: add_look(store, "zzz"),
    ):
        with pytest.raises(UsageError, match="it has beijing33"):
            change()
    assert find_study(store, "zzz") is None
