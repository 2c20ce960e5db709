"""A diagnosis as one HTML page."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tsdiag.diagnostics.diagnose import diagnose
from tsdiag.diagnostics.findings import (
    Diagnosis,
    Evidence,
    Finding,
    Interval,
    Remedy,
    RunScores,
    Unmeasured,
)
from tsdiag.diagnostics.verdicts import Member, RandomSearch, Repair, Verdict
from tsdiag.plots import figures
from tsdiag.report.page import page

sys.path.insert(0, str(Path(__file__).parents[1] / "diagnostics"))
from recorded import load_case

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"&'\u202e"


class Reader(HTMLParser):
    """Collects elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.inside = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style") and data.strip():
            self.words.append(" ".join(data.split()))


@pytest.fixture(scope="module")
def recorded_page():
    case = load_case("order-blind")
    return page(diagnose(case, "study", 3), figures(case))


def made(**changes):
    told = {
        "study": "demo",
        "trial": 7,
        "state": "stalled",
        "state_reason": "it stands still",
        "scores": RunScores(
            validation_loss=0.69,
            floors={"train_mean": 0.7044, "last_value": 0.5712},
            baseline=0.1761,
            skill=-0.208,
            attained=Interval(value=-0.28, low=-0.48, high=-0.08),
            naive="last_value",
            best="lstm",
        ),
        "findings": (
            Finding(
                cause="order-blind",
                score=0.91,
                summary="it cannot tell the order",
                evidence=(
                    Evidence(
                        signal="time_shuffle_effect",
                        where="blocks.1",
                        steps=(50, 400),
                        observed=-2.5e-7,
                        reference=1e-5,
                        unit="relative",
                    ),
                ),
                remedies=(
                    Remedy(
                        set={"model.positions": "sinusoidal", "model.d_model": 64},
                        expects="loss falls",
                        safety="costs nothing",
                        source="Vaswani et al. 2017",
                    ),
                ),
            ),
            Finding(
                cause="rank-collapse",
                score=0.4,
                summary="tokens are alike",
                evidence=(),
                symptom_of="order-blind",
            ),
        ),
        "clear": ("dead-activations",),
        "not_measured": (Unmeasured(cause="under-capacity", why="no overfit probe"),),
    }
    return Diagnosis(**told | changes)


