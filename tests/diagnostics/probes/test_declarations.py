"""What every probe declares, and docs/signals.md, which is written from it.

TSDIAG_UPDATE_SNAPSHOTS=1 writes the document anew.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tsdiag.diagnostics.probes import AT_END, LIVE, ON_DEMAND, PROBES, STATES
from tsdiag.diagnostics.probes.probe import Sample, Specimen, Update, View
from tsdiag.diagnostics.signals import AT_THE_END, DEAR
from tsdiag.training.evaluation import Evaluation
from tsdiag.training.observer import Moment

DOCUMENT = Path(__file__).parents[3] / "docs" / "signals.md"
UPDATE = os.environ.get("TSDIAG_UPDATE_SNAPSHOTS") == "1"
HEAD = """\
# Signals

Written from the declarations in `tsdiag/diagnostics/probes/` by
`TSDIAG_UPDATE_SNAPSHOTS=1 pytest tests/diagnostics/probes/test_declarations.py`.
How probes, signals and steps hang together: `tsdiag/diagnostics/README.md`.

A value at step s is *of* the update that begins after s updates, or of the state of the model then;
so signals of updates end before the last step. Each curve has a place: the path of a module
(`blocks.0`), the name of a parameter, a path with the number of a head (`blocks.0.attention[3]`),
or nothing for the whole model. A model has only the places that it has, and a probe gives no
reading where there is nothing to measure.
"""
WHEN = {
    "cheap": "at every step",
    "standard": "at steps 0, 1, 2, 4, 8, ... before the first evaluation, then at evaluations",
    "full": "at the end of a run, and on demand",
}


def document() -> str:
    parts = [HEAD]
    for probe in PROBES:
        when = "on demand" if probe in ON_DEMAND else WHEN[probe.tier]
        if probe.sees in (Evaluation, Sample):
            when = "at evaluations"
        parts += [
            f"\n## {probe.name}: {when}\n",
            "| signal | unit | of | meaning |",
            "|---|---|---|---|",
        ]
        parts += [f"| `{s.name}` | {s.unit} | {s.of} | {s.meaning} |" for s in probe.signals]
    return "\n".join(parts) + "\n"


def test_the_document_says_what_the_probes_declare():
    if UPDATE:
        DOCUMENT.write_text(document(), encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_what_is_measured_at_the_end_is_known_without_torch():
    at_end = {signal.name for probe in (*AT_END, *ON_DEMAND) for signal in probe.signals}
    assert at_end == AT_THE_END
    assert {signal.name for probe in ON_DEMAND for signal in probe.signals} == DEAR


def test_names_are_unique_and_everything_is_said():
    assert len(PROBES) >= 10
    assert max(Counter(probe.name for probe in PROBES).values()) == 1
    signals = [signal for probe in PROBES for signal in probe.signals]
    assert max(Counter(signal.name for signal in signals).values()) == 1
    for signal in signals:
        assert signal.unit
        assert signal.meaning
        assert "|" not in signal.unit + signal.meaning, "it would break the table"
        # What the curves table has room for.
        assert len(signal.name) <= 128
        assert len(signal.unit) <= 128
    assert {signal.name for signal in signals if signal.of == "state"} == STATES


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_what_a_probe_sees_fits_its_cost_and_its_signals(probe):
    tiers = {Moment: "cheap", Specimen: "full"}
    assert probe.tier == tiers.get(probe.sees, "standard")
    of = "update" if probe.sees in (Moment, Update) else "state"
    assert {signal.of for signal in probe.signals} == {of}
    assert probe.sees in (Moment, Evaluation, Update, View, Sample, Specimen)
    assert (probe in LIVE) == (probe.sees is not Specimen)
    assert (probe in AT_END or probe in ON_DEMAND) == (probe.sees is Specimen)
