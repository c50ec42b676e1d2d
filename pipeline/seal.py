"""The seal at run time: a command that has no business with test labels cannot open a file that tells them.

An audit hook of Python's own sees each file that this process opens, before it is open, and knows it by device and inode: neither
another name nor a link hides it. It does not see what opens files without Python, native readers and other programs; those are
kept out by the rules on imports in pyproject.toml, and tests/test_seal.py looks for them with strace.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import FairsweepError

# The archive holds test labels as well as training labels.
MAY_OPEN = {"archive": ("download", "pad"), "sealed": ("pad", "evaluate")}
# Scores reveal labels: results/STUDY is for what comes after.
BEFORE_EVALUATE = ("download", "pad", "draw", "tune", "replicate", "baseline", "train")

# DVC's copies of the same files, wherever its cache is (`dvc cache dir`): none has a name that tells what it is.
CACHED = re.compile(r"[\\/]files[\\/]md5[\\/][0-9a-f]{2}[\\/][0-9a-f]+(\.dir)?$")

# Device and inode of what this process may not open now, with its name when it was sealed.
_shut: dict[tuple[int, int], Path] = {}
# Whether DVC's cache is shut too.
_cache_shut = False
_hooked = False


@contextmanager
def closed(command: str, study: str) -> Iterator[None]:
    """What tells test labels and `command` may not open raises FairsweepError in this process until the block ends.

    Covers data/STUDY/archive and sealed, results/STUDY, and the sealed folders of .fairsweep/data/, as they are when the block begins;
    and before `evaluate` DVC's cache, by the names of its files.
    """
    global _hooked, _cache_shut
    if not _hooked:
        # A hook is for good, so it is one that asks what is shut.
        sys.addaudithook(_watch)
        _hooked = True
    before, cache_before = dict(_shut), _cache_shut
    _shut.update(_told_by(_folders(command, study)))
    _cache_shut = _cache_shut or command in BEFORE_EVALUATE
    try:
        yield
    finally:
        _shut.clear()
        _shut.update(before)
        _cache_shut = cache_before


def _folders(command: str, study: str) -> list[Path]:
    """Where test labels lie that `command` has no business with."""
    data = Path("data") / study
    shut = [data / name for name, openers in MAY_OPEN.items() if command not in openers]
    if command in BEFORE_EVALUATE:
        shut.append(Path("results") / study)
    return [*shut, *Path(".fairsweep/data").glob("*/sealed")]


def _told_by(folders: list[Path]) -> dict[tuple[int, int], Path]:
    """Device and inode of each folder, whose descriptor would open its files by their bare names, and of all below it."""
    found = {}
    for folder in folders:
        for path in [folder, *folder.rglob("*")] if folder.exists() else []:
            status = path.stat()
            found[status.st_dev, status.st_ino] = path
    return found


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook: a file about to be opened, or one that is open already and about to be mapped into memory."""
    if not (_shut or _cache_shut) or event not in ("open", "mmap.__new__"):
        return
    opened = arguments[0]
    try:
        status = os.stat(opened)
    except (OSError, TypeError, ValueError):
        # No such file yet, or none at all: an anonymous map.
        return
    path = _shut.get((status.st_dev, status.st_ino))
    if path is None and _cache_shut and not isinstance(opened, int):
        # Not resolved: a link to the cache is how DVC may lay out what a command reads.
        absolute = os.path.abspath(os.fsdecode(opened))
        path = Path(absolute) if CACHED.search(absolute) else None
    if path:
        raise FairsweepError(
            f"{path} tells test labels, and something here opens it: the seal holds until `evaluate`. Take that out; "
            "HYDRA_FULL_ERROR=1 shows where it is."
        )
