"""Series with a fault in the data themselves, by the name of the file that they are written to.

They are made from a seed each time and written to a temporary folder, so none is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from tsdiag.config import GeneratorConfig
from tsdiag.data.generator import generate

ROWS = 6000
CHANNELS = [f"x{number:02d}" for number in range(10)]
# Of the columns that tell nothing of the next change, and of the others.
LARGE, SMALL = 1e3, 1e-1


def learnable(kind: str = "macd") -> pd.DataFrame:
    return generate(GeneratorConfig(kind=kind, rows=ROWS, channels=10))


def noise(seed: int) -> tuple[pd.DataFrame, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(rng.standard_normal((ROWS, 8)), columns=list("abcdefgh")), rng


def mixed_units() -> pd.DataFrame:
    """Pressures in pascals beside shares: the large columns tell nothing of the next change."""
    frame = learnable()
    units = {name: LARGE if name in ("x08", "x09") else SMALL for name in CHANNELS}
    return frame.assign(**{name: frame[name] * unit for name, unit in units.items()})


def far_from_zero() -> pd.DataFrame:
    frame = learnable()
    return frame.assign(**{name: frame[name] + 300 for name in CHANNELS})


def large_target() -> pd.DataFrame:
    frame = learnable()
    return frame.assign(level=1e4 * frame["level"])


def small_target() -> pd.DataFrame:
    frame = learnable()
    return frame.assign(level=1e-4 * frame["level"])


def drifting_level() -> pd.DataFrame:
    frame = learnable()
    return frame.assign(level=frame["level"] + 0.1 * np.arange(ROWS))


def independent() -> pd.DataFrame:
    frame, rng = noise(1)
    return frame.assign(level=rng.standard_normal(ROWS))


def random_walk() -> pd.DataFrame:
    frame, rng = noise(2)
    return frame.assign(level=100 + rng.standard_normal(ROWS).cumsum())


def knows_the_next_level() -> pd.DataFrame:
    frame = learnable()
    return frame.assign(x09=frame["level"].shift(-1)).iloc[:-1]


def interpolated() -> pd.DataFrame:
    frame = learnable()
    return frame.assign(level=frame["level"].where(np.arange(ROWS) % 4 == 0).interpolate())


def misaligned(rows: int = 2) -> pd.DataFrame:
    """A row's columns tell a change that is over by two rows; aligned, they would tell the next.

    A little is left to learn: a change repeats a part of the one before.
    """
    frame, rng = noise(3)
    news = (frame["a"] + frame["b"] - frame["c"]).shift(1 - rows)
    moves = np.nan_to_num(news) + 0.5 * rng.standard_normal(ROWS)
    for row in range(1, ROWS):
        moves[row] += 0.4 * moves[row - 1]
    return frame.assign(level=moves.cumsum()).iloc[:-3]


def rarely_moving() -> pd.DataFrame:
    frame = learnable("lag")
    moves = frame["level"].diff().fillna(0.0)
    return frame.assign(level=moves.where(moves.abs() > 2.0, 0.0).cumsum())


def with_sentinels() -> pd.DataFrame:
    frame, rng = learnable(), np.random.default_rng(4)
    channels = [name for name in frame if name != "level"]
    gone = rng.random((ROWS, len(channels))) < 0.02
    return frame.assign(**frame[channels].mask(gone, -9999.0))


FILES: dict[str, Callable[[], pd.DataFrame]] = {
    "mixed-units.csv": mixed_units,
    "far-from-zero.csv": far_from_zero,
    "large-target.csv": large_target,
    "small-target.csv": small_target,
    "drifting-level.csv": drifting_level,
    "independent.csv": independent,
    "random-walk.csv": random_walk,
    "knows-the-next-level.csv": knows_the_next_level,
    "interpolated.csv": interpolated,
    "misaligned.csv": misaligned,
    "rarely-moving.csv": rarely_moving,
    "with-sentinels.csv": with_sentinels,
}


def plant_files(folder: Path, name: str) -> None:
    """Write the file of that name to a folder."""
    FILES[name]().to_csv(folder / name, index=False)
