"""The storm itself: while a study runs, what is planned happens to its workers and its database."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from disk import Disk
from events import Event
from measuring.servers import Server
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from workers import Crew, Say, Slot, owner_of

_TICK = 0.1
# Times are of no use where this script, too, had to wait for so long [s].
_SLOW = 2.0
_LOOK = 0.4  # at the database [s]
# Nothing more is done, no worker ended: whatever they wait for will not come [s].
_STANDSTILL = 300.0
# At least so long between two kills, or workers would die before they have done anything [s].
_PAUSE = 1.0

_ENDED = text(
    "SELECT count(*) FROM tsdiag_runs WHERE state NOT IN ('running', 'interrupted', 'failed')"
)
_LEASES = {
    "postgresql": text("SELECT key, owner FROM tsdiag_leases"),
    "mysql": text("SELECT `key`, owner FROM tsdiag_leases"),
}


class View:
    """What a bystander sees in the database, while it is there."""

    def __init__(self, server: Server, wanted: int) -> None:
        self._engine = create_engine(server.url, poolclass=NullPool)
        self._wanted = wanted
        self._looked = float("-inf")
        self.done = 0
        self.is_away = False
        self.leases: dict[str, str] = {}

    @property
    def progress(self) -> float:
        """The share of the study's runs that have ended."""
        return self.done / self._wanted

    def is_unfinished(self) -> bool:
        """Look at once; return whether something is surely to be done yet."""
        self.look(at_once=True)
        return not self.is_away and self.done < self._wanted

    def look(self, *, at_once: bool = False) -> bool:
        """Look again if it is time to; return whether more is done than before."""
        if not at_once and time.monotonic() < self._looked + _LOOK:
            return False
        self._looked, before = time.monotonic(), self.done
        try:
            with self._engine.connect() as connection:
                self.done = connection.scalar(_ENDED) or 0
                found = connection.execute(_LEASES[self._engine.dialect.name])
                self.leases = {row[0]: row[1] for row in found}
        except SQLAlchemyError:
            self.is_away = True
            return False
        self.is_away = False
        return self.done > before


@dataclass
class Storm:
    """Carries a plan out."""

    crew: Crew
    server: Server
    disk: Disk
    view: View
    plan: list[Event]
    say: Say
    did: Counter[str] = field(default_factory=Counter)
    early: list[str] = field(default_factory=list)  # who left when there was work yet
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _killed: float = 0.0
    # A server takes seconds to go and to come, and the workers are to be watched meanwhile.
    _servant: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _served: list[Future[None]] = field(default_factory=list)

    def blow(self) -> bool:
        """Go on until all workers have ended; False where nothing moves any more."""
        moved = time.monotonic()
        while self.crew.slots:
            began = time.monotonic()
            self._undo()
            self._check_on_server()
            for slot in self.crew.look_after():
                if self.view.is_unfinished():
                    self.early.append(f"{slot.log.name}: {self.view.done} runs were done")
            if self.view.look():
                moved = time.monotonic()
            if self.plan and self.view.progress >= self.plan[0].at and self._happens(self.plan[0]):
                self.plan.pop(0)
                moved = time.monotonic()
            if time.monotonic() > moved + _STANDSTILL:
                return False
            time.sleep(_TICK)
            if (took := time.monotonic() - began) > _SLOW:
                self.say(f"the storm itself was held up for {took:.1f} s")
        return True

    def calm(self) -> None:
        """Undo at once all that is to be undone later."""
        for _, undo in self._later:
            undo()
        self._later.clear()
        self._servant.shutdown()
        self._check_on_server()

    def _undo(self) -> None:
        for item in list(self._later):
            at, undo = item
            if time.monotonic() > at:
                self._later.remove(item)
                undo()

    def _happens(self, event: Event) -> bool:
        """Let it happen; False where it must wait, such as for a worker that is at work."""
        match event.kind:
            case "outage":
                return self._outage(event)
            case "full":
                return self._full(event)
        slot = self._chosen(event)
        if slot is None:
            return False
        self.say(f"{event.kind} worker {slot.index} at {owner_of(slot, self.view.leases)}")
        match event.kind:
            case "kill":
                self.crew.kill(slot)
                self._killed = time.monotonic()
            case "preempt":
                self.crew.preempt(slot)
            case "stop":
                self.crew.hold(slot)
                self._after(event, lambda: self.crew.go_on(slot))
        self.did[event.kind] += 1
        return True

    def _chosen(self, event: Event) -> Slot | None:
        """Return a worker that is at a run; of kills, some hit whoever comes."""
        if time.monotonic() < self._killed + _PAUSE:
            return None
        free = [slot for slot in self.crew.slots if slot.is_free]
        if not (event.idle and event.kind == "kill"):
            free = [slot for slot in free if owner_of(slot, self.view.leases)]
        return free[int(event.pick * len(free))] if free else None

    def _outage(self, event: Event) -> bool:
        ways = self.server.ways
        way = ways[self.did["outage"] % len(ways)]
        self.say(f"the database goes away ({way}) for {event.seconds:.1f} s")
        self._served.append(self._servant.submit(self.server.go, way))
        self._after(event, lambda: self._served.append(self._servant.submit(self.server.come)))
        self.did["outage"] += 1
        self.did[f"by {way}"] += 1
        return True

    def _full(self, event: Event) -> bool:
        self.say(f"the disk is full for {event.seconds:.1f} s")
        self.disk.fill()
        self._after(event, self.disk.free)
        self.did["full"] += 1
        return True

    def _check_on_server(self) -> None:
        """Raise what went wrong with the server, which is a fault of this script."""
        for future in [future for future in self._served if future.done()]:
            self._served.remove(future)
            future.result()

    def _after(self, event: Event, undo: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + event.seconds, undo))
