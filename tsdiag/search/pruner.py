"""A pruner that does not kill slow starters: no judgement before a trial's own warmup is over."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tsdiag.errors import ConfigError, suggestion

# User attributes that the pruner reads; a trial without them has no warmup and no known end.
WARMUP_STEPS = "tsdiag:warmup_steps"
MAX_STEPS = "tsdiag:max_steps"
_COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Judgement:
    """A trial among its peers at a step, smaller being better."""

    best: float
    projected: float
    peers: list[float]
    protected: float  # share of peers among whose best nobody is stopped

    @property
    def is_hopeless(self) -> bool:
        """Whether it is in the worse half and not on its way out of it."""
        if not np.isfinite(self.best):
            return True
        if self.best <= np.quantile(self.peers, self.protected):
            return False
        return bool(min(self.best, self.projected) > np.median(self.peers))

    def words(self, sign: float) -> str:
        """Return what it is that makes it hopeless."""
        if not np.isfinite(self.best):
            return "it has had no finite loss"
        return (
            f"its best loss {sign * self.best:.3g} is worse than the median "
            f"{sign * float(np.median(self.peers)):.3g} of {len(self.peers)} trials at that step, "
            "and at its pace would still be"
        )


@dataclass(frozen=True)
class Course:
    """What a trial that has ended had reached by which step, smaller being better."""

    steps: list[int]
    best: list[float]
    complete: bool

    @classmethod
    def of(cls, trial: FrozenTrial, sign: float) -> Self:
        """Return the course of a trial that has ended."""
        reports = sorted(trial.intermediate_values.items())
        values = (sign * value if math.isfinite(value) else math.inf for _, value in reports)
        steps = [step for step, _ in reports]
        return cls(steps, list(accumulate(values, min)), trial.state == TrialState.COMPLETE)

    def best_at(self, step: int) -> float:
        """Return the best value up to a step; infinite where there is none that counts."""
        # Ended before this step without being stopped: it was never measured here.
        if not self.steps or (self.complete and self.steps[-1] < step):
            return math.inf
        reached = bisect_right(self.steps, step)
        return self.best[reached - 1] if reached else math.inf


class WarmupAwarePruner(BasePruner):
    """Stops a trial in the worse half of its peers that is not on its way out of it.

    A trial is stopped at a step only if all of this holds:

    - its own warmup (user attribute ``tsdiag:warmup_steps``) plus ``margin`` of all its steps
      (``tsdiag:max_steps``) is over;
    - ``n_startup_trials`` others have ended and were measured at that step;
    - its best value so far is outside the best ``protected`` share of its peers' best values;
    - that value is worse than their median, and would still be if the trial kept the pace of its
      latest ``pace`` reports until its last step.

    Peers are compared at equal steps by the best value up to there; a trial that was pruned
    earlier counts with what it had reached, so that the median does not creep towards the few that
    are left. Pruners that compare from the first report on stop the eventual best of a study of
    transformers in most orders, because attention wakes before the loss moves.
    """

    def __init__(
        self,
        *,
        n_startup_trials: int = 5,
        margin: float = 0.2,
        protected: float = 0.1,
        pace: int = 4,
    ) -> None:
        if n_startup_trials < 1 or pace < 1 or not (0 <= margin < 1 and 0 <= protected < 1):
            raise ConfigError(
                f"WarmupAwarePruner(n_startup_trials={n_startup_trials}, margin={margin}, "
                f"protected={protected}, pace={pace}): counts start at 1, shares lie in [0, 1)"
            )
        self._n_startup_trials = n_startup_trials
        self._margin = margin
        self._protected = protected
        self._pace = pace
        # Of trials that have ended, by study: going through their reports anew at each report of
        # each trial would take longer with every trial.
        self._ended: dict[str, dict[int, Course]] = defaultdict(dict)

    def prune(self, study: optuna.study.Study, trial: FrozenTrial) -> bool:
        """Return whether the trial should stop at its latest report."""
        standing = self._judgement(study, trial)
        return standing is not None and standing.is_hopeless

    def reason(self, study: optuna.study.Study, trial: FrozenTrial) -> str:
        """Return why the trial should stop at its latest report, "" where it should not."""
        standing = self._judgement(study, trial)
        hopeless = standing is not None and standing.is_hopeless
        return standing.words(_sign(study)) if standing and hopeless else ""

    def _judgement(self, study: optuna.study.Study, trial: FrozenTrial) -> Judgement | None:
        """Return what the trial is judged by, or None where it is too early to judge."""
        step = trial.last_step
        if step is None or step < self._first_judgement(trial):
            return None
        sign = _sign(study)
        peers = self._peer_values(study, trial.number, step, sign)
        if len(peers) < self._n_startup_trials:
            return None
        best, projected = _best(trial, step, sign), self._projected(trial, step, sign)
        return Judgement(best, projected, peers, self._protected)

    def _peer_values(
        self, study: optuna.study.Study, number: int, step: int, sign: float
    ) -> list[float]:
        """Return the best values up to a step of the other trials that count there."""
        known = self._ended[study.study_name]
        for peer in study.get_trials(deepcopy=False):
            if peer.number not in known and peer.state in _COUNTED:
                known[peer.number] = Course.of(peer, sign)
        values = [course.best_at(step) for peer, course in known.items() if peer != number]
        return [value for value in values if math.isfinite(value)]

    def _first_judgement(self, trial: FrozenTrial) -> float:
        warmup = trial.user_attrs.get(WARMUP_STEPS, 0)
        return float(warmup + self._margin * trial.user_attrs.get(MAX_STEPS, 0))

    def _projected(self, trial: FrozenTrial, step: int, sign: float) -> float:
        """Return where the trial would end if it kept its latest pace, a generous guess."""
        steps = sorted(trial.intermediate_values)
        before = steps[max(0, len(steps) - 1 - self._pace)]
        if before == step:
            return float("inf")
        gain = _best(trial, before, sign) - _best(trial, step, sign)
        left = trial.user_attrs.get(MAX_STEPS, step) - step
        return float(_best(trial, step, sign) - gain / (step - before) * left)


def build_pruner(name: str) -> BasePruner:
    """Return the pruner of a study file: "warmup-aware", or one of Optuna's by its short name.

    Raises:
        ConfigError: there is no such pruner.
    """
    if name not in _PRUNERS:
        raise ConfigError(
            f'search.pruner = "{name}": unknown pruner{suggestion(name, _PRUNERS)}; '
            f"known: {', '.join(_PRUNERS)}"
        )
    with warnings.catch_warnings():
        # Some of Optuna's have been "experimental" for years.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _PRUNERS[name]()


# Without Optuna's ThresholdPruner, which means nothing without a loss to name; the numbers are
# those of Optuna's examples where it has no defaults.
_PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "warmup-aware": WarmupAwarePruner,
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "percentile": lambda: optuna.pruners.PercentilePruner(25.0),
    "patient": lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(), patience=3),
    "successive-halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
}


def why_pruned(trial: optuna.Trial, name: str) -> str:
    """Return in words why a pruner, by its name in the study file, has just stopped a trial."""
    study = trial.study
    frozen = study.get_trials(deepcopy=False)[trial.number]
    step, of = frozen.last_step, frozen.user_attrs.get(MAX_STEPS)
    where = f"pruned at step {step}" + (f" of {of}" if of else "")
    pruner = study.pruner
    why = pruner.reason(study, frozen) if isinstance(pruner, WarmupAwarePruner) else ""
    return f"{where}: {why}" if why else f"{where} by {name}"


def _sign(study: optuna.study.Study) -> float:
    return -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0


def _best(trial: FrozenTrial, step: int, sign: float) -> float:
    """Return the best finite value up to a step, smaller being better."""
    values = [sign * v for s, v in trial.intermediate_values.items() if s <= step]
    return min((v for v in values if np.isfinite(v)), default=float("inf"))
