"""Train trials of a study again on other seeds, whole, and print what each reaches.

    python studies/founding-case/replicate.py --study founding-case --trials 0 1 2 --seeds 1 2 3 4 5

One thread, one run after the other; what is in the store is not trained again. Several processes
can share the work by seeds. The runs are stored as controls of their trials.
"""

from __future__ import annotations

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from tsdiag.compare.scoring import score_windows
from tsdiag.config import RunConfig, as_written_now
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.diagnostics.probes.loss import STEP_LOSS, VALIDATION_LOSS
from tsdiag.runs.execute import Execution, Request
from tsdiag.search.storage import artifact_store
from tsdiag.store.chosen import chosen_run
from tsdiag.store.curves import load_trace
from tsdiag.store.database import Store, open_store
from tsdiag.store.runs import WHOLE, RunRow, find_runs, update_run
from tsdiag.training.evaluation import predict
from tsdiag.training.loop import never


def main() -> None:
    """Replicate, and print one line a run: comma-separated, with a header."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--study", required=True)
    asked.add_argument("--storage", default="sqlite:///tsdiag.db")
    asked.add_argument("--trials", type=int, nargs="+", required=True)
    asked.add_argument("--seeds", type=int, nargs="+", required=True)
    given = asked.parse_args()
    torch.set_num_threads(1)
    store = open_store(given.storage)
    print("study,trial,rate,seed,windows,validation_loss,sign,cpu_seconds,losses by step")
    for seed in given.seeds:
        for trial in given.trials:
            row = chosen_run(store, given.study, trial)
            print(line(store, replicate(store, row, seed)), flush=True)


def replicate(store: Store, row: RunRow, seed: int) -> RunRow:
    """Return the run of a trial's configuration on another seed, trained now or before."""
    config = RunConfig.from_json(row.config).edit("seed", seed)
    for known in find_runs(store, row.study, role="control", trial=row.trial):
        if known.state in WHOLE and as_written_now(known.config) == config.to_json():
            return known
    dataset = load_dataset(config.data)
    request = Request(row.study, "control", config, trial=row.trial, label="as it was, whole")
    device = torch.device("cpu")
    artifacts = artifact_store(store)
    execution = Execution(
        request, dataset, store, artifacts, device, probes=(STEP_LOSS, VALIDATION_LOSS)
    )
    done = execution.carry_out(never)
    metrics = {**done.row.metrics, "validation": scores(dataset, done.config, done.model)}
    update_run(store, done.row.id, metrics=metrics)
    return next(r for r in find_runs(store, row.study, role="control") if r.id == done.row.id)


def scores(dataset: Dataset, config: RunConfig, model: torch.nn.Module) -> dict[str, object]:
    """Score the best weights on all validation windows: the test span is not for this."""
    windows = dataset.validation
    found = predict(model, windows, precision=config.training.precision)
    return score_windows(windows, found).model_dump(mode="json")


def line(store: Store, row: RunRow) -> str:
    """Return a run as a line of the table."""
    config = RunConfig.from_json(row.config)
    losses = load_trace(store, row.id).signal("validation_loss")
    assert losses is not None
    curve = " ".join(
        f"{int(step)}:{value:.3f}" for step, value in zip(losses.steps, losses.values, strict=True)
    )
    windows = config.training.max_steps * config.training.batch_size
    sign = row.metrics["validation"]["directional_accuracy"]
    return (
        f"{row.study},{row.trial},{config.optimizer.lr:g},{config.seed},{windows},"
        f"{row.validation_loss:.4f},{sign:.4f},{row.cpu_seconds:.0f},{curve}"
    )


if __name__ == "__main__":
    main()
