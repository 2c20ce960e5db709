"""Rows of independent numbers, to build series from."""

import numpy as np
import pandas as pd

ROWS = 2000


def noise(seed, columns=3, rows=ROWS):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.standard_normal((rows, columns)), columns=list("abc")[:columns])
    return frame, rng


def independent(seed):
    frame, rng = noise(seed)
    return frame.assign(level=rng.standard_normal(len(frame)))
