"""Hydra commands: `@command` turns a function of a configuration into a command.

A command checks each override before the first job starts, composes conf/, and calls the function
with plain dataclasses. A command without a study has a flat schema: it reads no conf/ and writes no
folder.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

from ..errors import FairsweepError, as_called, as_fault, masked
from ..seal import closed
from .compose import NO_RECIPE, check_overrides, conf_folder, quoted, to_config, to_object
from .schema import Config, leaves

# Switch off Hydra's folder per run and its log.
NO_FOLDER = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none")


def hydra_arguments(
    name: str, arguments: Sequence[str], schema: type = Config, folder: bool = True
) -> list[str]:
    """The checked command line for Hydra, with free text quoted and the name of the job.

    Raises:
        FairsweepError: a flag is unknown, an override is wrong, or the command has no multirun.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        example = "study=smoke" if schema is Config else f"{leaves(schema)[0][0]}=VALUE"
        raise FairsweepError(f"{message}. Set keys as KEY=VALUE, such as {example}; see --help.")

    words = [quoted(argument, schema) for argument in arguments]
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parsed = parser.parse_args(words)
    if parsed.multirun and (schema is not Config or not folder):
        raise FairsweepError(f"-m: {name} has no multirun. Run it once per value.")
    check_overrides(parsed.overrides, parsed.multirun, schema)
    # Argparse accepts a single sequence of overrides.
    first = words.index(parsed.overrides[0]) if parsed.overrides else len(words)
    settings = [f"hydra.job.name={name}", *(NO_FOLDER if schema is Config and not folder else ())]
    return [word for word in (*words[:first], *settings, *words[first:]) if word != NO_RECIPE]


def hydra_source(schema: type, name: str, usage: str) -> tuple[str | None, str]:
    """Hydra's `config_path` and `config_name`: conf/ for a study; else the defaults of the schema.

    `usage` is the --help of a flat schema.
    """
    if schema is Config:
        return str(conf_folder()), "config"
    from hydra.core.config_store import ConfigStore

    template = f"{as_called(usage)}\n\nOverride anything in the config (KEY=VALUE):\n\n$CONFIG"
    node = {
        # Without folders and logs: output on stdout is the command's alone.
        "defaults": [
            "_self_",
            *({f"override hydra/{log}_logging": "none"} for log in ("hydra", "job")),
        ],
        "hydra": {"run": {"dir": "."}, "output_subdir": None, "help": {"template": template}},
        **{key: item.default for key, item in leaves(schema)},
    }
    ConfigStore.instance().store(name, node)
    return None, name


def command(
    function: Callable[[Any], Any] | None = None, *, schema: type = Config, folder: bool = True
) -> Callable[..., Any]:
    """Make `function(config)` a Hydra command named after its module.

    A user's mistake is one message with exit status 1; HYDRA_FULL_ERROR=1 shows the traceback.

    Args:
        schema: class of the config. With one other than Config the module's docstring is the help.
        folder: whether Hydra writes a folder per run. Without one there is no multirun.
    """
    if function is None:
        return functools.partial(command, schema=schema, folder=folder)
    module = sys.modules[function.__module__]
    name = Path(module.__file__ or "").stem
    faults: list[FairsweepError] = []
    jobs: list[Any] = []

    def job(composed: Any) -> Any:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        jobs.append(composed)
        study = schema is Config
        try:
            if not study:
                # So that the command may `compose` from conf/.
                GlobalHydra.instance().clear()
            config = (
                to_config(composed, HydraConfig.get().runtime.choices)
                if study
                else to_object(composed, schema)
            )
            with closed(name, config.name) if study else nullcontext():
                return function(config)
        except Exception as error:
            fault = as_fault(error)
            # In a multirun Hydra runs the other jobs first and names the failed one.
            if fault is None or (study and HydraConfig.get().mode == RunMode.MULTIRUN):
                raise
            faults.append(fault)

    def main() -> None:
        import hydra

        traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
        # With it Hydra raises errors instead of printing a traceback.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        try:
            sys.argv[1:] = hydra_arguments(name, sys.argv[1:], schema, folder)
            path, config_name = hydra_source(schema, name, (module.__doc__ or "").strip())
            hydra.main(version_base="1.3", config_path=path, config_name=config_name)(job)()
            if faults:
                raise faults[0]
            sys.stdout.flush()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            message = "stopped; finished runs are kept. The same command, or dvc repro, continues."
            print(message, file=sys.stderr)
            sys.exit(130)
        except Exception as error:
            fault = as_fault(error)
            if traceback or (fault is None and jobs):
                raise
            # No job has started, so Hydra or OmegaConf failed on a file of conf/.
            unread = (
                f"a file of conf/ cannot be read ({type(error).__name__}: {error}). Correct it: "
                "HYDRA_FULL_ERROR=1 shows where."
            )
            try:
                sys.stdout.flush()
            except OSError:
                # Drop the rest of the output, or Python reports the same error at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(f"error: {as_called(masked(str(fault or unread)))}")

    return main
