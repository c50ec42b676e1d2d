"""A configuration from conf/ and overrides, composed by Hydra and checked."""

import copy
import dataclasses
import functools
import importlib.util
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from ..errors import FairsweepError, masked, nearest
from .schema import GROUPS, OPTIONS, Config, Parameter, Printed, leaves
from .validation import as_typed, check_config, check_value

# Hydra's default for this group, which it does not accept as an override.
NO_RECIPE = "recipe=null"
# Keys, without their section, whose values are text: commas, blanks and brackets in them are kept.
FREE_TEXT = re.compile(
    "account|address|archive|file|group|label|model|out|paired|path|queue|scores|storage|test_path"
    "|text|time|url|value|walltime"
)
QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")


def packaged() -> Path:
    """The folder of the conf/ and dvc.yaml that the code came with: in a checkout the root."""
    package = Path(__file__).parents[1]
    return package / "project" if (package / "project").is_dir() else package.parent


def conf_folder() -> Path:
    """The absolute path of conf/ in the current folder, or else of that in an installed package."""
    folder, project = Path("conf").resolve(), packaged()
    if (folder / "config.yaml").is_file():
        return folder
    groups = [group for group in GROUPS if (folder / group).is_dir()]
    if groups or project.name != "project":
        part = f", though there is conf/{groups[0]}/" if groups else ""
        raise FairsweepError(
            f"no conf/config.yaml in {Path.cwd()}{part}: run the command in the project's root. "
            "In an empty folder, `fairsweep init` writes a complete conf/."
        )
    return project / "conf"


def check_group(group: str, value: Any) -> None:
    """Raise FairsweepError unless conf/GROUP/VALUE.yaml exists."""
    names = sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))
    if str(value) not in names and (group, value) != ("recipe", None):
        raise FairsweepError(
            f"{group}={as_typed(value)}: no such {group}{nearest(str(value), names)}. "
            f"There are: {', '.join(names)}."
        )


def _literal(key: str, schema: type) -> bool:
    """Whether the value of `key` is kept character by character."""
    field = dict(leaves(schema)).get(key.lstrip("+"))
    return field is not None and "literal" in field.metadata


def quoted(argument: str, schema: type = Config) -> str:
    """`argument` with a free-text value quoted, so that Hydra's grammar does not interpret it.

    The value of a `literal` key keeps every character, also quotes around it and `null`.
    """
    if schema is Config and argument.startswith((OPTIONS, "cell.space.")):
        # The file of a cell need not have the key yet.
        argument = f"++{argument}"
    key, equals, value = argument.partition("=")
    if not equals or key.startswith("-") or not FREE_TEXT.fullmatch(re.split(r"[.+]", key)[-1]):
        return argument
    if _literal(key, schema):
        # OmegaConf treats ??? as a missing value, and ${ as a reference.
        value = " ???" if value == "???" else re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    elif value in ("", "null") or QUOTED.fullmatch(value):
        return argument
    # In Hydra's grammar a backslash is special before a quote only; the last one is before ours.
    escaped = re.sub(r"(\\*)('|$)", lambda end: end[1] * 2 + ("\\'" if end[2] else ""), value)
    return f"{key}='{escaped}'"


