"""The worker processes: started, watched, and started again when they were killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from launcher import Machine

_LAUNCHER = Path(__file__).with_name("launcher.py")
# Clocks of machines without time servers are wrong by minutes; of a wrong time zone, by hours [s].
_SKEW = 3600.0
# When the clock of the first worker is corrected: at its first trials, most of the time [s].
_LEAP_AFTER = 10.0
# What a pre-empted machine is given before it is switched off [s].
PROMISED = 10.0

Say = Callable[[str], None]


@dataclass
class Slot:
    """One worker, through all the processes that it is started in."""

    index: int
    machine: Machine
    process: subprocess.Popen[bytes]
    log: Path
    asked: str = ""  # the signal that is to end it
    asked_at: float = 0.0
    used: float = 0.0  # processor time when it was asked [s]
    used_last: float = 0.0  # the same when it was last looked at [s]
    held: bool = False  # by SIGSTOP

    @property
    def is_free(self) -> bool:
        """Whether nothing has been done to it that is not over."""
        return not self.asked and not self.held and self.process.poll() is None


@dataclass
class Crew:
    """All workers of a study on one database."""

    command: list[str]  # what tsdiag is asked
    environment: dict[str, str]
    folder: Path
    machine: Machine
    rng: random.Random
    say: Say
    slots: list[Slot] = field(default_factory=list)
    starts: Counter[int] = field(default_factory=Counter)
    unasked: list[str] = field(default_factory=list)  # ends that nobody asked for
    late: list[str] = field(default_factory=list)  # that were pre-empted, and not gone in time
    seconds: list[float] = field(default_factory=list)  # from SIGTERM to exit

    def start(self, index: int) -> None:
        """Start a worker; every other one is on a machine where nobody sees it die."""
        launch = self.starts[index]
        self.starts[index] += 1
        away = f"machine-{index}-{launch}" if index % 2 else ""
        skew = self.rng.uniform(-_SKEW, _SKEW)
        leap = 0.0 if index else _LEAP_AFTER
        machine = replace(self.machine, name=away, skew=skew, leap=leap)
        log = self.folder / f"worker-{index}-{launch:02}.txt"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, _LAUNCHER, machine.to_json(), *self.command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | self.environment,
            )
        self.slots.append(Slot(index, machine, process, log))

    def kill(self, slot: Slot) -> None:
        """Kill -9."""
        slot.asked = "SIGKILL"
        slot.process.kill()

    def preempt(self, slot: Slot) -> None:
        """Ask it to leave, as a spot machine does before it is switched off."""
        slot.asked, slot.asked_at = "SIGTERM", time.monotonic()
        slot.used = slot.used_last = processor_time(slot)
        slot.process.terminate()

    def hold(self, slot: Slot) -> None:
        """Stop it in the middle of whatever it does."""
        slot.held = True
        slot.process.send_signal(signal.SIGSTOP)

    def go_on(self, slot: Slot) -> None:
        """Let it go on as if nothing had happened."""
        slot.process.send_signal(signal.SIGCONT)
        slot.held = False

    def look_after(self) -> list[Slot]:
        """Start again who was made to end, note who failed; return who left of itself."""
        left = []
        for slot in list(self.slots):
            code = slot.process.poll()
            if code is None:
                if slot.asked == "SIGTERM":
                    slot.used_last = processor_time(slot)
                continue
            self.slots.remove(slot)
            if slot.asked == "SIGTERM":
                self._note_leave(slot, code)
            elif not slot.asked and code == 0:
                left.append(slot)
                continue
            elif not slot.asked:
                self._note_unasked(slot, code)
            self.start(slot.index)
        return left

    def end(self) -> None:
        """Leave no process behind."""
        for slot in self.slots:
            slot.process.kill()
            slot.process.wait()

    def _note_leave(self, slot: Slot, code: int) -> None:
        took = time.monotonic() - slot.asked_at
        self.seconds.append(took)
        used = f"{slot.used_last - slot.used:.1f} s of processor time"
        self.say(f"worker {slot.index} left after {took:.1f} s ({used}) with exit code {code}")
        if code != 0 or took > PROMISED:
            self.late.append(f"{slot.log.name}: exit code {code} after {took:.1f} s ({used})")

    def _note_unasked(self, slot: Slot, code: int) -> None:
        words = slot.log.read_text(errors="replace").strip().splitlines()[-1:]
        self.unasked.append(f"{slot.log.name}: exit code {code}: {' '.join(words)}")
        self.say(f"worker {slot.index} ended by itself: {self.unasked[-1]}")


def processor_time(slot: Slot) -> float:
    """Return what a worker has used of the processor, on which it waits for others [s]."""
    try:
        times = psutil.Process(slot.process.pid).cpu_times()
    except psutil.NoSuchProcess:
        return slot.used_last
    return float(times.user + times.system)


def owner_of(slot: Slot, leases: dict[str, Any]) -> str:
    """Return the key of a lease that a worker holds, "" for none; leases are owners by key."""
    # The owner's name is host:boot:pid:start.
    pid = str(slot.process.pid)
    return next((key for key, owner in leases.items() if owner.split(":")[-2] == pid), "")
