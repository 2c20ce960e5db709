"""Numbers, tables and the data summary as words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tsdiag.data.summary import DataSummary
from tsdiag.escaping import code
from tsdiag.report.data_summary import data_summary_text
from tsdiag.report.wording import (
    decimals_for,
    duration,
    listing,
    number,
    paragraph,
    percent,
    sentence,
    size,
    table,
)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.41234, "0.412"),
        (-0.0001, "0.000"),
        (None, "-"),
        (float("nan"), "-"),
        (float("inf"), "-"),
        (1234.56, "1234.6"),
        (3.1e8, "3.1e+08"),
    ],
)
def test_number(value, words):
    assert number(value) == words


def test_no_line_ends_within_an_interval():
    for length in range(50, 80):
        lines = paragraph("x" * length + " -0.51 [-0.54, +0.48], and so on").splitlines()
        assert any("[-0.54, +0.48]" in line for line in lines)
        assert max(map(len, lines)) <= 80


def test_a_sentence_and_code():
    assert sentence("it stands.") == "It stands."
    assert sentence("it stands") == "It stands."
    assert code("a`b\nc") == "`a'b?c`"


def test_number_of_decimals_shows_the_difference():
    assert [decimals_for(d) for d in (0.043, 0.2, -0.0031, 0.0, 1e-12, 55.0)] == [3, 3, 4, 3, 7, 3]


@pytest.mark.parametrize(
    ("count", "words"),
    [(812, "812"), (22_100, "22.1 k"), (3_350_000, "3.35 M"), (999_999, "1.00 M"), (None, "-")],
)
def test_size(count, words):
    assert size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0.4 s"),
        (9.97, "10 s"),
        (59.7, "1 min 00 s"),
        (605, "10 min 05 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_small_words():
    assert percent(0.876) == "87.6 %"
    assert [listing(items) for items in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]


def test_table_aligns_wide_characters_and_cuts_only_names():
    text = table(["name", "MSE"], [["温度", "0.4"], ["x" * 100, "12.5"]])
    heading, rule, wide, cut = text.splitlines()
    assert wide.endswith(" 0.4")
    assert cut.endswith("…  12.5")
    assert len(cut) == len(rule) == 80
    assert heading.endswith("MSE")


def summary(**changes):
    return DataSummary(
        **{
            "source": "/data/[red]x.csv",
            "rows": 12_345,
            "channels": ("a", "b"),
            "targets": ("a",),
            "first": "2013-03-01T00:00:00",
            "last": "2017-02-28T23:00:00",
            "season": 24,
            "windows": {"train": 8000, "validation": 1500, "test": 1400},
            "dropped_windows": {"train": 0, "validation": 3, "test": 0},
            "filled_cells": 1234,
            "filled_share": 0.05,
            "ties": {"train": 100, "validation": 20, "test": 10},
            "notes": ("column b[/] is constant",),
        }
        | changes
    )


def test_data_summary_counts_everything():
    text = data_summary_text(summary())
    flat = " ".join(text.split())
    assert flat.startswith("/data/[red]x.csv: 12,345 rows of 2 channels, 2013-03-01")
    assert "a season of 24 rows" in flat
    assert "validation 1,500 3 20" in flat
    assert "Filled forward: 1,234 cells (5.00 %)." in flat
    assert "Note: column b[/] is constant" in flat
    assert max(map(len, text.splitlines())) <= 80


def test_data_summary_without_time_or_fills():
    targets = tuple(f"t{i}" for i in range(9))
    text = data_summary_text(
        summary(first=None, last=None, season=None, filled_cells=0, notes=(), targets=targets)
    )
    assert "season" not in text
    assert "Filled" not in text
    assert "t5 and 3 more" in " ".join(text.split())


def test_report_loads_no_torch_and_no_database():
    modules = "verdict, leaderboard, data_summary, study"
    code = (
        f"import sys; from tsdiag.report import {modules};"
        "print([m for m in ('torch', 'sqlalchemy', 'optuna', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
