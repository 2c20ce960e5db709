"""Plans of interventions and what came of them are kept beside the runs, on every database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sqlalchemy import text

from tsdiag.diagnostics.verdicts import Member, RandomSearch, Repair, Tried, Verdict, Verification
from tsdiag.errors import StoreError
from tsdiag.store.database import open_store
from tsdiag.store.interventions import (
    save_plan,
    save_verification,
    settle,
    settled,
    stored_plan,
    stored_verification,
)
from tsdiag.store.runs import RunRow, create_run

# What breaks out of a text, an escape, a page or a terminal; a NUL is kept, being escaped in JSON.
HOSTILE = (
    "«気温» 🙈 '; DROP TABLE tsdiag_interventions; -- \"\\ \0 %s :run </script> \u2028 \x1b[31m"
)
LONG = "a reason " * 50_000  # 450 KB, more than MySQL's TEXT can hold

SET = {"model.qk_norm": True, "optimizer.lr": 1 / 3, "model.head_units": [], "model.d_model": "気"}
VERDICT = Verdict(
    outcome="confirmed",
    why=HOSTILE,
    set=SET,
    effect=-0.1 - 0.2,
    ceiling=1.0 + 2e-16,
    interval=(-1e-300, 1 / 3),
    p=1 / 32,
    control=0.9,
    treatment=0.6,
    attained=0.75,
    learns=True,
    seeds=5,
    steps=2_000_000_000_000,
    alone=False,
    others=("model.pooling",),
    plateau="only from scratch",
)
RANDOM = RandomSearch(
    runs=12,
    steps=3600,
    set=SET,
    loss=0.7,
    beaten=True,
    better=True,
    complete=False,
    why=LONG,
)
REPAIR = Repair(
    set=SET,
    verdict=VERDICT,
    minimal=True,
    missed_on=5,
    members=(
        Member(
            set={"model.qk_norm": True},
            alone=VERDICT,
            without=VERDICT,
            builds_alone=False,
            builds_without=False,
        ),
    ),
    interaction=-0.05,
    random=RANDOM,
)


def full(run: str) -> Verification:
    return Verification(
        run=run,
        complete=True,
        repair=REPAIR,
        verdicts={"order-blind": VERDICT},
        tried=(Tried(set=SET, causes=("order-blind",), verdict=VERDICT),),
        left_out={"model.d_model": HOSTILE},
        random=RANDOM,
        runs=57,
        seconds=0.1 + 0.2,
        summary=LONG,
    )


@pytest.fixture
def run(store) -> RunRow:
    return create_run(store, RunRow("wind", "trial", "{}", trial=3, state="completed"))


def rows(store) -> int:
    with store.read() as connection:
        return connection.scalar(text("SELECT COUNT(*) FROM tsdiag_interventions"))


def left_at_default(value: object) -> Iterator[str]:
    """Name the fields, at any depth, in which a value says no more than it must."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            here = getattr(value, name)
            default = field.get_default(call_default_factory=True, validated_data={})
            if default is not PydanticUndefined and here == default and name != "version":
                yield f"{type(value).__name__}.{name}"
            yield from left_at_default(here)
    elif isinstance(value, dict | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from left_at_default(part)


def test_a_member_of_an_older_version_is_read():
    member = Member.model_validate({"path": "model.pooling", "value": "flatten", "alone": VERDICT})
    assert (member.set, member.alone) == ({"model.pooling": "flatten"}, VERDICT)


def test_the_example_fills_every_field():
    # A field that is added later and left out here would be stored untested.
    assert list(left_at_default(full("a"))) == []


def test_a_verification_comes_back_whole(store, url, run):
    save_plan(store, run, "{}")
    save_verification(store, full(run.id))
    assert stored_verification(open_store(url), run.id) == full(run.id)
    assert (
        stored_verification(open_store(url), run.id).repair.members[0].set["model.qk_norm"] is True
    )


def test_of_a_run_that_was_never_verified_nothing_is_known(store, run):
    for id in (run.id, "0" * 32):
        assert stored_plan(store, id) is None
        assert settled(store, id) is None
        assert stored_verification(store, id) is None


@pytest.mark.parametrize("plan", ["{}", "", LONG, HOSTILE.replace("\0", "")], ids=len)
def test_a_plan_comes_back_as_it_was_stored(store, run, plan):
    save_plan(store, run, plan)
    assert stored_plan(store, run.id) == plan
    assert stored_verification(store, run.id) is None


def test_a_new_plan_takes_the_place_of_the_old_one_and_leaves_its_results(store, run):
    other = create_run(store, RunRow("wind", "trial", "{}", trial=4, state="completed"))
    for row in (run, other):
        save_plan(store, row, "the first")
        settle(store, row.id, "a set")
        save_verification(store, full(row.id))
    save_plan(store, run, "the second")
    assert stored_plan(store, run.id) == "the second"
    assert settled(store, run.id) is None
    assert stored_verification(store, run.id) == full(run.id)
    # Another run's is left alone.
    assert stored_plan(store, other.id) == "the first"
    assert settled(store, other.id) == "a set"
    assert stored_verification(store, other.id) == full(other.id)
    assert rows(store) == 2


def test_the_newest_verification_counts_and_keeps_plan_and_set(store, run):
    save_plan(store, run, "a plan")
    settle(store, run.id, HOSTILE.replace("\0", ""))
    save_verification(store, full(run.id))
    early = Verification(run=run.id, complete=False, summary="so far")
    save_verification(store, early)
    assert stored_verification(store, run.id) == early
    assert stored_plan(store, run.id) == "a plan"
    assert settled(store, run.id) == HOSTILE.replace("\0", "")


def test_the_set_that_was_settled_first_stays(store, run):
    save_plan(store, run, "{}")
    assert settled(store, run.id) is None
    assert settle(store, run.id, '{"optimizer.lr": 0.1}') == '{"optimizer.lr": 0.1}'
    assert settle(store, run.id, '{"optimizer.lr": 0.2}') == '{"optimizer.lr": 0.1}'
    assert settled(store, run.id) == '{"optimizer.lr": 0.1}'


def test_what_has_no_plan_cannot_be_settled_or_verified(store, run):
    with pytest.raises(StoreError, match=f"run {run.id} .* has no plan; .*--verify"):
        save_verification(store, full(run.id))
    with pytest.raises(StoreError, match=f"run {run.id} .* has no plan; .*--verify"):
        settle(store, run.id, "{}")
    assert rows(store) == 0


@pytest.mark.parametrize("found", ['{"run": "a', '{"run": "a", "complete": true, "later": 1}'])
def test_a_verification_that_cannot_be_read_is_told(store, run, found):
    save_plan(store, run, "{}")
    save_verification(store, full(run.id))
    with store.write() as connection:
        query = text("UPDATE tsdiag_interventions SET verification = :found")
        connection.execute(query, {"found": found})
    with pytest.raises(StoreError, match=f"run {run.id} .*; restore .* newer tsdiag"):
        stored_verification(store, run.id)


def test_processes_that_plan_and_settle_at_once_agree(store, url, run, start):
    processes = [start("plan", url, run.id, f"set {number}") for number in range(4)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.stdout.readline() for process in processes]
    assert said == ["planned\n"] * 4
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    (agreed,) = {process.stdout.readline() for process in processes}
    assert agreed == f"{settled(store, run.id)}\n"
    assert rows(store) == 1
