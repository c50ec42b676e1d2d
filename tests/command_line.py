"""Run commands as a user does, without the second in which Python and Hydra start.

One process imports what every command needs and then forks per command. Each fork runs `python -m
pipeline.NAME` with its own folder, environment, output and exit status, and exits without cleanup.
"""

import importlib
import json
import os
import resource
import runpy
import shlex
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
# Variables that change the messages.
UNSET = (
    "IMDB_ARCHIVE",
    "IMDB_NPZ",
    "MLFLOW_TRACKING_URI",
    "OPTUNA_STORAGE",
    "DASK_SCHEDULER_ADDRESS",
)
UNSET += ("HYDRA_FULL_ERROR", "FAIRSWEEP_CLUSTER", "JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES")


# A fork has one thread, and deadlocks on locks of others: those of numpy and of pyarrow.
ALONE = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
# Then a command that hangs is ended by a signal.
TIMEOUT_SECONDS = 300


def environment() -> dict[str, str]:
    """The environment of a command: this interpreter and this checkout from any folder."""
    variables = {key: value for key, value in os.environ.items() if key not in UNSET}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**variables, "PATH": path, "PYTHONPATH": f"{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}


class CommandLine:
    """`command_line(folder, "tune study=smoke")` runs the command `tune` in that folder."""

    def __enter__(self) -> Self:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        env = {**environment(), **ALONE}
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, __file__], env=env, **pipes
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.communicate()

    def __call__(
        self,
        folder: Path,
        command: str,
        largest: int | None = None,
        absent: Sequence[str] = (),
        stdout: str = "",
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        """The finished command.

        Args:
            largest: maximum size of a file in bytes.
            absent: packages that cannot be imported.
            stdout: a file for the output.
        """
        assert self.process.stdin
        assert self.process.stdout
        with tempfile.TemporaryDirectory() as folder_of_outputs:
            outputs = [stdout or f"{folder_of_outputs}/stdout", f"{folder_of_outputs}/stderr"]
            order = {
                "folder": str(folder),
                "words": shlex.split(command),
                "largest": largest,
                "absent": [*absent],
            }
            self.process.stdin.write(
                json.dumps({**order, "outputs": outputs, "variables": variables}) + "\n"
            )
            self.process.stdin.flush()
            status = int(self.process.stdout.readline())
            printed, told = (
                "" if name.startswith("/dev/") else Path(name).read_text() for name in outputs
            )
            return subprocess.CompletedProcess(command, status, printed, told)


def serve() -> dict[str, Any]:
    """Fork per order on stdin and print the exit status; the fork returns with its order."""
    for line in sys.stdin:
        assert len(os.listdir("/proc/self/task")) == 1
        if (child := os.fork()) == 0:
            order: dict[str, Any] = json.loads(line)
            return order
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


def follow(order: dict[str, Any]) -> None:
    """Run the command of `order` in this process."""
    signal.alarm(TIMEOUT_SECONDS)
    os.chdir(order["folder"])
    os.environ.update(order["variables"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(order["outputs"], 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    if order["largest"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"],) * 2)
    hide(order["absent"])
    name, *words = order["words"]
    # As `-m` has it.
    sys.path[0] = ""
    sys.argv = [name, *words]
    status: Any = 0
    try:
        runpy.run_module(f"pipeline.{name}", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if isinstance(status, str) else status or 0)


def hide(packages: Sequence[str]) -> None:
    """Make packages look as if they were not installed."""
    found = PathFinder.find_spec

    def find_spec(name: str, *where: Any) -> Any:
        return None if name.partition(".")[0] in packages else found(name, *where)

    PathFinder.find_spec = find_spec  # type: ignore[method-assign]


# What commands import when they need it; none of them imports Keras, MLflow or Dask.
IMPORTED = (
    "hydra.main",
    "optuna",
    "pipeline.data.registry",
    "pipeline.search.run_stage",
    "pipeline.search.optuna",
    "pipeline.tracking",
)
IMPORTED += (
    "pipeline.scoring.forecast",
    "pipeline.rendering.html",
    "pipeline.rendering.probe_page",
    "pipeline.scoring.scores_file",
)

if __name__ == "__main__":
    from pipeline.config.compose import compose

    for module in IMPORTED:
        importlib.import_module(module)
    os.chdir(ROOT)
    # Loads Hydra's grammar and plugins, which takes most of a second.
    compose(["study=smoke", "cell=rnn"])
    follow(serve())
