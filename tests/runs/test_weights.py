"""The file of a trained model: complete in itself, and refused where it is not."""

from __future__ import annotations

import pytest
import torch

from tsdiag.config import DataConfig
from tsdiag.errors import StoreError
from tsdiag.models import build
from tsdiag.runs.weights import pack_trained, shapes_of, unpack_trained
from tsdiag.training.checkpoint import pack, unpack
from tsdiag.training.evaluation import predict


@pytest.fixture
def model(config, dataset):
    return build(config, shapes_of(dataset), torch.Generator().manual_seed(3))


def test_it_comes_back_whole_and_ready_to_predict(model, config, dataset):
    trained = unpack_trained(pack_trained(model, config, dataset))
    assert not trained.model.training
    assert torch.equal(predict(trained.model, dataset.test), predict(model, dataset.test))
    assert (trained.config, trained.shapes) == (config, shapes_of(dataset))
    assert trained.channels == dataset.series.channels
    assert trained.targets == dataset.series.targets == ("level", "x00")
    for found, given in (
        (trained.input_scaler, dataset.input_scaler),
        (trained.target_scaler, dataset.target_scaler),
    ):
        assert found.to_dict() == given.to_dict()


def test_equal_models_are_equal_files(model, config, dataset):
    assert len({pack_trained(model, config, dataset) for _ in range(4)}) == 1


def test_the_password_of_the_data_is_not_in_it(model, config, dataset):
    url = "postgresql://reader:s3cret@db.example/wind"
    source = DataConfig(url=url, query="SELECT 1", context_length=12, prediction_length=2)
    data = pack_trained(model, config.model_copy(update={"data": source}), dataset)
    assert b"s3cret" not in data
    assert unpack_trained(data).config.data.url == "postgresql://reader:***@db.example/wind"


def test_a_file_of_another_kind_is_told(model, config, dataset):
    with pytest.raises(StoreError, match="does not hold one"):
        unpack_trained(pack({"a": torch.ones(1)}, {"progress": {}}))
    tensors, facts = unpack(pack_trained(model, config, dataset))
    tensors.popitem()
    with pytest.raises(StoreError, match="does not hold one"):
        unpack_trained(pack(tensors, facts))
    with pytest.raises(StoreError, match="damaged"):
        unpack_trained(b"nothing")
