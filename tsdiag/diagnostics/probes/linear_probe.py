"""A linear probe: how much of the target a ridge on some activations explains on other windows.

Activations are often wider than there are windows; then the dual form is solved, with one row and
column a window: a = (X X^T + l I)^-1 y, prediction x X^T a (Saunders et al. 1998).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from tsdiag.diagnostics.probes.sample import variance

# Shares of the mean of what they are added to, strongest first. On the generated series the second
# to the fourth are chosen.
PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
CHOOSING = 0.2  # of the fitted windows, the latest: they choose the penalty
LEAST_SPREAD = 1e-6  # of the activations' size; less than this is rounding


@dataclass(frozen=True, eq=False)
class _Problem:
    """(matrix + penalty I) solution = right; left times the solution are the predictions."""

    matrix: Float64[Tensor, "row row"]
    right: Float64[Tensor, "row output"]
    left: Float64[Tensor, "scored row"]


def linear_skill(
    fitted: tuple[Float[Tensor, "window feature"], Float[Tensor, "window output"]],
    scored: tuple[Float[Tensor, "scored feature"], Float[Tensor, "scored output"]],
) -> float:
    """Return 1 - mse / variance of the target on the scored windows.

    The scored windows choose nothing. Windows that are to be fitted come in order of time.
    """
    inputs, others = _centred(fitted[0], scored[0])
    targets, truth = fitted[1].double(), scored[1].double()
    mean = targets.mean(dim=0)
    targets = targets - mean
    kept = max(1, round(len(inputs) * (1 - CHOOSING)))
    choosing, final = _problems(inputs, targets, others, kept)
    penalty = _choose(choosing, targets[kept:])
    found = next(_solutions(final, (penalty,)), torch.zeros_like(truth))
    error = (found + mean - truth).square().mean()
    return 1 - float(error) / variance(truth)


def _centred(
    fitted: Float[Tensor, "window feature"], scored: Float[Tensor, "scored feature"]
) -> tuple[Float32[Tensor, "window feature"], Float32[Tensor, "scored feature"]]:
    """Take out the fitted mean and bring the spread to 1; a rounding error's worth becomes 0."""
    mean = fitted.mean(dim=0)
    inputs, others = fitted - mean, scored - mean
    size, spread = _rms(fitted), _rms(inputs)
    share = 1 / spread if spread > LEAST_SPREAD * size else 0.0
    return inputs * share, others * share


def _problems(
    inputs: Float32[Tensor, "window feature"],
    targets: Float64[Tensor, "window output"],
    others: Float32[Tensor, "scored feature"],
    kept: int,
) -> tuple[_Problem, _Problem]:
    """Return the problem whose answer chooses the penalty, and the one that is scored."""
    if inputs.shape[1] < kept:
        inputs, others = inputs.double(), others.double()
        return (
            _primal(inputs[:kept], targets[:kept], inputs[kept:]),
            _primal(inputs, targets, others),
        )
    # Products of wide rows in float32: half the time, and their error of about 1e-6 is far below
    # the smallest penalty. They are solved in float64.
    products = (inputs @ inputs.T).double()
    return (
        _Problem(products[:kept, :kept], targets[:kept], products[kept:, :kept]),
        _Problem(products, targets, (others @ inputs.T).double()),
    )


def _primal(
    inputs: Float64[Tensor, "window feature"],
    targets: Float64[Tensor, "window output"],
    others: Float64[Tensor, "scored feature"],
) -> _Problem:
    return _Problem(inputs.T @ inputs, inputs.T @ targets, others)


def _choose(problem: _Problem, truth: Float64[Tensor, "window output"]) -> float:
    """Return the first penalty that is better than the next: the error has one valley."""
    best, least = PENALTIES[0], torch.inf
    for penalty, found in zip(PENALTIES, _solutions(problem, PENALTIES), strict=False):
        error = float((found - truth).square().mean())
        if error >= least:
            break
        best, least = penalty, error
    return best


def _solutions(
    problem: _Problem, penalties: tuple[float, ...]
) -> Iterator[Float64[Tensor, "scored output"]]:
    """Yield the predictions of each penalty until a matrix is not positive any more."""
    diagonal = problem.matrix.diagonal()
    # Inputs without any variance leave nothing to explain; any positive number will do.
    unit = float(diagonal.mean()) or 1.0
    for penalty in penalties:
        matrix = problem.matrix + torch.diag(torch.full_like(diagonal, penalty * unit))
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if failed:
            return
        yield problem.left @ torch.cholesky_solve(problem.right, factor)


def _rms(values: Float[Tensor, "row column"]) -> float:
    return float(torch.linalg.vector_norm(values)) / math.sqrt(values.numel())
