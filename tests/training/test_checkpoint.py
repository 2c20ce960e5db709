"""What a stopped training comes back from, and what is refused."""

from __future__ import annotations

import json
import math
import struct

import pytest
import torch

from tsdiag.errors import StoreError
from tsdiag.training.checkpoint import pack, unpack


@pytest.fixture
def stopped(config, begin):
    training = begin(config)
    training.run(lambda moment: "interrupted" if moment.step == 7 else None)
    return training


def test_a_checkpoint_brings_everything_back(stopped, config, begin):
    data = stopped.checkpoint()
    before = torch.get_rng_state()
    torch.manual_seed(77)
    other = begin(config)
    other.resume(data)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in stopped.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], value)
    told, found = vars(stopped.progress).copy(), vars(other.progress).copy()
    best, best_found = told.pop("best_weights"), found.pop("best_weights")
    assert found == told
    assert best.keys() == best_found.keys()
    assert all(torch.equal(best_found[name], value) for name, value in best.items())
    for name in ("step", "evaluated_step", "validation_loss", "best_validation_loss"):
        assert getattr(other.moment, name) == getattr(stopped.moment, name), name
    assert other.checkpoint() == data


def test_a_checkpoint_is_the_state_then_and_not_later(stopped, config, begin):
    data = stopped.checkpoint()
    stopped.run()
    assert stopped.progress.step == 12
    other = begin(config)
    other.resume(data)
    assert other.progress.step == 7


def test_a_checkpoint_from_before_the_first_step_is_one_too(config, begin):
    other = begin(config)
    other.resume(begin(config).checkpoint())
    assert other.run().state == "completed"


def test_what_observers_remember_goes_along(stopped, config, begin):
    assert stopped.moment.memory is stopped.progress.memory
    stopped.moment.memory["probe.mean"] = torch.arange(3.0)
    other = begin(config)
    other.resume(stopped.checkpoint())
    assert other.moment.memory is other.progress.memory
    assert list(other.moment.memory) == ["probe.mean"]
    assert torch.equal(other.moment.memory["probe.mean"], torch.arange(3.0))
    assert other.checkpoint() == stopped.checkpoint()


def test_infinite_progress_survives(config, begin):
    other = begin(config)
    other.resume(begin(config).checkpoint())
    assert other.progress.best_validation_loss == math.inf
    assert math.isnan(other.progress.last_validation_loss)


def test_the_file_is_safetensors_without_a_pickle_in_it(stopped):
    from safetensors.torch import load

    data = stopped.checkpoint()
    assert "model.head.projection.weight" in load(data) or len(load(data)) > 10
    (length,) = struct.unpack("<Q", data[:8])
    assert json.loads(data[8 : 8 + length])["__metadata__"]["tsdiag"]
    assert b"\x80\x04" not in data[: 8 + length]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.9, 0.9999])
def test_a_truncated_file_is_told(stopped, config, begin, share):
    data = stopped.checkpoint()
    with pytest.raises(StoreError, match="damaged or not one of tsdiag's"):
        begin(config).resume(data[: int(len(data) * share)])


def test_every_changed_byte_is_told():
    whole = pack({"a": torch.arange(5.0), "b": torch.tensor(True)}, {"step": 17})
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        try:
            tensors, facts = unpack(bytes(damaged))
        except StoreError:
            continue
        # Blanks and spare bits of the header may change without meaning anything else.
        assert torch.equal(tensors["a"], torch.arange(5.0)), position
        assert bool(tensors["b"]), position
        assert facts == {"step": 17}, position


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x80\x04\x95pickle", b"\xff" * 64, b"\0" * 64])
def test_junk_is_told(config, begin, junk):
    with pytest.raises(StoreError, match="restore it from a copy"):
        begin(config).resume(junk)


def test_another_safetensors_file_is_told():
    from safetensors.torch import save

    with pytest.raises(StoreError):
        unpack(save({"a": torch.ones(1)}))
    with pytest.raises(StoreError):
        unpack(save({"a": torch.ones(1)}, metadata={"tsdiag": "{}"}))


@pytest.mark.parametrize("change", [{"model.d_model": 16}, {"model.n_layers": 2}])
def test_another_architecture_is_told(stopped, config, begin, change):
    with pytest.raises(StoreError, match="does not fit this model") as told:
        begin(config.edits(change)).resume(stopped.checkpoint())
    assert len(str(told.value).splitlines()) == 1
    assert str(told.value).endswith("; start the run afresh")


def test_another_kind_of_model_is_told(stopped, lstm_config, begin):
    with pytest.raises(StoreError, match="does not fit this model"):
        begin(lstm_config).resume(stopped.checkpoint())


def test_a_file_of_weights_alone_is_told(stopped, config, begin):
    weights = pack({f"model.{k}": v for k, v in stopped.model.state_dict().items()}, {})
    with pytest.raises(StoreError, match="does not fit"):
        begin(config).resume(weights)
