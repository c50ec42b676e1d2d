"""The seal: before `evaluate`, a command cannot open a file that reveals test labels.

A Python audit hook receives each file before this process opens it, and identifies it by device
and inode, which links do not change. It does not see native readers and other programs; rules on
imports in pyproject.toml exclude those, and tests/test_seal.py checks with strace.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import FairsweepError

# Both folders contain test labels: {folder of data/STUDY: commands that may open it}.
MAY_OPEN = {"archive": ("download", "pad"), "sealed": ("pad", "evaluate")}
# Commands that may not open results/STUDY, whose scores reveal labels, or DVC's cache.
BEFORE_EVALUATE = ("download", "pad", "sample", "tune", "replicate", "baseline", "train")
# A file in DVC's cache; its name does not show what it contains.
CACHED = re.compile(r"[\\/]files[\\/]md5[\\/][0-9a-f]{2}[\\/][0-9a-f]+(\.dir)?$")

# {(device, inode): path} that this process may not open now.
_sealed: dict[tuple[int, int], Path] = {}
_cache_sealed = False
_hooked = False


@contextmanager
def closed(command: str, study: str) -> Iterator[None]:
    """Make opening a file that reveals test labels raise FairsweepError until the block ends.

    Covers what `command` may not open of data/STUDY/archive and sealed, results/STUDY and the
    sealed folders of .fairsweep/data/, as they are when the block begins, and DVC's cache.
    """
    global _hooked, _cache_sealed
    if not _hooked:
        # A hook cannot be removed.
        sys.addaudithook(_watch)
        _hooked = True
    before, cache_before = dict(_sealed), _cache_sealed
    data, early = Path("data") / study, command in BEFORE_EVALUATE
    folders = [data / name for name, commands in MAY_OPEN.items() if command not in commands]
    folders += [Path("results") / study] if early else []
    for folder in [*folders, *Path(".fairsweep/data").glob("*/sealed")]:
        # The folder itself, too: its descriptor would open files by their bare names.
        for path in [folder, *folder.rglob("*")] if folder.exists() else []:
            status = path.stat()
            _sealed[status.st_dev, status.st_ino] = path
    _cache_sealed = _cache_sealed or early
    try:
        yield
    finally:
        _sealed.clear()
        _sealed.update(before)
        _cache_sealed = cache_before


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook for a file to be opened, or an open one to be mapped into memory."""
    if not (_sealed or _cache_sealed) or event not in ("open", "mmap.__new__"):
        return
    opened = arguments[0]
    try:
        status = os.stat(opened)
    except (OSError, TypeError, ValueError):
        # A new file, or an anonymous map.
        return
    path = _sealed.get((status.st_dev, status.st_ino))
    if path is None and _cache_sealed and not isinstance(opened, int):
        # Without resolving links: DVC may link the inputs of a command to its cache.
        absolute = os.path.abspath(os.fsdecode(opened))
        path = Path(absolute) if CACHED.search(absolute) else None
    if path:
        raise FairsweepError(
            f"{path} reveals test labels, and this command tries to open "
            "it before `evaluate`. Remove that code; HYDRA_FULL_ERROR=1 shows where it is."
        )
