"""RunConfig: everything that determines one run, frozen, stored whole, JSON both ways.

A value in it is named by its path, such as ``optimizer.lr``; remedies and studies speak in paths.
The model's part is open here, because architectures declare their own fields (``tsdiag.models``)
and a stored configuration must be readable without loading torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tsdiag.errors import ConfigError, redact, suggestion, without_passwords

# How a step is computed: faster or slower, and the same up to rounding. A study leaves these paths
# to a choice by timing, so two runs that differ in nothing else are of one configuration.
ENGINE = ("training.precision", "training.micro_batch", "training.cuda_graph")

_SHOWN = 200  # characters of a value in a message

Transform = Literal["none", "difference", "percent_change", "log_return"]
Precision = Literal["float32", "bfloat16"]


class Frozen(BaseModel):
    """A value object: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic would read as 1 or 0: ``batch_size = true`` is a slip."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and not {Any, bool} & {annotation, *get_args(annotation)}:
            raise ValueError(f"{str(value).lower()} is no value for it; give a number or a word")
        return value


class SplitConfig(Frozen):
    """Shares of the rows, in order of time."""

    train: float = Field(0.7, gt=0, lt=1)
    validation: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.15, gt=0, lt=1)

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + validation + test is {total:g}; the shares must add up to 1")
        return self


class GeneratorConfig(Frozen):
    """A generated series whose best reachable directional accuracy is known."""

    kind: Literal["macd", "lag", "latch"] = "macd"
    rows: int = Field(30_000, ge=1)
    channels: int = Field(33, ge=10)
    ceiling: float = Field(0.88, gt=0.5, lt=1)
    order_blind_ceiling: float = Field(0.55, gt=0.5, lt=1)
    seed: int = 0


class DataConfig(Frozen):
    """Where the rows come from and how they become windows and targets."""

    path: str | None = None
    url: str | None = None
    query: str | None = None
    generate: GeneratorConfig | None = None
    time: str | None = None
    target: str | tuple[str, ...] = "all"
    offset: float = 0.0
    transform: Transform = "none"
    features: str | tuple[str, ...] = "all"
    fill: Literal["forward", "none"] = "forward"
    context_length: int = Field(240, ge=1)
    prediction_length: int = Field(1, ge=1)
    stride: int = Field(1, ge=1)
    embargo: int = Field(0, ge=0)
    split: SplitConfig = SplitConfig()
    scale_inputs: bool = True
    scale_target: bool = True

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("path", "url", "generate") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both set; keep one source of rows")
        if self.url is not None and self.query is None:
            raise ValueError('url is set without query; add query = "SELECT ..."')
        return self


class ModelConfig(BaseModel):
    """The model's part of a RunConfig; each architecture adds its own fields."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    kind: str


class OptimizerConfig(Frozen):
    """How gradients become steps."""

    name: Literal["adamw", "adam", "sgd", "sam"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_fraction: float = Field(0.1, ge=0, lt=1)
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    clip_norm: float = Field(1.0, ge=0, description="0 turns clipping off")
    rho: float = Field(0.05, gt=0, description="radius of SAM's neighbourhood; sam only")
    frozen: tuple[str, ...] = ()


class Budget(Frozen):
    """How long a run trains and where on the step axis it is measured."""

    batch_size: int = Field(64, ge=1)
    max_steps: int = Field(2000, ge=1)
    evaluate_every: int = Field(100, ge=1)
    validation_windows: int = Field(2048, ge=0, description="evenly spaced; 0 = all of them")
    patience: int = Field(0, ge=0, description="evaluations without a gain; 0 = never stop early")


class TrainingConfig(Budget):
    """The budget, and how a step is computed: choices of speed that leave the model's sense alone.

    They are part of the configuration because each rounds, or draws its dropout, differently.
    """

    precision: Precision = Field("float32", description="of the model; the loss is float32 always")
    micro_batch: int = Field(0, ge=0, description="windows per backward pass; 0 = the whole batch")
    cuda_graph: bool = Field(False, description="launch a step's kernels at once, on a GPU alone")

    @model_validator(mode="after")
    def _one_shape_per_graph(self) -> Self:
        if self.cuda_graph and self.micro_batch:
            raise ValueError(
                f"cuda_graph = true with micro_batch = {self.micro_batch}; a graph is of one shape "
                "and the last micro-batch may be smaller: set micro_batch = 0"
            )
        return self


class RunConfig(Frozen):
    """Everything that determines one execution of training."""

    data: DataConfig = DataConfig()
    model: SerializeAsAny[ModelConfig] = ModelConfig(kind="transformer")
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    seed: int = Field(0, ge=0)

    def to_json(self) -> str:
        """Return the whole configuration as canonical JSON: equal configurations, equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: the text is not JSON, or a key or value in it is unknown.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            # "from None", here and below: pydantic's own text repeats the URL with its password.
            raise ConfigError(explain_validation("run configuration", error)) from None

    def paths(self) -> dict[str, Any]:
        """Return every path with its value, such as ``{"optimizer.lr": 0.001, ...}``."""
        return flatten(self.model_dump(mode="json"))

    def get(self, path: str) -> Any:
        """Return the value at a path; ``ConfigError`` names the closest known path."""
        found = self.paths()
        if path not in found:
            raise ConfigError(unknown_path(path, found))
        return found[path]

    def edit(self, path: str, value: Any) -> Self:
        """Return a copy with one path changed.

        Raises:
            ConfigError: the path is unknown or the value does not fit it.
        """
        return self.edits({path: value})

    def edits(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with several paths changed at once.

        Raises:
            ConfigError: a path is unknown or a value does not fit it.
        """
        tree = self.model_dump(mode="json")
        known = flatten(tree)
        for path, value in changes.items():
            if path not in known:
                raise ConfigError(unknown_path(path, known))
            _put(tree, path, value)
        try:
            model = type(self.model).model_validate(tree.pop("model"))
            return type(self).model_validate({**tree, "model": model})
        except ValidationError as error:
            raise ConfigError(explain_validation(f"edit {dict(changes)}", error)) from None


def as_written_now(text: str) -> str:
    """Return a stored configuration as this version writes it, with what it has since added.

    Raises:
        ConfigError: the text is no configuration.
    """
    return RunConfig.from_json(text).to_json()


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested tables into one of dotted paths; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def unknown_path(path: str, known: Mapping[str, Any]) -> str:
    """Return the message for a path that no configuration has."""
    section = path.split(".")[0] + "."
    near = suggestion(path, known) or (
        "; known: " + ", ".join(name for name in known if name.startswith(section))
        if any(name.startswith(section) for name in known)
        else "; a path begins with data., model., optimizer., training. or is seed"
    )
    return f'unknown configuration path "{path}"{near}'


def explain_validation(asked: str, error: ValidationError) -> str:
    """Return pydantic's complaints as one line each: where, what was found, what is expected."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])  # "" of the whole
        told_already = item["type"] in ("missing", "value_error")
        found = "" if told_already else f", found {_shown(item['input'])}"
        unknown = item["type"] == "extra_forbidden"
        told = "unknown key" if unknown else item["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {told}{found}" if where else f"{told}{found}")
    return without_passwords(f"{asked}: " + "; ".join(lines))


def _shown(value: Any) -> str:
    """Return what was found, cut where it is long, and without a password."""
    try:
        text = redact(repr(value))
    except ValueError:  # Python writes no integer of more than 4,300 digits
        text = f"an integer of {value.bit_length()} bits" if isinstance(value, int) else "numbers"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        tree = tree[parent]
    tree[last] = value
