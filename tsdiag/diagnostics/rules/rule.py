"""What a rule is: a cause, its page, and a pure function from a Case to one of three answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tsdiag.diagnostics.case import Case, Facts
from tsdiag.diagnostics.findings import Answer, Suspect

HEADINGS = (
    "What it looks for",
    "Why training stalls",
    "Told apart from",
    "Remedies",
    "Limits",
    "References",
)


@dataclass(frozen=True)
class Plan:
    """A configuration, by path, and the sizes of its data: all that is known before a step."""

    config: Mapping[str, Any]
    facts: Facts

    def setting(self, path: str, default: Any = None) -> Any:
        """Return the value at a configuration path, or the default where the model has no such."""
        return self.config.get(path, default)


@dataclass(frozen=True)
class Rule:
    """One cause. Add one by a file beside this one and a line in ``rules/__init__.py``.

    ``check`` is asked only where all signals in ``needs`` were measured; where one is missing, the
    answer is NotMeasured with the reason that stands beside it here ("" = the probe's own).
    ``warn`` says, before the first step, what in a plan often hurts: a pattern, not a finding.
    ``suspect`` gives remedies for what no signal has shown to hurt in a case, and which is likely
    enough to be tried when remedies are carried out (``tsdiag explain --verify``).
    ``explains`` names causes whose signs this one brings about; they then rank below it.
    """

    cause: str
    page: str
    check: Callable[[Case], Answer]
    needs: Mapping[str, str] = field(default_factory=dict)
    warn: Callable[[Plan], str | None] | None = None
    suspect: Callable[[Case], Suspect | None] | None = None
    explains: tuple[str, ...] = ()
