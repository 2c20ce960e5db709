"""A pruner that does not kill slow starters: no judgement before a trial's own warmup is over."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tsdiag.errors import ConfigError, suggestion

# User attributes that the pruner reads; a trial without them has no warmup and no known end.
WARMUP_STEPS = "tsdiag:warmup_steps"
MAX_STEPS = "tsdiag:max_steps"


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

    def prune(self, study: optuna.study.Study, trial: FrozenTrial) -> bool:
        """Return whether the trial should stop at its latest report."""
        step = trial.last_step
        if step is None or step < self._first_judgement(trial):
            return False
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        peers = _peer_values(study.get_trials(deepcopy=False), trial.number, step, sign)
        if len(peers) < self._n_startup_trials:
            return False
        best = _best(trial, step, sign)
        if not np.isfinite(best):
            return True
        if best <= np.quantile(peers, self._protected):
            return False
        return bool(min(best, self._projected(trial, step, sign)) > np.median(peers))

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


def _peer_values(trials: Iterable[FrozenTrial], number: int, step: int, sign: float) -> list[float]:
    values = []
    for peer in trials:
        ended = peer.state in (TrialState.COMPLETE, TrialState.PRUNED)
        if peer.number == number or not ended or not peer.intermediate_values:
            continue
        # Ended before this step without being stopped: it was never measured here.
        if peer.state == TrialState.COMPLETE and max(peer.intermediate_values) < step:
            continue
        values.append(_best(peer, step, sign))
    return [value for value in values if np.isfinite(value)]


def _best(trial: FrozenTrial, step: int, sign: float) -> float:
    """Return the best finite value up to a step, smaller being better."""
    values = [sign * v for s, v in trial.intermediate_values.items() if s <= step]
    return min((v for v in values if np.isfinite(v)), default=float("inf"))