def test_nothing_is_loaded_from_elsewhere(recorded_page):
    elements = Reader(recorded_page).elements
    loads = [a for _, a in elements if {"src", "href", "xlink:href", "srcset", "data"} & set(a)]
    assert [a for a in loads if not next(iter(a.values())).startswith(("data:", "#"))] == []
    assert "link" not in {tag for tag, _ in elements}
    style = re.search(r"<style>(.*?)</style>", recorded_page, re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = (a["content"] for _, a in elements if "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_plotly_is_in_it_once_and_only_with_figures(recorded_page):
    assert recorded_page.count("Plotly.newPlot(drawn") == 1
    assert 4_000_000 < len(recorded_page) < 6_000_000
    assert len(page(made(), {})) < 20_000


def test_every_figure_is_there_twice(recorded_page):
    elements = Reader(recorded_page).elements
    assert [tag for tag, _ in elements].count("figure") == 4
    blocks = re.findall(r'<script type="application/json">(.*?)</script>', recorded_page, re.S)
    drawn = [json.loads(block) for block in blocks]
    assert [trace["name"] for trace in drawn[0]["data"]][:2] == ["train", "validation"]
    assert all("text" not in figure["layout"]["title"] for figure in drawn)
    stills = [a for tag, a in elements if tag == "svg" and a.get("role") == "img"]
    assert len(stills) == 4


def test_numbers_of_the_recorded_run(recorded_page):
    words = " ".join(Reader(recorded_page).words)
    for told in ("0.6907", "0.1508", "0.1761", "−28 % [−49, −7]", "2.56e−07", "Trial 3"):
        assert told in words


def test_everything_of_a_diagnosis_is_told():
    words = " ".join(Reader(page(made(), {})).words)
    for told in (
        "Trial 7 of study demo",
        "stalled it stands still",
        "last value 0.5712 0 %",
        "baseline 0.1761 100 %",
        "this run 0.6900 −28 % [−48, −8]",
        "1. order-blind score 0.91",
        "it cannot tell the order",
        "time_shuffle_effect blocks.1 50–400 −2.5e−07 below 1e−05 relative",
        'model.positions = "sinusoidal" model.d_model = 64',
        "expects loss falls safety costs nothing source Vaswani et al. 2017",
        "2. rank-collapse score 0.40, may be brought about by order-blind",
        "dead-activations",
        "under-capacity no overfit probe",
    ):
        assert told in words


def test_losses_are_ranked():
    words = Reader(page(made(), {})).words
    places = [words.index(name) for name in ("baseline", "last value", "this run", "train mean")]
    assert places == sorted(places)


def verdict(changes, **more):
    known = {
        "outcome": "confirmed",
        "why": "5 pairs",
        "set": changes,
        "effect": -0.4,
        "interval": (-0.43, -0.37),
        "p": 1 / 32,
        "control": 0.69,
        "treatment": 0.29,
        "attained": 0.71,
        "seeds": 5,
        "steps": 80,
    }
    return Verdict(**known | more)


def test_verdict_and_repair_are_told_when_there_are_any():
    edit = {"model.positions": "sinusoidal"}
    finding = made().findings[0].model_copy(update={"verdict": verdict(edit)})
    repair = Repair(set=edit, verdict=verdict(edit), minimal=True)
    words = " ".join(Reader(page(made(findings=(finding,), repair=repair), {})).words)
    for told in (
        "Verified confirmed this change brings it to learning",
        'model.positions = "sinusoidal" Validation loss 0.69 -> 0.29 over 5 pairs of seeds',
        "71 % of the way from last value to lstm",
        'confirmed model.positions = "sinusoidal" loss moved by -0.40 [-0.43, -0.37]',
    ):
        assert told in words


def test_what_was_carried_out_in_vain_is_told():
    words = " ".join(Reader(page(made(verification="no repair: it is refuted"), {})).words)
    assert "Verification not confirmed no repair: it is refuted" in words
    assert "erifi" not in " ".join(Reader(page(made(), {})).words)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("stalled", "None of the known causes shows in what was measured."),
        ("learning", "No cause is named for a run in this state."),
    ],
)
def test_no_findings(state, told):
    empty = made(state=state, findings=(), clear=(), not_measured=())
    words = Reader(page(empty, {})).words
    assert told in words
    assert "Causes not measured" not in words


def test_a_run_without_scores():
    bare = made(trial=None, state="undecided", scores=RunScores(validation_loss=None))
    words = " ".join(Reader(page(bare, {})).words)
    assert "The baseline of study demo" in words
    assert "this run -" in words


def test_hostile_names_are_text(recorded_page):
    remedy = Remedy(set={HOSTILE: HOSTILE}, expects=HOSTILE, safety=HOSTILE, source=HOSTILE)
    seen = Evidence(signal=HOSTILE, where=HOSTILE, observed=1.0, unit=HOSTILE)
    bad = verdict(
        {HOSTILE: HOSTILE}, why=HOSTILE, alone=False, others=(HOSTILE,), outcome="refuted"
    )
    part = Member(set={HOSTILE: HOSTILE}, alone=bad, without=bad)
    finding = Finding(
        cause="order-blind",
        score=1,
        summary=HOSTILE,
        evidence=(seen,),
        remedies=(remedy,),
        verdict=bad,
    )
    told = made(
        study=HOSTILE,
        state_reason=HOSTILE,
        findings=(finding,),
        clear=(HOSTILE,),
        not_measured=(Unmeasured(cause=HOSTILE, why=HOSTILE),),
        scores=RunScores(validation_loss=1.0, floors={HOSTILE: 2.0}),
        repair=Repair(
            set={HOSTILE: HOSTILE, "model.pooling": HOSTILE},
            verdict=bad,
            minimal=False,
            members=(part, part),
            random=RandomSearch(runs=1, steps=1, beaten=True, why=HOSTILE),
        ),
    )
    figure = figures(load_case("order-blind"))["loss"]
    figure.update_layout(title_text=HOSTILE)
    figure.data[0].name = HOSTILE
    text = page(told, {HOSTILE: figure})
    reader = Reader(text)
    assert "img" not in {tag for tag, _ in reader.elements}
    clean = Reader(recorded_page).elements
    assert [tag for tag, _ in reader.elements].count("script") == [t for t, _ in clean].count(
        "script"
    ) - 3  # three figures fewer
    assert "\u202e" not in "".join(reader.words)
    assert f"Trial 7 of {HOSTILE[:-1]}?: stalled" in reader.words
