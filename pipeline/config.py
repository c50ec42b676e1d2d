"""The schema of conf/, and the one door through which every command comes.

Hydra stops here: `command` checks each override before the first job starts, composes conf/, and hands the command plain
dataclasses. A configuration of the search is a list of Hydra overrides; `with_overrides` applies one without composing anew.
A command that has nothing to do with a study brings a flat schema of its own: same door, no conf/, no folder written.
"""

import copy
import dataclasses
import difflib
import functools
import importlib.util
import json
import os
import re
import signal
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from pipeline.documents import checked
from pipeline.errors import FairsweepError, masked, nearest
from pipeline.faults import as_fault
from pipeline.limits import as_typed, limit_error, limited, wanted
from pipeline.seal import closed

GROUPS = ("study", "task", "cell", "space", "recipe", "cluster")
# What Hydra has by default, and does not accept from a user.
NO_RECIPE = "recipe=null"
# Hydra's own folder of each run, and the log in it, switched off.
NO_FOLDER = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none")
# Values that arrive as typed: neither a list for its comma, nor a truth for `true`.
FREE_TEXT = (
    *(
        "account",
        "address",
        "archive",
        "file",
        "group",
        "label",
        "model",
        "out",
        "paired",
        "path",
        "queue",
        "scores",
        "storage",
        "test_path",
    ),
    *("text", "time", "url", "value", "walltime"),
)

# {recipe: {cell: {loss, METRIC}}} as in print.
Printed = dict[str, dict[str, dict[str, float]]]


@dataclass
class Task:
    """What is learned from: conf/task/NAME.yaml."""

    name: str = limited(MISSING, example="`name: imdb` in conf/task/imdb.yaml")
    source: str = limited(MISSING, example="`source: aclimdb` in conf/task/imdb.yaml")
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
    """The columns of one's own file: conf/task/csv.yaml. `text` and `label`, or `value` for a series."""

    path: str | None = None
    test_path: str | None = None
    text: str | None = None
    label: str | None = None
    group: str | None = None
    value: str | None = None
    time: str | None = None


@dataclass
class Cell:
    """What is compared: conf/cell/ARM.yaml. `arm` is the name of that file, set when the config is composed."""

    type: str = limited(MISSING, example="`type: lstm` in conf/cell/lstm.yaml")
    arm: str = ""
    reset_after: bool = True
    unit_forget_bias: bool = True


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
    """How one configuration is trained. `backend` and `engine: auto` are the faster ones there are, by name once a Config is composed."""

    backend: str = limited("tensorflow", choices=("auto", "tensorflow", "jax"))
    engine: str = limited("single", choices=("auto", "single", "population"))
    optimizer: str = limited("adam", choices=("adam", "rmsprop", "sgd"))
    learning_rate: float = limited(1e-3, above=0.0)
    batch_size: int = limited(128, least=1)
    clipnorm: float | None = limited(None, above=0.0)
    clipvalue: float | None = limited(None, above=0.0)
    buckets: int = limited(1, least=1)
    epochs: int = limited(8, least=1)
    keep: str = limited("best", choices=("best", "last"))
    patience: int | None = limited(2, least=1)
    floor: float | None = None


@dataclass
class Search:
    """The design and the budget, equal for every cell. Trials and replicates are those of each of the separate studies."""

    design: str = limited("pool", choices=("pool", "studies"))
    trials: int = limited(60, least=0)
    headline: int = limited(10, least=1)
    replicates: int = limited(5, least=1)
    studies: int = limited(5, least=1)
    sampler: str | None = limited(None, choices=("random", "tpe", "cmaes", "gp"))
    pruner: str = limited("none", choices=("none", "median", "asha", "hyperband"))
    margin: float = limited(0.01, above=0.0)
    alpha: float = limited(0.05, above=0.0, below=0.5)
    looks: int = limited(1, least=1)
    gates: str = limited("stop", choices=("stop", "warn"))
    storage: str | None = None

    @property
    def numbers(self) -> range:
        """The numbers of the studies: 0 alone in a pool."""
        return range(self.studies if self.design == "studies" else 1)

    @property
    def asked(self) -> str:
        """The sampler in use, by name."""
        return self.sampler or ("tpe" if self.design == "studies" else "random")


