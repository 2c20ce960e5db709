"""Rows from anywhere: they are read, or the reason is told; never anything else."""

from __future__ import annotations

import io
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet

from tsdiag.config import DataConfig
from tsdiag.data.reading import read_table
from tsdiag.data.series import read_series
from tsdiag.errors import ConfigError, DataError

sys.path.insert(0, str(Path(__file__).parent))
from damage import MANY, SOME, damaged, told

ROWS = 12
KEYS = {"target": "price", "context_length": 3}


def table():
    rng = np.random.default_rng(0)
    return pandas.DataFrame(
        {
            "time": pandas.date_range("2024-01-01", periods=ROWS, freq="h").astype(str),
            "price": rng.normal(size=ROWS).round(3),
            "a.b": rng.integers(0, 9, ROWS),
        }
    )


def as_parquet():
    page = io.BytesIO()
    table().to_parquet(page)
    return page.getvalue()


def as_database(folder):
    with closing(sqlite3.connect(folder / "rows.db")) as connection:
        table().to_sql("rows", connection, index=False)
    return (folder / "rows.db").read_bytes()


CSV = table().to_csv(index=False).encode()
PARQUET = as_parquet()
WORDS = (
    b",",
    b";",
    b"\t",
    b'"',
    b"\r",
    b"\n",
    b"\xef\xbb\xbf",
    b"\0",
    b"1e999",
    b"NaN",
    b"9" * 400,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def database(folder):
    return as_database(folder)


def reads(folder, **source):
    """Return whether the rows were read; what was read is a table of numbers."""
    config = DataConfig(time="time", **source, **KEYS)
    try:
        series = read_series(read_table(config, folder), config)
    except (ConfigError, DataError) as error:
        told(error, most=2000)
        return False
    assert series.values.shape == (len(series.time), len(series.channels))
    assert not np.isinf(series.values).any()
    assert np.isfinite(series.target_values[series.observed]).all()
    return True


def test_what_is_whole_is_read(folder, database):
    (folder / "whole.csv").write_bytes(CSV)
    (folder / "whole.parquet").write_bytes(PARQUET)
    (folder / "whole.db").write_bytes(database)
    assert reads(folder, path="whole.csv")
    assert reads(folder, path="whole.parquet")
    assert reads(folder, url="sqlite:///whole.db", query="SELECT * FROM rows")


@MANY
@example(b'time,price\n"' + b"x" * 200_000)
@example(b"x" * 200_000 + b',"' + b"y" * 200_000)
@example(b"time,price\n2024-01-01,1\n2024-01-02,0x12\n")
@example(b"time,price\n2024-01-01,1\n99999-01-02,2\n")
@given(damaged(CSV, WORDS) | st.binary(max_size=60))
def test_any_csv(folder, content):
    (folder / "rows.csv").write_bytes(content)
    reads(folder, path="rows.csv")


@st.composite
def cells(draw):
    """Tables whose cells are anything that a person may have typed."""
    cell = st.text(max_size=6) | st.sampled_from(
        ["1", "-2.5", "", "NA", "1e400", "٣", "2024-01-01"]
    )
    lines = [["time", "price", draw(st.text(max_size=4))]]
    lines += [
        [f"2024-01-{day:02}", str(day), draw(cell)] if draw(st.booleans()) else [draw(cell)] * 3
        for day in range(1, draw(st.integers(1, 6)) + 1)
    ]
    return "\n".join(",".join(line) for line in lines)


@MANY
@given(cells())
def test_any_cells(folder, text):
    (folder / "rows.csv").write_text(text, encoding="utf-8", newline="")
    reads(folder, path="rows.csv")


@SOME
@given(damaged(PARQUET) | st.binary(max_size=40).map(lambda inside: b"PAR1" + inside + b"PAR1"))
def test_any_parquet(folder, content):
    (folder / "rows.parquet").write_bytes(content)
    reads(folder, path="rows.parquet")


def test_parquet_with_text_that_is_no_utf8_is_told(folder):
    page = io.BytesIO()
    table().to_parquet(page, compression=None, use_dictionary=False)
    old, new = b"2024-01-01 00", b"20\x964-01-01 00"
    assert old in page.getvalue()
    (folder / "rows.parquet").write_bytes(page.getvalue().replace(old, new))
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_table(DataConfig(path="rows.parquet"), folder)


def test_parquet_with_damaged_words_for_pandas_is_told(folder):
    whole = pyarrow.Table.from_pandas(table())
    told = whole.schema.metadata[b"pandas"].replace(b'"pandas_type"', b'"pandas_typo"')
    parquet.write_table(whole.replace_schema_metadata({"pandas": told}), folder / "rows.parquet")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_table(DataConfig(path="rows.parquet"), folder)


@SOME
@given(st.data())
def test_any_database_file(folder, database, data):
    (folder / "rows.db").write_bytes(data.draw(damaged(database)))
    reads(folder, url="sqlite:///rows.db", query="SELECT * FROM rows")


QUERIES = ["", "--", "SELECT 1; SELECT 2", "SELECT :x", "SELECT %s", "SELECT 1 AS a, 2 AS a"]
QUERIES += [
    "PRAGMA user_version",
    "DELETE FROM rows",
    "SELECT x'00ff' AS price, 1 AS time",
    "\ud800",
]


@SOME
@given(st.sampled_from(QUERIES) | st.text(max_size=20).map("SELECT ".__add__))
def test_any_query_and_none_changes_the_rows(folder, database, query):
    file = folder / "rows.db"
    file.write_bytes(database)
    reads(folder, url="sqlite:///rows.db", query=query)
    assert file.read_bytes() == database


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite:///rows.db?timeout=x", "sqlite:///\0", "postgresql://..../rows", "://", "x://y"),
        *("mysql://127.0.0.1:1/rows?colour=red", "postgresql://127.0.0.1:99999/rows"),
    ],
)
def test_any_url(folder, database, url):
    (folder / "rows.db").write_bytes(database)
    assert not reads(folder, url=url, query="SELECT * FROM rows")
