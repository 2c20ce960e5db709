"""The founding model at a size that a test can pay: stalled, with what is measurably wrong with it.

The series has a known ceiling (macd, 33 channels), the window is 48 rows instead of 240, and the
budget 200 steps of 32 windows. The model itself is whole: 8 blocks of 6 heads of 512 on a stream of
33, ff_dim 8, no projection, no positions, a readout that averages channels.
"""

from __future__ import annotations

import json

import pytest

from tsdiag.explanation import explain
from tsdiag.models.transformer import FOUNDING
from tsdiag.store.runs import find_runs

STUDY = """
[study]
name = "founding"
[data]
generate = { kind = "macd", rows = 6000, channels = 33 }
target = "level"
transform = "difference"
context_length = 48
[training]
batch_size = 32
max_steps = 200
evaluate_every = 25
validation_windows = 512
precision = "float32"
[search]
trials = 2
final_seeds = 1
[[enqueue]]
"optimizer.lr" = 1e-4
"""
# The same model with its five faults repaired at once, and a rate that fits the budget.
REPAIRED = {
    "optimizer.lr": 3e-3,
    "model.d_model": 64,
    "model.embedding": "patch",
    "model.patch_length": 4,
    "model.n_heads": 4,
    "model.head_dim": 16,
    "model.ff_dim": 128,
    "model.n_layers": 2,
    "model.positions": "learned",
    "model.pooling": "flatten",
    "model.final_norm": True,
    "model.attention_dropout": 0.0,
    "model.attention_dropout_kind": "none",
}


def lines(paths):
    return "\n".join(f'"{path}" = {json.dumps(value)}' for path, value in paths.items())


@pytest.fixture(scope="module")
def founding(tmp_path_factory):
    """Search the founding model and its repaired twin; return the storage."""
    import torch

    from tsdiag.search.conduct import prepare
    from tsdiag.search.interruption import Interruption
    from tsdiag.search.spec import read_spec
    from tsdiag.search.worker import Place, Worker
    from tsdiag.store.database import open_store

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("founding")
    literal, repaired = lines(FOUNDING), lines({**FOUNDING, **REPAIRED})
    text = f"{STUDY}{literal}\n[[enqueue]]\n{repaired}\n"
    (folder / "study.toml").write_text(text)
    store = open_store(f"sqlite:///{folder}/tsdiag.db")
    spec = read_spec(folder / "study.toml")
    prepare(store, spec)
    worker = Worker(store, "founding", Place(device="cpu"), Interruption())
    worker._finals.next = lambda: None  # the verdict is not asked for, and costs the model again
    worker.work()
    return store


@pytest.fixture(scope="module")
def literal(founding):
    return explain(0, storage=founding.url)


def finding(diagnosis, cause):
    found = {one.cause: one for one in diagnosis.findings}
    assert cause in found, f"{cause} is not among {list(found)}"
    return found[cause]


def test_it_is_stalled_where_the_lstm_learns(founding, literal):
    assert literal.state == "stalled"
    assert literal.scores.attained.high < 0.5
    assert explain("baseline", storage=founding.url).state == "learning"


@pytest.mark.parametrize(
    "cause",
    [
        "learning-rate-too-low",
        "attention-never-specializes",
        "missing-input-projection",
        "pooling-discards-channels",
    ],
)
def test_what_is_measurably_wrong_is_named_with_numbers(literal, cause):
    found = finding(literal, cause)
    assert found.evidence
    assert all(item.reference is not None for item in found.evidence[:1])
    assert found.remedies


def test_the_remedy_of_the_pool_is_a_set_that_keeps_order(literal):
    first = finding(literal, "pooling-discards-channels").remedies[0]
    assert {"model.pooling", "model.positions"} <= set(first.set)
    assert first.set["model.positions"] != "none"
    assert "order" in first.safety


def test_the_same_model_made_healthy_learns_and_has_no_findings(founding):
    healthy = explain(1, storage=founding.url)
    assert healthy.state == "learning", healthy.state_reason
    assert healthy.findings == ()


def test_the_stored_diagnosis_is_the_one_that_is_told(founding, literal):
    from tsdiag.store.findings import stored_diagnosis

    (run,) = find_runs(founding, "founding", role="trial", trial=0)
    stored = stored_diagnosis(founding, run.id)
    assert [f.cause for f in stored.findings] == [f.cause for f in literal.findings]
