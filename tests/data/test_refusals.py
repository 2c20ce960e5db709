"""Every input that cannot be used is refused: where, what was found, what to do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsdiag.config import DataConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.errors import ConfigError, DataError, TsdiagError

SMALL = {"path": "rows.csv", "time": "time", "target": "price", "context_length": 4}


def table(rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=rows, freq="h").astype(str),
            "price": 100 + rng.normal(size=rows).cumsum(),
            "volume": rng.normal(size=rows),
        }
    )


def put(column: str, row: int, value: object):
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame

    return change


def swap(first: int, second: int):
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        rows = list(range(len(frame)))
        rows[first], rows[second] = second, first
        return frame.iloc[rows]

    return change


def cross(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(price=np.where(frame.index < 20, 1.5, -0.5) + frame.index * 1e-3)


def same(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


CASES = {
    "infinity": (put("volume", 6, np.inf), {}, ['"volume"', "row 7 (2024-01-01 06:00)", "inf"]),
    "minus infinity in the target": (put("price", 6, -np.inf), {}, ['"price"', "row 7", "-inf"]),
    "text": (put("volume", 9, "high"), {}, ['"volume"', "row 10", "'high'", "correct the cell"]),
    "decimal comma": (put("volume", 9, "3,5"), {}, ["row 10", "'3,5'", "decimal point"]),
    "unsorted": (swap(10, 11), {}, ['"time"', "row 12", "2024-01-01 10:00", "row 11", "sort"]),
    "repeated time": (
        put("time", 8, "2024-01-01 07:00:00"),
        {},
        ['"time"', "row 9", "row 8", "keep one row per time"],
    ),
    "unreadable time": (put("time", 8, "01/02/24"), {}, ["row 9", "01/02/24", "ISO 8601"]),
    "missing time": (put("time", 8, None), {}, ['"time"', "row 9", "nan", "ISO 8601"]),
    "time of numbers": (
        lambda f: f.assign(time=range(len(f))),
        {},
        ['"time"', "found numbers", "leave data.time out"],
    ),
    "time taken for a feature": (same, {"time": None}, ['"time"', "row 1", "set data.time"]),
    "constant target": (lambda f: f.assign(price=3.5), {}, ['"price"', "constant (3.5", "choose"]),
    "constant changes": (
        lambda f: f.assign(price=np.arange(len(f)) * 0.1 + 5),
        {"transform": "difference"},
        ['"price"', "difference", "the same in all", "choose another"],
    ),
    "empty column": (lambda f: f.assign(volume=None), {}, ['"volume"', "all 60 cells are missing"]),
    "too few rows": (lambda f: f.head(6), {}, ["at least 7 rows", "found 6 rows", "add rows"]),
    "context too long": (same, {"context_length": 240}, ["344 rows", "found 60", "context_length"]),
    "crossing zero": (
        cross,
        {"transform": "percent_change"},
        ['"price"', "row 21 (2024-01-01 20:00)", "-0.48", "difference"],
    ),
    "logarithm of zero": (
        put("price", 4, 0),
        {"transform": "log_return"},
        ['"price"', "row 5", "reaches zero", "offset"],
    ),
    "offset that makes it cross": (
        same,
        {"transform": "percent_change", "offset": -100.0},
        ["row 2", "data.offset -100"],
    ),
    "unknown target": (same, {"target": "prise"}, ["data.target", '"prise"', 'mean "price"?']),
    "unknown feature": (same, {"features": ("vol",)}, ["data.features", '"vol"', "volume"]),
    "unknown time": (same, {"time": "Time"}, ["data.time", '"Time"', 'mean "time"?']),
    "feature twice": (same, {"features": ("price", "price")}, ["price", "listed twice"]),
    "no features": (same, {"features": ()}, ["data.features = []", 'write "all"']),
    "time as feature": (same, {"features": ("time",)}, ["data.features", '"time"', "no such"]),
    "missing file": (same, {"path": "row.csv"}, ['"row.csv"', "no such file", 'mean "rows.csv"?']),
    "missing folder": (same, {"path": "data/rows.csv"}, ["there is no folder", "correct"]),
    "folder": (same, {"path": "."}, ["found a folder", "name the file"]),
    "unknown kind": (same, {"path": "rows.xlsx"}, ['".xlsx"', ".parquet"]),
    "no rows": (lambda f: f.head(0), {}, ["3 columns and 0 rows"]),
    "too large": (
        lambda f: f.assign(volume=np.where(f.index < 50, f.volume, 1e60)),
        {},
        ['"volume"', "32-bit", "divide"],
    ),
    "late column": (
        lambda f: f.assign(volume=f.volume.where(f.index >= 45)),
        {},
        ["train span", '"volume" misses 42 of its 42 rows', "data.features"],
    ),
    "no fill": (
        lambda f: f.assign(volume=f.volume.where(f.index % 3 == 0)),
        {"fill": "none"},
        ["train span", '"volume"', 'data.fill = "forward"'],
    ),
}


@pytest.mark.parametrize(("edit", "keys", "words"), CASES.values(), ids=CASES)
def test_bad_rows_are_refused_with_place_and_remedy(tmp_path, edit, keys, words):
    edit(table()).to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError) as refusal:
        load_dataset(DataConfig(**{**SMALL, **keys}), tmp_path)
    message = str(refusal.value)
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message


TEXTS = {
    "nothing": ("", ["rows.csv", "No columns"]),
    "surplus cells in one row": ("time,price\n2024-01-01,1\n2024-01-02,2,3\n", ["line 3"]),
    "surplus cells in all rows": (
        "time,price\n2024-01-01,1,9\n2024-01-02,2,9\n",
        ["not a readable"],
    ),
    "repeated header": ("time,price,price\n2024-01-01,1,2\n", ['"price" stands 2 times']),
    "nameless column": (",price\nx,1\ny,2\n", ["first column has no name"]),
    "not UTF-8": (b"time,price\n2024-01-01,\xff\n", ["UTF-8"]),
}


@pytest.mark.parametrize(("text", "words"), TEXTS.values(), ids=TEXTS)
def test_broken_text_is_refused(tmp_path, text, words):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(DataError) as refusal:
        load_dataset(DataConfig(**SMALL), tmp_path)
    assert all(word in str(refusal.value) for word in ["rows.csv", *words]), refusal.value


def test_broken_parquet_is_refused(tmp_path):
    (tmp_path / "rows.parquet").write_text("time,price\n")
    with pytest.raises(DataError, match=r'"rows\.parquet": not a readable Parquet file'):
        load_dataset(DataConfig(path="rows.parquet"), tmp_path)


def test_no_source_is_refused():
    with pytest.raises(ConfigError, match=r"no source of rows .* set data\.path"):
        load_dataset(DataConfig())


URLS = {
    "no file": ("sqlite:///none.db", DataError, "no such file"),
    "not a URL": ("host:secret word", ConfigError, "not a database URL"),
    "no driver": ("nosuchdb://user:hunter2@host/db", ConfigError, "no driver"),
    "unreachable": ("postgresql://user:hunter2@127.0.0.1:1/db", TsdiagError, r"data\.(url|query)"),
}


@pytest.mark.parametrize(("url", "kind", "words"), URLS.values(), ids=URLS)
def test_databases_are_refused_without_their_password(tmp_path, url, kind, words):
    with pytest.raises(kind, match=words) as refusal:
        load_dataset(DataConfig(url=url, query="SELECT 1"), tmp_path)
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__cause__ is None
