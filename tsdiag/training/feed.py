"""The order in which training windows are seen: a function of seed and step, nothing else.

Two models with one seed see the same batches, which is what makes seeds paired replicates, and a
resumed run needs no state of a loader.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tsdiag.data.windows import Windows

# A stream of its own, so that no other use of the seed repeats the order's numbers.
_ORDER_STREAM = 1
# The most targets that are computed in advance: 64 MiB of them.
_TABLE = 1 << 24


class Feed:
    """Shuffled epochs laid end to end; a batch may span two of them, so no window is dropped."""

    def __init__(self, windows: Windows, batch_size: int, seed: int) -> None:
        self.windows = windows
        # Looked up instead of computed: for a small model, that takes 3 % of a step.
        numbers = len(windows.levels) * windows.prediction_length * windows.n_targets
        self._targets = windows.targets if numbers <= _TABLE else None
        self.batch_size = min(batch_size, len(windows))
        self._permutation = lru_cache(maxsize=2)(self._shuffled)
        self._seed = seed

    def indices(self, step: int) -> Tensor:
        """Return the window numbers of a 0-based step, shape (batch,)."""
        start = step * self.batch_size
        parts = []
        while len_missing := (step + 1) * self.batch_size - start:
            epoch, offset = divmod(start, len(self.windows))
            parts.append(self._permutation(epoch)[offset : offset + len_missing])
            start += len(parts[-1])
        return torch.cat(parts)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs "batch time channel" and targets "batch horizon target" of a step."""
        index = self.indices(step).to(self.windows.ends.device)
        if self._targets is None:
            return self.windows.batch(index)
        ends = self.windows.ends.index_select(0, index)
        return self.windows.inputs_at(index), self._targets.index_select(0, ends)

    def _shuffled(self, epoch: int) -> Tensor:
        generator = np.random.default_rng([_ORDER_STREAM, self._seed, epoch])
        return torch.from_numpy(generator.permutation(len(self.windows)))
