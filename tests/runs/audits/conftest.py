"""Small series written to files, and the audit of one that can be learned."""

from __future__ import annotations

import pytest

from tsdiag.config import DataConfig, GeneratorConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.data.generator import generate
from tsdiag.runs.audit import audit

ROWS = 2000


@pytest.fixture
def read(tmp_path):
    """Write a frame to a file and load it as a configuration says."""

    def load(frame, **settings):
        frame.to_csv(tmp_path / "rows.csv", index=False)
        given = {"target": "level", "transform": "difference", "context_length": 16}
        return load_dataset(DataConfig(path="rows.csv", **{**given, **settings}), tmp_path)

    return load


@pytest.fixture(scope="module")
def lagged():
    return generate(GeneratorConfig(kind="lag", rows=ROWS, channels=10))


@pytest.fixture(scope="module")
def measured(lagged, tmp_path_factory):
    """The data of a series that can be learned, and their audit."""
    folder = tmp_path_factory.mktemp("series")
    lagged.to_csv(folder / "rows.csv", index=False)
    config = DataConfig(path="rows.csv", target="level", transform="difference", context_length=16)
    data = load_dataset(config, folder)
    return data, audit(data, None, 500)