@dataclass
class Parameter:
    """One searched hyperparameter: `choices`, or a range `low` to `high`, log-uniform with `log`, on a grid with `step`."""

    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: list[Any] | None = None


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
    """A study, whole. `seed` is the study's own; in `train` it is the run's.

    A recipe may say what is `printed` of it, {cell: {loss, METRIC}} as in print, on the task sources `printed_on`.
    """

    name: str = limited(MISSING, example="`name: smoke` in conf/study/smoke.yaml")
    cells: list[str] = field(default=MISSING, metadata={"example": "`cells: [rnn, gru]` in the study's file of conf/study/"})
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
    cluster: Cluster = field(default_factory=Cluster)
    split_seed: int = limited(0, least=0)
    space_seed: int = limited(0, least=0)
    seed: int = limited(0, least=0)


@functools.cache
def leaves(schema: type = Config, prefix: str = "") -> tuple[tuple[str, dataclasses.Field], ...]:
    """Every key of the schema with its field, as (`train.learning_rate`, field); `space` is free below its two levels."""
    found: list[tuple[str, dataclasses.Field]] = []
    hints = typing.get_type_hints(schema)
    for item in dataclasses.fields(schema):
        kind = hints[item.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            found += leaves(kind, f"{prefix}{item.name}.")
        else:
            found.append((prefix + item.name, item))
    return tuple(found)


def check_value(key: str, value: Any, schema: type = Config) -> None:
    """Raise FairsweepError when the schema has no `key`, or `value` has the wrong type or lies outside its limits."""
    known = dict(leaves(schema))
    sections = {name.rsplit(".", 1)[0] for name in known if "." in name}
    if schema is Config and key.startswith("space."):
        check_space_key(key, value)
        return
    if schema is Config and key == "cell.arm":
        raise FairsweepError(f"{key}={value}: the arm is the name of a file in conf/cell/; choose it by cell=NAME.")
    if key not in known and key not in sections:
        near = difflib.get_close_matches(key, [*known, *sections, *(GROUPS if schema is Config else ())], n=1, cutoff=0.4)
        every = "python -m pipeline.train --cfg job prints every key" if schema is Config else f"there are: {', '.join(known)}"
        hint = f"the nearest key is {near[0]!r}" if near else every
        raise FairsweepError(f"{key}: no such key; {hint}.")
    try:
        typed = OmegaConf.structured(schema)
        OmegaConf.update(typed, key, value)
        value = OmegaConf.select(typed, key)
    except OmegaConfBaseException as error:
        words = wanted(key, known[key]) if key in known else f"is a section: set one of its keys, {key}.KEY=VALUE"
        raise FairsweepError(f"{key}={as_typed(value)}: {words}.") from error
    if key in known and (wrong := limit_error(key, value, known[key].metadata)):
        raise FairsweepError(f"{wrong}.")


def check_space_key(key: str, value: Any) -> None:
    """Raise FairsweepError unless `space.SECTION.KEY` is a searched key, or `space.SECTION.KEY.low` a part of one."""
    fields = {item.name: item for item in dataclasses.fields(Parameter)}
    _, *parts = key.split(".")
    given = {parts.pop(): value} if len(parts) == 3 else value
    if len(parts) != 2 or not isinstance(given, Mapping):
        raise FairsweepError(
            f"{key}={value}: give space.SECTION.KEY.PART, such as space.model.units.high=32; in conf/space/ a key stands below its "
            "section, `model:`, as `units: {low: 8, high: 32}`."
        )
    where = ".".join(["space", *parts])
    if unknown := [str(name) for name in given if name not in fields]:
        near = difflib.get_close_matches(unknown[0], fields, n=1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise FairsweepError(f"{where}.{unknown[0]}: no such key{hint}. A searched hyperparameter has {', '.join(fields)}.")
    try:
        OmegaConf.merge(OmegaConf.structured(Parameter), given)
    except OmegaConfBaseException as error:
        name = str(getattr(error, "full_key", "")).partition("[")[0]
        key = f"{where}.{name}"
        raise FairsweepError(f"{key}={as_typed(given[name])}: {wanted(key, fields[name])}.") from error


def check_config(config: Config) -> Config:
    """`config` itself, after every value was held against its limits and the search space against the schema."""
    for key, item in leaves():
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if wrong := limit_error(key, value, item.metadata):
            raise FairsweepError(f"{wrong}.")
    if config.train.engine == "population" and config.train.backend == "tensorflow":
        raise FairsweepError(
            "train.engine=population: families train on JAX alone, and train.backend=tensorflow. Set train.backend=jax, or "
            "train.engine=single."
        )
    for key, parameter in parameters(config).items():
        _check_once(key, json.dumps(dataclasses.asdict(parameter)))
    if config.search.headline > config.search.trials > 0:
        raise FairsweepError(
            f"search.headline={config.search.headline}: must be at most search.trials={config.search.trials}. "
            "Lower the headline budget or raise the trials."
        )
    return config


def check_arm(config: Config) -> None:
    """Raise FairsweepError unless the cell is one of the study's: the runs of another would be evaluated nowhere."""
    arm, name = config.cell.arm, config.name
    if arm not in config.cells:
        raise FairsweepError(
            f"cell={arm}: study {name} does not compare it. Choose cell= of {', '.join(config.cells)}, or add {arm} to `cells` in "
            f"conf/study/{name}.yaml."
        )


def check_design(config: Config, installed: bool = True) -> None:
    """Raise FairsweepError for a design that no verdict could follow from, before anything is computed.

    `installed` also asks whether the sampler's package is there, which a command that samples nothing need not know.
    """
    search = config.search
    if not search.trials:
        if not config.recipes:
            raise FairsweepError(
                f"search.trials=0: study {config.name} has no search and no recipes, so there is nothing to train. Give it recipes."
            )
        return
    remedy = _pool_rule(search) if search.design == "pool" else _studies_rule(search)
    if remedy:
        raise FairsweepError(remedy)
    package, way = {"gp": ("torch", "pip install torch"), "cmaes": ("cmaes", "pip install cmaes")}.get(search.asked, (None, ""))
    if installed and package and importlib.util.find_spec(package) is None:
        raise FairsweepError(
            f"search.sampler={search.sampler}: needs the package {package}, which is not installed. "
            f"Install it ({way}), or choose search.sampler=tpe."
        )


def _pool_rule(search: Search) -> str | None:
    """The rule of a pool that `search` breaks, with its remedy."""
    dependent = "the pooled analysis needs independent random trials: use search.design=studies search.studies=5"
    if search.asked != "random":
        return f"search.sampler={search.sampler}: {dependent}, or search.sampler=random."
    if search.pruner != "none":
        return f"search.pruner={search.pruner} looks at other trials, and {dependent}, or search.pruner=none."
    if search.trials < 4 * search.headline:
        return (
            f"search.trials={search.trials}, search.headline={search.headline}: the interval of a pooled search needs at least "
            f"4 trials for each of the headline's. Raise search.trials to {4 * search.headline}, or lower search.headline."
        )
    return None


def _studies_rule(search: Search) -> str | None:
    """The rule of separate studies that `search` breaks, with its remedy."""
    if search.studies < 3:
        return (
            f"search.studies={search.studies}: one study says which configuration is better, not which cell, and two hardly "
            "tell how searches differ. Raise search.studies to 5 (at least 3)."
        )
    if search.headline != search.trials:
        return (
            f"search.headline={search.headline}: in separate studies the verdict speaks of the whole search, of "
            f"search.trials={search.trials}. Set both to the same number."
        )
    return None


def parameters(config: Config) -> dict[str, Parameter]:
    """The search space as {`model.units`: Parameter}, in the order of its keys."""
    return {f"{group}.{key}": config.space[group][key] for group in sorted(config.space) for key in sorted(config.space[group])}


@functools.cache
def _check_once(key: str, parameter: str) -> None:
    """`check_parameter`, of which a study's trials all have the same ones."""
    check_parameter(key, Parameter(**json.loads(parameter)))


def check_parameter(key: str, parameter: Parameter) -> None:
    """Raise FairsweepError unless `parameter` is a choice or a range, each value of which its key accepts."""
    where = f"space.{key}"
    if parameter.choices is not None:
        if not parameter.choices or parameter.low is not None or parameter.high is not None:
            raise FairsweepError(f"{where}: give either choices (at least one) or low and high.")
        for choice in parameter.choices:
            check_value(key, choice)
        return
    if parameter.low is None or parameter.high is None or parameter.low >= parameter.high:
        raise FairsweepError(
            f"{where}: low={parameter.low}, high={parameter.high}: give two numbers, low below high, or choices."
        )
    if parameter.log and (parameter.low <= 0 or parameter.step is not None):
        raise FairsweepError(f"{where}: log needs low above 0 and no step.")
    whole = all(float(number).is_integer() for number in (parameter.low, parameter.high, parameter.step or 1))
    for edge in (parameter.low, parameter.high):
        check_value(key, int(edge) if whole else edge)


def packaged() -> Path:
    """The folder of the conf/ and dvc.yaml that came with the code: in an installed package its own, in a checkout the root."""
    own = Path(__file__).parent / "project"
    return own if own.is_dir() else Path(__file__).parents[1]


def conf_folder() -> Path:
    """The absolute path of the conf/ in the current folder; where there is none, of the installed package's own."""
    folder, own = Path("conf").resolve(), packaged()
    if (folder / "config.yaml").is_file():
        return folder
    begun = [group for group in GROUPS if (folder / group).is_dir()]
    if begun or own.name != "project":
        part = f", though there is conf/{begun[0]}/" if begun else ""
        raise FairsweepError(
            f"no conf/config.yaml in {Path.cwd()}{part}: run the command in the project's root. In an empty folder, "
            "`fairsweep init` writes a whole conf/."
        )
    return own / "conf"


def options(group: str) -> list[str]:
    """The names that `group=NAME` accepts."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def _literal(key: str, schema: type) -> bool:
    """Whether what is given for `key` is kept to the last character."""
    return any(item.metadata.get("literal") for name, item in leaves(schema) if name == key.lstrip("+"))


def quoted(argument: str, schema: type = Config) -> str:
    """`argument` with the value of a free-text key quoted, so that Hydra's grammar leaves commas, spaces and `~` alone.

    A key of the schema that is `literal` keeps every character of its value: quotes around it, `null`, what looks like a reference.
    """
    key, equals, value = argument.partition("=")
    free = equals and key.lstrip("+").rsplit(".", 1)[-1] in FREE_TEXT and not key.startswith("-")
    literal = _literal(key, schema)
    whole = re.fullmatch(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", value)
    if not free or (not literal and (value in ("", "null") or whole)):
        return argument
    if literal:
        # OmegaConf takes ??? alone for a value that is missing, and knows no other way to write it.
        value = " ???" if value == "???" else re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    # Hydra reads a backslash as itself but before a quote, and at the end, where the quote is its own.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"{key}='{escaped}'"


def check_overrides(arguments: Sequence[str], multirun: bool, schema: type = Config) -> None:
    """Hold every override, and every value of a multirun, against the schema and the groups: before anything runs."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for argument in arguments:
        # What a text says is its own affair.
        if masked(argument) != argument and not _literal(argument.partition("=")[0], schema):
            raise FairsweepError(
                f"{masked(argument)}: a password on a command line is seen by whoever lists processes, and kept in runs/hydra. Give it by "
                "the environment (OPTUNA_STORAGE, MLFLOW_TRACKING_URI) or in a file of its own, such as ~/.pgpass."
            )
        try:
            (override,) = OverridesParser.create().parse_overrides([argument])
            sweep = override.is_sweep_override()
            values = [*override.sweep_iterator()] if sweep else [override.value()]
        except HydraException as error:
            raise FairsweepError(
                f"{argument}: cannot be read as KEY=VALUE ({str(error).splitlines()[0]}). Give a key its value without blanks around "
                "`=`; one that holds blanks, commas or brackets stands in quotes of its own: \"KEY='a, b'\"."
            ) from error
        key = override.key_or_group
        if schema is Config and (key == "hydra" or key.startswith(("hydra.", "hydra/"))):
            continue
        if override.is_delete():
            raise FairsweepError(f"{argument}: a key cannot be taken away; set it to null where it may be empty.")
        if sweep and not multirun:
            remedy = (
                "several values need a multirun: add -m" if schema is Config else "one value at a time; call it once for each"
            )
            raise FairsweepError(f"{argument}: {remedy}.")
        for value in values:
            if schema is Config and key in GROUPS:
                check_group(key, value)
            else:
                check_value(key, value, schema)


def check_group(group: str, value: Any) -> None:
    """Raise FairsweepError unless conf/GROUP/VALUE.yaml exists."""
    if value is None and group == "recipe":
        return
    names = options(group)
    if str(value) not in names:
        raise FairsweepError(
            f"{group}={as_typed(value)}: no such {group}{nearest(str(value), names)}. There are: {', '.join(names)}."
        )


def to_object(composed: Any, schema: type) -> Any:
    """What Hydra composed as dataclasses of `schema`; raises FairsweepError when a key has no value or one of another type."""
    plain = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
    for key, item in leaves(schema):
        # Also where a section is no section, which is told below.
        if "example" in item.metadata and _given(plain, key) in (None, ""):
            raise FairsweepError(f"{key} is missing: give it, such as {item.metadata['example']}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), plain))
    except OmegaConfBaseException as error:
        key = "" if isinstance(error, InterpolationResolutionError) else str(getattr(error, "full_key", "") or "")
        try:
            # In the words that an override gets; what they do not cover the door tells.
            check_value(key, _given(plain, key), schema) if key else None
        except FairsweepError as told:
            raise FairsweepError(f"{told}{_stands_in(key)}") from error
        raise


def _stands_in(key: str) -> str:
    """Where a key stands that only a file of conf/ can have, as a sentence; nothing where several have one of its name."""
    name = re.compile(rf"(^|[{{,])\s*{re.escape(key.rpartition('.')[2])}\s*:", re.MULTILINE)
    found = [path for path in sorted(conf_folder().rglob("*.yaml")) if name.search(path.read_text("utf-8"))]
    return f" It stands in {found[0].relative_to(conf_folder().parent)}." if len(found) == 1 else ""


def _given(plain: Any, key: str) -> Any:
    """What `plain` has at `key`, None for nothing."""
    try:
        value = OmegaConf.select(plain, key)
    except OmegaConfBaseException:
        return None
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def check_names(config: Config) -> None:
    """Raise FairsweepError unless every name can be that of a folder, and a cell of a table that no spreadsheet takes for a formula."""
    single = {"name": [config.name], "task.name": [config.task.name]}
    for key, names in (single | {"cells": config.cells, "recipes": config.recipes}).items():
        for name in names:
            if not re.fullmatch(r"\w[\w .-]*", name):
                raise FairsweepError(
                    f"{key}={name!r}: a name begins with a letter or a digit, and has but those, blanks and _ . -. Give it another name."
                )


def to_config(composed: Any, choices: Mapping[str, str]) -> Config:
    """The dataclasses of what Hydra composed from conf/, checked; `choices` are the names of the files, by group."""
    _check_space(composed.get("space"))
    config = to_object(composed, Config)
    assert isinstance(config, Config)
    check_names(config)
    for group, names in (("cell", config.cells), ("recipe", config.recipes)):
        for name in names:
            check_group(group, name)
        if len(set(names)) < len(names) or (group == "cell" and not names):
            raise FairsweepError(f"{group}s={as_typed(names)}: expected each once, and one at least. Correct the study's file.")
    if config.name != choices["study"]:
        raise FairsweepError(
            f"name={config.name}: expected {choices['study']}, as the study's file is called: it names the folders of data and runs, "
            f"which two studies cannot share. Write `name: {choices['study']}` in conf/study/{choices['study']}.yaml."
        )
    return _typed(config, choices["cell"])


def _check_space(space: Any) -> None:
    """Raise FairsweepError unless `space`, as it is composed, has sections of hyperparameters, each with the parts of one."""
    plain: Any = OmegaConf.to_container(space) if OmegaConf.is_config(space) else space
    for section, keys in (plain or {}).items():
        if not isinstance(keys, dict):
            check_space_key(f"space.{section}", keys)
        for key, parameter in keys.items():
            check_space_key(f"space.{section}.{key}", parameter)


def compose(overrides: Sequence[str]) -> Config:
    """The Config that `overrides` give, as on the command line."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    overrides = [quoted(override) for override in overrides if override != NO_RECIPE]
    check_overrides(overrides, multirun=False)
    # Within a command Hydra is at work already, on the same conf/.
    working = GlobalHydra.instance().is_initialized()
    begin = nullcontext() if working else hydra.initialize_config_dir(str(conf_folder()), version_base="1.3")
    with begin, checked():
        composed = hydra.compose("config", list(overrides), return_hydra_config=True)
        return to_config(composed, composed.hydra.runtime.choices)


def with_overrides(config: Config, overrides: Sequence[str]) -> Config:
    """A copy of `config` with `KEY=VALUE` overrides of plain keys (no groups) applied."""
    told = OmegaConf.from_dotlist(list(overrides))
    changed: Any = copy.deepcopy(config)
    for key in told:
        value = getattr(changed, str(key), None)
        # A section alone: a study has thousands of trials, and OmegaConf takes its time over a whole Config.
        if dataclasses.is_dataclass(value):
            setattr(changed, str(key), OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(value), told[key])))
        elif type(value) is type(told[key]) is int:
            setattr(changed, str(key), told[key])
        else:
            whole = OmegaConf.merge(OmegaConf.structured(changed), OmegaConf.masked_copy(told, [str(key)]))
            changed = OmegaConf.to_object(whole)
    return _typed(changed, config.cell.arm)


@functools.cache
def accelerator() -> bool:
    """Whether JAX would train on a GPU of this machine: told by its device and JAX's plugin, as importing JAX takes a second."""
    hidden = os.environ.get("JAX_PLATFORMS", "").startswith("cpu") or os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    plugins = any(importlib.util.find_spec(name) for name in ("jax_cuda13_plugin", "jax_cuda12_plugin"))
    return not hidden and plugins and any(Path("/dev").glob("nvidia[0-9]*"))


def _typed(config: Any, arm: str) -> Config:
    """`config` checked, with its arm; OmegaConf leaves dataclasses two dictionaries deep as dictionaries."""
    assert isinstance(config, Config)
    config.cell.arm = arm
    if config.train.backend == "auto":
        config.train.backend = "jax" if importlib.util.find_spec("jax") else "tensorflow"
    if config.train.engine == "auto":
        # Families pay where one small network leaves the device idle, not on a processor (docs/performance.md). Trials of separate
        # studies follow one another, and who is trained with whom would depend on who was faster.
        idle = config.train.backend == "jax" and config.search.design == "pool" and accelerator()
        config.train.engine = "population" if idle else "single"
    for section in config.space.values():
        for key, parameter in section.items():
            if isinstance(parameter, dict):
                section[key] = Parameter(**parameter)
    return check_config(config)


def task_overrides() -> list[str]:
    """The overrides of the running command (in a multirun: of this job), as the user gave them."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


def printed_numbers(config: Config, overrides: Sequence[str]) -> Printed:
    """{recipe: {cell: {loss, METRIC}}} of the recipes that are in print on this study's task; `overrides` gave `config`."""
    recipes = {recipe: compose([*overrides, f"recipe={recipe}"]) for recipe in config.recipes}
    return {name: recipe.printed for name, recipe in recipes.items() if config.task.source in recipe.printed_on}


def replay_overrides(config: Config) -> list[str]:
    """This command's overrides that a run of its own needs: all but how many runs there are and where they are done."""
    spared = ("study=", "cell=", "search.", "cluster", "seed=", "task.archive=")
    given = [one for one in task_overrides() if not one.lstrip("+").startswith(spared)]
    resolved = {f"train.{key}=auto": f"train.{key}={getattr(config.train, key)}" for key in ("backend", "engine")}
    named = [resolved.get(one.lstrip("+"), one) for one in given]
    return [f"study={config.name}", f"cell={config.cell.arm}", *named]


def hydra_arguments(name: str, arguments: Sequence[str], schema: type = Config, folder: bool = True) -> list[str]:
    """The command line for Hydra: checked, free text quoted, the job named after the command, without a folder where none is wanted."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> typing.NoReturn:
        shown = "study=smoke" if schema is Config else f"{leaves(schema)[0][0]}=VALUE"
        raise FairsweepError(f"{message}. Flags are Hydra's own (--help lists them); a key is given as KEY=VALUE: {shown}.")

    quoted_arguments = [quoted(argument, schema) for argument in arguments]
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parsed = parser.parse_args(quoted_arguments)
    if parsed.multirun and (schema is not Config or not folder):
        raise FairsweepError(f"-m: {name} makes no multirun, it would write folders; call it once for each value.")
    check_overrides(parsed.overrides, parsed.multirun, schema)
    # Argparse takes one run of overrides.
    first = quoted_arguments.index(parsed.overrides[0]) if parsed.overrides else len(quoted_arguments)
    own = [f"hydra.job.name={name}", *(NO_FOLDER if schema is Config and not folder else ())]
    named = [*quoted_arguments[:first], *own, *quoted_arguments[first:]]
    return [argument for argument in named if argument != NO_RECIPE]


def hydra_source(schema: type, name: str, usage: str) -> tuple[str | None, str]:
    """Hydra's `config_path` and `config_name`: conf/ for a study; else the schema's defaults, with `usage` as their --help."""
    if schema is Config:
        return str(conf_folder()), "config"
    from hydra.core.config_store import ConfigStore

    # Hydra's own folder of each run is switched off, and its logs: what a library reports would stand in the command's output.
    quiet = {"run": {"dir": "."}, "output_subdir": None}
    template = f"{usage}\n\nOverride anything in the config (KEY=VALUE):\n\n$CONFIG"
    node = {
        "defaults": ["_self_", *({f"override hydra/{log}_logging": "none"} for log in ("hydra", "job"))],
        "hydra": {**quiet, "help": {"template": template}},
        **{key: item.default for key, item in leaves(schema)},
    }
    ConfigStore.instance().store(name, node)
    return None, name


def _print_the_rest() -> None:
    """Where what is left to print has nowhere to go it is dropped: Python would complain once more as it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command(function: Callable[[Any], Any] | None = None, *, schema: type = Config, folder: bool = True) -> Callable[..., Any]:
    """Make `function(config)` a Hydra command of its module's name: one message for what a user can mend, exit status 1.

    With `@command(schema=...)` the config is that flat dataclass, and the module's docstring is the help. Hydra writes a `folder` for
    each run of a study's command, unless that is False; without one there is no multirun. HYDRA_FULL_ERROR=1 brings the traceback
    back.
    """
    if function is None:
        return functools.partial(command, schema=schema, folder=folder)
    module = sys.modules[function.__module__]
    name = Path(module.__file__ or "").stem

    failed: list[FairsweepError] = []
    begun: list[bool] = []

    def job(composed: Any) -> Any:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        begun.append(True)
        try:
            if schema is not Config:
                # This one knows no conf/, from which the command may `compose`.
                GlobalHydra.instance().clear()
                return function(to_object(composed, schema))
            config = to_config(composed, HydraConfig.get().runtime.choices)
            with closed(name, config.name):
                return function(config)
        except Exception as error:
            fault = as_fault(error)
            # In a multirun Hydra does the other jobs first and says which one failed.
            if fault is None or HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            failed.append(fault)

    def main() -> None:
        import hydra

        traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
        # Without it Hydra prints a traceback of its own; with it the error reaches us.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        try:
            sys.argv[1:] = hydra_arguments(name, sys.argv[1:], schema, folder)
            path, config_name = hydra_source(schema, name, (module.__doc__ or "").strip())
            with checked():
                hydra.main(version_base="1.3", config_path=path, config_name=config_name)(job)()
            if failed:
                raise failed[0]
            sys.stdout.flush()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            print("stopped; what had finished is kept. The same command, or dvc repro, does the rest.", file=sys.stderr)
            sys.exit(130)
        except Exception as error:
            fault = as_fault(error)
            if traceback or (fault is None and begun):
                raise
            # Nothing of ours has run, so Hydra or OmegaConf met a file of conf/ that they did not expect.
            met = f"a file of conf/ cannot be read ({type(error).__name__}: {error}). Correct it: HYDRA_FULL_ERROR=1 shows where."
            _print_the_rest()
            sys.exit(f"error: {masked(str(fault or met))}")

    return main
