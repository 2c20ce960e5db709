"""Does the order of a window's rows matter? Ridge on rows against ridge on their means."""

from __future__ import annotations

import numpy as np

from tsdiag.diagnostics.audit import Order
from tsdiag.runs.audits.problem import Problem
from tsdiag.runs.audits.regression import regress


def measure_order(problem: Problem) -> Order | str:
    """Compare the skill of both.

    With rows in random order every place of a window is alike, so the best weights are those of a
    mean over the window: ridge on shuffled rows tends to ridge on means, which costs less.
    """
    context = problem.dataset.config.context_length
    if context < 2:
        return "a window of one row has no order"
    rows = problem.main.rows
    means = np.full_like(rows, np.nan)
    # Windows hold no missing cell, so what a gap makes of other rows is never read.
    sums = np.cumsum(np.vstack([np.zeros(rows.shape[1]), np.nan_to_num(rows)]), axis=0)
    means[context - 1 :] = (sums[context:] - sums[:-context]) / context
    blind = regress(means, 1, problem.ends, problem.targets)
    return Order(
        skill=problem.skill(problem.main.errors()),
        shuffled_skill=problem.skill(blind.errors()),
    )