def check_overrides(arguments: Sequence[str], multirun: bool, schema: type = Config) -> None:
    """Check every override, and every value of a multirun, before anything runs.

    Raises:
        FairsweepError: one has a password, a misspelt key, or a value that the schema rejects.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for argument in arguments:
        if masked(argument) != argument and not _literal(argument.partition("=")[0], schema):
            raise FairsweepError(
                f"{masked(argument)}: other users see a password on a command line, and runs/hydra "
                "stores it. Set it in the environment (OPTUNA_STORAGE, MLFLOW_TRACKING_URI) or in "
                "a file such as ~/.pgpass."
            )
        try:
            (override,) = OverridesParser.create().parse_overrides([argument])
            sweep = override.is_sweep_override()
            values = [*override.sweep_iterator()] if sweep else [override.value()]
        except HydraException as error:
            raise FairsweepError(
                f"{argument}: cannot be read as KEY=VALUE ({str(error).splitlines()[0]}). Write no "
                "blanks around `=`, and quote a value with blanks, commas or brackets twice: "
                "\"KEY='a, b'\"."
            ) from error
        key = override.key_or_group
        if schema is Config and re.match(r"hydra($|[./])", key):
            continue
        if override.is_delete():
            raise FairsweepError(f"{argument}: a key cannot be deleted. Set it to null instead.")
        if sweep and not multirun:
            multiple = "several values need a multirun: add -m."
            single = "takes one value. Run the command once per value."
            raise FairsweepError(f"{argument}: {multiple if schema is Config else single}")
        for value in values:
            if schema is Config and key in GROUPS:
                check_group(key, value)
            else:
                check_value(key, value, schema)


def to_object(composed: Any, schema: type) -> Any:
    """What Hydra composed, as dataclasses of `schema`, each key and value checked.

    Raises:
        FairsweepError: a key is unknown, or has no value or a wrong one.
    """
    own: Any = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
    plain: Any = OmegaConf.to_container(own, resolve=True)
    for key, item in leaves(schema):
        section, _, name = key.rpartition(".")
        values = plain.get(section) if section else plain
        value = values.get(name) if isinstance(values, dict) else None
        if "example" in item.metadata and value in (None, "", MISSING):
            raise FairsweepError(f"{key} is missing. Set it, such as {item.metadata['example']}")
    for key, value in plain.items():
        try:
            check_value(key, _escaped(value), schema)
        except FairsweepError as error:
            raise FairsweepError(f"{error}{_file_of(str(error))}") from error
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), own))


def _escaped(value: Any) -> Any:
    """`value` with its texts such that OmegaConf does not read `${` in them as a reference."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def _file_of(message: str) -> str:
    """A sentence that names the file with the key at the start of `message`, if one file has it."""
    key = re.split(r"[=:\s]", message)[0].rpartition(".")[2]
    pattern = re.compile(rf"(^|[{{,])\s*{re.escape(key)}\s*:", re.MULTILINE)
    texts = {path: path.read_text("utf-8") for path in conf_folder().rglob("*.yaml")}
    files = [path for path, text in texts.items() if pattern.search(text)]
    return f" It is in {files[0].relative_to(conf_folder().parent)}." if len(files) == 1 else ""


def to_config(composed: Any, choices: Mapping[str, str]) -> Config:
    """The checked Config of what Hydra composed from conf/; `choices` is {group: file name}."""
    config = to_object(composed, Config)
    single = {"name": [config.name], "task.name": [config.task.name]}
    for key, names in (single | {"cells": config.cells, "recipes": config.recipes}).items():
        for name in names:
            # A name is a folder and a cell of a table, which must not look like a formula.
            if not re.fullmatch(r"\w[\w .-]*", name):
                raise FairsweepError(
                    f"{key}={name!r}: a name starts with a letter or digit and contains only "
                    "letters, digits, blanks and _ . -. Choose another name."
                )
            if key not in single:
                check_group(key.removesuffix("s"), name)
        if len(set(names)) < len(names) or (key == "cells" and not names):
            raise FairsweepError(
                f"{key}={as_typed(names)}: each must be listed once, and at least one. "
                "Correct the study's file."
            )
    if config.name != (study := choices["study"]):
        raise FairsweepError(
            f"name={config.name}: must be {study}, the name of the study's file, since it names "
            f"the folders of data and runs. Write `name: {study}` in conf/study/{study}.yaml."
        )
    return _complete(config, choices["cell"])


