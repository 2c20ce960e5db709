from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sqlalchemy import select, update

from tsdiag.diagnostics.signals import Signal
from tsdiag.errors import StoreError
from tsdiag.store.curves import append_curves, load_trace, merge_curves
from tsdiag.store.runs import RunRow, create_run
from tsdiag.store.schema import CURVES

# The store of a test serves all of its examples, each with a run of its own.
EXAMPLES = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PLACES = [("train_loss", ""), ("train_loss", "blocks.0.attention"), ("gradient_norm", "")]
FLOATS = st.floats(width=32)


@st.composite
def appends(draw) -> list[list[Signal]]:
    """Lists of signals as a run appends them, gaps, repetitions and empty ones included."""

    def signal() -> Signal:
        name, where = draw(st.sampled_from(PLACES))
        length = draw(st.integers(0, 6))
        steps = draw(arrays(np.float32, length, elements=st.integers(0, 40).map(float)))
        return Signal(name, where, "nats", steps, draw(arrays(np.float32, length, elements=FLOATS)))

    return [
        [signal() for _ in range(draw(st.integers(0, 3)))] for _ in range(draw(st.integers(0, 4)))
    ]


def slowly(chunks: list[list[Signal]]) -> dict:
    """What must come back, by the obvious loop."""
    found: dict[tuple[str, str], list[tuple[float, bytes]]] = {}
    for chunk in chunks:
        for signal in chunk:
            for step, value in zip(signal.steps, signal.values, strict=True):
                point = (float(step), value.tobytes())
                found.setdefault((signal.name, signal.where), []).append(point)
    return found


def loaded(store, id) -> dict:
    trace = load_trace(store, id)
    assert [(s.name, s.where) for s in trace.signals] == sorted(
        (s.name, s.where) for s in trace.signals
    )
    return slowly([list(trace.signals)])


def new_run(store, **columns) -> str:
    return create_run(store, RunRow("a", "trial", "{}", **columns)).id


@EXAMPLES
@given(appends())
def test_what_was_appended_comes_back_bit_for_bit_merged_or_not(store, chunks):
    id = new_run(store)
    for chunk in chunks:
        append_curves(store, id, chunk)
    assert loaded(store, id) == slowly(chunks)
    merge_curves(store, id)
    assert loaded(store, id) == slowly(chunks)
    append_curves(store, id, [Signal("train_loss", "", "nats", np.float32([41]), np.float32([7]))])
    assert loaded(store, id)[("train_loss", "")][-1] == (41, np.float32(7).tobytes())


def test_a_merged_run_has_one_row_per_signal_and_place_and_others_keep_theirs(store):
    one, other = new_run(store), new_run(store)
    for id in (one, other):
        for start in (0, 3, 6):
            append_curves(store, id, [curve(3, start)])
    merge_curves(store, one)

    def rows(id):
        with store.read() as connection:
            return connection.execute(select(CURVES).where(CURVES.c.run == id)).all()

    assert (len(rows(one)), len(rows(other))) == (1, 3)
    assert (rows(one)[0].first_step, rows(one)[0].last_step, rows(one)[0].length) == (0, 8, 9)


def curve(length: int, start: int = 0) -> Signal:
    steps = np.arange(start, start + length, dtype=np.float32)
    return Signal("train_loss", "", "target variance", steps, np.sqrt(steps))


def test_runs_are_kept_apart_and_tell_how_they_ended(store):
    one, other = new_run(store), new_run(store, state="diverged", reason="loss is nan at step 7")
    append_curves(store, one, [curve(3)])
    append_curves(store, other, [curve(4)])
    merge_curves(store, other)
    assert [len(load_trace(store, id).signal("train_loss").steps) for id in (one, other)] == [3, 4]
    trace = load_trace(store, other)
    assert (trace.end_state, trace.notes) == ("diverged", {"reason": "loss is nan at step 7"})
    assert trace.signal("train_loss").unit == "target variance"
    assert load_trace(store, other).signal("train_loss").values.flags.writeable


def test_a_long_curve_is_stored_whole(store):
    # More than the 64 KiB of MySQL's plain BLOB.
    id = new_run(store)
    append_curves(store, id, [curve(50_000)])
    assert np.array_equal(load_trace(store, id).signal("train_loss").values, curve(50_000).values)


@pytest.mark.parametrize("damage", [b"", b"\0\0\0", b"\0" * 16, b"\0" * 12], ids=len)
def test_damage_is_told_and_not_drawn(store, damage):
    id = new_run(store)
    append_curves(store, id, [curve(3)])
    append_curves(store, id, [curve(3, start=3)])
    with store.write() as connection:
        connection.execute(
            update(CURVES).where(CURVES.c.chunk == 1).values({CURVES.c["values"]: damage})
        )
    with pytest.raises(
        StoreError, match=f'"train_loss" of run {id} .* chunk 1 is damaged; restore'
    ):
        load_trace(store, id)
    with pytest.raises(StoreError, match="is damaged"):
        merge_curves(store, id)


def test_mistakes_are_told(store):
    with pytest.raises(StoreError, match='no run "nothing"'):
        load_trace(store, "nothing")
    uneven = Signal("train_loss", "", "x", np.zeros(2, np.float32), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="train_loss"):
        append_curves(store, new_run(store), [uneven])
