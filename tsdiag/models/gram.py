"""Sums over overlapping windows, without ever holding the windows.

Two windows whose ends are one row apart share all rows but two. So the products of rows i and
j of all windows of a run of ends (G[i, j], a channels x channels block) differ from those of
rows i + 1 and j + 1 by what leaves at the run's beginning and what enters at its end:

    G[i+1, j+1] = G[i, j] - x[start+i] x[start+j]^T + x[stop+i] x[stop+j]^T

One matrix product per distance j - i gives the first block, running sums give all others. A
lone window is a run of one, so any set of ends works; runs only make it cheaper.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

Matrix = Float64[np.ndarray, "feature other"]
Border = Float64[np.ndarray, "step run channel"]
BLOCK = 512  # rows copied at a time when a triangle is mirrored
RUNS_AT_ONCE = 128  # bounds the memory for borders: 128 x 2 windows


@dataclass(frozen=True, eq=False)
class Moments:
    """Centred sums over samples; ``gram`` is whole, and solving works inside of it."""

    count: int
    gram: Matrix
    cross: Float64[np.ndarray, "feature output"]
    input_mean: Float64[np.ndarray, " feature"]
    target_mean: Float64[np.ndarray, " output"]


def window_moments(
    rows: Float64[np.ndarray, "row channel"],
    ends: Int64[np.ndarray, " window"],
    length: int,
    targets: Float64[np.ndarray, "window output"],
) -> Moments:
    """Return the moments of flattened windows, oldest row first, with their targets."""
    channels = rows.shape[1]
    starts = np.sort(ends) - length + 1
    order = np.argsort(ends, kind="stable")
    gram = np.zeros((length * channels, length * channels))
    blocks = gram.reshape(length, channels, length, channels)
    oldest = rows[starts]
    cross, sums = [], []
    for distance in range(length):
        shifted = rows[starts + distance]
        places = np.arange(length - distance)
        blocks[places, :, places + distance, :] = oldest.T @ shifted
        cross.append(shifted.T @ targets[order])
        sums.append(shifted.sum(axis=0))
    for borders in _borders(rows, starts, length):
        _add_borders(blocks, *borders)
    return centre(gram, np.concatenate(cross), np.concatenate(sums), targets)


def centre(
    gram: Matrix,
    cross: Float64[np.ndarray, "feature output"],
    sums: Float64[np.ndarray, " feature"],
    targets: Float64[np.ndarray, "sample output"],
) -> Moments:
    """Take the means out of raw sums; reads and writes the upper triangle of ``gram``."""
    count = len(targets)
    mean, target_mean = sums / count, targets.mean(axis=0)
    for low in range(0, len(gram), BLOCK):
        gram[low : low + BLOCK, low:] -= np.outer(sums[low : low + BLOCK], mean[low:])
    mirror_upper(gram)
    return Moments(count, gram, cross - np.outer(sums, target_mean), mean, target_mean)


def mirror_upper(matrix: Matrix) -> None:
    """Copy the upper triangle onto the lower one, in place; ``matrix.T`` does the reverse."""
    for low in range(0, len(matrix), BLOCK):
        high = min(low + BLOCK, len(matrix))
        corner = matrix[low:high, low:high]
        corner[...] = np.triu(corner) + np.triu(corner, 1).T
        matrix[high:, low:high] = matrix[low:high, high:].T


def _borders(
    rows: Float64[np.ndarray, "row channel"], starts: Int64[np.ndarray, " window"], length: int
) -> Iterator[tuple[Border, Border]]:
    """Yield the rows that leave and those that enter, of some runs at a time."""
    breaks = np.flatnonzero(np.diff(starts) != 1)
    first = starts[np.concatenate([[0], breaks + 1])]
    stop = starts[np.concatenate([breaks, [len(starts) - 1]])] + 1
    steps = np.arange(length - 1)[:, None]
    for low in range(0, len(first), RUNS_AT_ONCE):
        some = slice(low, low + RUNS_AT_ONCE)
        yield rows[first[some] + steps], rows[stop[some] + steps]


def _add_borders(
    blocks: Float64[np.ndarray, "length channel length channel"],
    leaving: Border,
    entering: Border,
) -> None:
    signed = np.concatenate([-leaving, entering], axis=1).transpose(0, 2, 1)
    plain = np.concatenate([leaving, entering], axis=1)
    for distance in range(len(plain)):
        known = len(plain) - distance
        changes = np.matmul(signed[:known], plain[distance:])
        places = np.arange(1, known + 1)
        blocks[places, :, places + distance, :] += np.cumsum(changes, axis=0, out=changes)
