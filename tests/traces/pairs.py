"""Two faults planted at once: both hurt by themselves, and neither's remedy is enough for both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from plants import EIGHT_ROWS, GATHER, LONGER, PATCH, Plant

Edits = dict[str, Any]
SLOW: Edits = {"optimizer.lr": 1e-6}
FAST: Edits = {"optimizer.lr": 0.3}
NARROW: Edits = {"model.d_model": 4}
DECAYED: Edits = {"optimizer.weight_decay": 100.0}
ZERO: Edits = {"model.init_scale": 0.0}
LARGE: Edits = {"model.init_scale": 12.0}
DROPPED: Edits = {"model.dropout": 0.9}
NOISY: Edits = {"training.batch_size": 1}
UNSCALED: Edits = {"data.scale_inputs": False}
UNSCALED_TARGET: Edits = {"data.scale_target": False}
FROZEN: Edits = {"optimizer.frozen": ["embedding", "blocks"]}
FEATURELESS: Edits = {"model.pooling": "mean_channels"}
EVEN: Edits = {"model.attention_scale": 1e-5}
CLIPPED: Edits = {"optimizer.clip_norm": 1e-3}

LAST = {**PATCH, "model.patch_length": 12, "model.pooling": "last"}
SGD = {**PATCH, "optimizer.name": "sgd", "optimizer.lr": 0.03}
UNITS = {"path": "mixed-units.csv"}
SCALE = {"path": "large-target.csv"}


@dataclass(frozen=True)
class Pair:
    """Two faults and the healthy configuration that they are planted in."""

    base: Edits
    first: Edits
    second: Edits
    data: Edits = field(default_factory=dict)
    training: Edits = field(default_factory=dict)

    @property
    def plant(self) -> Plant:
        """Both at once; what belongs to the data section says how the study reads its data."""
        both = self.first | self.second
        data = {path.removeprefix("data."): both[path] for path in both if path.startswith("data.")}
        fault = {path: value for path, value in both.items() if not path.startswith("data.")}
        return Plant(self.base, fault, self.data | data, self.training)


PAIRS = {
    "slow-narrow": Pair(PATCH, SLOW, NARROW),
    "slow-zero": Pair(PATCH, SLOW, ZERO),
    "slow-dropped": Pair(PATCH, SLOW, DROPPED),
    "slow-unscaled": Pair(PATCH, SLOW, UNSCALED, data=UNITS),
    "slow-noisy": Pair(PATCH, SLOW, NOISY),
    "slow-featureless": Pair(PATCH, SLOW, FEATURELESS),
    "slow-frozen": Pair(LAST, SLOW, FROZEN),
    "slow-even": Pair(GATHER, SLOW, EVEN, data=EIGHT_ROWS, training=LONGER),
    "slow-large": Pair(PATCH, SLOW, LARGE),
    "fast-narrow": Pair(PATCH, FAST, NARROW),
    "fast-unscaled": Pair(PATCH, FAST, UNSCALED, data=UNITS),
    "narrow-decayed": Pair(PATCH, NARROW, DECAYED),
    "narrow-zero": Pair(PATCH, NARROW, ZERO),
    "narrow-unscaled": Pair(PATCH, NARROW, UNSCALED, data=UNITS),
    "narrow-unscaled-target": Pair(PATCH, NARROW, UNSCALED_TARGET, data=SCALE),
    "narrow-dropped": Pair(PATCH, NARROW, DROPPED),
    "zero-unscaled": Pair(PATCH, ZERO, UNSCALED, data=UNITS),
    "zero-noisy": Pair(PATCH, ZERO, NOISY),
    "decayed-frozen": Pair(LAST, DECAYED, FROZEN),
    "decayed-unscaled": Pair(PATCH, DECAYED, UNSCALED, data=UNITS),
    "dropped-unscaled": Pair(PATCH, DROPPED, UNSCALED, data=UNITS),
    "frozen-unscaled": Pair(LAST, FROZEN, UNSCALED, data=UNITS),
    "clipped-featureless": Pair(SGD, CLIPPED, FEATURELESS),
    "clipped-unscaled": Pair(SGD, CLIPPED, UNSCALED, data=UNITS),
}
