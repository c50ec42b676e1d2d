"""Files and folders that appear complete or not at all, and checked reading of files."""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FairsweepError

# In a study's copy under build/: holds the path of the original folder.
PROJECT = Path(".fairsweep/project")


def own_file(path: str | Path) -> Path:
    """A file that the user named: relative to the project's root, also in a copy under build/."""
    return Path(PROJECT.read_text("utf-8").strip() if PROJECT.is_file() else ".", path)


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[Path]:
    """Yield `path`, a file that another command wrote, to be read in the block.

    Args:
        remedy: a sentence for the message, such as "Run `dvc repro`.".

    Raises:
        FairsweepError: there is no such file, or the block cannot read its content.
    """
    if not path.is_file():
        raise FairsweepError(f"{path} is missing. {remedy}")
    try:
        yield path
    except FairsweepError:
        raise
    # The content of a damaged file may raise nearly any exception.
    except Exception as error:
        # An error with a number is of the system, not of the content.
        if isinstance(error, OSError) and error.errno:
            raise
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise FairsweepError(
            f"{path} is damaged, or of another version ({reason}). {remedy}"
        ) from error


def study_root(study: str) -> Path:
    """The folder that `study` runs in: build/STUDY if only that one exists."""
    copy = Path("build") / study
    known = any(Path(folder, study).exists() for folder in ("runs", "data"))
    return copy if copy.is_dir() and not known else Path()


def _part(path: Path) -> Path:
    """A temporary name in the same folder, so that renaming is one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _remove_parts(path: Path) -> None:
    """Remove what killed processes left of their attempts at `path`."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.*"):
        pid = part.suffixes[-2].removeprefix(".") if len(part.suffixes) > 1 else ""
        if part.suffix in (".part", ".old") and pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _named(path: Path, part: Path) -> Iterator[None]:
    """Name `path` in errors of the system, which name `part` or no file."""
    try:
        yield
    except OSError as error:
        name = str(path) if error.filename is None else str(error.filename)
        error.filename = name.replace(str(part), str(path))
        raise


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a name to write to, which replaces `path` if the block succeeds; else it is removed.

    Raises:
        FairsweepError: `path` is something else than a file, such as the device /dev/null.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise FairsweepError(
            f"{path} is no ordinary file, and would be replaced. Choose another name."
        )
    part = _part(path)
    try:
        with _named(path, part):
            yield part
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder, which replaces `path` if the block succeeds; else it is removed."""
    path = Path(path)
    part = _part(path)
    old = part.with_suffix(".old")
    _remove_parts(path)
    try:
        with _named(path, part):
            part.mkdir()
            yield part
            if path.exists():
                # A folder cannot be renamed onto one that is not empty.
                os.replace(path, old)
            os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
