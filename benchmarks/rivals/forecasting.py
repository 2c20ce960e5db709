"""neuralforecast's models in its own training pipeline, timed from step to step."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as lightning
from neuralforecast.models import MLP, VanillaTransformer
from neuralforecast.tsdataset import TimeSeriesDataset

from tsdiag.data.windows import Windows

WARM_UP = 3  # steps of every fit that are not timed: it builds its loader and its trainer anew

# Both log a banner and advice at every fit.
for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
    logging.getLogger(name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|neuralforecast")


class Stamps(lightning.Callback):
    """Notes the CPU time after every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        self.times.append(time.process_time())


def spend_of_fit(
    kind: type[MLP] | type[VanillaTransformer],
    windows: Windows,
    batch_size: int,
    steps: int,
    **settings: Any,
) -> Callable[[], float]:
    """Return what fits a model for so many steps and says what one cost [CPU s].

    Its progress bar, logger and checkpoints are off, which is to its advantage.
    """
    stamps = Stamps()
    model = kind(
        h=windows.prediction_length,
        input_size=windows.context_length,
        max_steps=steps + WARM_UP,
        windows_batch_size=batch_size,
        callbacks=[stamps],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        accelerator="cpu",
        **settings,
    )
    dataset, *_ = TimeSeriesDataset.from_df(_frame(windows))

    def spend() -> float:
        stamps.times.clear()
        model.fit(dataset)
        return (stamps.times[-1] - stamps.times[WARM_UP - 1]) / steps

    return spend


def _frame(windows: Windows) -> pd.DataFrame:
    values = windows.levels[:, 0].numpy().astype(np.float32)
    return pd.DataFrame({"unique_id": "series", "ds": np.arange(len(values)), "y": values})
