"""What a storm did, and what the study has to show for it: a table, and the faults in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

_MOST_WORDS = 12  # faults of one kind that are told one by one


@dataclass
class Report:
    """The figures of one storm."""

    database: str
    disk: str = ""
    did: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0  # from SIGTERM to exit [s]
    seconds: float = 0.0
    resumed: int = 0
    compared: int = 0
    faults: dict[str, list[str]] = field(default_factory=dict)  # by kind, all of them to be none
    leftovers: dict[str, list[str]] = field(default_factory=dict)  # by kind, told only

    @property
    def is_clean(self) -> bool:
        """Whether there is no fault of any kind."""
        return not any(self.faults.values())


def show(console: Console, reports: list[Report]) -> None:
    """Print a column for each storm, and each fault in words."""
    table = Table(title="A study in a storm", title_justify="left")
    table.add_column("")
    for report in reports:
        table.add_column(report.database, justify="right")
    for name, *cells in zip(*map(_cells, reports), strict=True):
        table.add_row(name[0], *(cell[1] for cell in (name, *cells)))
    console.print(table)
    for report in reports:
        for kind, found in (report.faults | report.leftovers).items():
            for words in found[:_MOST_WORDS]:
                console.print(f"{report.database}: {kind}: {words}", highlight=False, markup=False)
            if len(found) > _MOST_WORDS:
                console.print(f"{report.database}: {kind}: {len(found) - _MOST_WORDS} more")


def _cells(report: Report) -> list[tuple[str, str]]:
    did = report.did
    return [
        ("kill -9 of a worker", f"{did['kill']}"),
        ("SIGSTOP for longer than its lease", f"{did['stop']}"),
        ("SIGTERM of a worker", f"{did['preempt']}"),
        ("the database was away", f"{did['outage']}"),
        *((f"... {way}", f"{did[way]}") for way in sorted(did) if way.startswith("by ")),
        ("the disk was full", f"{did['full']} ({report.disk})"),
        ("lineages that were resumed", f"{report.resumed}"),
        ("lineages that were run again", f"{report.compared}"),
        *((kind, f"{len(found)}") for kind, found in report.faults.items()),
        *((f"left: {kind}", f"{len(found)}") for kind, found in report.leftovers.items()),
        ("longest from SIGTERM to exit", f"{report.slowest:.1f} s"),
        ("in all", f"{report.seconds:.0f} s"),
    ]
