"""Predictions for new rows: those of the trained model, for every row that allows one."""

from __future__ import annotations

import io
import sqlite3

import numpy as np
import pandas
import pytest
import torch
from typer.testing import CliRunner

from tsdiag.cli.main import app
from tsdiag.config import DataConfig, ModelConfig, RunConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.models import build, complete
from tsdiag.runs import prediction
from tsdiag.runs.weights import pack_trained, shapes_of
from tsdiag.training.evaluation import predict

TINY = {"d_model": 8, "n_layers": 1, "n_heads": 2, "head_dim": 4, "ff_dim": 8, "patch_length": 4}
ROWS, CONTEXT, AHEAD = 90, 12, 3


def wind(rows=ROWS):
    """Hourly rows of four columns with a few holes, none at the beginning."""
    rng = np.random.default_rng(0)
    walks = 280 + rng.standard_normal((rows, 3)).cumsum(axis=0)
    frame = pandas.DataFrame(walks, columns=["speed", "gust", "heat"])
    frame.insert(0, "when", pandas.date_range("2024-01-01", periods=rows, freq="h").astype(str))
    frame.loc[[30, 31, 55], "heat"] = np.nan
    return frame


@pytest.fixture(params=["none", "difference", "percent_change", "log_return"])
def transform(request):
    return request.param


@pytest.fixture
def study(tmp_path):
    """Make data, a model and its exported folder; return data set, model and folder."""

    def make(**data):
        wind().to_csv(tmp_path / "wind.csv", index=False)
        given = {"transform": "difference", "fill": "forward", **data}
        config = DataConfig(
            path=str(tmp_path / "wind.csv"),
            time="when",
            target=("speed", "heat"),
            offset=10.0,
            context_length=CONTEXT,
            prediction_length=AHEAD,
            **given,
        )
        whole = complete(RunConfig(data=config, model=ModelConfig(kind="transformer", **TINY)))
        dataset = load_dataset(config)
        model = build(whole, shapes_of(dataset), torch.Generator().manual_seed(0))
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "model.safetensors").write_bytes(pack_trained(model, whole, dataset))
        return dataset, model

    return make


@pytest.fixture
def ask(tmp_path):
    """Predict from rows, written to new.csv unless given otherwise."""

    def invoke(rows, *words):
        if isinstance(rows, pandas.DataFrame):
            rows.to_csv(tmp_path / "new.csv", index=False)
            rows = tmp_path / "new.csv"
        return CliRunner().invoke(
            app, ["predict", str(tmp_path / "model"), str(rows), *map(str, words)]
        )

    return invoke


def read(answer):
    assert answer.exit_code == 0, answer.stderr
    return pandas.read_csv(io.StringIO(answer.stdout))


def test_the_studys_own_windows_are_predicted_as_in_the_study(study, ask, transform):
    dataset, model = study(transform=transform)
    found = read(ask(wind())).set_index(["row", "target", "ahead"])
    assert list(found.columns) == ["time", "prediction", "level"]
    for windows in (dataset.train, dataset.validation, dataset.test):
        expected = windows.restore(predict(model, windows)).numpy()
        for number, end in enumerate(windows.ends.tolist()):
            for column, target in enumerate(("speed", "heat")):
                for ahead in range(1, AHEAD + 1):
                    line = found.loc[(end + 1, target, ahead)]
                    value = expected[number, ahead - 1, column]
                    assert line["prediction"] == pytest.approx(value, rel=1e-5, abs=1e-5)
                    assert line["time"] == wind()["when"][end]


def test_the_level_is_in_the_unit_of_the_column(study, ask, transform):
    study(transform=transform)
    found = read(ask(wind()))
    last = wind().ffill().set_index(wind().index + 1)
    for line in found.itertuples():
        level = last[line.target][line.row] + 10.0
        by_hand = {
            "none": line.prediction,
            "difference": level + line.prediction,
            "percent_change": level * (1 + line.prediction / 100),
            "log_return": level * np.exp(line.prediction),
        }[transform]
        assert line.level == pytest.approx(by_hand - 10.0, rel=1e-12)


def test_every_row_with_a_past_is_predicted_and_the_last_beyond_the_data(study, ask):
    study()
    answer = ask(wind())
    found = read(answer)
    assert sorted(set(found["row"])) == list(range(CONTEXT, ROWS + 1))
    assert len(found) == (ROWS - CONTEXT + 1) * 2 * AHEAD
    last = found[found["row"] == ROWS]
    assert set(last["time"]) == {"2024-01-04 17:00:00"}
    assert last["ahead"].tolist() == [1, 2, 3, 1, 2, 3]
    assert last["target"].tolist() == ["speed"] * 3 + ["heat"] * 3
    assert np.isfinite(last["level"]).all()
    assert answer.stderr == (
        f"predicted from 79 of {ROWS} rows; the first 11 have less than 12 rows behind them; "
        "3 start from a missing target, carried from the row before\n"
    )


def test_what_comes_later_does_not_change_a_prediction(study, ask):
    study()
    whole, cut = read(ask(wind())), read(ask(wind()[:50]))
    expected = whole[whole["row"] <= 50].reset_index(drop=True)
    pandas.testing.assert_frame_equal(cut, expected, rtol=1e-5)


def test_the_scale_is_that_of_training_and_not_of_the_new_rows(study, ask):
    study()
    later = read(ask(wind()[60:]))
    whole = read(ask(wind()))
    expected = whole[whole["row"] >= 60 + CONTEXT].reset_index(drop=True)
    assert later["prediction"].tolist() == pytest.approx(expected["prediction"].tolist(), rel=1e-4)
    assert later["row"].tolist() == [row - 60 for row in expected["row"]]


