"""Outputs that are whole or absent, written under a temporary name beside their place, then renamed; and inputs, whole or refused."""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import FairsweepError

# In a study's copy under build/: the folder that the copy was made from.
PROJECT = Path(".fairsweep/project")


def own_file(path: str | Path) -> Path:
    """A file that the user named: a relative path counts from the project's root, also in a study's copy under build/."""
    return Path(PROJECT.read_text("utf-8").strip() if PROJECT.is_file() else ".", path)


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[Path]:
    """Yields `path`, a file that another command wrote, to be read in the block; `remedy` is a sentence, such as "Run `dvc repro`.".

    Raises:
        FairsweepError: no such file, or the block cannot make sense of it.
    """
    if not path.is_file():
        raise FairsweepError(f"{path} is missing. {remedy}")
    try:
        yield path
    except FairsweepError:
        raise
    # What a damaged file makes its readers raise is nearly any exception; those with a number are of the system, not of the content.
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        reason = (str(error).splitlines() or [""])[0]
        raise FairsweepError(
            f"{path} is damaged, or of another version ({type(error).__name__}: {reason}). Expected it as it was written. {remedy}"
        ) from error


def study_root(study: str) -> Path:
    """The folder that `study` runs in: build/STUDY when `make run STUDY=…` has made it and this folder knows nothing of the study."""
    here, copy = Path(), Path("build") / study
    known = any((here / part / study).exists() for part in ("runs", "data"))
    return copy if copy.is_dir() and not known else here


def _part(path: Path) -> Path:
    """A free name beside `path`, on the same file system so that renaming is one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _sweep(path: Path) -> None:
    """Remove what processes that were killed left of their attempts at `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.*"):
        pid = left.suffixes[-2].removeprefix(".") if len(left.suffixes) > 1 else ""
        if left.suffix in (".part", ".old") and pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _named(path: Path, part: Path) -> Iterator[None]:
    """Errors of the system are told of `path`: those of a write name no file, and `part` is a name that nobody knows."""
    try:
        yield
    except OSError as error:
        error.filename = str(path) if error.filename is None else str(error.filename).replace(str(part), str(path))
        raise


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yields a name to write to; it becomes `path` when the block ends well, and is removed when it does not."""
    path = Path(path)
    if path.exists() and not path.is_file():
        # Renaming would put a file in the place of a device, such as /dev/null.
        raise FairsweepError(f"{path} is no ordinary file, and would be replaced by one. Give another name.")
    part = _part(path)
    try:
        with _named(path, part):
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
    _sweep(path)
    try:
        with _named(path, part):
            part.mkdir()
            yield part
            if path.exists():
                # A folder cannot be renamed onto a full one: the old one steps aside first.
                os.replace(path, old)
            os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
