"""Ridge regressions on parts of one window: sums over train windows, errors on validation windows.

One matrix of products serves them all: a channel or a row less is a part of it, and another target
is another column.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64

from tsdiag.models.gram import Moments, window_moments
from tsdiag.models.ridge import PENALTIES, solve

Rows = Float64[np.ndarray, "row channel"]
Ends = Int64[np.ndarray, " window"]
Outputs = Float64[np.ndarray, "window output"]

# Wider than the floor's own: noise on thousands of inputs wants a stronger one, and where levels
# wander, small differences of neighbouring rows may be all that tells.
WIDE = (100.0, 10.0, *PENALTIES, 1e-5, 1e-7)


@dataclass(frozen=True, eq=False)
class Regression:
    """Windows of ``length`` rows against outputs; inputs are rows by channels, oldest row first."""

    rows: Rows
    ends: Ends  # of train windows
    length: int
    moments: Moments
    inputs: Float64[np.ndarray, "window feature"]  # of validation windows
    truth: Outputs  # of the same

    def against(self, outputs: tuple[Outputs, Outputs]) -> Regression:
        """Return the same inputs against other outputs, of train and of validation."""
        starts, mean = self.ends - self.length + 1, outputs[0].mean(axis=0)
        centred = outputs[0] - mean
        cross = [self.rows[starts + place].T @ centred for place in range(self.length)]
        moments = replace(self.moments, cross=np.concatenate(cross), target_mean=mean)
        return replace(self, moments=moments, truth=outputs[1])

    def errors(self, features: Int64[np.ndarray, " chosen"] | None = None) -> Outputs:
        """Return squared errors on the validation windows, each output at its best penalty.

        ``features`` keeps some of the inputs, by number.
        """
        chosen = np.arange(self.inputs.shape[1]) if features is None else features
        inputs = self.inputs if features is None else self.inputs[:, chosen]
        best = np.full(self.truth.shape, np.inf)
        for linear in solve(_part(self.moments, chosen), WIDE):
            found = np.square(inputs @ linear.weights + linear.intercept - self.truth)
            best = np.where(found.mean(axis=0) < best.mean(axis=0), found, best)
        return best

    def places(self, channels: list[int], rows: int) -> Int64[np.ndarray, " chosen"]:
        """Return the numbers of the inputs that are these channels' last ``rows`` rows."""
        width = self.inputs.shape[1] // self.length
        last = np.arange(max(0, self.length - rows), self.length)
        return np.asarray((last[:, None] * width + np.array(channels)).ravel())


def regress(
    rows: Rows, length: int, ends: tuple[Ends, Ends], outputs: tuple[Outputs, Outputs]
) -> Regression:
    """Add up the windows of train; ``ends`` and ``outputs`` are of train and of validation."""
    moments = window_moments(rows, ends[0], length, outputs[0])
    context = ends[1][:, None] + np.arange(1 - length, 1)
    inputs = rows[context].reshape(len(ends[1]), -1)
    return Regression(rows, ends[0], length, moments, inputs, outputs[1])


def _part(moments: Moments, chosen: Int64[np.ndarray, " chosen"]) -> Moments:
    """Return a copy of some inputs' sums, because solving works inside of it."""
    return Moments(
        moments.count,
        moments.gram[np.ix_(chosen, chosen)],
        moments.cross[chosen],
        moments.input_mean[chosen],
        moments.target_mean,
    )
