"""Windows: a view of one contiguous tensor of rows; batches are gathered, nothing is materialised.

A window is named by its end row, the last row that the model sees. Its inputs are the
``context_length`` rows up to and with it, its targets the ``prediction_length`` rows after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from tsdiag.data.targets import change, moves

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64
    from torch import Tensor

    from tsdiag.config import Transform

    Index = Int64[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of one span; ``inputs`` and ``levels`` are shared by all three spans."""

    inputs: Float32[Tensor, "row channel"]  # scaled
    levels: Float64[Tensor, "row target"]  # raw target plus offset; float64 keeps ties exact
    ends: Int64[Tensor, " window"]
    context_length: int
    prediction_length: int
    transform: Transform
    target_mean: Float64[Tensor, " target"]
    target_std: Float64[Tensor, " target"]

    def __len__(self) -> int:
        return int(self.ends.numel())

    @property
    def n_channels(self) -> int:
        """Number of input columns."""
        return int(self.inputs.shape[1])

    @property
    def n_targets(self) -> int:
        """Number of target columns."""
        return int(self.levels.shape[1])

    def batch(
        self, index: Index
    ) -> tuple[Float32[Tensor, "batch time channel"], Float32[Tensor, "batch horizon target"]]:
        """Gather inputs and scaled targets of the windows at these positions."""
        return self.inputs_at(index), self.targets_at(index)

    def inputs_at(self, index: Index) -> Float32[Tensor, "batch time channel"]:
        """Gather the scaled inputs of the windows at these positions."""
        ends = self.ends.index_select(0, index)
        rows = (ends[:, None] + self._context).flatten()
        shape = (len(index), self.context_length, self.n_channels)
        return self.inputs.index_select(0, rows).view(shape)

    def targets_at(self, index: Index) -> Float32[Tensor, "batch horizon target"]:
        """Return the scaled targets of the windows at these positions."""
        target = change(self.future(index), self.last_values(index), self.transform)
        # In float64 up to here: a small change of a large level would drown in float32.
        return ((target - self.target_mean) / self.target_std).float()

    def last_values(self, index: Index) -> Float64[Tensor, "batch 1 target"]:
        """Return the target levels at the end rows, with an axis to broadcast over the horizon."""
        return self.levels.index_select(0, self.ends.index_select(0, index))[:, None]

    def future(self, index: Index) -> Float64[Tensor, "batch horizon target"]:
        """Return the target levels after the end rows."""
        rows = self.ends.index_select(0, index)[:, None] + self._horizon
        return self.levels.index_select(0, rows.flatten()).view(*rows.shape, self.n_targets)

    def moves(self, index: Index) -> Float64[Tensor, "batch horizon target"]:
        """Return the true directions (-1, 0, 1) of these windows; 0 is an exact tie."""
        future, last = self.future(index), self.last_values(index)
        return moves(change(future, last, self.transform), last, self.transform)

    def restore(
        self, scaled: Float32[Tensor, "batch horizon target"]
    ) -> Float64[Tensor, "batch horizon target"]:
        """Bring scaled targets or predictions back to the unit of the transformed target."""
        return scaled.double() * self.target_std + self.target_mean

    @cached_property
    def targets(self) -> Float32[Tensor, "row horizon target"]:
        """Scaled targets of every possible end row, NaN where the horizon leaves the table.

        Needs rows x horizon x targets floats: meant for short horizons; loops take ``batch``.
        """
        rows = self.levels.shape[0]
        every = replace(self, ends=torch.arange(rows - self.prediction_length).to(self.ends))
        whole = self.inputs.new_full((rows, self.prediction_length, self.n_targets), torch.nan)
        whole[: len(every)] = every.targets_at(every.ends)
        return whole

    def every(self, most: int) -> Windows:
        """Return at most ``most`` of the windows, evenly spaced; 0 keeps all of them."""
        if most == 0 or most >= len(self):
            return self
        index = torch.linspace(0, len(self) - 1, most, dtype=torch.float64).round().long()
        return replace(self, ends=self.ends.index_select(0, index.to(self.ends.device)))

    def to(self, device: torch.device | str) -> Windows:
        """Return the same windows with their tensors on a device."""
        names = ("inputs", "levels", "ends", "target_mean", "target_std")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    @cached_property
    def _context(self) -> Int64[Tensor, " time"]:
        return torch.arange(1 - self.context_length, 1, device=self.ends.device)

    @cached_property
    def _horizon(self) -> Int64[Tensor, " horizon"]:
        return torch.arange(1, self.prediction_length + 1, device=self.ends.device)
