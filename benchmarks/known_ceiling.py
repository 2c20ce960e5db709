"""How near do the LSTM and the best transformer come to the oracle, on the same test windows?

Runs the study known-ceiling (30 trials and the final runs, about twenty minutes on two cores; it
resumes) and prints directional accuracies beside the oracle's. ``--short`` trains each model of the
default configuration once instead, in a minute or two.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from tsdiag.compare.scoring import score_windows
from tsdiag.config import GeneratorConfig, RunConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.data.generator import full_ceiling, generate, oracle, solve_shares
from tsdiag.models import build
from tsdiag.report.wording import table
from tsdiag.runs.weights import shapes_of
from tsdiag.search.api import search
from tsdiag.search.space import baseline_config, default_config
from tsdiag.search.spec import StudySpec, find_spec
from tsdiag.training.evaluation import predict
from tsdiag.training.loop import Training

LONG_ROWS = 200_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--storage", default=f"sqlite:///{tempfile.gettempdir()}/known-ceiling.db")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spec = find_spec("known-ceiling")
    dataset = load_dataset(spec.data)
    ceiling = oracle_accuracy(dataset)
    shares = solve_shares(spec.data.generate or GeneratorConfig())
    rows = [
        ("formula", full_ceiling(1 - shares.noise)),
        (f"oracle, {LONG_ROWS:,} rows", long_oracle(spec)),
        (f"oracle, {len(dataset.test):,} test windows", ceiling),
        *(short(spec, dataset) if arguments.short else searched(arguments.storage)),
    ]
    cells = [
        [name, f"{100 * share:.2f} %", f"{100 * (share - ceiling):+.2f}"] for name, share in rows
    ]
    print(table(["", "directional accuracy", "points from the oracle"], cells, words=1))


def oracle_accuracy(dataset: Dataset) -> float:
    """Return the oracle's share of right directions on the test windows."""
    config = dataset.config.generate
    assert config is not None
    best = oracle(config, generate(config))[dataset.test.ends.numpy()]
    moved = dataset.test.moves(torch.arange(len(dataset.test))).numpy()[:, 0, 0]
    return float(np.mean(np.sign(best) == moved))


def long_oracle(spec: StudySpec) -> float:
    """Return the oracle's share on a long series of the same kind."""
    assert spec.data.generate is not None
    config = spec.data.generate.model_copy(update={"rows": LONG_ROWS})
    frame = generate(config)
    moves = np.diff(frame["level"].to_numpy())
    best = oracle(config, frame)[:-1]
    usable = np.isfinite(best)
    return float(np.mean(np.sign(best[usable]) == np.sign(moves[usable])))


def short(spec: StudySpec, dataset: Dataset) -> list[tuple[str, float]]:
    """Train the small LSTM and the default transformer once."""
    models = [
        ("LSTM, one seed", baseline_config(spec)),
        ("default transformer", default_config(spec)),
    ]
    return [(name, trained_accuracy(config, dataset)) for name, config in models]


def trained_accuracy(config: RunConfig, dataset: Dataset) -> float:
    """Return the share of right directions of one trained model."""
    generator = torch.Generator().manual_seed(config.seed)
    model = build(config, shapes_of(dataset), generator)
    ending = Training(model, dataset.train, dataset.validation, config).run()
    model.load_state_dict(ending.progress.best_weights)
    share = score_windows(dataset.test, predict(model, dataset.test)).directional_accuracy
    assert share is not None
    return share


def searched(storage: str) -> list[tuple[str, float]]:
    """Run or resume the study and return what its verdict says."""
    Path(storage.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    comparison = search("known-ceiling", storage).comparison
    assert comparison is not None
    return [
        (f"{side.label}, mean of {len(side.seeds)} seeds", side.mean.directional_accuracy or 0.0)
        for side in (comparison.baseline, comparison.candidate)
    ]


if __name__ == "__main__":
    main()
