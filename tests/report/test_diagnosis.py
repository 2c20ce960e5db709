"""A diagnosis on one screen and as a note: recorded as they are shown.

TSDIAG_UPDATE_SNAPSHOTS=1 writes the snapshots anew.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tsdiag.diagnostics.diagnose import diagnose
from tsdiag.diagnostics.findings import Diagnosis, Evidence, Finding, Remedy, RunScores
from tsdiag.report.diagnosis import diagnosis_markdown, diagnosis_text, escaped

sys.path.insert(0, str(Path(__file__).parents[1] / "diagnostics"))
from recorded import load_case

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
UPDATE = os.environ.get("TSDIAG_UPDATE_SNAPSHOTS") == "1"
TRACES = (
    "order-blind",
    "learning-rate-too-low-founding",
    "healthy-patch",
    "exploding-gradients",
    "no-signal",
    "leaking-baseline",
)


def shown(diagnosis, *lines) -> str:
    page = io.StringIO()
    Console(file=page, width=80, highlight=False).print(
        diagnosis_text(diagnosis, lines), soft_wrap=True
    )
    return page.getvalue()


@pytest.mark.parametrize("name", TRACES)
def test_the_screen_is_as_recorded(name):
    text = shown(diagnose(load_case(name), "wind", 7), f"tsdiag causes {name}", "and so on")
    file = SNAPSHOTS / f"explain-{name}.txt"
    if UPDATE:
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TRACES)
def test_it_is_one_screen_of_a_terminal(name):
    lines = shown(diagnose(load_case(name), "wind", 7), "next", "after").splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 40


@pytest.mark.parametrize(
    ("observed", "words"),
    [(1e-7, "(below 1e-05)"), (0.2, "(above 1e-05)"), (1e-5, "(limit 1e-05)"), (1.0001e-5, "(lim")],
)
def test_evidence_says_on_which_side_of_its_limit_it_lies(observed, words):
    (finding,) = made().findings
    seen = finding.evidence[0].model_copy(update={"observed": observed})
    told = shown(made(findings=(finding.model_copy(update={"evidence": (seen,)}),)))
    assert words in " ".join(told.split())


def made(**changes):
    finding = Finding(
        cause="order-blind",
        score=0.9,
        summary="it is *blind* to <order>",
        evidence=(
            Evidence(signal="effect", where="blocks.0", observed=1e-7, reference=1e-5, unit="x"),
        ),
        remedies=(
            Remedy(
                set={"model.pooling": "flatten", "model.positions": "sinusoidal"},
                expects="it falls",
                safety="both together",
                source="measured",
            ),
        ),
    )
    base = Diagnosis(
        study="wind",
        trial=3,
        state="stalled",
        state_reason="below 50 %",
        scores=RunScores(validation_loss=0.9, floors={"train_mean": 1.0}, baseline=0.4, skill=0.1),
        findings=(finding,),
    )
    return base.model_copy(update=changes)


def test_a_set_of_remedies_says_why_it_is_one():
    text = " ".join(shown(made()).split())
    assert 'model.pooling = "flatten", model.positions = "sinusoidal" (both together)' in text


def test_more_findings_than_fit_are_named():
    one = made().findings[0]
    many = tuple(one.model_copy(update={"cause": f"cause-{n}"}) for n in range(5))
    text = shown(made(findings=many))
    assert "3. cause-2" in text
    assert "Further: cause-3 (0.90) and cause-4 (0.90)" in text


def test_a_symptom_says_of_what():
    one = made().findings[0].model_copy(update={"symptom_of": "learning-rate-too-high"})
    assert "a symptom of learning-rate-too-high" in shown(made(findings=(one,)))


def test_a_note_escapes_what_markdown_would_read():
    note = diagnosis_markdown(made(study="[x](http://y)", state_reason="<b>bold</b> `code`"))
    assert "<b>" not in note
    assert "&lt;b" in note
    assert "it is \\*blind\\* to &lt;order" in note
    assert escaped("a_b|c") == "a\\_b\\|c"


def test_the_baseline_is_called_so():
    assert shown(made(trial=None)).startswith("the baseline of wind: stalled")


def test_names_cannot_steer_the_terminal():
    assert "\x1b" not in shown(made(study="wi\x1b[2Jnd"))
