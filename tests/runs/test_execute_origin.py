"""A run that begins with another run's best weights, as an intervention at a stall does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsdiag.errors import TsdiagError
from tsdiag.runs import execute as execution
from tsdiag.runs.artifacts import read_bytes
from tsdiag.runs.examination import examine_run
from tsdiag.runs.weights import unpack_trained
from tsdiag.store.curves import load_trace
from tsdiag.store.runs import find_runs

# Another seed and a gentler rate: weights, order of the data and dropout would all be others.
TREATMENT = {"seed": 1001, "optimizer.lr": 1e-4}
WILD = {"optimizer.name": "sgd", "optimizer.lr": 1e12, "optimizer.clip_norm": 0.0}


class FirstLook:
    """Keeps the loss and the weights before the first update."""

    def __init__(self):
        self.loss, self.weights = None, {}

    def after_backward(self, moment):
        pass

    after_update = after_backward

    def after_evaluation(self, moment):
        if moment.step == 0:
            self.loss = moment.validation_loss
            self.weights = {k: v.clone() for k, v in moment.model.state_dict().items()}


def weights_of(row, artifacts):
    return unpack_trained(read_bytes(artifacts, row.weights)).model.state_dict()


def require_equal(one, other, store, artifacts):
    for name in ("state", "step", "validation_loss", "last_validation_loss", "origin", "seed"):
        assert getattr(one, name) == getattr(other, name), name
    assert read_bytes(artifacts, one.weights) == read_bytes(artifacts, other.weights)
    first, second = (load_trace(store, row.id).signals for row in (one, other))
    assert [(s.name, s.where) for s in first] == [(s.name, s.where) for s in second]
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.steps, b.steps), a.name
        assert np.array_equal(a.values, b.values, equal_nan=True), a.name


@pytest.fixture
def origin(config, execute):
    """A run with weights that are neither its first nor its last."""
    row = execute(config).row
    assert row.metrics["best_step"] > 0
    return row


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_it_begins_where_the_other_was_at_its_best(kind, config, lstm_config, execute, artifacts):
    chosen = {"transformer": config, "lstm": lstm_config}[kind]
    origin = execute(chosen).row
    forked, anew = FirstLook(), FirstLook()
    execute(chosen.edits(TREATMENT), observers=[forked], origin=origin.id)
    execute(chosen.edits(TREATMENT), observers=[anew])
    assert forked.loss == origin.validation_loss
    assert anew.loss != origin.validation_loss
    # Running statistics of batch normalisation are part of it.
    before = weights_of(origin, artifacts)
    assert before.keys() == forked.weights.keys()
    assert all(torch.equal(forked.weights[name], value) for name, value in before.items())


def test_the_row_says_with_whose_weights_it_began(config, origin, execute, artifacts):
    row = execute(config.edits(TREATMENT), role="treatment", origin=origin.id).row
    assert (row.origin, row.parent, row.role) == (origin.id, None, "treatment")
    assert row.config == config.edits(TREATMENT).to_json()
    # The origin keeps its own: others will begin with them, too.
    assert {path.name for path in artifacts.folder.iterdir()} == {row.weights, origin.weights}
    assert (row.state, row.step) == ("completed", 12)


def test_only_its_seed_and_configuration_determine_the_rest(config, origin, execute, store):
    again = [execute(config.edits(TREATMENT), origin=origin.id).row for _ in range(2)]
    other = execute(config.edits({**TREATMENT, "seed": 1002}), origin=origin.id).row
    losses = [load_trace(store, row.id).signal("train_loss").values for row in (*again, other)]
    assert np.array_equal(losses[0], losses[1])
    assert not np.array_equal(losses[0], losses[2])


@pytest.mark.parametrize("stops", [[7], [5], [3, 10], [12]])
def test_interrupted_and_resumed_it_equals_one_that_never_was(
    stops, config, origin, execute, at, store, artifacts
):
    whole = execute(config.edits(TREATMENT), origin=origin.id).row
    parent = None
    for step in stops:
        part = execute(config.edits(TREATMENT), at(step), parent=parent, origin=origin.id).row
        assert (part.state, part.step, part.origin) == ("interrupted", step, origin.id)
        parent = part.id
    resumed = execute(config.edits(TREATMENT), parent=parent, origin=origin.id).row
    assert resumed.reason == "all 12 steps"
    require_equal(whole, resumed, store, artifacts)


def test_begun_anew_it_begins_with_those_weights_again(
    config, origin, execute, at, store, artifacts
):
    whole = execute(config.edits(TREATMENT), origin=origin.id).row
    part = execute(config.edits(TREATMENT), at(7), origin=origin.id).row
    (artifacts.folder / part.checkpoint).unlink()
    again = execute(config.edits(TREATMENT), parent=part.id, origin=origin.id).row
    assert "begun anew" in again.reason
    require_equal(whole, again, store, artifacts)


def test_the_checkpoint_of_a_run_with_another_beginning_is_not_gone_on_with(
    config, origin, execute, at, store, artifacts
):
    whole = execute(config.edits(TREATMENT), origin=origin.id).row
    part = execute(config.edits(TREATMENT), at(7)).row
    again = execute(config.edits(TREATMENT), parent=part.id, origin=origin.id).row
    assert "began with other weights" in again.reason
    require_equal(whole, again, store, artifacts)


def failure(execute, store, config, origin):
    """Return the message of a run that cannot begin, and the run as it was stored."""
    with pytest.raises(TsdiagError) as raised:
        execute(config.edits(TREATMENT), role="treatment", origin=origin)
    row = find_runs(store, "wind", role="treatment")[-1]
    assert (row.state, row.origin, row.step) == ("failed", origin, 0)
    assert row.finished is not None
    assert row.reason == f"TsdiagError: {raised.value}"
    return str(raised.value), row


def test_an_origin_without_weights_is_told(config, execute, store, artifacts):
    origin = execute(config.edits(WILD)).row
    assert (origin.state, origin.weights) == ("diverged", None)
    message, row = failure(execute, store, config, origin.id)
    asked, rest = message.split(": ", 1)
    assert asked == f"begin with the weights of run {origin.id}"
    assert "left none" in rest
    assert "; begin anew" in rest
    assert (row.weights, row.checkpoint) == (None, None)
    assert list(artifacts.folder.iterdir()) == []


def test_an_origin_that_is_not_there_is_told(config, origin, execute, store, artifacts):
    assert "list the trials" in failure(execute, store, config, "0" * 32)[0]
    (artifacts.folder / origin.weights).unlink()
    assert "run the trial again" in failure(execute, store, config, origin.id)[0]


def test_weights_that_do_not_fit_are_told(config, origin, execute, store):
    other = config.edits({"model.ff_dim": 12})
    message, _ = failure(execute, store, other, origin.id)
    asked, rest = message.split(": ", 1)
    assert asked == f"begin with the weights of run {origin.id}"
    assert "size mismatch" in rest
    assert "\n" not in rest
    assert "; change only " in rest


def test_one_that_diverged_is_examined_as_it_began(
    config, origin, execute, dataset, store, artifacts
):
    """By a probe that reads the weights: those of the origin, not random ones."""
    row = execute(config.edits(WILD), probes=[], origin=origin.id).row
    assert row.weights is None
    device = torch.device("cpu")
    examine_run(store, artifacts, dataset, row.id, device, [execution.AT_END[0]])
    examine_run(store, artifacts, dataset, origin.id, device, [execution.AT_END[0]])
    mine, theirs = (load_trace(store, run).signals for run in (row.id, origin.id))
    theirs = {(s.name, s.where): s.values[-1] for s in theirs}
    read = [s for s in mine if 0 in s.steps and s.name not in ("train_loss", "validation_loss")]
    assert read
    for signal in read:
        assert signal.values[0] == theirs[signal.name, signal.where], signal.name
