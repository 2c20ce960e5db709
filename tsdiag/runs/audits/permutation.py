"""Is there any signal? Ridge on the real targets against ridge on targets shuffled in blocks.

Of levels, what the best naive floor leaves is shuffled, so that what it knows of a random walk does
not count as signal; changes are shuffled as they are. Blocks keep neighbours together, because
targets that overlap, or that are slow, agree with slow inputs by chance.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tsdiag.diagnostics.audit import Permutation
from tsdiag.runs.audits.problem import Problem
from tsdiag.runs.audits.regression import Outputs
from tsdiag.runs.levels import overlap_of
from tsdiag.statistics import block_length

SHUFFLES = 19  # the fewest with which p can be .05
# Standard errors above the limit at which 4 of 5 data sets pass it: the 80 % quantile of a normal.
POWER = 0.84
MISSES_MOST = 0.5  # a test that overlooks so large a signal says nothing


def measure_permutation(problem: Problem, seed: int) -> Permutation | str:
    """Fit ridge once for all: the shuffled targets are only more columns beside the real ones.

    A signal shows less on other windows than there is of it, because its weights must be estimated:
    of a share d spread over all inputs, d - (1 - d) x inputs / windows is left. So much must pass
    the largest shuffled skill, and be surely above it, to be detected.
    """
    own, other = problem.targets
    length = block_of(own, overlap_of(problem.train))
    shuffled = list(shuffles(own, length, np.random.default_rng(seed)))
    outputs = (np.hstack([own, *shuffled]), np.tile(other, 1 + SHUFFLES))
    errors = problem.main.against(outputs).errors()
    skills = [problem.skill(part) for part in np.hsplit(errors, 1 + SHUFFLES)]
    skill, others = skills[0], skills[1:]
    seen = max(0.0, *others) + POWER * problem.error(errors[:, : own.shape[1]])
    windows = len(own) / overlap_of(problem.train)
    cost = problem.main.inputs.shape[1] / windows
    detectable = (seen + cost) / (1 + cost)
    p = (1 + sum(other >= skill for other in others)) / (1 + SHUFFLES)
    if p > 1 / (1 + SHUFFLES) and detectable > MISSES_MOST:
        return (
            f"{windows:.0f} separate train windows are too few for ridge on "
            f"{problem.main.inputs.shape[1]} inputs: a signal of {100 * detectable:.0f} % of the "
            "variance would be missed"
        )
    return Permutation(
        model=f"ridge on the last {problem.main.length} rows",
        against=problem.naive,
        skill=skill,
        shuffled=tuple(others),
        p=p,
        detectable=detectable,
        block_length=length,
    )


def block_of(values: Outputs, overlap: int) -> int:
    """Return the longest block [windows] that any of the outputs asks for."""
    return max(block_length(column, overlap) for column in values.T)


def shuffles(values: Outputs, length: int, rng: np.random.Generator) -> Iterator[Outputs]:
    """Yield the values with their blocks in another order; where blocks begin is drawn as well."""
    count = len(values)
    for _ in range(SHUFFLES):
        turned = np.roll(values, rng.integers(count), axis=0)
        blocks = np.array_split(np.arange(count), max(2, count // length))
        order = rng.permutation(len(blocks))
        yield turned[np.concatenate([blocks[place] for place in order])]
