"""Checks of single keys and of a composed configuration, before anything runs."""

import dataclasses
import functools
import importlib.util
import json
import math
import operator
import typing
from collections.abc import Mapping
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import FairsweepError, nearest
from .schema import GROUPS, OPTIONS, Config, Parameter, leaves, own_parameters, parameters

PARTS = {item.name: item for item in dataclasses.fields(Parameter)}
LIMITS = {
    "least": (operator.ge, "at least"),
    "most": (operator.le, "at most"),
    "above": (operator.gt, "above"),
    "below": (operator.lt, "below"),
}
# Keys of dictionaries, whose items are checked one by one.
FREE = ("space", "cell.space", "cell.options")
# {former key: present key}, and {(key, former value): present value}.
RENAMED = {
    "search.headline": "search.budget",
    "search.studies": "search.repeats",
    "search.gates": "search.checks",
    "train.keep": "train.checkpoint",
    "train.floor": "train.min_validation",
}
RENAMED_VALUES = {
    ("search.design", "pool"): "shared",
    ("search.design", "studies"): "repeated",
    ("task.source", "aclimdb"): "imdb",
    ("task.source", "generated"): "synthetic",
}


# One instance per class, whose fields are set and read one at a time.
_structured = functools.cache(OmegaConf.structured)


def as_typed(value: Any) -> str:
    """`value` as it is typed on a command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_typed, value))}]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def check_limits(key: str, value: Any, limits: Mapping[str, Any]) -> None:
    """Raise FairsweepError unless `value` is within `limits`, those of `limited`."""
    if isinstance(value, str) and (new := RENAMED_VALUES.get((key, value))):
        raise FairsweepError(f"{key}={value} is now called {new}. Write {key}={new}.")
    if value is None or value == MISSING:
        return
    if "choices" in limits and value not in limits["choices"]:
        raise FairsweepError(f"{key}={value}: must be one of {', '.join(limits['choices'])}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise FairsweepError(f"{key}={value}: must be a finite number.")
    for name, (holds, words) in LIMITS.items():
        if name in limits and not holds(value, limits[name]):
            raise FairsweepError(f"{key}={value}: must be {words} {limits[name]}.")


def check_value(key: str, value: Any, schema: type = Config) -> None:
    """Check a value that an override or a file of conf/ gives for `key`.

    Raises:
        FairsweepError: there is no such key, or the value has another type or exceeds its limits.
    """
    known = dict(leaves(schema))
    study = schema is Config
    sections = {name.rpartition(".")[0] for name in known if "." in name}
    if study and key in RENAMED:
        raise FairsweepError(
            f"{key} is now called {RENAMED[key]}. Write {RENAMED[key]}={as_typed(value)}."
        )
    if study and key.startswith(("space.", "cell.space.")):
        _check_part(key, value)
    elif study and key.startswith(OPTIONS):
        if "." in key.removeprefix(OPTIONS) or isinstance(value, Mapping | list):
            raise FairsweepError(
                f"{key}={as_typed(value)}: a setting of a cell must be a single number, text, "
                f"true, false or null. Write {OPTIONS}NAME=VALUE."
            )
    elif study and key == "arm_spaces" and value:
        raise FairsweepError(
            f"{key}: an arm's search keys are set in its file, `space:` in conf/cell/NAME.yaml."
        )
    elif study and key == "cell.arm" and value:
        raise FairsweepError(f"{key}: the arm is a file name in conf/cell/. Write cell=NAME.")
    elif isinstance(value, Mapping) and (key in sections or (study and key in FREE)):
        for name, item in value.items():
            check_value(f"{key}.{name}", item, schema)
    elif key in sections:
        raise FairsweepError(f"{key}={as_typed(value)}: {key} is a section. Set {key}.KEY=VALUE.")
    elif key not in known:
        every = "`--cfg job` prints every key" if study else f"there are: {', '.join(known)}"
        hint = nearest(key, [*known, *sections, *(GROUPS if study else ())], cutoff=0.4)
        raise FairsweepError(f"{key}: no such key{hint or f'; {every}'}.")
    else:
        section, _, name = key.rpartition(".")
        owner = typing.get_type_hints(schema)[section] if section else schema
        check_limits(key, _typed(key, value, owner, known[key]), known[key].metadata)


def _typed(key: str, value: Any, owner: type, field: dataclasses.Field) -> Any:
    """`value` as the type that the dataclass `owner` has for `field`; `key` is for the message."""
    try:
        section = _structured(owner)
        OmegaConf.update(section, field.name, value, merge=False)
        return OmegaConf.select(section, field.name)
    except OmegaConfBaseException as error:
        example = field.metadata.get("example")
        if example is None and field.default not in (None, MISSING, dataclasses.MISSING):
            example = f"{key}={as_typed(field.default)}"
        remedy = f" Write a value such as {example}." if example else ""
        reason = str(error).splitlines()[0].rstrip(".")
        raise FairsweepError(f"{key}={as_typed(value)}: {reason}.{remedy}") from error


def _check_part(key: str, value: Any) -> None:
    """Check the form of `space.SECTION.KEY` or `cell.space.KEY`: parts, or one `.PART`."""
    parts = key.split(".")
    if len(parts) == 2 and isinstance(value, Mapping):
        for name, item in value.items():
            _check_part(f"{key}.{name}", item)
        return
    given = {parts.pop(): value} if len(parts) == 4 else value
    if len(parts) != 3 or not isinstance(given, Mapping):
        shared = parts[0] == "space"
        example = "space.model.units.high=32" if shared else "cell.space.kernel.choices=[3,5]"
        line = "model: {units: {low: 8, high: 32}}" if shared else "kernel: {choices: [3, 5]}"
        raise FairsweepError(
            f"{key}={as_typed(value)}: must set one part of a searched key, such as {example}; in "
            f"a file, `{line}`."
        )
    where = ".".join(parts)
    for name, part in given.items():
        if name not in PARTS:
            raise FairsweepError(
                f"{where}.{name}: no such key{nearest(str(name), PARTS)}. "
                f"A searched hyperparameter has {', '.join(PARTS)}."
            )
        _typed(f"{where}.{name}", part, Parameter, PARTS[name])


def check_config(config: Config) -> Config:
    """Return `config` after a check of every value against its limits and of the search space."""
    for key, item in leaves():
        check_limits(key, functools.reduce(getattr, key.split("."), config), item.metadata)
    train, search = config.train, config.search
    if train.engine == "population" and train.backend == "tensorflow":
        raise FairsweepError(
            "train.engine=population: batches of models need JAX, and train.backend=tensorflow. "
            "Set train.backend=jax, or train.engine=single."
        )
    for key, parameter in (parameters(config) | own_parameters(config)).items():
        check_parameter(key, json.dumps(dataclasses.asdict(parameter)))
    if search.budget > search.trials > 0:
        raise FairsweepError(
            f"search.budget={search.budget}: must be at most search.trials={search.trials}. "
            "Lower the budget or raise the trials."
        )
    return config


# Every trial of a study checks the same space.
@functools.cache
def check_parameter(key: str, content: str) -> None:
    """Check one searched key; `content` is its Parameter as JSON.

    Raises:
        FairsweepError: it is neither a choice nor a range, or `key` rejects one of its values.
    """
    parameter = Parameter(**json.loads(content))
    low, high, step = parameter.low, parameter.high, parameter.step
    where = f"cell.space.{key.removeprefix(OPTIONS)}" if key.startswith(OPTIONS) else f"space.{key}"
    if parameter.choices is not None:
        if not parameter.choices or low is not None or high is not None:
            raise FairsweepError(f"{where}: set either choices (at least one), or low and high.")
        values: list[Any] = parameter.choices
    elif low is None or high is None or low >= high:
        raise FairsweepError(
            f"{where}: low={as_typed(low)}, high={as_typed(high)}: "
            "set two numbers, low below high, or choices."
        )
    elif parameter.log and (low <= 0 or step is not None):
        raise FairsweepError(f"{where}: log needs low above 0 and no step.")
    else:
        whole = all(float(number).is_integer() for number in (low, high, step or 1))
        values = [int(edge) if whole else edge for edge in (low, high)]
    for value in values:
        check_value(key, value)


def check_arm(config: Config) -> None:
    """Raise FairsweepError unless the study compares this cell."""
    arm, name = config.cell.arm, config.name
    if arm not in config.cells:
        raise FairsweepError(
            f"cell={arm}: study {name} does not compare it. Choose cell= of "
            f"{', '.join(config.cells)}, or add {arm} to `cells` in conf/study/{name}.yaml."
        )


def check_design(config: Config, installed: bool = True) -> None:
    """Raise FairsweepError for a design that cannot give a verdict, before anything is computed.

    With `installed` the sampler's package must be importable, which only sampling needs.
    """
    search = config.search
    if not search.trials:
        if not config.recipes:
            raise FairsweepError(
                f"search.trials=0: study {config.name} has no search and no recipes, so there is "
                "nothing to train. Add recipes."
            )
        return
    independent = (
        "a shared search needs independent random trials: use search.design=repeated "
        "search.repeats=5"
    )
    if search.design == "shared":
        if search.sampler_name != "random":
            raise FairsweepError(
                f"search.sampler={search.sampler}: {independent}, or search.sampler=random."
            )
        if search.pruner != "none":
            raise FairsweepError(
                f"search.pruner={search.pruner} compares trials, and {independent}, or "
                "search.pruner=none."
            )
        if search.trials < 4 * search.budget:
            raise FairsweepError(
                f"search.trials={search.trials}, search.budget={search.budget}: the interval of a "
                "shared search needs at least 4 trials per trial of the budget. Raise "
                f"search.trials to {4 * search.budget}, or lower search.budget."
            )
    elif search.repeats < 3:
        raise FairsweepError(
            f"search.repeats={search.repeats}: one search compares configurations, not cells, and "
            "two hardly show how searches vary. Raise search.repeats to 5 (at least 3)."
        )
    elif search.budget != search.trials:
        raise FairsweepError(
            f"search.budget={search.budget}: with repeated searches the verdict is about the whole "
            f"search of search.trials={search.trials}. Set both to the same number."
        )
    package = {"gp": "torch", "cmaes": "cmaes"}.get(search.sampler_name)
    if installed and package and importlib.util.find_spec(package) is None:
        raise FairsweepError(
            f"search.sampler={search.sampler}: needs the package {package}, which is not "
            f"installed. Install it (pip install {package}), or choose search.sampler=tpe."
        )
