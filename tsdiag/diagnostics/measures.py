"""Numbers taken from curves: first, last, middle, slope. All finite, or None where there are none.

Steps as in ``signals``: of an update that begins there, or of a state reached there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tsdiag.diagnostics.signals import Signal

Values = NDArray[np.float64]


def values(signal: Signal | None, start: float = 0, stop: float = np.inf) -> Values:
    """Return the finite values of a curve from step ``start`` up to and with ``stop``."""
    if signal is None:
        return np.empty(0)
    found = signal.values.astype(np.float64)
    kept = (signal.steps >= start) & (signal.steps <= stop) & np.isfinite(found)
    return np.asarray(found[kept])


def first(signal: Signal | None) -> float | None:
    """Return the first value."""
    found = values(signal)
    return float(found[0]) if len(found) else None


def last(signal: Signal | None) -> float | None:
    """Return the last value."""
    found = values(signal)
    return float(found[-1]) if len(found) else None


def middle(signal: Signal | None, start: float = 0, stop: float = np.inf) -> float | None:
    """Return the median from ``start`` on."""
    found = values(signal, start, stop)
    return float(np.median(found)) if len(found) else None


def greatest(signal: Signal | None, start: float = 0) -> float | None:
    """Return the largest value from ``start`` on."""
    found = values(signal, start)
    return float(found.max()) if len(found) else None


def least(signal: Signal | None, start: float = 0) -> float | None:
    """Return the smallest value from ``start`` on."""
    found = values(signal, start)
    return float(found.min()) if len(found) else None


def average(signal: Signal | None, start: float = 0) -> float | None:
    """Return the mean from ``start`` on."""
    found = values(signal, start)
    return float(found.mean()) if len(found) else None


def known(numbers: Iterable[float | None]) -> list[float]:
    """Return the numbers that there are."""
    return [number for number in numbers if number is not None]


def slope(signal: Signal | None, start: float = 0) -> float | None:
    """Return the change per step from ``start`` on, by least squares."""
    if signal is None:
        return None
    kept = (signal.steps >= start) & np.isfinite(signal.values)
    steps, found = signal.steps[kept].astype(np.float64), signal.values[kept].astype(np.float64)
    if len(steps) < 2 or steps[0] == steps[-1]:
        return None
    centred = steps - steps.mean()
    return float(centred @ found / (centred @ centred))


def extreme(signals: Sequence[Signal], of: Sequence[float | None], largest: bool) -> Signal | None:
    """Return the curve whose number is the largest, or the smallest."""
    pairs = zip(of, signals, strict=True)
    known_pairs = [(number, signal) for number, signal in pairs if number is not None]
    if not known_pairs:
        return None
    return (max if largest else min)(known_pairs, key=lambda pair: pair[0])[1]
