"""Whom a pruner spares: a trial whose attention is still waking, and a few drawn as controls.

Validation loss finds the hopeless, attention entropy protects the late: it falls before the loss
does. What a pruner gets wrong shows only in trials that run on although it would have stopped them.

Thresholds are from tests/traces (one series, macd), then replayed with them fixed over 48 random
transformers each on two others, one seed. Of those that a median pruner would stop after a grace of
three evaluations, 59 % (latch) and 48 % (lag) of the waking ended in the better half, and 31 % and
37 % of the others; sparing them, 0 and 11 % of the best tenth were stopped instead of 11 and 24 %,
for 9 points more of all steps. "warmup-aware" stopped none of them anyway: it cost 2 to 4 points.
No script of that replay is kept; what sparing is worth in a study, its own controls measure.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# A fall is what is new within an eighth of all steps, whatever the grid: the spacing of the traces.
SPAN = 0.125
# A uniform pattern departs from 1 by nothing, so it moves by nothing until it wakes; hence noise is
# a share of that departure: its median rise in the healthy traces. Where attention cannot learn
# (frozen, rate 1e-6, zero weights) it falls by less than 0.4 % of that.
NOISE = 0.02
ROUNDING = 1e-4
# Below this share patterns are all but one-hot: a fall to there is a collapse, no awakening.
COLLAPSED = 0.1
# Share of all steps, so that no slow drift spares for ever. Without this end the replays took 3 to
# 7 points more of all steps and saved hardly more of the best.
LATEST = 0.5
# Share of the trials that a pruner would stop.
CONTROLS = 0.05
# Its own stream of random numbers, apart from the sampler's.
_STREAM = 5


def waking(entropy: Mapping[int, float], step: int, max_steps: int) -> bool:
    """Return whether attention entropy at a step is falling by more than its own noise.

    ``entropy`` is the mean over all heads [share], by step. It falls where it is lower, by more
    than noise, than all that was measured an eighth of all steps ago or earlier. The first eighth
    counts only as long as nothing follows it: patterns of untrained weights are not uniform yet,
    and often become so before they wake.
    """
    now = entropy.get(step, np.nan)
    if step > LATEST * max_steps or not now >= COLLAPSED:
        return False
    span = SPAN * max_steps
    past = {at: value for at, value in entropy.items() if at <= max(step - span, min(entropy))}
    lowest = min([value for at, value in past.items() if at >= span] or past.values())
    return now < lowest - ROUNDING - NOISE * (1 - lowest)


def is_control(seed: int, origin: int, share: float = CONTROLS) -> bool:
    """Return whether a trial, by the number that it was first asked under, is never to be pruned.

    The same study seed and number give the same answer in every worker and after every resume.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(_STREAM, origin))
    return bool(np.random.default_rng(sequence).random() < share)
