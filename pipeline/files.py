"""Outputs that are whole or absent: written under a temporary name beside their place, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def own_file(path: str | Path) -> Path:
    """A file that the user named: a relative path counts from where make was called, as studies under build/ run elsewhere."""
    return Path(os.environ.get("FAIRSWEEP_ROOT", "."), path)


def _part(path: Path) -> Path:
    """A free name beside `path`, on the same file system so that renaming is one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yields a name to write to; it becomes `path` when the block ends well, and is removed when it does not."""
    path = Path(path)
    part = _part(path)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill; it takes the place of `path` when the block ends well, and is removed otherwise."""
    path = Path(path)
    part = _part(path)
    old = part.with_suffix(".old")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        if path.exists():
            # A folder cannot be renamed onto a full one: the old one steps aside first.
            os.replace(path, old)
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
