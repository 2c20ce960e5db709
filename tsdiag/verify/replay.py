"""Carry a verified repair out again, from its configuration and seeds alone, and compare.

What a script of ``tsdiag explain --script`` calls: no database, no other processes.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from tsdiag.config import DataConfig, Frozen, RunConfig, explain_validation
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.errors import ConfigError, DataError, TsdiagError, UsageError
from tsdiag.models import build
from tsdiag.runs.dropout import seed_dropout
from tsdiag.runs.environment import choose_device
from tsdiag.runs.weights import shapes_of
from tsdiag.store.runs import RunRow
from tsdiag.training.loop import Ending, Training
from tsdiag.verify.arms import Arm, config_of, longer, loss_of, target_variance
from tsdiag.verify.hypotheses import described

REPRODUCED, NOT_REPRODUCED, REFUSED, INTERRUPTED = 0, 1, 2, 130
# What stands for a password in a URL.
_HIDDEN = "***"

Losses = tuple[float, float]  # of control and treatment


class Facts(Frozen):
    """All that a replay is told: the repair of a run, how it was proven, and what came out."""

    study: str
    trial: str
    set: dict[str, Any]
    steps: int
    effect: float
    interval: tuple[float, float]
    losses: dict[int, Losses]  # by seed
    constant: float  # the training mean's loss: what a run that diverged counts as
    ceiling: float | None  # what losses above it count as in the effect; None: none were above
    digest: str | None  # of the data
    ran_on: str
    config: RunConfig

    def expected(self, seeds: int) -> tuple[float, float]:
        """Return where the mean effect of so many seeds is to be expected.

        Student's prediction interval: where 95 % of the means over so many other seeds lie, if
        nothing but chance differs. It is the verdict's interval, sqrt(1 + known / new) times as
        wide, since both means are unsure.
        """
        low, high = self.interval
        half = (high - low) / 2 * math.sqrt(1 + len(self.losses) / seeds)
        return self.effect - half, self.effect + half


class Bench:
    """The data of a verdict, and one thread to train arms on them."""

    def __init__(self, facts: Facts, device: torch.device) -> None:
        self._facts = facts
        self._device = device
        self._base = load_dataset(facts.config.data)
        self._datasets = {facts.config.data: self._base}
        self._variance = target_variance(self._base)
        found = self._base.digest
        if facts.digest is not None and found != facts.digest:
            raise DataError(
                f"replay on {self._base.series.source}: the data are not those of the verdict "
                f"(digest {found[:12]} instead of {facts.digest[:12]}), so effects could not be "
                "compared; name the data as they were with --data FILE"
            )

    def losses(self, seed: int) -> Losses:
        """Return the validation losses of control and treatment on a seed."""
        return self._loss({}, seed), self._loss(self._facts.set, seed)

    def _loss(self, changes: Mapping[str, Any], seed: int) -> float:
        config = config_of(self._facts.config, Arm.of(changes, seed, self._facts.steps))
        if config.data not in self._datasets:
            self._datasets[config.data] = load_dataset(config.data)
        dataset = self._datasets[config.data]
        ending = train(config, dataset, self._device)
        best = ending.progress.best_validation_loss
        row = RunRow(
            study=self._facts.study,
            role="treatment" if changes else "control",
            config=config.to_json(),
            state=ending.state,
            validation_loss=best if math.isfinite(best) else None,
        )
        loss = loss_of(row, self._facts.config, self._facts.constant, self._variance)
        assert loss is not None  # only what does not fit into memory has none
        return loss


def train(config: RunConfig, dataset: Dataset, device: torch.device) -> Ending:
    """Train a configuration as a run of a search does, to the same bits, and store nothing."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        generator = torch.Generator().manual_seed(config.seed)
        model = build(config, shapes_of(dataset), generator).to(device)
        seed_dropout(config.seed, device)
        train, validation = dataset.train.to(device), dataset.validation.to(device)
        return Training(model, train, validation, config).run()


