"""Plans of interventions and what came of them: one row per run that was verified."""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy import select, update

from tsdiag.diagnostics.verdicts import Verification
from tsdiag.errors import StoreError
from tsdiag.store.clock import now
from tsdiag.store.database import Store
from tsdiag.store.patience import patient
from tsdiag.store.runs import RunRow
from tsdiag.store.schema import INTERVENTIONS


@patient
def save_plan(store: Store, row: RunRow, plan: str) -> None:
    """Store how a run is to be verified, in place of an earlier plan.

    What was shown by that stays until there is more to show.
    """
    values = {
        "run": row.id,
        "study": row.study,
        "plan": plan,
        "settled": None,
        "written": now(store),
    }
    store.put(INTERVENTIONS, values)


@patient
def stored_plan(store: Store, run: str) -> str | None:
    """Return the plan by which a run was or is being verified, or None."""
    with store.read() as connection:
        return connection.scalar(select(INTERVENTIONS.c.plan).where(INTERVENTIONS.c.run == run))


@patient
def settle(store: Store, run: str, changes: str) -> str:
    """Store which set is confirmed, unless one is already, and return the one that is stored.

    Processes that conclude from screening at different moments must confirm the same set.

    Raises:
        StoreError: the run has no plan.
    """
    mine = INTERVENTIONS.c.run == run
    with store.write() as connection:
        free = mine & INTERVENTIONS.c.settled.is_(None)
        connection.execute(update(INTERVENTIONS).where(free).values(settled=changes))
        found = connection.scalar(select(INTERVENTIONS.c.settled).where(mine))
    if found is None:
        raise StoreError(_unplanned(store, run))
    return str(found)


@patient
def unsettle(store: Store, run: str) -> None:
    """Forget which set is confirmed: its screening is to go on."""
    mine = INTERVENTIONS.c.run == run
    with store.write() as connection:
        connection.execute(update(INTERVENTIONS).where(mine).values(settled=None))


@patient
def settled(store: Store, run: str) -> str | None:
    """Return the set that is being confirmed, or None."""
    with store.read() as connection:
        return connection.scalar(select(INTERVENTIONS.c.settled).where(INTERVENTIONS.c.run == run))


@patient
def save_verification(store: Store, verification: Verification) -> None:
    """Store what the interventions on a run have shown so far, beside their plan.

    Raises:
        StoreError: the run has no plan.
    """
    mine = INTERVENTIONS.c.run == verification.run
    values = {"verification": verification.model_dump_json(), "written": now(store)}
    with store.write() as connection:
        changed = connection.execute(update(INTERVENTIONS).where(mine).values(**values)).rowcount
    if changed == 0:
        raise StoreError(_unplanned(store, verification.run))


@patient
def stored_verification(store: Store, run: str) -> Verification | None:
    """Return what the interventions on a run have shown, or None.

    Raises:
        StoreError: the text is damaged, or another version wrote it.
    """
    query = select(INTERVENTIONS.c.verification).where(INTERVENTIONS.c.run == run)
    with store.read() as connection:
        found = connection.scalar(query)
    try:
        return None if found is None else Verification.model_validate_json(found)
    except ValidationError as error:
        raise StoreError(
            f"cannot read what interventions on run {run} in {store.url} showed: "
            f"{error.errors()[0]['msg']}; restore the database from a copy or, if a newer tsdiag "
            'wrote that: pip install -U "tsdiag"'
        ) from error


def _unplanned(store: Store, run: str) -> str:
    return (
        f"cannot store what interventions on run {run} in {store.url} showed: it has no plan; "
        "make one with: tsdiag explain TRIAL --verify"
    )
