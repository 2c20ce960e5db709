"""The same rows come out of every kind of source."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest

from tsdiag.config import DataConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.data.reading import read_table
from tsdiag.errors import DataError

KEYS = {"time": "time", "target": "price", "context_length": 3}


@pytest.fixture
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"price": rng.normal(size=50), "volume": rng.integers(1, 9, 50)})
    frame.loc[7, "price"] = np.nan
    frame.insert(0, "time", pd.date_range("2024-03-01", periods=50, freq="D"))
    return frame


def write_sqlite(frame: pd.DataFrame, path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        frame.assign(time=frame["time"].astype(str)).to_sql("rows", connection, index=False)


WRITERS = {
    "csv": lambda f, p: f.to_csv(p / "rows.csv", index=False),
    "tsv": lambda f, p: f.to_csv(p / "rows.tsv", sep="\t", index=False),
    "semicolons": lambda f, p: f.to_csv(p / "rows.csv", sep=";", index=False),
    "byte order mark": lambda f, p: f.to_csv(p / "rows.csv", index=False, encoding="utf-8-sig"),
    "row numbers": lambda f, p: f.to_csv(p / "rows.csv"),
    "parquet": lambda f, p: f.to_parquet(p / "rows.parquet"),
    "parquet, time as index": lambda f, p: f.set_index("time").to_parquet(p / "rows.parquet"),
    "time zone": lambda f, p: f.assign(time=f["time"].dt.tz_localize("UTC")).to_csv(
        p / "rows.csv", index=False
    ),
    "dates as numbers": lambda f, p: f.assign(time=f["time"].dt.strftime("%Y%m%d")).to_csv(
        p / "rows.csv", index=False
    ),
    "NA as text": lambda f, p: f.assign(
        price=f["price"].astype(str).where(f["price"].notna(), " NA ")
    ).to_parquet(p / "rows.parquet"),
    "sqlite": lambda f, p: write_sqlite(f, p / "rows.db"),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_every_source_gives_the_same_data(tmp_path, rows, write):
    rows.to_parquet(tmp_path / "reference.parquet")
    reference = load_dataset(DataConfig(path="reference.parquet", **KEYS), tmp_path)
    write(rows, tmp_path)
    (path,) = (p.name for p in tmp_path.iterdir() if p.stem == "rows")
    source = {"path": path}
    if path.endswith(".db"):
        source = {"url": f"sqlite:///{path}", "query": "SELECT * FROM rows WHERE time <> ' :x'"}
    found = load_dataset(DataConfig(**source, **KEYS), tmp_path)
    assert found.series.channels == ("price", "volume")
    np.testing.assert_allclose(found.series.values, reference.series.values, rtol=1e-15)
    np.testing.assert_array_equal(found.series.time, reference.series.time)
    assert found.summary.windows == reference.summary.windows
    assert found.summary.season == 7
    assert found.summary.first == "2024-03-01T00:00:00"


def test_text_read_as_numbers_and_row_numbers_are_reported(tmp_path, rows):
    WRITERS["NA as text"](rows, tmp_path)
    notes = load_dataset(DataConfig(path="rows.parquet", **KEYS), tmp_path).summary.notes
    assert any('"price"' in note and "1 words for a missing" in note for note in notes)
    WRITERS["row numbers"](rows, tmp_path)
    notes = load_dataset(DataConfig(path="rows.csv", **KEYS), tmp_path).summary.notes
    assert any("numbers the rows: left out" in note for note in notes)


def test_a_path_is_relative_to_the_folder_or_the_working_directory(tmp_path, rows, monkeypatch):
    WRITERS["csv"](rows, tmp_path)
    config = DataConfig(path="rows.csv", **KEYS)
    monkeypatch.chdir(tmp_path)
    assert len(read_table(config).frame) == 50
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(DataError, match="no such file"):
        read_table(config, elsewhere)
    absolute = config.model_copy(update={"path": str(tmp_path / "rows.csv")})
    assert len(read_table(absolute, elsewhere).frame) == 50


def test_a_bad_query_names_the_query_and_the_reason(tmp_path, rows):
    write_sqlite(rows, tmp_path / "rows.db")
    config = DataConfig(url="sqlite:///rows.db", query="SELECT * FROM absent", **KEYS)
    with pytest.raises(DataError, match=r"SELECT \* FROM absent.*: no such table: absent"):
        load_dataset(config, tmp_path)


def test_booleans_and_nullable_columns_are_numbers(tmp_path, rows):
    rows["open"] = pd.array([True, None] * 25, dtype="boolean")
    rows["count"] = pd.array([None, 3] * 25, dtype="Int64")
    rows.to_parquet(tmp_path / "rows.parquet")
    found = load_dataset(DataConfig(path="rows.parquet", fill="forward", **KEYS), tmp_path)
    assert found.series.values[:, 2].tolist() == [1.0] * 50
    assert np.isnan(found.series.values[0, 3])
    assert found.series.values[1:, 3].tolist() == [3.0] * 49
