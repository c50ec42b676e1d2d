"""The settings of a study as dataclasses: every key of conf/ with its type, default and limits."""

import dataclasses
import functools
import typing
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

# Prefix of the keys of a cell's own settings.
OPTIONS = "cell.options."
GROUPS = ("study", "task", "cell", "space", "recipe", "cluster")

# {recipe: {cell: {loss, METRIC}}} of published results.
Printed = dict[str, dict[str, dict[str, float]]]


def limited(default: Any, **limits: Any) -> Any:
    """A field whose values are limited by `least`, `most`, `above`, `below` or `choices`.

    `example` is part of the message if a key without default is missing. `literal` text is kept
    character by character.
    """
    return field(default=default, metadata=limits)


@dataclass
class Task:
    """The data and the question: conf/task/NAME.yaml."""

    name: str = limited(MISSING, example="`name: imdb` in conf/task/imdb.yaml")
    source: str = limited(MISSING, example="`source: imdb` in conf/task/imdb.yaml")
    url: str | None = None
    checksum: str | None = None
    digest: str | None = None
    archive: str | None = None
    length: int = limited(100, least=1)
    vocabulary: int = limited(10_000, least=5)
    padding: str = limited("pre", choices=("pre", "post"))
    train_fraction: float = limited(1.0, above=0.0, most=1.0)
    features: int = limited(256, least=1)
    horizon: int = limited(1, least=1)
    relative: bool = True


@dataclass
class Columns:
    """The columns of a CSV file of task csv: `text` and `label`, or `value` for a series."""

    path: str | None = None
    test_path: str | None = None
    text: str | None = None
    label: str | None = None
    group: str | None = None
    value: str | None = None
    time: str | None = None


@dataclass
class Parameter:
    """One searched hyperparameter: `choices`, or a range from `low` to `high`.

    A range is log-uniform with `log`, and a grid with `step`.
    """

    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: list[Any] | None = None


@dataclass
class Cell:
    """An arm of the comparison: conf/cell/ARM.yaml, whose name becomes `arm`.

    `options` are the cell's own settings, which its builder gets by name. `space` are those that
    the search samples for this arm only.
    """

    type: str = limited(MISSING, example="`type: lstm` in conf/cell/lstm.yaml")
    arm: str = ""
    reset_after: bool = True
    unit_forget_bias: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Parameter] = field(default_factory=dict)


@dataclass
class Model:
    """The network around the cell."""

    units: int = limited(32, least=1)
    embedding: int = limited(32, least=1)
    layers: int = limited(1, least=1)
    dropout: float = limited(0.0, least=0.0, below=1.0)
    input_dropout: float = limited(0.0, least=0.0, below=1.0)
    recurrent_dropout: float = limited(0.0, least=0.0, below=1.0)
    masking: bool = False
    pooling: str = limited("last", choices=("last", "max", "mean"))
    layer_norm: bool = False
    hidden: int = limited(0, least=0)


@dataclass
class Train:
    """How one configuration is trained; `auto` is replaced when a Config is composed."""

    backend: str = limited("tensorflow", choices=("auto", "tensorflow", "jax"))
    engine: str = limited("single", choices=("auto", "single", "population"))
    optimizer: str = limited("adam", choices=("adam", "rmsprop", "sgd"))
    learning_rate: float = limited(1e-3, above=0.0)
    batch_size: int = limited(128, least=1)
    clipnorm: float | None = limited(None, above=0.0)
    clipvalue: float | None = limited(None, above=0.0)
    buckets: int = limited(1, least=1)
    epochs: int = limited(8, least=1)
    checkpoint: str = limited("best", choices=("best", "last"))
    patience: int | None = limited(2, least=1)
    min_validation: float | None = None


@dataclass
class Search:
    """The design and the budget, equal for every cell; trials and replicates are per search."""

    design: str = limited("shared", choices=("shared", "repeated"))
    trials: int = limited(60, least=0)
    budget: int = limited(10, least=1)
    replicates: int = limited(5, least=1)
    repeats: int = limited(5, least=1)
    sampler: str | None = limited(None, choices=("random", "tpe", "cmaes", "gp"))
    pruner: str = limited("none", choices=("none", "median", "asha", "hyperband"))
    margin: float = limited(0.01, above=0.0)
    alpha: float = limited(0.05, above=0.0, below=0.5)
    looks: int = limited(1, least=1)
    checks: str = limited("stop", choices=("stop", "warn"))
    storage: str | None = None

    @property
    def numbers(self) -> range:
        """The numbers of the repeated searches; 0 alone in a shared search."""
        return range(self.repeats if self.design == "repeated" else 1)

    @property
    def sampler_name(self) -> str:
        """The name of the sampler in use."""
        return self.sampler or ("tpe" if self.design == "repeated" else "random")


@dataclass
class Cluster:
    """Where trials run: conf/cluster/KIND.yaml."""

    kind: str = limited("local", choices=("local", "address", "slurm"))
    workers: int = limited(2, least=1)
    memory: str = "auto"
    dashboard: bool = False
    address: str | None = None
    insecure: bool = False
    queue: str | None = None
    account: str | None = None
    walltime: str = "08:00:00"
    prologue: list[str] = field(default_factory=list)
    directives: list[str] = field(default_factory=list)


@dataclass
class Config:
    """The settings of a study. `seed` is that of the study; in `train` that of the run.

    `arm_spaces` are the own search keys of each arm, set by the commands that describe the study.
    `printed` are published results of a recipe, {cell: {loss, METRIC}}, on the task sources
    `printed_on`.
    """

    name: str = limited(MISSING, example="`name: smoke` in conf/study/smoke.yaml")
    cells: list[str] = field(
        default=MISSING,
        metadata={"example": "`cells: [rnn, gru]` in the study's file of conf/study/"},
    )
    recipes: list[str] = field(default_factory=list)
    printed: dict[str, dict[str, float]] = field(default_factory=dict)
    printed_on: list[str] = field(default_factory=list)
    task: Task = field(default_factory=Task)
    data: Columns = field(default_factory=Columns)
    cell: Cell = field(default_factory=Cell)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    search: Search = field(default_factory=Search)
    space: dict[str, dict[str, Parameter]] = field(default_factory=dict)
    arm_spaces: dict[str, Any] = field(default_factory=dict)
    cluster: Cluster = field(default_factory=Cluster)
    split_seed: int = limited(0, least=0)
    space_seed: int = limited(0, least=0)
    seed: int = limited(0, least=0)


@functools.cache
def leaves(schema: type = Config, prefix: str = "") -> tuple[tuple[str, dataclasses.Field], ...]:
    """(key, field) of every key of the schema, such as `train.learning_rate`."""
    keys: list[tuple[str, dataclasses.Field]] = []
    hints = typing.get_type_hints(schema)
    for item in dataclasses.fields(schema):
        kind = hints[item.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            keys += leaves(kind, f"{prefix}{item.name}.")
        else:
            keys.append((prefix + item.name, item))
    return tuple(keys)


def parameters(config: Config) -> dict[str, Parameter]:
    """The search space as {`model.units`: Parameter}, sorted."""
    return {
        f"{group}.{key}": config.space[group][key]
        for group in sorted(config.space)
        for key in sorted(config.space[group])
    }


def own_parameters(config: Config) -> dict[str, Parameter]:
    """The search space of this arm only as {`cell.options.kernel`: Parameter}, sorted."""
    return {f"{OPTIONS}{key}": config.cell.space[key] for key in sorted(config.cell.space)}
