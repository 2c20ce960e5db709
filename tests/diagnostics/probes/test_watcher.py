"""Who is asked when, and that a probe that fails costs nothing but its readings."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import nn

from tsdiag.config import RunConfig
from tsdiag.diagnostics.probes import watcher as watcher_module
from tsdiag.diagnostics.probes.anatomy import anatomy, block_of
from tsdiag.diagnostics.probes.probe import Probe, Reading, Sample, Update, View, is_due
from tsdiag.diagnostics.probes.view import look
from tsdiag.diagnostics.probes.watcher import Watcher
from tsdiag.diagnostics.signals import SignalName
from tsdiag.models import Shapes, build, complete, preset
from tsdiag.training.evaluation import Evaluation
from tsdiag.training.observer import Moment

SHAPES = Shapes(context_length=12, channels=5)
SEEN = {
    Moment: "cheap",
    Evaluation: "standard",
    Update: "standard",
    View: "standard",
    Sample: "standard",
}


class Asked:
    """Probes of every kind that keep what they were shown."""

    def __init__(self, kinds=tuple(SEEN)):
        self.subjects = {kind: [] for kind in kinds}
        self.notes = []
        self.probes = [self.probe(kind) for kind in kinds]

    def probe(self, kind):
        name = f"saw_{kind.__name__.lower()}"

        def measure(subject):
            # A Moment is one object that changes: its step is what was seen.
            kept = subject.step if isinstance(subject, Moment) else subject
            self.subjects[kind].append(kept)
            return [Reading(name, 1.0)]

        declared = SignalName(name, "count", "was asked", "state")
        return Probe(name, SEEN[kind], kind, (declared,), measure)

    def note(self, signal, where, step, value):
        self.notes.append((signal.name, step))

    def steps(self, kind):
        return [step for name, step in self.notes if name == f"saw_{kind.__name__.lower()}"]


@pytest.fixture
def watched(begin, config, dataset):
    def make(asked, config=config, windows=dataset.train):
        watcher = Watcher(asked.probes, windows, config, asked.note)
        return begin(config, [watcher]), watcher

    return make


def test_the_standard_tier_is_dense_at_first_and_then_at_evaluations():
    assert [step for step in range(45) if is_due(step, 20)] == [0, 1, 2, 4, 8, 16, 20, 40]


def test_every_kind_is_asked_on_its_schedule_once(watched):
    asked = Asked()
    training, watcher = watched(asked)  # 12 steps, evaluations every 5 steps and at the end
    training.run()
    assert asked.steps(Moment) == list(range(12))
    assert asked.steps(Evaluation) == [0, 5, 10, 12]
    assert asked.steps(Update) == [0, 1, 2, 4, 5, 10]
    assert asked.steps(View) == [0, 1, 2, 4, 5, 10, 12]
    assert asked.steps(Sample) == [0, 5, 10, 12]
    assert watcher.failures == {}


def test_views_are_of_the_same_windows_and_samples_of_others_each_time(watched, config):
    asked, again, other = (Asked([View, Sample]) for _ in range(3))
    watched(asked)[0].run()
    watched(again)[0].run()
    watched(other, config.edit("seed", 1))[0].run()
    first, *later = asked.subjects[View]
    assert all(torch.equal(view.inputs, first.inputs) for view in later)
    drawn = [sample.inputs for sample in asked.subjects[Sample]]
    assert not any(torch.equal(one, two) for one, two in combinations(drawn, 2))
    for one, same, another in zip(
        drawn, again.subjects[Sample], other.subjects[Sample], strict=True
    ):
        assert torch.equal(one, same.inputs)
        assert not torch.equal(one, another.inputs)


@pytest.mark.parametrize(
    ("changes", "windows", "view", "sample"),
    [
        ({"training.batch_size": 100}, 0, 16, 24),
        ({"training.batch_size": 5}, 0, 5, 20),
        ({"training.batch_size": 64, "training.micro_batch": 2}, 0, 2, 8),
        ({"training.batch_size": 100}, 9, 9, 9),
    ],
)
def test_no_more_windows_are_taken_than_training_holds(
    changes, windows, view, sample, watched, config, dataset
):
    asked = Asked([View, Sample])
    watched(asked, config.edits(changes), dataset.train.every(windows))[0].run()
    assert {len(found.inputs) for found in asked.subjects[View]} == {view}
    assert {len(found.inputs) for found in asked.subjects[Sample]} == {sample}


def test_an_update_shows_both_sides_of_a_step(watched, config):
    clipped = config.edit("optimizer.clip_norm", 1e-3)
    asked = Asked([Update])
    training, _ = watched(asked, clipped)
    seen = {}

    class Steps:
        def after_backward(self, moment):
            seen[moment.step] = {n: p.grad.clone() for n, p in moment.model.named_parameters()}
            seen[moment.step, "before"] = {
                n: p.detach().clone() for n, p in moment.model.named_parameters()
            }

        def after_update(self, moment):
            pass

        def after_evaluation(self, moment):
            pass

    training.observers = (*training.observers, Steps())
    training.run()
    for step, update in zip(asked.steps(Update), asked.subjects[Update], strict=True):
        for name, gradient in seen[step].items():
            assert torch.equal(update.gradients[name], gradient)
            assert torch.equal(update.before[name], seen[step, "before"][name])
        norm = flat(update.gradients).norm()
        assert update.clip_share == pytest.approx(1e-3 / float(norm), rel=1e-4)
        if step == 0:
            assert update.previous is None
        else:
            # As the optimizer got them: clipped, which leaves their direction.
            before, kept = (flat(seen[step - 1]), flat(update.previous))
            assert kept.norm() == pytest.approx(1e-3, rel=1e-3)
            assert nn.functional.cosine_similarity(before, kept, dim=0) > 0.9999


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def test_a_resumed_run_remembers_the_gradients_of_its_last_step(watched):
    whole, parts = Asked([Update]), Asked([Update])
    torch.manual_seed(0)
    watched(whole)[0].run()
    torch.manual_seed(0)  # where the first one began
    first, _ = watched(parts)
    first.run(lambda moment: "interrupted" if moment.step == 4 else None)
    second, _ = watched(parts)
    second.resume(first.checkpoint())
    second.run()
    assert parts.steps(Update) == whole.steps(Update)
    for one, other in zip(whole.subjects[Update], parts.subjects[Update], strict=True):
        assert (one.previous is None) == (other.previous is None)
        for name in one.previous or {}:
            assert torch.equal(one.previous[name], other.previous[name])


def test_a_probe_that_fails_is_told_and_not_asked_again(watched):
    def fail(_):
        raise ValueError("no such layer")

    asked = Asked([Moment, View])
    asked.probes[1] = replace(asked.probes[1], measure=fail)
    training, watcher = watched(asked)
    assert training.run().state == "completed"
    assert watcher.failures == {"saw_view": "step 0: ValueError: no such layer"}
    assert asked.steps(Moment) == list(range(12))


@pytest.mark.parametrize(
    ("function", "call", "name", "kind", "step", "asked_at"),
    [
        ("look", 1, "view", View, 0, []),
        ("look", 3, "view", View, 2, [0, 1]),
        ("drawn", 2, "sample", Sample, 5, [0]),
        ("_keep", 2, "update", Update, 1, [0]),
        ("_gradients", 1, "update", Update, 0, []),
        ("_gradients", 2, "update", Update, 1, [0]),  # while they are remembered
    ],
)
def test_what_cannot_be_prepared_is_told_and_not_tried_again(
    function, call, name, kind, step, asked_at, watched, monkeypatch
):
    calls = []
    honest = getattr(watcher_module, function)

    def full(*given):
        calls.append(given)
        if len(calls) == call:
            raise torch.OutOfMemoryError("no room")
        return honest(*given)

    monkeypatch.setattr(watcher_module, function, full)
    asked = Asked()
    training, watcher = watched(asked)
    assert training.run().state == "completed"
    assert watcher.failures == {name: f"step {step}: OutOfMemoryError: no room"}
    assert len(calls) == call
    assert asked.steps(kind) == asked_at
    whole = {Moment: 12, Evaluation: 4, Update: 6, View: 7, Sample: 4}
    assert all(len(asked.steps(k)) == n for k, n in whole.items() if k is not kind)
    assert training.moment.memory == {}


def test_a_view_of_a_model_that_overflows_is_not_shown(watched):
    asked = Asked([View])
    training, watcher = watched(asked)
    with torch.no_grad():
        training.model.head.projection.bias.fill_(torch.inf)
    assert training.run().state == "diverged"
    assert asked.steps(View) == []
    assert watcher.failures == {}


def test_a_look_leaves_no_trace(new_model, config):
    model = new_model(config)
    model.blocks[0].eval()  # frozen by its owner
    modes = [module.training for module in model.modules()]
    model.final_norm.register_forward_hook(lambda *_: torch.rand(1) and None)
    hooks = [len(module._forward_hooks) for module in model.modules()]
    state = torch.get_rng_state()
    view = look(model, torch.randn(3, 12, 10, generator=torch.Generator()), torch.zeros(3, 2, 2))
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert view.left["blocks.0"].shape == view.entered["final_norm"].shape
    assert torch.equal(view.left[""], view.predictions)


def test_a_look_shows_what_evaluation_computes(new_model, config):
    model = new_model(config)
    inputs = torch.randn(3, 12, 10)
    view = look(model, inputs, torch.zeros(3, 2, 2))
    assert torch.equal(view.predictions, model.eval()(inputs))


@pytest.mark.parametrize(
    ("kind", "paths", "head"),
    [
        ("transformer", ("blocks.0", "blocks.1"), "head.projection.bias"),
        ("lstm", ("lstm.layers.0",), "projection.bias"),
    ],
)
def test_the_parts_of_a_model_are_found(kind, paths, head):
    config = complete(preset(RunConfig(), kind, {"transformer": "default", "lstm": "small"}[kind]))
    model = build(config, SHAPES, torch.Generator())
    parts = anatomy(model)
    assert parts.blocks == paths
    assert parts.head[-1] == head
    assert {*parts.body, *parts.head} == {name for name, _ in model.named_parameters()}
    assert block_of(f"{paths[0]}.attention.query.weight", parts.blocks) == paths[0]
    assert block_of("head.projection", parts.blocks) is None


def test_the_parts_of_foreign_models_are_found():
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3, enable_nested_tensor=False
    )
    model = nn.Sequential(nn.Linear(5, 8), encoder, nn.Linear(8, 1))
    assert anatomy(model).blocks == ("1.layers.0", "1.layers.1", "1.layers.2")
    assert anatomy(model).head == ("2.weight", "2.bias")
    plain = anatomy(nn.Sequential(nn.Linear(5, 8), nn.ReLU()))
    assert (plain.blocks, plain.body, plain.head) == ((), ("0.weight", "0.bias"), ())
