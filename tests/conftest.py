"""Set-up of every test: one thread, no personal settings, reproducible examples, small models."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

# Before anything loads torch: two test processes share two cores.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# The axes of tensors are checked in tests only: it costs time. beartype refuses `Self` in a
# function that is decorated alone, as the hook does it.
ROOT = Path(__file__).parents[1]
CHECKED = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for folder in ("models", "diagnostics/probes")
    for file in (ROOT / "tsdiag" / folder).glob("[!_]*.py")
    if "Self" not in file.read_text()
]
install_import_hook(sorted(CHECKED), "beartype.beartype")

# Never by timed tests: an example that is slow on a busy machine is no failure.
settings.register_profile("tsdiag", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tsdiag")


@pytest.fixture(autouse=True)
def _no_personal_settings(monkeypatch):
    for name in ("TSDIAG_STORAGE", "TSDIAG_ARTIFACTS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def s3():
    """Return the address of a server that speaks S3."""
    from tests.buckets import bucket_server

    with bucket_server() as address:
        yield address


@pytest.fixture
def bucket(s3, monkeypatch):
    """Return the URL of a new bucket, which the environment lets into."""
    import boto3

    from tests.buckets import ENVIRONMENT

    for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL_S3": s3}).items():
        monkeypatch.setenv(name, value)
    name = f"tsdiag-{uuid.uuid4().hex[:12]}"
    client = boto3.Session().client("s3")
    client.create_bucket(Bucket=name)
    client.close()
    return f"s3://{name}"


@pytest.fixture
def until():
    """Wait until something holds."""

    def wait(holds, seconds=60, message="waited in vain"):
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, message
            time.sleep(0.05)

    return wait


# After the hook, which checks only what is imported later.
from tsdiag.config import DataConfig, GeneratorConfig, ModelConfig, RunConfig, TrainingConfig  # noqa: E402
from tsdiag.data.dataset import load_dataset  # noqa: E402
from tsdiag.models import Shapes, build, complete  # noqa: E402
from tsdiag.training.loop import Training  # noqa: E402

DATA = DataConfig(
    generate=GeneratorConfig(kind="lag", rows=300, channels=10),
    target=("level", "x00"),
    transform="difference",
    context_length=12,
    prediction_length=2,
)
TRAINING = TrainingConfig(batch_size=16, max_steps=12, evaluate_every=5, validation_windows=20)
TINY = {
    "d_model": 8,
    "n_layers": 1,
    "n_heads": 2,
    "head_dim": 4,
    "ff_dim": 8,
    "patch_length": 4,
    "dropout": 0.2,
}
SMALL = {"conv_channels": 8, "lstm_units": 4, "dense_units": 8, "batch_norm": True}


@pytest.fixture(scope="session")
def dataset():
    return load_dataset(DATA)


@pytest.fixture(scope="session")
def config():
    return complete(
        RunConfig(data=DATA, model=ModelConfig(kind="transformer", **TINY), training=TRAINING)
    )


@pytest.fixture(scope="session")
def lstm_config():
    return complete(
        RunConfig(data=DATA, model=ModelConfig(kind="lstm", **SMALL), training=TRAINING)
    )


@pytest.fixture(scope="session")
def new_model(dataset):
    """Of a configuration, the model as every run of it begins."""
    train = dataset.train
    shapes = Shapes(
        train.context_length, train.n_channels, train.prediction_length, train.n_targets
    )
    return lambda config: build(config, shapes, torch.Generator().manual_seed(config.seed))


@pytest.fixture
def begin(dataset, new_model):
    """Of a configuration, a training that has not begun; the global generator is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)

        def make(config, observers=(), model=None):
            model = new_model(config) if model is None else model
            return Training(model, dataset.train, dataset.validation, config, observers)

        yield make