def compose(overrides: Sequence[str]) -> Config:
    """The Config of `overrides`, as on the command line."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    overrides = [quoted(override) for override in overrides if override != NO_RECIPE]
    check_overrides(overrides, multirun=False)
    # Within a command Hydra is initialized already, with the same conf/.
    initialized = GlobalHydra.instance().is_initialized()
    folder = None if initialized else str(conf_folder())
    with hydra.initialize_config_dir(folder, version_base="1.3") if folder else nullcontext():
        composed = hydra.compose("config", overrides, return_hydra_config=True)
        return to_config(composed, composed.hydra.runtime.choices)


def with_overrides(config: Config, overrides: Sequence[str]) -> Config:
    """A copy of `config` with `KEY=VALUE` overrides of plain keys (no groups) applied."""
    values = OmegaConf.from_dotlist(list(overrides))
    changed: Any = copy.deepcopy(config)
    for key in values:
        section = getattr(changed, str(key), None)
        # Sections are merged one by one: merging a Config is slow for thousands of trials.
        if dataclasses.is_dataclass(section):
            merged = OmegaConf.merge(OmegaConf.structured(section), values[key])
            setattr(changed, str(key), OmegaConf.to_object(merged))
        elif type(section) is type(values[key]) is int:
            setattr(changed, str(key), values[key])
        else:
            override = OmegaConf.masked_copy(values, [str(key)])
            changed = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(changed), override))
    return _complete(changed, config.cell.arm)


@functools.cache
def accelerator() -> bool:
    """Whether JAX would train on a GPU of this machine, without a slow import of JAX."""
    hidden = os.environ.get("JAX_PLATFORMS", "").startswith("cpu") or (
        os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    )
    plugins = any(importlib.util.find_spec(f"jax_cuda{number}_plugin") for number in (13, 12))
    return not hidden and plugins and any(Path("/dev").glob("nvidia[0-9]*"))


def _complete(config: Config, arm: str) -> Config:
    """`config` with its arm and with a backend and an engine in place of `auto`, checked."""
    config.cell.arm = arm
    train = config.train
    if train.backend == "auto":
        train.backend = "jax" if importlib.util.find_spec("jax") else "tensorflow"
    if train.engine == "auto":
        # Batches of models pay on a GPU only (docs/performance.md). In repeated searches the trials
        # depend on one another, and the batches would depend on their speed.
        shared = config.search.design == "shared"
        batched = train.backend == "jax" and shared and accelerator()
        train.engine = "population" if batched else "single"
    for section in (*config.space.values(), config.cell.space):
        for key, parameter in section.items():
            # OmegaConf leaves dataclasses in nested dictionaries as dictionaries.
            if isinstance(parameter, dict):
                section[key] = Parameter(**parameter)
    return check_config(config)


def task_overrides() -> list[str]:
    """The overrides of the running command, or of its current job in a multirun, as typed."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


def printed_numbers(config: Config, overrides: Sequence[str]) -> Printed:
    """{recipe: {cell: {loss, METRIC}}} of recipes with published results on this task.

    `config` is composed from `overrides`.
    """
    recipes = {name: compose([*overrides, f"recipe={name}"]) for name in config.recipes}
    source = config.task.source
    return {name: recipe.printed for name, recipe in recipes.items() if source in recipe.printed_on}


def arm_spaces(cells: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """{arm: its own search keys}, as study.json lists them, of arms whose file has a `space`."""
    spaces = {}
    for arm in cells:
        path = conf_folder() / "cell" / f"{arm}.yaml"
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
        if own := (content or {}).get("space"):
            parameters = {key: vars(Parameter(**own[key])) for key in sorted(own)}
            spaces[arm] = [
                {"key": f"{OPTIONS}{key}"}
                | {name: part for name, part in parameter.items() if part is not None}
                for key, parameter in parameters.items()
            ]
    return spaces


def replay_overrides(config: Config) -> list[str]:
    """The overrides of this command that a single run needs: not those of its number and place."""
    excluded = ("study=", "cell=", "search.", "cluster", "seed=", "task.archive=")
    resolved = {
        f"train.{key}=auto": f"train.{key}={getattr(config.train, key)}"
        for key in ("backend", "engine")
    }
    overrides = [item for item in task_overrides() if not item.lstrip("+").startswith(excluded)]
    replayed = [resolved.get(item.lstrip("+"), item) for item in overrides]
    return [f"study={config.name}", f"cell={config.cell.arm}", *replayed]
