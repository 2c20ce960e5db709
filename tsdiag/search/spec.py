"""StudySpec: a study.toml, checked before anything runs. Loads neither torch nor Optuna."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from tsdiag.config import (
    ENGINE,
    Budget,
    DataConfig,
    Frozen,
    OptimizerConfig,
    TrainingConfig,
    explain_validation,
)
from tsdiag.errors import ConfigError, suggestion
from tsdiag.store.failures import intact

Scalar = bool | int | float | str | None
SEARCHABLE = ("model.", "optimizer.", "training.")
# Of the searchable paths, those that are known without loading a model.
_TRAINED = [
    *(f"optimizer.{name}" for name in OptimizerConfig.model_fields),
    *(f"training.{name}" for name in TrainingConfig.model_fields),
]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration: Any) -> Any:
    """Turn "90s", "10m", "1h30m" or a number of seconds into seconds [s]."""
    if not isinstance(duration, str):
        return duration
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", duration.replace(" ", ""))
    if not parts or "".join(a + b for a, b in parts) != duration.replace(" ", ""):
        raise ValueError(f'"{duration}" is not a duration; write it like "90s", "10m" or "1h30m"')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


Duration = Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(seconds)]


class Range(Frozen):
    """An interval to search: of integers where both ends and the step are, of reals otherwise."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log = true needs low > 0 and no step")
        return self

    @property
    def whole(self) -> bool:
        """Whether the interval holds integers only."""
        return all(isinstance(part, int) for part in (self.low, self.high, self.step or 1))


Choice = Range | tuple[Scalar | tuple[Scalar, ...], ...] | Scalar


class StudySection(Frozen):
    """``[study]``."""

    name: str = Field("study", min_length=1, max_length=200)

    @model_validator(mode="after")
    def _no_slash(self) -> Self:
        if "/" in self.name or not self.name.isprintable():
            raise ValueError(
                f"{self.name!r} holds a slash or a control character; "
                'the name after a slash is kept for baselines ("NAME/lstm")'
            )
        return self


class BaselineSection(Frozen):
    """``[baseline]``: the reference model under the same data, split and budget."""

    model: Literal["lstm"] = "lstm"
    preset: str = "small"
    tune: bool = False


class TrainingSection(Budget):
    """``[training]``; with "auto", how steps are computed is chosen by timing, run by run."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    micro_batch: int | None = Field(None, ge=0)

    @property
    def plain(self) -> TrainingConfig:
        """What holds where nothing is chosen."""
        precision = "float32" if self.precision == "auto" else self.precision
        given = self.model_dump(exclude_none=True) | {"precision": precision}
        return TrainingConfig.model_validate(given)

    @property
    def open_paths(self) -> frozenset[str]:
        """The paths that are left to the choice by timing: none where a precision is given."""
        if self.precision != "auto":
            return frozenset()
        given = {f"training.{name}" for name in self.model_dump(exclude_none=True)}
        return frozenset(ENGINE) - (given - {"training.precision"})


class SearchSection(Frozen):
    """``[search]``: budgets and how configurations are chosen and stopped."""

    trials: int = Field(50, ge=1)
    timeout: Duration = Field(None, description="wall clock of a search with its verdict")
    trial_timeout: Duration = Field(None, description="wall clock of one trial")
    sampler: Literal["tpe", "random", "cmaes", "gp", "qmc"] = "tpe"
    pruner: str = "warmup-aware"
    final_seeds: int = Field(5, ge=1)
    seed: int = Field(0, ge=0)


class StudySpec(Frozen):
    """A whole study, resolved."""

    study: StudySection = StudySection()
    data: DataConfig = DataConfig()
    baseline: BaselineSection = BaselineSection()
    space: dict[str, Choice] = Field(default_factory=dict)
    training: TrainingSection = TrainingSection()
    search: SearchSection = SearchSection()
    enqueue: tuple[dict[str, Any], ...] = ()

    @model_validator(mode="after")
    def _paths_are_searchable(self) -> Self:
        for table, paths in [("space", self.space), *(("enqueue", item) for item in self.enqueue)]:
            for path in paths:
                if not path.startswith(SEARCHABLE):
                    raise ValueError(
                        f'[{table}] names "{path}"; only paths that begin with '
                        f"{', '.join(SEARCHABLE)} can vary within a study"
                        + suggestion(path, _TRAINED)
                    )
        for path, choice in self.space.items():
            if choice == ():
                raise ValueError(
                    f'[space] "{path}" = [] leaves nothing to choose from; write the values to '
                    "search, or [[]] to fix an empty list"
                )
        return self

    def with_search(self, **changes: Any) -> Self:
        """Return the study with other values under ``[search]``; None leaves one as it is.

        Raises:
            ConfigError: a value does not fit.
        """
        given = {key: value for key, value in changes.items() if value is not None}
        try:
            search = SearchSection.model_validate(self.search.model_dump() | given)
        except ValidationError as error:
            raise ConfigError(explain_validation("[search]", error)) from None
        return self.model_copy(update={"search": search})

    @property
    def name(self) -> str:
        """The study's name in the storage."""
        return self.study.name

    @property
    def baseline_name(self) -> str:
        """The name of the baseline's own study.

        In one study with the transformers its other parameters would switch TPE's joint sampling
        off, and a pruner would compare across architectures.
        """
        return f"{self.name}/{self.baseline.model}"


