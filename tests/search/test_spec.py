"""A study file is read as it was meant, or refused before anything runs."""

import subprocess
import sys

import pytest

from tsdiag.errors import ConfigError
from tsdiag.search.spec import find_spec, read_spec, seconds, shipped_studies


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800), (45, 45)],
)
def test_durations(text, expected, write_study):
    shown = f'"{text}"' if isinstance(text, str) else text
    spec = read_spec(write_study(("trials = 3", f"trials = 3\ntimeout = {shown}")))
    assert spec.search.timeout == expected
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["ten minutes", "10", "10 parsecs", "m10", "", "-5m", "0s"])
def test_what_is_no_duration_is_refused(text, write_study):
    with pytest.raises(ConfigError, match=r"search\.timeout"):
        read_spec(write_study(("trials = 3", f'trials = 3\ntimeout = "{text}"')))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("trials = 3", "trails = 3", 'did you mean "trials"'),
        ("[training]", "[trainings]", 'did you mean "training"'),
        ("target =", "traget =", 'did you mean "target"'),
        ("trials = 3", 'trials = "many"', "search.trials"),
        ("trials = 3", "trials = 0", "search.trials"),
        ("max_steps = 10", "max_steps = 1.5", "training.max_steps"),
        ("trials = 3", 'trials = 3\nsampler = "tpee"', "search.sampler"),
        ('"model.d_model" = 8', '"model.d_model" = { low = 8, high = 4 }', "not below"),
        ('"model.d_model" = 8', '"model.d_model" = { low = 0, high = 4, log = true }', "low > 0"),
        ('name = "tiny"', 'name = "tiny/lstm"', "slash"),
        ('name = "tiny"', 'name = ""', "study.name"),
    ],
)
def test_what_does_not_fit_is_refused(old, new, named, write_study):
    file = write_study((old, new))
    with pytest.raises(ConfigError) as refused:
        read_spec(file)
    assert named in str(refused.value)
    assert str(file) in str(refused.value)


def test_broken_toml_names_the_line(write_study):
    with pytest.raises(ConfigError, match="line 2"):
        read_spec(write_study(text="[study]\nname = \n"))


def test_a_missing_file_says_how_to_write_one(tmp_path):
    with pytest.raises(ConfigError, match="tsdiag init"):
        read_spec(tmp_path / "study.toml")
    with pytest.raises(ConfigError, match="tsdiag init"):
        read_spec(tmp_path)


def test_a_data_path_is_relative_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "study.toml").write_text('[data]\npath = "../rows.csv"\ntarget = "x"\n')
    monkeypatch.chdir(tmp_path)
    spec = find_spec("deep")
    assert spec.data.path == str(tmp_path / "rows.csv")
    assert spec.name == "deep"  # of its folder, where no name is given


def test_a_shipped_study_is_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "beijing33" in shipped_studies()
    assert find_spec("beijing33").name == "beijing33"
    with pytest.raises(ConfigError, match='did you mean "beijing33"'):
        find_spec("beijing3")


def test_the_command_line_overrides_the_file(write_study):
    spec = read_spec(write_study()).with_search(trials=7, timeout="2m", seed=None)
    assert (spec.search.trials, spec.search.timeout, spec.search.seed) == (7, 120, 0)
    with pytest.raises(ConfigError, match="timeout"):
        spec.with_search(timeout="soon")


def test_reading_a_study_loads_neither_torch_nor_optuna(write_study):
    code = (
        "import sys; from pathlib import Path; from tsdiag.search.spec import read_spec; "
        f"read_spec(Path({str(write_study())!r})); "
        "assert not {'torch', 'optuna'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
