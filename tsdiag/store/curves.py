"""Curves: the signals of a run, appended in chunks while it trains."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, delete, func, select
from sqlalchemy.exc import IntegrityError

from tsdiag.diagnostics.signals import Signal, Trace
from tsdiag.errors import StoreError
from tsdiag.store.database import Store
from tsdiag.store.patience import patient
from tsdiag.store.runs import get_run
from tsdiag.store.schema import CURVES

_PACKED = np.dtype("<f4")
_Floats = NDArray[np.float32]


def append_curves(
    store: Store, run_id: str, signals: Sequence[Signal], chunk: int | None = None
) -> None:
    """Add measurements to the curves of a run, all in one transaction.

    ``chunk`` numbers the appends of a run, so that one of which it is not known whether it came
    through can be repeated; left out, it is the next number.

    Raises:
        StoreError: another process appends to the same run.
    """
    packed = [_pack(signal) for signal in _joined(signals) if len(signal.steps)]
    if packed:
        store.patience(_Append(store, run_id, packed, chunk))


@dataclass
class _Append:
    """One append, the same however often it is tried."""

    store: Store
    run: str
    packed: list[dict[str, Any]]
    chunk: int | None

    def __call__(self) -> None:
        try:
            with self.store.write() as connection:
                if self.chunk is None:
                    own = CURVES.c.run == self.run
                    last = func.coalesce(func.max(CURVES.c.chunk), -1)
                    self.chunk = connection.scalar(select(last + 1).where(own))
                rows = [{"run": self.run, "chunk": self.chunk, **row} for row in self.packed]
                connection.execute(CURVES.insert(), rows)
        except IntegrityError as error:
            if self._is_there():  # it had come through, and the answer was lost
                return
            raise StoreError(
                f"cannot append curves of run {self.run} in {self.store.url}: another process "
                "appends to it; let only the holder of its lease write"
            ) from error

    def _is_there(self) -> bool:
        names = (CURVES.c.name, CURVES.c.where, CURVES.c.checksum)
        mine = (CURVES.c.run == self.run) & (CURVES.c.chunk == self.chunk)
        with self.store.read() as connection:
            found = {tuple(row) for row in connection.execute(select(*names).where(mine))}
        return found == {(row["name"], row["where"], row["checksum"]) for row in self.packed}


@patient
def load_trace(store: Store, run_id: str) -> Trace:
    """Return all signals of a run, in order of name and place, and how it ended.

    Raises:
        StoreError: there is no such run, or its curves are damaged.
    """
    run = get_run(store, run_id)
    query = select(CURVES).where(CURVES.c.run == run_id).order_by(CURVES.c.chunk)
    with store.read() as connection:
        chunks = [_unpack(row, store) for row in connection.execute(query)]
    signals = sorted(_joined(chunks), key=lambda signal: (signal.name, signal.where))
    return Trace(tuple(signals), run.state, {"reason": run.reason} if run.reason else {})


@patient
def merge_curves(store: Store, run_id: str) -> None:
    """Join the chunks of each curve of a run that has ended: one row per signal and place.

    A study of a thousand trials would otherwise hold millions of rows of a value or two each.

    Raises:
        StoreError: the curves are damaged.
    """
    own = CURVES.c.run == run_id
    with store.write() as connection:
        chunks = connection.execute(select(CURVES).where(own).order_by(CURVES.c.chunk)).all()
        if len({row.chunk for row in chunks}) < 2:
            return
        whole = _joined(_unpack(row, store) for row in chunks)
        connection.execute(delete(CURVES).where(own))
        rows = [{"run": run_id, "chunk": 0, **_pack(signal)} for signal in whole]
        connection.execute(CURVES.insert(), rows)


def _joined(signals: Iterable[Signal]) -> list[Signal]:
    """Join what belongs to one name and place, in the order given."""
    groups: dict[tuple[str, str], list[Signal]] = {}
    for signal in signals:
        groups.setdefault((signal.name, signal.where), []).append(signal)
    return [
        Signal(
            name,
            where,
            parts[-1].unit,
            np.concatenate([part.steps for part in parts]),
            np.concatenate([part.values for part in parts]),
        )
        for (name, where), parts in groups.items()
    ]


def _pack(signal: Signal) -> dict[str, Any]:
    if signal.steps.shape != signal.values.shape or signal.steps.ndim != 1:
        raise ValueError(f"signal {signal.name}: {signal.steps.shape} steps, {signal.values.shape}")
    steps, values = (a.astype(_PACKED).tobytes() for a in (signal.steps, signal.values))
    return {
        "name": signal.name,
        "where": signal.where,
        "unit": signal.unit,
        "first_step": float(signal.steps.min()),
        "last_step": float(signal.steps.max()),
        "length": len(signal.steps),
        "checksum": zlib.crc32(steps + values),
        "steps": steps,
        "values": values,
    }


def _unpack(row: Row[Any], store: Store) -> Signal:
    found = row._mapping
    # In a damaged SQLite file a cell may be of any type; bytes of a number would be zeros.
    packed = [found[name] for name in ("steps", "values")]
    steps, values = (bytes(p) if isinstance(p, bytes | memoryview) else b"" for p in packed)
    sizes = {_PACKED.itemsize * found["length"] if isinstance(found["length"], int) else None}
    if {len(steps), len(values)} != sizes or zlib.crc32(steps + values) != found["checksum"]:
        raise StoreError(
            f'cannot read the curve "{found["name"]}" of run {found["run"]} in {store.url}: '
            f"chunk {found['chunk']} is damaged; restore the database from a copy"
        )
    return Signal(found["name"], found["where"], found["unit"], _floats(steps), _floats(values))


def _floats(packed: bytes) -> _Floats:
    return np.frombuffer(packed, _PACKED).astype(np.float32)