def read_spec(path: Path) -> StudySpec:
    """Read a study.toml, or the one in a folder; a relative data path becomes absolute.

    Raises:
        ConfigError: missing file, broken TOML, unknown key, wrong type or value.
    """
    file = path / "study.toml" if path.is_dir() else path
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"read study {path}: no file {file}; write one with: tsdiag init DATA --target COLUMN"
        ) from None
    # ValueError: broken TOML, text that is no UTF-8, or a number of too many digits.
    except (ValueError, RecursionError, OSError) as error:
        raise ConfigError(f"read study {file}: {error}; correct the file") from error
    return parse_spec(tree, file)


def parse_spec(tree: Mapping[str, Any], file: Path) -> StudySpec:
    """Check the tables of a study.toml; raises ``ConfigError`` naming file, key and value."""
    tree = dict(tree)
    given = tree.get("data", {})
    if isinstance(given, Mapping) and isinstance(given.get("path"), str):
        tree["data"] = {**given, "path": _absolute(given["path"], file)}
    tree.setdefault("study", {"name": file.resolve().parent.name or "study"})
    try:
        return StudySpec.model_validate(tree)
    except ValidationError as error:
        asked = f"study {file}"
        raise ConfigError(explain_validation(asked, error) + _near_key(error)) from None


def stored_spec(name: str, tree: Mapping[str, Any]) -> StudySpec:
    """Return the study that a database holds.

    Raises:
        StoreError: it is damaged, or another version wrote it.
    """
    with intact(f"the study {name}"):
        return StudySpec.model_validate(tree)


def _absolute(path: str, file: Path) -> str:
    try:
        return str((file.parent / path).resolve())
    except (ValueError, OSError, RuntimeError) as error:  # a NUL, or a link that leads to itself
        raise ConfigError(
            f"study {file}: data.path = {path!r} cannot be a path ({error}); correct it"
        ) from error


def shipped_studies() -> dict[str, Path]:
    """Return the studies that come with tsdiag, by name."""
    inside = Path(__file__).parent.parent
    for folder in (inside / "shipped_studies", inside.parent / "studies"):
        if folder.is_dir():
            return {item.parent.name: item for item in sorted(folder.glob("*/study.toml"))}
    return {}


def find_spec(study: str) -> StudySpec:
    """Read a study by file, by folder, or by the name of a shipped one.

    Raises:
        ConfigError: there is no such study, or its file cannot be used.
    """
    shipped = shipped_studies()
    if Path(study).exists() or study.endswith(".toml"):
        return read_spec(Path(study))
    if study in shipped:
        return read_spec(shipped[study])
    raise ConfigError(
        f'find study "{study}": no such file or folder, and the shipped studies are '
        f"{', '.join(shipped) or '(none)'}{suggestion(study, shipped)}; "
        "write one with: tsdiag init DATA --target COLUMN"
    )


def _near_key(error: ValidationError) -> str:
    """Name the closest known key for the first unknown one."""
    for item in error.errors():
        if item["type"] == "extra_forbidden":
            *parents, key = [str(part) for part in item["loc"]]
            model: Any = StudySpec
            for parent in parents:
                field = getattr(model, "model_fields", {}).get(parent)
                model = field.annotation if field else None
            known = list(getattr(model, "model_fields", {}))
            return f"{suggestion(key, known)} known keys: {', '.join(known)}"
    return ""
