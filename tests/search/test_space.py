"""What a study file says of the space is what trials get."""

import optuna
import pytest
import torch

from tsdiag.config import DataConfig, RunConfig
from tsdiag.errors import ConfigError
from tsdiag.models import Shapes, build, count_parameters, preset
from tsdiag.search.space import (
    KIND,
    check_space,
    default_config,
    distribution_of,
    enqueued_parameters,
    presets_tried_first,
    resolve,
    resolve_baseline,
)
from tsdiag.search.spec import StudySpec, read_spec


def spec_of(space=None, enqueue=(), **sections):
    return StudySpec.model_validate({"space": space or {}, "enqueue": enqueue, **sections})


def sampled(spec, count=20, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found = []
    for _ in range(count):
        trial = study.ask()
        found.append(resolve(spec, trial))
        study.tell(trial, 1.0)
    return found, study


def values(configs, path):
    return [config.get(path) for config in configs]


def test_a_fixed_value_holds_in_every_trial():
    spec = spec_of({"model.d_model": 48, "model.qk_norm": True, "optimizer.frozen": [[]]})
    configs, study = sampled(spec)
    assert set(values(configs, "model.d_model")) == {48}
    assert set(values(configs, "model.qk_norm")) == {True}
    assert all("model.d_model" not in trial.params for trial in study.trials)


def test_a_list_is_searched():
    configs, study = sampled(spec_of({"model.n_heads": [3, 5], "model.activation": ["elu"]}))
    assert set(values(configs, "model.n_heads")) == {3, 5}
    assert {trial.params["model.n_heads"] for trial in study.trials} == {3, 5}


def test_a_list_of_lists_is_searched(store):
    configs, study = sampled(spec_of({"model.head_units": [[], [16], [16, 8]]}))
    assert {tuple(found) for found in values(configs, "model.head_units")} == {(), (16,), (16, 8)}
    assert {trial.params["model.head_units"] for trial in study.trials} == {"[]", "[16]", "[16, 8]"}


@pytest.mark.parametrize(
    ("choice", "path", "fits"),
    [
        ({"low": 3, "high": 9, "step": 3}, "model.ff_dim", lambda v: v in (3, 6, 9)),
        ({"low": 8, "high": 64, "log": True}, "model.ff_dim", lambda v: 8 <= v <= 64),
        ({"low": 0.0, "high": 0.5}, "model.dropout", lambda v: 0 <= v <= 0.5),
        ({"low": 0.0, "high": 0.4, "step": 0.2}, "model.dropout", lambda v: v in (0, 0.2, 0.4)),
        ({"low": 1e-5, "high": 1e-1, "log": True}, "optimizer.lr", lambda v: 1e-5 <= v <= 1e-1),
        ({"low": 0.5, "high": 2.0}, "optimizer.clip_norm", lambda v: 0.5 <= v <= 2),
    ],
)
def test_a_range_is_searched(choice, path, fits):
    configs, _ = sampled(spec_of({path: choice}))
    found = values(configs, path)
    assert all(fits(value) for value in found)
    assert len(set(found)) > 1


def test_integers_stay_integers():
    integers = spec_of({"model.ff_dim": {"low": 8, "high": 64}}).space["model.ff_dim"]
    reals = spec_of({"optimizer.lr": {"low": 0.001, "high": 1}}).space["optimizer.lr"]
    assert isinstance(distribution_of(integers), optuna.distributions.IntDistribution)
    assert isinstance(distribution_of(reals), optuna.distributions.FloatDistribution)


@pytest.mark.parametrize(
    ("space", "named"),
    [
        ({"model.n_head": [1, 2]}, 'did you mean "model.n_heads"'),
        ({"model.n_head": {"low": 1, "high": 2}}, 'did you mean "model.n_heads"'),
        ({"optimizer.weight_deca": 0.1}, 'did you mean "optimizer.weight_decay"'),
        ({"model.n_heads": [1, "two"]}, "'two'"),
        ({"model.n_heads": [1, 0]}, "model.n_heads"),
        ({"model.n_heads": {"low": 1.0, "high": 8.5}}, "model.n_heads"),
        ({"model.n_heads": {"low": 1.0, "high": 8.0}}, "model.n_heads"),
        ({"model.dropout": {"low": 0.0, "high": 1.5}}, "model.dropout"),
        ({"model.pooling": ["mean_time", "average"]}, "average"),
        ({"optimizer.warmup_fraction": 2}, "optimizer.warmup_fraction"),
    ],
)
def test_what_no_trial_could_use_is_refused(space, named):
    with pytest.raises(ConfigError) as refused:
        check_space(spec_of(space))
    assert named in str(refused.value)
    assert next(iter(space)) in str(refused.value)


@pytest.mark.parametrize("table", ["[space]\n", "[[enqueue]]\n"], ids=["space", "enqueue"])
@pytest.mark.parametrize("path", ["data.context_length", "seed"])
def test_a_path_that_cannot_vary_within_a_study_is_refused(write_study, table, path):
    text = f'[data]\ngenerate = {{ kind = "macd" }}\n{table}"{path}" = 1\n'
    with pytest.raises(ConfigError) as refused:
        read_spec(write_study(text=text))
    assert path in str(refused.value)
    assert "model." in str(refused.value)


def test_a_path_of_a_wrong_section_is_refused_with_the_closest(write_study):
    text = '[space]\n"data.batch_size" = 16\n'
    with pytest.raises(ConfigError, match=r'did you mean "training\.batch_size"'):
        read_spec(write_study(text=text))


def test_an_empty_list_is_refused(write_study):
    with pytest.raises(ConfigError, match="nothing to choose"):
        read_spec(write_study(text='[space]\n"model.n_heads" = []\n'))


ENQUEUED = [
    {"model.d_model": "channels", "model.pooling": "mean_channels"},
    {"model.n_heads": 3, "optimizer.lr": 5e-2},
    {"model.head_units": [64], "model.ff_dim": 100},
]


@pytest.mark.parametrize("paths", ENQUEUED)
def test_an_enqueued_configuration_is_tried_as_it_is_written(paths):
    spec = spec_of({"model.n_layers": [1, 2]}, [paths])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial(
        enqueued_parameters(spec, paths), user_attrs={"tsdiag:enqueued": dict(paths)}
    )
    trial = study.ask()
    config = resolve(spec, trial)
    assert {path: config.paths()[path] for path in paths} == paths
    # What is left out takes the default, not a draw.
    assert config == default_config(spec, paths)
    # And Optuna is told all that its ranges can hold, so that it learns from the trial.
    known = {path: config.get(path) for path in trial.params}
    assert trial.params == known
    assert "optimizer.weight_decay" in known


LOG, WHOLE = {"low": 1e-5, "high": 1e-1, "log": True}, {"low": 4, "high": 64}
LOG_WHOLE, GRID = {**WHOLE, "log": True}, {"low": 4, "high": 64, "step": 4}
REAL, REAL_GRID = {"low": 0.1, "high": 0.5}, {"low": 0.1, "high": 0.5, "step": 0.2}


@pytest.mark.parametrize(
    ("path", "choice", "value", "held"),
    [
        # By the architecture's own range, which is logarithmic.
        ("optimizer.weight_decay", None, 0.0, False),
        ("optimizer.weight_decay", None, 0, False),
        ("optimizer.weight_decay", LOG, 0.0, False),
        ("optimizer.weight_decay", LOG, -0.0, False),
        ("optimizer.weight_decay", LOG, 1e-6, False),
        ("optimizer.weight_decay", LOG, 1e-5, True),
        ("optimizer.weight_decay", LOG, 1e-1, True),
        ("optimizer.weight_decay", LOG, 1, False),
        ("model.ff_dim", LOG_WHOLE, 3, False),
        ("model.ff_dim", LOG_WHOLE, 4, True),
        ("model.ff_dim", LOG_WHOLE, 64, True),
        ("model.ff_dim", LOG_WHOLE, 65, False),
        ("model.ff_dim", WHOLE, 1, False),
        ("model.ff_dim", WHOLE, 5, True),
        ("model.ff_dim", WHOLE, 65, False),
        ("model.ff_dim", GRID, 8, True),
        ("model.ff_dim", GRID, 9, False),
        ("model.ff_dim", GRID, 128, False),
        ("training.patience", {"low": 1, "high": 8, "log": True}, 0, False),
        ("model.dropout", REAL, 0.0, False),
        ("model.dropout", REAL, 0.3, True),
        ("model.dropout", REAL, 0.6, False),
        ("model.dropout", REAL_GRID, 0.3, True),
        ("model.dropout", REAL_GRID, 0.4, False),
        ("model.d_model", {"low": 8, "high": 64, "log": True}, "channels", False),
        ("model.n_heads", [1, 2], 3, False),
        ("model.n_heads", [1, 2], 2, True),
    ],
)
def test_an_enqueued_value_is_tried_whether_or_not_its_range_holds_it(path, choice, value, held):
    spec = spec_of({} if choice is None else {path: choice}, [{path: value}])
    parameters = enqueued_parameters(spec, spec.enqueue[0])
    assert (path in parameters) == held
    # Both samplers go on from there, with draws of the range.
    for sampler in (optuna.samplers.TPESampler(seed=0, n_startup_trials=1), None):
        study = optuna.create_study(sampler=sampler)
        study.enqueue_trial(parameters, user_attrs={"tsdiag:enqueued": {path: value}})
        trial = study.ask()
        assert resolve(spec, trial).get(path) == value
        assert trial.params.get(path) == (value if held else None)
        study.tell(trial, 1.0)
        after = study.ask()
        resolve(spec, after)
        assert path in after.params


def test_enqueued_wins_over_a_fixed_value():
    spec = spec_of({"model.d_model": 32}, [{"model.d_model": 24}])
    assert default_config(spec, spec.enqueue[0]).get("model.d_model") == 24


@pytest.mark.parametrize("context_length", [13, 32, 240])
def test_every_sampled_transformer_can_be_built_and_stored(context_length):
    data = DataConfig(context_length=context_length)
    shapes = Shapes(context_length, channels=33, prediction_length=1, targets=1)
    configs, _ = sampled(spec_of(data=data.model_dump()), count=200)
    for config in configs:
        count_parameters(config, shapes)
        assert RunConfig.from_json(config.to_json()).to_json() == config.to_json()
    smallest = min(configs, key=lambda config: count_parameters(config, shapes))
    model = build(smallest, shapes, torch.Generator().manual_seed(0))
    assert model(torch.zeros(2, context_length, 33)).shape == (2, 1, 1)


def test_every_sampled_baseline_can_be_built():
    spec = spec_of(baseline={"tune": True})
    shapes = Shapes(240, channels=33, prediction_length=1, targets=1)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    found = []
    for _ in range(50):
        trial = study.ask()
        found.append(resolve_baseline(spec, trial))
        study.tell(trial, 1.0)
    assert found[0] == resolve_baseline(spec_of(), study.ask())
    assert len({config.to_json() for config in found}) == 50
    assert all(count_parameters(config, shapes) for config in found)


def first(space=None, trials=20, enqueue=()):
    spec = spec_of(space, enqueue, data={"context_length": 240})
    return spec, presets_tried_first(spec, trials)


def names(found):
    return [name for name, _ in found[1]]


def test_presets_are_tried_first_where_there_are_trials_enough():
    assert [len(names(first(trials=n))) for n in (-9, 0, 4, 5, 9, 10, 50)] == [0, 0, 0, 1, 1, 2, 2]


def test_a_preset_tried_first_is_that_preset():
    spec, tried = first()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for name, parameters in tried:
        study.enqueue_trial(parameters)
        found, wanted = resolve(spec, study.ask()), preset(default_config(spec), KIND, name)
        assert found.paths() == wanted.paths()


@pytest.mark.parametrize(
    ("space", "tried"),
    [
        ({"model.embedding": "patch"}, ["default"]),
        ({"model.embedding": ["patch", "linear"]}, ["default"]),
        ({"model.d_model": "channels"}, ["default"]),
        ({"model.embedding": "inverted"}, ["default"]),
        ({"model.embedding": ["inverted", "linear"]}, ["inverted"]),
        ({"model.embedding": ["conv", "linear"]}, []),
    ],
)
def test_a_preset_outside_the_space_is_not_tried_first(space, tried):
    assert names(first(space)) == tried


def test_what_the_study_enqueues_is_not_tried_twice():
    assert names(first(enqueue=({"model.n_layers": 2},))) == ["inverted"]
    assert names(first(enqueue=({"model.embedding": "inverted"},))) == ["default"]


def test_what_a_preset_has_outside_the_space_is_drawn():
    spec, tried = first({"optimizer.lr": {"low": 1e-5, "high": 1e-4, "log": True}})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for name, parameters in tried:
        assert "optimizer.lr" not in parameters
        study.enqueue_trial(parameters)
        found = resolve(spec, study.ask())
        assert 1e-5 <= found.get("optimizer.lr") <= 1e-4
        assert (found.get("model.embedding") == "inverted") == (name == "inverted")
