"""Samplers by name, each worker with a seed of its own."""

from __future__ import annotations

import warnings
from importlib import import_module

import numpy as np
import optuna
from optuna.samplers import BaseSampler

from tsdiag.errors import ConfigError


def build_sampler(name: str, seed: int, worker: int, trials: int) -> BaseSampler:
    """Return a sampler whose stream depends on the study's seed, the worker and what is there.

    With one seed for all, workers would repeat each other; with the seed alone, a restarted worker
    would repeat what it drew before it was stopped.

    Raises:
        ConfigError: the sampler needs a package that is not installed.
    """
    own = int(np.random.SeedSequence([seed, worker, trials]).generate_state(1)[0])
    try:
        with warnings.catch_warnings():
            # group: parameters that exist under a condition only; "experimental" since Optuna 2.8.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return _build(name, own)
    except ImportError as error:
        raise ConfigError(
            f'search.sampler = "{name}" needs a package: {error}; install it or use "tpe"'
        ) from error


def _build(name: str, seed: int) -> BaseSampler:
    match name:
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "cmaes":
            import_module("cmaes")  # Optuna would miss it in the first trial only
            return optuna.samplers.CmaEsSampler(seed=seed)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed)
        case "qmc":
            return optuna.samplers.QMCSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)
