"""What a model predicts: the transform of future values, its inverse, and the direction of a move.

Every function takes numpy arrays or torch tensors, so that training, metrics and prediction share
one definition. ``future`` and ``last`` are levels: raw target column plus offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from tsdiag.config import Transform

    Array = TypeVar("Array", NDArray[np.floating[Any]], Tensor)


def change(future: Array, last: Array, transform: Transform) -> Array:
    """Return the target: how the future levels stand to the last known one."""
    if transform == "none":
        return future
    if transform == "difference":
        return future - last
    if transform == "percent_change":
        # In this order a tie is an exact 0.
        percent: Array = 100 * ((future - last) / last)
        return percent
    return _apply("log", future / last)


def restore(prediction: Array, last: Array, transform: Transform) -> Array:
    """Turn a predicted target (unscaled) back into a level; the inverse of ``change``."""
    if transform == "none":
        return prediction
    if transform == "difference":
        return last + prediction
    if transform == "percent_change":
        return last * (1 + prediction / 100)
    return last * _apply("exp", prediction)


def moves(target: Array, last: Array, transform: Transform) -> Array:
    """Return the direction (-1, 0, 1) of an unscaled target, true or predicted.

    A change carries its direction in its sign; a level (transform none) in that of its distance
    to the last value. True directions of 0 are ties; take them from ``Windows.moves``, because a
    target that was scaled in float32 does not come back as an exact 0.
    """
    return _apply("sign", target - last if transform == "none" else target)


def still_level(transform: Transform, last: Array) -> Array:
    """Return the target that says "no change": the last value itself, or 0."""
    return last if transform == "none" else last * 0


def _apply(name: str, array: Array) -> Array:
    # torch has these as methods, numpy as functions; asking numpy first keeps torch unloaded.
    if isinstance(array, (np.ndarray, np.generic)):
        return getattr(np, name)(array)  # type: ignore[no-any-return]
    return getattr(array, name)()  # type: ignore[no-any-return]
