"""Where a number comes from: the commit, and what it ran on."""

import functools
import json
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.errors import FairsweepError

LIBRARIES = ("keras", "tensorflow", "jax", "numpy", "optuna", "dask", "hydra-core", "mlflow", "dvc")
DIRTY = "-dirty"
UNKNOWN = "unknown"
WRITTEN, SOURCES = ("dvc.lock", "results"), ("pipeline", "conf")
# Beside the tables of a stage: the protocol that its numbers were made under, and the digest of the data.
ORIGIN = "origin.json"


@functools.cache
def commit() -> str:
    """The git commit of the current folder when this process first asked, `-dirty` behind it when no commit holds what runs.

    That is when a tracked file differs, other than those that a study itself writes (WRITTEN), or a file of code or settings (SOURCES, or
    a Python file in the root) is not tracked. `unknown` outside a repository.
    """
    head = git("rev-parse", "HEAD")
    if not head:
        return UNKNOWN
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", *(f":(top,exclude){path}" for path in WRITTEN))
    changed += git("ls-files", "--others", "--exclude-standard", "--", *(f":/{path}" for path in SOURCES), ":(top,glob)*.py")
    return head + (DIRTY if changed else "")


def git(*words: str) -> str:
    """What git prints; nothing where there is no repository."""
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


@functools.cache
def environment() -> dict[str, str]:
    """{python, system, and a version for each of LIBRARIES that is installed}; nothing in it names a machine or a user."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def locked() -> dict[str, str]:
    """{package: version} that requirements.lock in the current folder has for this Python and system; nothing where there is none."""
    from packaging.markers import Marker

    lock = Path("requirements.lock")
    text = lock.read_text("utf-8") if lock.is_file() else ""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: *; *(.+?))? *\\?$", text, re.MULTILINE)
    return {name: number for name, number, marker in pins if not marker or Marker(marker).evaluate()}


def write_origin(folder: Path, protocol: int, data: str | None) -> None:
    """ORIGIN in `folder`; `data` is the digest of the arrays, None where none were read."""
    told = {"protocol": protocol, **({"data": data} if data else {})}
    (folder / ORIGIN).write_text(json.dumps(told) + "\n")


def check_origin(folder: Path, protocol: int, meta: Mapping[str, Any], remedy: str) -> None:
    """Raise FairsweepError when the tables in `folder` were made under another protocol or from other data; `meta`: of the arrays.

    Tables that do not say are of protocol 1, before there was a second one.
    """
    path = folder / ORIGIN
    found = json.loads(path.read_text()) if path.is_file() else {"protocol": 1}
    if found["protocol"] != protocol:
        newer = found["protocol"] > protocol
        what = "this version is older; update it" if newer else f"train it anew: `{remedy}`"
        raise FairsweepError(
            f"{folder} was made under protocol {found['protocol']}, this version is protocol {protocol}, and numbers of two protocols "
            f"cannot be mixed: {what}."
        )
    if "data" in found and found["data"] != meta.get("digest"):
        raise FairsweepError(
            f"{folder} was trained on other data than data/ holds now. Expected one and the same. Run `{remedy}`, or put the data back."
        )
