"""The pages of the causes, and docs/causes.md, which is written from them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tsdiag.diagnostics.rules import RULES
from tsdiag.diagnostics.rules.rule import HEADINGS
from tsdiag.errors import UsageError
from tsdiag.report.catalogue import catalogue_text, document, headline, page_text, sections

DOCUMENT = Path(__file__).parents[2] / "docs" / "causes.md"
UPDATE = os.environ.get("TSDIAG_UPDATE_SNAPSHOTS") == "1"


def test_the_document_is_written_from_the_rules():
    if UPDATE:
        DOCUMENT.write_text(document(), encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_a_cause_has_one_name_everywhere():
    folder = Path(__file__).parents[2] / "tsdiag" / "diagnostics" / "rules"
    files = {file.stem for file in folder.glob("*.py")} - {"__init__", "rule"}
    assert {rule.cause.replace("-", "_") for rule in RULES} == files
    assert len({rule.cause for rule in RULES}) == len(RULES)


def test_symptoms_are_causes_of_the_catalogue():
    known = {rule.cause for rule in RULES}
    assert {symptom for rule in RULES for symptom in rule.explains} <= known
    assert all(rule.cause not in rule.explains for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.cause)
def test_every_page_has_its_headings_and_one_sentence_first(rule):
    assert tuple(sections(rule)) == HEADINGS
    assert headline(rule).endswith(".")
    assert len(headline(rule)) <= 120
    assert all(len(text) > 10 for text in sections(rule).values())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.cause)
def test_a_page_fits_the_terminal(rule):
    lines = page_text(rule.cause).splitlines()
    assert lines[0] == rule.cause
    assert max(len(line) for line in lines) <= 80


def test_the_list_names_every_cause_and_fits_the_terminal():
    lines = catalogue_text().splitlines()
    assert max(len(line) for line in lines) <= 80
    assert [r.cause for r in RULES if not any(line.startswith(r.cause) for line in lines)] == []


def test_an_unknown_cause_names_the_closest():
    with pytest.raises(UsageError, match=r'unknown cause "order-blnd".*order-blind'):
        page_text("order-blnd")