def replay_main(facts: Mapping[str, Any], words: Sequence[str] | None = None) -> int:
    """Replay a repair as a command, printing what comes out; return its exit code.

    0: the effect is reproduced; 1: it is not; 2: the replay cannot be carried out.
    """
    torch.set_num_threads(1)
    try:
        known = _checked(facts)
        asked = _parser(len(known.losses)).parse_args(words)
        source = _source(known.config.data, asked.data)
        known = known.model_copy(
            update={"config": known.config.model_copy(update={"data": source})}
        )
        return _replay(known, asked.seeds, choose_device(asked.device))
    except TsdiagError as error:
        print(f"Error: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED


def _checked(facts: Mapping[str, Any]) -> Facts:
    try:
        return Facts.model_validate(facts)
    except ValidationError as error:
        told = explain_validation("facts of a replay", error)
        raise ConfigError(f"{told}; write the script anew with this version of tsdiag") from None


def _parser(most: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Replay a verified repair.")
    parser.add_argument(
        "--seeds",
        type=int,
        default=most,
        choices=range(1, most + 1),
        metavar="N",
        help=f"how many of the verdict's {most} seeds (default: all)",
    )
    parser.add_argument("--data", metavar="FILE|URL", help="the same rows from elsewhere")
    parser.add_argument("--device", default="cpu", help="auto, cpu (default) or cuda")
    return parser


def _source(config: DataConfig, given: str | None) -> DataConfig:
    """Return the data's configuration with the rows from where they are now."""
    if given is None:
        if config.url is not None and _HIDDEN in config.url:
            raise UsageError(
                f"replay on {config.url}: the password is not in this script; give the URL with "
                "--data URL, or the rows as a file with --data FILE"
            )
        return config
    source: dict[str, Any] = {"path": str(Path(given).resolve()), "url": None, "query": None}
    if "://" in given:
        source = {"path": None, "url": given, "query": config.query}
    try:
        return DataConfig.model_validate(config.model_dump() | source | {"generate": None})
    except ValidationError as error:
        told = explain_validation("--data", error)
        raise UsageError(f"{told}; name a file with the rows") from None


def _replay(facts: Facts, count: int, device: torch.device) -> int:
    print(f'repair of {facts.trial} of study "{facts.study}": {described(facts.set)}')
    more = round(facts.steps * longer(facts.config, facts.set))
    treated = "" if more == facts.steps else f", of the treatment {more}"
    print(f"{facts.steps} steps{treated}; losses are validation losses")
    if facts.ceiling is not None:
        print(
            f"in differences, those above {facts.ceiling:.6g} (predicting the mean) count as that"
        )
    print()
    bench = Bench(facts, device)
    print(
        f"{'seed':>8} {'control':>10} {'treatment':>10} {'difference':>11}  as stored", flush=True
    )
    effects, equal = [], 0
    for seed in sorted(facts.losses)[:count]:
        found, stored = bench.losses(seed), facts.losses[seed]
        control, treatment = (min(loss, facts.ceiling or loss) for loss in found)
        effects.append(treatment - control)
        equal += (found[0] == stored[0]) + (found[1] == stored[1])
        same = "equal" if found == stored else f"{stored[0]:.6g}, {stored[1]:.6g}"
        row = f"{seed:>8} {found[0]:>10.6g} {found[1]:>10.6g} {effects[-1]:>11.6g}  {same}"
        print(row, flush=True)
    of = f"\n{equal} of {2 * count} losses equal the stored ones to the last bit"
    print(f"{of} (those are of {facts.ran_on})")
    return _told(facts, effects)


def _told(facts: Facts, effects: Sequence[float]) -> int:
    """Print how the mean effect compares with the expected one; return the exit code."""
    mean, count = sum(effects) / len(effects), len(effects)
    low, high = facts.expected(count)
    reproduced = mean * facts.effect > 0 and low <= mean <= high
    expected = f"{facts.effect:.6g} [{facts.interval[0]:.6g}, {facts.interval[1]:.6g}]"
    print(f"mean effect {mean:.6g}; expected {expected}")
    print("reproduced" if reproduced else "NOT reproduced", end="")
    print(
        f": to be so, it must have the same sign and lie in [{low:.6g}, {high:.6g}],\n"
        f"where 95 % of the means over {count} other {'seed' if count == 1 else 'seeds'} would: "
        f"Student's prediction interval from {len(facts.losses)} seeds"
    )
    return REPRODUCED if reproduced else NOT_REPRODUCED
