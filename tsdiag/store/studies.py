"""Studies: the resolved study file of each, what was found out about its data, its verdict."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from tsdiag.errors import UsageError, suggestion
from tsdiag.store.clock import now
from tsdiag.store.database import Store
from tsdiag.store.patience import patient
from tsdiag.store.schema import STUDIES

# Of a study's attributes: the look at the test span that was counted last.
_LOOK = "look"


@dataclass(frozen=True)
class StudyRow:
    """One study as stored; dictionaries are of JSON kinds."""

    name: str
    created: datetime
    spec: dict[str, Any]
    summary: dict[str, Any] | None = None
    floors: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    looks: int = 0  # times the test span was scored

    @property
    def floor_losses(self) -> dict[str, float]:
        """Validation losses of the floors that could be measured; empty before they were."""
        floors = (self.floors or {}).get("floors", {})
        return {
            name: floor["validation_loss"]
            for name, floor in floors.items()
            if "validation_loss" in floor
        }


@patient
def save_study(store: Store, name: str, spec: dict[str, Any]) -> StudyRow:
    """Create a study, or give an existing one this spec and leave the rest of it alone."""
    new = {"name": name, "created": now(store), "spec": spec, "attributes": {}, "looks": 0}
    try:
        with store.write() as connection:
            if _change(connection, name, {"spec": spec}) == 0:
                connection.execute(STUDIES.insert().values(new))
    except IntegrityError:  # another process created it in between
        set_study(store, name, spec=spec)
    return load_study(store, name)


@patient
def find_study(store: Store, name: str) -> StudyRow | None:
    """Return the study of that name, or None."""
    with store.read() as connection:
        found = connection.execute(select(STUDIES).where(STUDIES.c.name == name)).one_or_none()
    return None if found is None else StudyRow(**found._mapping)


def load_study(store: Store, name: str) -> StudyRow:
    """Return the study of that name.

    Raises:
        UsageError: there is none; the closest name is suggested, or all are listed.
    """
    found = find_study(store, name)
    if found is None:
        raise UsageError(_unknown(store, name))
    return found


@patient
def list_studies(store: Store) -> list[StudyRow]:
    """Return all studies, newest first."""
    order = (STUDIES.c.created.desc(), STUDIES.c.name)
    with store.read() as connection:
        return [
            StudyRow(**row._mapping) for row in connection.execute(select(STUDIES).order_by(*order))
        ]


@patient
def set_study(store: Store, name: str, **columns: Any) -> None:
    """Set columns of a study, such as ``floors`` or ``verdict``.

    Raises:
        UsageError: there is no such study.
    """
    with store.write() as connection:
        changed = _change(connection, name, columns)
    if changed == 0:
        raise UsageError(_unknown(store, name))


@patient
def set_attribute(store: Store, name: str, key: str, value: Any, *, once: bool = False) -> Any:
    """Set one key of a study's ``attributes``, keeping what other processes set meanwhile.

    Returns what the key holds then: ``once`` leaves alone what is there already.

    Raises:
        UsageError: there is no such study.
    """
    query = select(STUDIES.c.attributes).where(STUDIES.c.name == name).with_for_update()
    with store.write() as connection:
        found = connection.scalar(query)
        if found is not None and once:
            value = found.get(key, value)
        if found is not None:
            _change(connection, name, {"attributes": {**found, key: value}})
    if found is None:
        raise UsageError(_unknown(store, name))
    return value


def add_look(store: Store, name: str) -> int:
    """Count one more scoring of the test span, atomically, and return how many there were.

    Raises:
        UsageError: there is no such study.
    """
    looks = _count_look(store, name, uuid.uuid4().hex)
    if looks is None:
        raise UsageError(_unknown(store, name))
    return looks


@patient
def _count_look(store: Store, name: str, look: str) -> int | None:
    """Count a look unless it was counted already, with only the answer lost; None of no study."""
    columns = (STUDIES.c.looks, STUDIES.c.attributes)
    query = select(*columns).where(STUDIES.c.name == name).with_for_update()
    with store.write() as connection:
        found = connection.execute(query).one_or_none()
        if found is None:
            return None
        if found.attributes.get(_LOOK) == look:
            return int(found.looks)
        changes = {"looks": found.looks + 1, "attributes": {**found.attributes, _LOOK: look}}
        _change(connection, name, changes)
        return int(found.looks) + 1


def _change(connection: Connection, name: str, columns: dict[str, Any]) -> int:
    return connection.execute(
        update(STUDIES).where(STUDIES.c.name == name).values(**columns)
    ).rowcount


def _unknown(store: Store, name: str) -> str:
    known = [study.name for study in list_studies(store)]
    do = suggestion(name, known) or (
        f"; it has {', '.join(known)}"
        if known
        else "; it has none yet: run tsdiag search or prepare first"
    )
    return f'unknown study "{name}" in {store.url}{do}'