def test_other_columns_and_another_order_do_not_matter(study, ask):
    study()
    frame = wind().assign(remark="fair")[["remark", "heat", "gust", "when", "speed"]]
    assert ask(frame).stdout == ask(wind()).stdout


@pytest.mark.parametrize("column", ["when", "gust", "speed"])
def test_a_missing_column_is_named(study, ask, column):
    study()
    answer = ask(wind().drop(columns=column))
    assert answer.exit_code == 1
    assert f'"{column}"' in answer.stderr
    assert "has no such column (it has" in answer.stderr
    assert answer.stdout == ""


def test_without_filling_rows_after_a_hole_are_counted(study, ask):
    study(fill="none", features=("speed", "gust"))
    answer = ask(wind())
    # Only the level to start from is missing: heat is a target, not a feature.
    assert sorted(set(read(answer)["row"])) == sorted(set(range(12, 91)) - {31, 32, 56})
    assert "; 3 miss a value among the last 12 rows\n" in answer.stderr


def test_holes_at_the_beginning_are_counted(study, ask):
    study()
    frame = wind()
    frame.loc[:4, "gust"] = np.nan
    answer = ask(frame)
    assert min(read(answer)["row"]) == 17
    assert "; 5 miss a value" in answer.stderr


@pytest.mark.parametrize("rows", [1, 11])
def test_too_few_rows_are_told(study, ask, rows):
    study()
    answer = ask(wind()[:rows])
    assert answer.exit_code == 1
    assert f"looks back on 12 rows without a gap, found {rows} rows; give more" in answer.stderr


def test_one_context_is_enough_and_may_stand_still(study, ask):
    study()
    frame = wind()[:CONTEXT].assign(speed=5.0)
    assert len(read(ask(frame))) == 2 * AHEAD


def test_no_complete_context_is_told(study, ask):
    study(fill="none")
    frame = wind()
    frame.loc[::6, "gust"] = np.nan
    answer = ask(frame)
    assert answer.exit_code == 1
    assert "missing value in the context of each of the last 79" in answer.stderr


def test_unsorted_times_are_refused_as_in_training(study, ask):
    study()
    answer = ask(wind()[::-1])
    assert answer.exit_code == 1
    assert 'sort the rows by "when"' in answer.stderr


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "OUT.PQ"])
def test_files_hold_the_same(study, ask, tmp_path, monkeypatch, name):
    monkeypatch.setattr(prediction, "_MOST_LINES", 100)  # several pieces
    study()
    expected = read(ask(wind()))
    answer = ask(wind(), "--out", tmp_path / name)
    assert (answer.exit_code, answer.stdout) == (0, "")
    reader = pandas.read_csv if name.endswith("csv") else pandas.read_parquet
    pandas.testing.assert_frame_equal(reader(tmp_path / name), expected, check_dtype=False)
    assert not list(tmp_path.glob(".*"))


def test_pieces_join_to_the_whole(study, ask, monkeypatch):
    study()
    whole = ask(wind()).stdout
    monkeypatch.setattr(prediction, "_MOST_LINES", 1)
    one_by_one = ask(wind()).stdout
    assert one_by_one.splitlines()[0] == whole.splitlines()[0]
    first, second = (pandas.read_csv(io.StringIO(text)) for text in (whole, one_by_one))
    # In other batches float32 rounds otherwise, which near 0 is more than a share of the number.
    pandas.testing.assert_frame_equal(first, second, rtol=1e-5, atol=1e-5)


def test_times_of_a_parquet_file_stay_times(study, ask, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "_MOST_LINES", 1)
    study()
    frame = wind().assign(when=pandas.to_datetime(wind()["when"]))
    frame.to_parquet(tmp_path / "new.parquet")
    assert "2024-01-02 00:00:00" in set(read(ask(tmp_path / "new.parquet"))["time"])
    ask(tmp_path / "new.parquet", "--out", tmp_path / "out.parquet")
    found = pandas.read_parquet(tmp_path / "out.parquet")["time"]
    assert found.iloc[-1] == frame["when"].iloc[-1]


def test_rows_of_a_database(study, ask, tmp_path):
    study()
    with sqlite3.connect(tmp_path / "wind.db") as connection:
        wind().to_sql("wind", connection, index=False)
    connection.close()
    url = f"sqlite:///{tmp_path}/wind.db"
    assert ask(url, "--query", "SELECT * FROM wind").stdout == ask(wind()).stdout
    without = ask(url)
    assert without.exit_code == 2
    assert "--query" in without.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "out.xlsx"], "use .csv or .parquet"),
        (["--out", "nowhere/out.csv"], "make it first"),
        (["--query", "SELECT 1"], "a query needs a database"),
    ],
)
def test_misuse_is_told_before_anything_is_read(study, ask, words, said):
    answer = ask(wind(), *words)
    assert answer.exit_code == 2
    assert said in answer.stderr


def test_the_data_are_not_written_over(study, ask, tmp_path):
    study()
    answer = ask(wind(), "--out", tmp_path / "new.csv")
    assert answer.exit_code == 2
    assert "that is DATA itself" in answer.stderr
    assert pandas.read_csv(tmp_path / "new.csv").equals(wind())


def test_a_folder_without_a_model_is_told(ask):
    answer = ask(wind())
    assert answer.exit_code == 2
    assert "tsdiag export TRIAL" in answer.stderr


def test_a_damaged_model_is_told(study, ask, tmp_path):
    study()
    file = tmp_path / "model" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    answer = ask(wind())
    assert answer.exit_code == 1
    assert "damaged" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_numbers_far_beyond_training_are_told(study, ask):
    study()
    answer = ask(wind().assign(gust=1e300))
    assert answer.exit_code == 1
    assert '"gust"' in answer.stderr
