"""Names that would be markup are text: in notes, on screens and in an exported folder."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from tsdiag.diagnostics.findings import Diagnosis, Evidence, Finding, Remedy, RunScores, Unmeasured
from tsdiag.diagnostics.verdicts import Member, Repair, Verdict
from tsdiag.escaping import escaped, plain
from tsdiag.report.diagnosis import diagnosis_markdown, diagnosis_text

NAMES = {
    "tags": "<img src=x onerror=alert(1)>|`x`",
    "end of a script": "</script><script>alert(1)</script>",
    "quotes": '"it\'s" ``` `` ~~~',
    "link": "![a](http://h/x) [b](javascript:alert(1)) <http://h>",
    "list and heading": "a\n\n# b\n- c\n1. d\n| e | f |\n|---|---|\n",
    "rule": "a\n---\nb\n===\n    code\n> quote",
    "entity": "&lt;b&gt; &amp; &#60;",
    "formula": "$x$ $$y$$ \\(z\\)",
    "terminal": "a\x1b[2Jb\rc\u202e",
}


class Page(HTMLParser):
    """The elements of a page, with their addresses, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src")]

    def handle_data(self, data):
        self.text += data


def rendered(markdown):
    """Return a page as the dashboard makes one of a note: with tags, tables and strokes."""
    return Page(
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)
    )


def diagnosis(name):
    tried = Verdict(
        outcome="refuted",
        why=name,
        set={name: name},
        effect=-0.4,
        interval=(-0.43, -0.37),
        seeds=5,
        steps=80,
    )
    part = Member(set={name: name}, alone=tried, without=tried)
    remedy = Remedy(set={name: name}, expects=name, safety=name, source=name)
    seen = Evidence(signal="loss", where=name, observed=1.0, unit=name)
    facts = {"cause": "order-blind", "score": 0.9, "summary": name, "evidence": (seen,)}
    return Diagnosis(
        study=name,
        trial=7,
        state="stalled",
        state_reason=name,
        scores=RunScores(validation_loss=0.7, floors={name: 0.5}),
        findings=(
            Finding(**facts, remedies=(remedy,)),
            Finding(**facts, remedies=(remedy,), verdict=tried),
        ),
        clear=(),
        not_measured=(Unmeasured(cause="under-capacity", why=name),),
        repair=Repair(set={name: name, "b": 1}, verdict=tried, minimal=False, members=(part, part)),
    )


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_note_shows_them_as_they_are(name):
    note = diagnosis_markdown(diagnosis(name))
    page, harmless = rendered(note), rendered(diagnosis_markdown(diagnosis("harmless")))
    assert page.tags == harmless.tags
    assert page.links == []
    assert plain(name).strip() in page.text
    assert re.search(r"(?<!\\)\$", re.sub("`[^`]*`", "", note)) is None
    assert "\x1b" not in note


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_escaped_words_are_one_paragraph_that_reads_as_they_do(name):
    page = rendered("before " + escaped(plain(name)))
    assert page.tags == ["p"]
    assert " ".join(page.text.split()) == " ".join(f"before {plain(name)}".split())


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_screen_has_as_many_lines_and_no_steering(name):
    shown = diagnosis_text(diagnosis(name), (f"tsdiag search {name}",)).plain
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert shown.splitlines()[-1] == f"Next: tsdiag search {plain(name)}"
