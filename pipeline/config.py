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
import sys
import typing
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import FairsweepError
from pipeline.limits import limit_error, limited

GROUPS = ("study", "task", "cell", "space", "recipe", "cluster")
# What Hydra has by default, and does not accept from a user.
NO_RECIPE = "recipe=null"
# Values that arrive as typed: neither a list for its comma, nor a truth for `true`.
FREE_TEXT = (
    *(
        "account",
        "address",
        "archive",
        "file",
        "group",
        "label",
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


@dataclass
class Task:
    """What is learned from: conf/task/NAME.yaml."""

    name: str = MISSING
    source: str = MISSING
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

    type: str = MISSING
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
    """How one configuration is trained. `backend: auto` is the faster one of those installed, by name once a Config is composed."""

    backend: str = limited("tensorflow", choices=("auto", "tensorflow", "jax"))
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
    address: str | None = None
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

    name: str = MISSING
    cells: list[str] = MISSING
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
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        every = "python -m pipeline.train --cfg job prints every key" if schema is Config else f"there are: {', '.join(known)}"
        hint = f"the nearest key is {near[0]!r}" if near else every
        raise FairsweepError(f"{key}: no such key; {hint}.")
    try:
        typed = OmegaConf.structured(schema)
        OmegaConf.update(typed, key, value)
        value = OmegaConf.select(typed, key)
    except OmegaConfBaseException as error:
        raise FairsweepError(f"{key}={value}: {str(error).splitlines()[0]}.") from error
    if key in known and (wrong := limit_error(key, value, known[key].metadata)):
        raise FairsweepError(f"{wrong}.")


def check_space_key(key: str, value: Any) -> None:
    """Raise FairsweepError unless `space.SECTION.KEY` is a searched key, or `space.SECTION.KEY.low` a part of one."""
    parts = key.split(".")
    names = [item.name for item in dataclasses.fields(Parameter)]
    if len(parts) == 4 and parts[3] not in names:
        raise FairsweepError(f"{key}: no such key; a searched hyperparameter has {', '.join(names)}.")
    if len(parts) not in (3, 4):
        raise FairsweepError(f"{key}: give space.SECTION.KEY.PART, such as space.model.units.high=32.")
    try:
        OmegaConf.merge(OmegaConf.structured(Parameter), {parts[3]: value} if len(parts) == 4 else value)
    except OmegaConfBaseException as error:
        raise FairsweepError(f"{key}={value}: {str(error).splitlines()[0]}.") from error


def check_config(config: Config) -> Config:
    """`config` itself, after every value was held against its limits and the search space against the schema."""
    for key, item in leaves():
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if wrong := limit_error(key, value, item.metadata):
            raise FairsweepError(f"{wrong}.")
    for key, parameter in parameters(config).items():
        _check_once(key, json.dumps(dataclasses.asdict(parameter)))
    if config.search.headline > config.search.trials > 0:
        raise FairsweepError(
            f"search.headline={config.search.headline}: must be at most search.trials={config.search.trials}. "
            "Lower the headline budget or raise the trials."
        )
    return config


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


def conf_folder() -> Path:
    """The absolute path of the conf/ in the current folder."""
    folder = Path("conf").resolve()
    if not (folder / "config.yaml").is_file():
        raise FairsweepError(f"no conf/config.yaml in {Path.cwd()}: run the command in the project's root.")
    return folder


def options(group: str) -> list[str]:
    """The names that `group=NAME` accepts."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def quoted(argument: str) -> str:
    """`argument` with the value of a free-text key quoted, so that Hydra's grammar leaves commas, spaces and `~` alone."""
    key, equals, value = argument.partition("=")
    free = equals and key.lstrip("+").rsplit(".", 1)[-1] in FREE_TEXT and not key.startswith("-")
    whole = re.fullmatch(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", value)
    if not free or value in ("", "null") or whole:
        return argument
    # Hydra reads a backslash as itself but before a quote, and at the end, where the quote is its own.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"{key}='{escaped}'"


def check_overrides(arguments: Sequence[str], multirun: bool, schema: type = Config) -> None:
    """Hold every override, and every value of a multirun, against the schema and the groups: before anything runs."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for argument in arguments:
        try:
            (override,) = OverridesParser.create().parse_overrides([argument])
            sweep = override.is_sweep_override()
            values = [*override.sweep_iterator()] if sweep else [override.value()]
        except HydraException as error:
            raise FairsweepError(f"{argument}: cannot be read as KEY=VALUE ({str(error).splitlines()[0]}).") from error
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
        near = difflib.get_close_matches(str(value), names, n=1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise FairsweepError(f"{group}={value}: no such {group}{hint}. There are: {', '.join(names)}.")


def to_object(composed: Any, schema: type) -> Any:
    """What Hydra composed as dataclasses of `schema`; raises FairsweepError when a key has no value or one of another type."""
    plain = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
    for key, item in leaves(schema):
        if "example" in item.metadata and (OmegaConf.is_missing(plain, key) or plain[key] == ""):
            raise FairsweepError(f"{key} is missing: give it, such as {item.metadata['example']}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), plain))
    except OmegaConfBaseException as error:
        raise FairsweepError(f"{getattr(error, 'full_key', '') or 'conf/'}: {str(error).splitlines()[0]}") from error


def to_config(composed: Any, arm: str) -> Config:
    """The dataclasses of what Hydra composed from conf/, checked."""
    config = to_object(composed, Config)
    assert isinstance(config, Config)
    for group, names in (("cell", config.cells), ("recipe", config.recipes)):
        for name in names:
            check_group(group, name)
    return _typed(config, arm)


def compose(overrides: Sequence[str]) -> Config:
    """The Config that `overrides` give, as on the command line."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    overrides = [quoted(override) for override in overrides if override != NO_RECIPE]
    check_overrides(overrides, multirun=False)
    # Within a command Hydra is at work already, on the same conf/.
    working = GlobalHydra.instance().is_initialized()
    with nullcontext() if working else hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = hydra.compose("config", list(overrides), return_hydra_config=True)
        return to_config(composed, composed.hydra.runtime.choices["cell"])


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


def _typed(config: Any, arm: str) -> Config:
    """`config` checked, with its arm; OmegaConf leaves dataclasses two dictionaries deep as dictionaries."""
    assert isinstance(config, Config)
    config.cell.arm = arm
    if config.train.backend == "auto":
        config.train.backend = "jax" if importlib.util.find_spec("jax") else "tensorflow"
    for section in config.space.values():
        for key, parameter in section.items():
            if isinstance(parameter, dict):
                section[key] = Parameter(**parameter)
    return check_config(config)


def task_overrides() -> list[str]:
    """The overrides of the running command (in a multirun: of this job), as the user gave them."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


def printed_numbers(config: Config, overrides: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """{recipe: {cell: {loss, METRIC}}} of the recipes that are in print on this study's task; `overrides` gave `config`."""
    recipes = {recipe: compose([*overrides, f"recipe={recipe}"]) for recipe in config.recipes}
    return {name: recipe.printed for name, recipe in recipes.items() if config.task.source in recipe.printed_on}


def replay_overrides(config: Config) -> list[str]:
    """This command's overrides that a run of its own needs: all but how many runs there are and where they are done."""
    spared = ("study=", "cell=", "search.", "cluster", "seed=", "task.archive=")
    given = [one for one in task_overrides() if not one.lstrip("+").startswith(spared)]
    named = [f"train.backend={config.train.backend}" if one.lstrip("+") == "train.backend=auto" else one for one in given]
    return [f"study={config.name}", f"cell={config.cell.arm}", *named]


def hydra_arguments(name: str, arguments: Sequence[str], schema: type = Config) -> list[str]:
    """The command line for Hydra: checked, free text quoted, the job named after the command."""
    from hydra._internal.utils import get_args_parser

    quoted_arguments = [quoted(argument) for argument in arguments]
    parsed = get_args_parser().parse_args(quoted_arguments)
    if parsed.multirun and schema is not Config:
        raise FairsweepError(f"-m: {name} makes no multirun, it would write folders; call it once for each value.")
    check_overrides(parsed.overrides, parsed.multirun, schema)
    # Argparse takes one run of overrides.
    first = quoted_arguments.index(parsed.overrides[0]) if parsed.overrides else len(quoted_arguments)
    named = [*quoted_arguments[:first], f"hydra.job.name={name}", *quoted_arguments[first:]]
    return [argument for argument in named if argument != NO_RECIPE]


def hydra_source(schema: type, name: str, usage: str) -> tuple[str | None, str]:
    """Hydra's `config_path` and `config_name`: conf/ for a study; else the schema's defaults, with `usage` as their --help."""
    if schema is Config:
        return str(conf_folder()), "config"
    from hydra.core.config_store import ConfigStore

    # Hydra's own folder of each run, and the log in it, are switched off.
    quiet = {"run": {"dir": "."}, "output_subdir": None}
    template = f"{usage}\n\nOverride anything in the config (KEY=VALUE):\n\n$CONFIG"
    node = {
        "defaults": ["_self_", {"override hydra/job_logging": "none"}],
        "hydra": {**quiet, "help": {"template": template}},
        **{key: item.default for key, item in leaves(schema)},
    }
    ConfigStore.instance().store(name, node)
    return None, name


def command(function: Callable[[Any], Any] | None = None, *, schema: type = Config) -> Callable[..., Any]:
    """Make `function(config)` a Hydra command of its module's name: one message for our own errors, exit status 1.

    With `@command(schema=...)` the config is that flat dataclass, and the module's docstring is the help.
    HYDRA_FULL_ERROR=1 brings the traceback back.
    """
    if function is None:
        return functools.partial(command, schema=schema)
    module = sys.modules[function.__module__]
    name = Path(module.__file__ or "").stem

    failed: list[FairsweepError] = []

    def job(composed: Any) -> Any:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        try:
            if schema is not Config:
                return function(to_object(composed, schema))
            return function(to_config(composed, HydraConfig.get().runtime.choices["cell"]))
        except FairsweepError as error:
            # In a multirun Hydra does the other jobs first and says which one failed.
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            failed.append(error)

    def main() -> None:
        import hydra
        from hydra.errors import HydraException

        expected = (FairsweepError, HydraException, OmegaConfBaseException)
        traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
        # Without it Hydra prints a traceback of its own; with it the error reaches us.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        try:
            sys.argv[1:] = hydra_arguments(name, sys.argv[1:], schema)
            folder, config_name = hydra_source(schema, name, (module.__doc__ or "").strip())
            hydra.main(version_base="1.3", config_path=folder, config_name=config_name)(job)()
            if failed:
                raise failed[0]
        except KeyboardInterrupt:
            print("stopped; what had finished is kept. The same command, or dvc repro, does the rest.", file=sys.stderr)
            sys.exit(130)
        except expected as error:
            if traceback:
                raise
            sys.exit(f"error: {error}")

    return main
