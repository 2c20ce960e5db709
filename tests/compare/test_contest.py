"""The finalist is chosen on validation data, and the test span is scored once."""

import numpy as np
import pytest
import torch

from tsdiag.compare import contest
from tsdiag.compare.contest import compare, stored_comparison
from tsdiag.compare.finals import Finals
from tsdiag.config import DataConfig, GeneratorConfig, RunConfig, TrainingConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.models import preset
from tsdiag.runs.execute import Execution, Request
from tsdiag.runs.floors import store_floors
from tsdiag.store.database import open_store
from tsdiag.store.runs import find_runs, update_run
from tsdiag.store.studies import load_study, save_study

DATA = DataConfig(
    generate=GeneratorConfig(rows=700, channels=10),
    target="level",
    transform="difference",
    context_length=32,
)
SMALL = {
    "model.d_model": 8,
    "model.n_layers": 1,
    "model.n_heads": 1,
    "model.head_dim": 4,
    "model.ff_dim": 8,
}


class Memory(dict):
    """An artifact store that is gone with the test."""

    def write(self, name, content):
        self[name] = content.read()

    def open_reader(self, name):
        import io

        return io.BytesIO(self[name])

    def remove(self, name):
        del self[name]


@pytest.fixture
def study(tmp_path):
    import torch

    torch.set_num_threads(1)
    store, artifacts, dataset = (
        open_store(f"sqlite:///{tmp_path}/t.db"),
        Memory(),
        load_dataset(DATA),
    )
    save_study(store, "s", {})
    store_floors(store, "s", dataset, artifacts, 64)
    training = TrainingConfig(max_steps=3, evaluate_every=3, batch_size=8, validation_windows=32)
    base = RunConfig(data=DATA, training=training)
    transformer = preset(base, "transformer", "default").edits(SMALL)

    def run(role, config, trial, **request):
        request = Request("s", role, config, trial=trial, **request)
        return Execution(request, dataset, store, artifacts, torch.device("cpu")).carry_out(
            lambda _: None
        )

    run("baseline", preset(base, "lstm", "small"), 0)
    run("trial", transformer, 0)
    run("trial", transformer.edit("model.d_model", 16), 1)

    def finish(seeds=2):
        finals = Finals(store, "s", seeds, 0)
        while (final := finals.next()) is not None:
            run("final", final.request.config, final.request.trial, label=final.request.label)
        return finals

    return store, artifacts, dataset, finish


def judged(study, finals):
    store, artifacts, dataset, _ = study
    return compare(store, "s", finals, dataset, artifacts, torch.device("cpu"))


def test_no_verdict_before_a_pair_is_done(study):
    store = study[0]
    assert judged(study, Finals(store, "s", 2, 0)) is None
    assert stored_comparison(store, "s") is None
    assert load_study(store, "s").looks == 0


def test_the_same_runs_are_scored_once_and_new_ones_again(study, monkeypatch):
    store, _, _, finish = study
    first = judged(study, finish())
    assert load_study(store, "s").looks == 1
    monkeypatch.setattr(contest, "judge", None)
    assert judged(study, Finals(store, "s", 2, 0)) == first == stored_comparison(store, "s")
    assert load_study(store, "s").looks == 1
    monkeypatch.undo()
    more = judged(study, finish(3))
    assert load_study(store, "s").looks == 2
    assert more != first


def test_the_finalist_is_chosen_by_validation_and_never_by_test(study):
    store, _, _, finish = study
    finals = finish()
    baseline, first, second = finals.candidates()
    # Whatever they do on test data, only validation losses decide.
    for candidate, loss in ((first, 0.9), (second, 0.1)):
        for row in finals.runs(candidate):
            update_run(store, row.id, validation_loss=loss)
    sides = contest._choose(finals)
    assert [side.label for side in sides] == [second.label, baseline.label]


def test_a_finalist_that_lost_a_seed_does_not_win_by_its_lucky_one(study):
    store, _, _, finish = study
    finals = finish()
    _, first, second = finals.candidates()
    lucky, unlucky = finals.runs(second)
    update_run(store, lucky.id, validation_loss=0.0)
    update_run(store, unlucky.id, state="diverged", weights=None)
    candidate, _ = contest._choose(finals)
    assert candidate.label == first.label


def test_scores_are_those_of_the_stored_weights(study):
    store, artifacts, dataset, finish = study
    finals = finish()
    comparison = judged(study, finals)
    candidate, _ = contest._choose(finals)
    rows = [row for row in finals.runs(candidate) if row.weights]
    truth = contest._truth(dataset)
    losses = [
        np.mean((contest._predictions(store, row, dataset.test, artifacts).numpy() - truth) ** 2)
        for row in rows
    ]
    assert comparison.candidate.mean.mse == pytest.approx(np.mean(losses), rel=1e-5)
    assert {row.seed for row in find_runs(store, "s", role="final")} == {1, 2}
