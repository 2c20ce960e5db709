"""The same line again: goes on, asks for more, repeats the verdict, or refuses."""

import pytest
import torch

from tsdiag.errors import ConfigError, DataError
from tsdiag.search.conduct import judge_study, prepare
from tsdiag.search.spec import read_spec
from tsdiag.store.runs import find_runs
from tsdiag.store.studies import load_study

CPU = torch.device("cpu")


def test_more_trials_and_the_stored_verdict(prepared, store, work, optuna_study):
    spec, dataset = prepared()
    work()
    first = judge_study(store, spec, dataset, CPU)
    assert load_study(store, "tiny").looks == 1
    before = find_runs(store, "tiny")

    # The same again: nothing is trained, and the test span is not scored again.
    prepare(store, spec)
    work()
    assert judge_study(store, spec, dataset, CPU) == first
    assert find_runs(store, "tiny") == before
    assert load_study(store, "tiny").looks == 1

    # More: the old trials stay, the new ones differ from them.
    longer = spec.with_search(trials=5)
    prepare(store, longer)
    work()
    trials = optuna_study().trials
    assert len(trials) == 5
    assert len({str(trial.params) for trial in trials}) == 5
    assert len(find_runs(store, "tiny", role="baseline")) == 1
    assert [row for row in find_runs(store, "tiny") if row in before] == before


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("max_steps = 10", "max_steps = 11", "training.max_steps: 10 -> 11"),
        ("context_length = 32", "context_length = 31", "data.context_length: 32 -> 31"),
        ("rows = 900", "rows = 901", "data.generate.rows: 900 -> 901"),
        ('"model.d_model" = 8', '"model.d_model" = 16', "model.d_model: 8 -> 16"),
        ("[training]", '[baseline]\npreset = "founding"\n[training]', "baseline.preset"),
    ],
)
def test_other_settings_are_refused_by_name(prepared, store, old, new, named):
    prepared()
    before = load_study(store, "tiny")
    with pytest.raises(ConfigError) as refused:
        prepared((old, new))
    assert named in str(refused.value)
    assert "another name" in str(refused.value)
    assert load_study(store, "tiny") == before


def test_what_says_how_long_and_how_surely_may_change(prepared, store):
    prepared()
    prepared(("trials = 3", 'trials = 9\ntimeout = "1m"\npruner = "median"\nseed = 5'))
    assert load_study(store, "tiny").spec["search"]["trials"] == 9


def test_other_data_are_refused(store, write_study, tmp_path):
    from tsdiag.config import GeneratorConfig
    from tsdiag.data.generator import generate

    frame = generate(GeneratorConfig(rows=900, channels=10))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    source = ('generate = { kind = "macd", rows = 900, channels = 10 }', 'path = "rows.csv"')
    file = write_study(source)
    prepare(store, read_spec(file))
    before = load_study(store, "tiny")
    # The same rows in another place are the same data.
    (tmp_path / "rows.csv").rename(tmp_path / "moved.csv")
    moved = write_study((source[0], 'path = "moved.csv"'))
    prepare(store, read_spec(moved))
    frame.iloc[500, 0] += 1
    frame.to_csv(tmp_path / "moved.csv", index=False)
    with pytest.raises(DataError, match="data have changed"):
        prepare(store, read_spec(moved))
    assert load_study(store, "tiny").summary["rows"] == before.summary["rows"]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"model.n_heads" = [1, 2]', '"model.n_heads" = [1, "two"]', "two"),
        ('"model.patch_length" = 8', '"model.patch_length" = 33', "patch_length = 33"),
        ("trials = 3", 'trials = 3\npruner = "medain"', 'did you mean "median"'),
        ("[training]", '[baseline]\npreset = "smal"\n[training]', 'did you mean "small"'),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_stored(prepared, store, old, new, named):
    from tsdiag.store.studies import list_studies

    with pytest.raises(ConfigError) as refused:
        prepared((old, new))
    assert named in str(refused.value)
    assert list_studies(store) == []
