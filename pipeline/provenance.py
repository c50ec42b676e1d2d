"""The origin of a number: the commit, the environment, the protocol and the data."""

import functools
import json
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .errors import FairsweepError

LIBRARIES = ("keras", "tensorflow", "jax", "numpy", "optuna", "dask", "hydra-core", "mlflow", "dvc")
DIRTY = "-dirty"
UNKNOWN = "unknown"
# Files that a study writes, and folders of code and settings.
WRITTEN, SOURCES = ("dvc.lock", "results"), ("pipeline", "conf")
# In the folder of a stage's tables: the protocol they were made under, and the digest of the data.
ORIGIN = "origin.json"


@functools.cache
def commit() -> str:
    """The git commit of the current folder at the first call; `unknown` outside a repository.

    `-dirty` is appended if a tracked file differs, other than WRITTEN, or if a file in SOURCES or a
    Python file in the root is not tracked.
    """
    head = git("rev-parse", "HEAD")
    if not head:
        return UNKNOWN
    excluded = (f":(top,exclude){path}" for path in WRITTEN)
    sources = (*(f":/{path}" for path in SOURCES), ":(top,glob)*.py")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", *excluded)
    changed += git("ls-files", "--others", "--exclude-standard", "--", *sources)
    return head + (DIRTY if changed else "")


def git(*words: str) -> str:
    """The output of a git command; empty outside a repository."""
    command = ["git", *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


@functools.cache
def environment() -> dict[str, str]:
    """{python, system and installed LIBRARIES: version}; names no machine and no user."""
    system = f"{platform.system()} {platform.machine()}"
    versions = {"python": platform.python_version(), "system": system}
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[library] = version(library)
    return versions


def locked() -> dict[str, str]:
    """{package: version} of requirements.lock in the current folder for this Python and system."""
    from packaging.markers import Marker

    lock = Path("requirements.lock")
    text = lock.read_text("utf-8") if lock.is_file() else ""
    pin = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: *; *(.+?))? *\\?$", re.MULTILINE)
    return {
        name: number
        for name, number, marker in pin.findall(text)
        if not marker or Marker(marker).evaluate()
    }


def write_origin(folder: Path, protocol: int, data: str | None) -> None:
    """Write ORIGIN to `folder`; `data` is the digest of the arrays, None if none were read."""
    content = {"protocol": protocol, **({"data": data} if data else {})}
    (folder / ORIGIN).write_text(json.dumps(content) + "\n")


def check_origin(folder: Path, protocol: int, meta: Mapping[str, Any], remedy: str) -> None:
    """Check that the tables in `folder` were made under this protocol and from these arrays.

    Args:
        meta: facts about the arrays. Tables without ORIGIN are of protocol 1.
        remedy: a command.

    Raises:
        FairsweepError: another protocol, or other data.
    """
    path = folder / ORIGIN
    origin = json.loads(path.read_text()) if path.is_file() else {"protocol": 1}
    if origin["protocol"] != protocol:
        newer = origin["protocol"] > protocol
        action = "Update this older version." if newer else f"Train again: `{remedy}`."
        raise FairsweepError(
            f"{folder} was made under protocol {origin['protocol']}, this version is protocol "
            f"{protocol}, and numbers of two protocols cannot be mixed. {action}"
        )
    if "data" in origin and origin["data"] != meta.get("digest"):
        raise FairsweepError(
            f"{folder} was trained on other data than data/ has now. Run `{remedy}`, or restore "
            "the data."
        )
