"""From the pooled vector of a window to its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from tsdiag.models.architecture import Shapes
from tsdiag.models.blocks import ACTIVATIONS
from tsdiag.models.dropout import Dropout


class Head(nn.Module):
    """Hidden layers, each with an activation and dropout, then the linear projection."""

    def __init__(
        self, width: int, units: Sequence[int], activation: str, dropout: float, shapes: Shapes
    ) -> None:
        super().__init__()
        self.shape = (shapes.prediction_length, shapes.targets)
        hidden: list[nn.Module] = []
        for before, after in pairwise((width, *units)):
            hidden += [nn.Linear(before, after), ACTIVATIONS[activation](), Dropout(dropout)]
        self.hidden = nn.Sequential(*hidden)
        self.projection = nn.Linear(units[-1] if units else width, shapes.outputs)

    def forward(
        self, pooled: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch horizon target"]:
        """Return predictions [standard deviations of the target]."""
        predicted: Tensor = self.projection(self.hidden(pooled))
        return predicted.view(-1, *self.shape)
