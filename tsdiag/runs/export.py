"""A folder that holds one trained model: weights for programs, configuration for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tsdiag.data.scaling import Scaler
from tsdiag.errors import StoreError, UsageError
from tsdiag.escaping import escaped, plain
from tsdiag.runs.weights import Trained, unpack_trained
from tsdiag.store.runs import RunRow

WEIGHTS, CONFIG, README = "model.safetensors", "config.json", "README.md"

_README = """\
# Trial {trial} of the study {study}

A {kind} that predicts {targets} ({transform}), {ahead} rows ahead, from the last {context} rows of
{channels} columns. Its validation loss is {loss} (variances of the target).

`{weights}` is all that is read: weights, configuration and scalers. `{config}` holds the same
configuration and scalers for people. On the command line:

    tsdiag predict THIS_FOLDER NEW_ROWS.csv --out predictions.csv

In Python, from this folder:

```python
from pathlib import Path

import pandas

from tsdiag.data.reading import Table
from tsdiag.runs.export import read_export
from tsdiag.runs.prediction import predict_rows, read_rows

trained = read_export(Path("."))  # trained.model is a torch.nn.Module
rows = read_rows(trained, Table(pandas.read_csv("NEW_ROWS.csv"), "NEW_ROWS.csv"))
predictions = pandas.concat(predict_rows(trained, rows), ignore_index=True)
```
"""


def write_export(folder: Path, row: RunRow, weights: bytes) -> None:
    """Write the three files of a run's model into a folder, made if need be.

    Raises:
        StoreError: the weights are damaged, or the folder cannot be written.
    """
    trained = unpack_trained(weights)
    facts = json.dumps(_facts(row, trained), indent=2, ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(facts + "\n", encoding="utf-8")
        (folder / README).write_text(_readme(row, trained), encoding="utf-8")
        # Last: a folder that was cut short is not taken for a model.
        (folder / WEIGHTS).write_bytes(weights)
    except OSError as error:
        raise StoreError(
            f"write the model to {folder}: {error.strerror or error}; make room there, correct its "
            "rights, or name another folder"
        ) from error


def read_export(folder: Path) -> Trained:
    """Return the model of a folder that ``tsdiag export`` wrote.

    Raises:
        UsageError: there is none.
        StoreError: it is damaged.
    """
    file = folder / WEIGHTS
    try:
        return unpack_trained(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"predict with the model in {folder}: found no {WEIGHTS} there; write it with: "
            f"tsdiag export TRIAL {folder}"
        ) from error
    except OSError as error:
        raise StoreError(f"read {file}: {error.strerror}; correct its rights") from error


def _facts(row: RunRow, trained: Trained) -> dict[str, Any]:
    return {
        "study": row.study,
        "trial": row.trial,
        "run": row.id,
        "state": row.state,
        "step": row.step,
        "validation_loss": row.validation_loss,
        "parameters": row.parameters,
        "channels": trained.channels,
        "targets": trained.targets,
        "input_scaler": _by_name(trained.channels, trained.input_scaler),
        "target_scaler": _by_name(trained.targets, trained.target_scaler),
        "config": json.loads(trained.config.to_json()),
        "environment": row.environment,
    }


def _by_name(names: tuple[str, ...], scaler: Scaler) -> dict[str, dict[str, float]]:
    return {
        name: {"mean": float(mean), "std": float(std)}
        for name, mean, std in zip(names, scaler.mean, scaler.std, strict=True)
    }


def _readme(row: RunRow, trained: Trained) -> str:
    data = trained.config.data
    return _README.format(
        trial=row.trial,
        study=_safe(row.study),
        kind=trained.config.model.kind,
        targets=", ".join(map(_safe, trained.targets)),
        transform=f"transform {data.transform}",
        ahead=data.prediction_length
        if data.prediction_length == 1
        else f"1 to {data.prediction_length}",
        context=data.context_length,
        channels=len(trained.channels),
        loss=f"{row.validation_loss:.4g}" if row.validation_loss is not None else "not known",
        weights=WEIGHTS,
        config=CONFIG,
    )


def _safe(name: str) -> str:
    return escaped(plain(name))
