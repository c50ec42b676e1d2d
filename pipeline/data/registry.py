"""Finds a task's dataset, obtains its archive, checks it, and reads it."""

import difflib
import hashlib
import importlib
import inspect
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pooch
import requests
from tqdm import tqdm

from pipeline.config import Columns, Task
from pipeline.data.form import Corpus, Dataset, Sequences
from pipeline.errors import FairsweepError
from pipeline.files import own_file, replace_file
from pipeline.plugins import load

# {task.source: module of this package}. Each has its own DATASET, and is imported only where its task is used.
SHIPPED = {
    "aclimdb": "aclimdb",
    "chorales": "chorales",
    "co2": "co2",
    "csv": "csv_file",
    "digits": "digits",
    "generated": "generated",
    "imdb_npz": "keras_npz",
    "tagging": "tagging",
}
# Seconds without an answer, and without the next byte, after which a download is given up.
_TIMEOUT = (5, 30)


def _unreadable(task: Task, *_: Any) -> Sequences:
    raise FairsweepError(
        f"task.source={task.source}: its module cannot be imported. Put it in the project's root, or install it."
    )


# Used in place of a dataset whose module cannot be imported.
UNKNOWN = Dataset(_unreadable)


def module_of(source: str) -> str:
    """The name of the module that holds the dataset `source`, which is not imported.

    Raises:
        FairsweepError: no shipped dataset has this name, and it is no import path.
    """
    if source in SHIPPED:
        return f"{__package__}.{SHIPPED[source]}"
    if ":" in source:
        return source.partition(":")[0]
    near = difflib.get_close_matches(source, SHIPPED, n=1)
    hint = f"; the nearest is {near[0]!r}" if near else ""
    raise FairsweepError(
        f"task.source={source}: no such source{hint}. There are: {', '.join(SHIPPED)}. For a dataset of your own give MODULE:NAME."
    )


def dataset(source: str) -> Dataset:
    """The dataset that `task.source` names: a shipped one, or `MODULE:NAME`, found in the project's root or the environment.

    Raises:
        FairsweepError: there is none, or it cannot be imported, or it is no `Dataset`.
    """
    module = module_of(source)
    if source in SHIPPED:
        found: Dataset = importlib.import_module(module).DATASET
        return found
    found = load("task.source", source)
    if not isinstance(found, Dataset):
        raise FairsweepError(
            f"task.source={source}: expected a Dataset of pipeline.data.form, and it is a {type(found).__name__}."
        )
    return found


def fetch(task: Task, folder: Path, columns: Columns | None = None) -> Path:
    """Puts the task's archive into `folder`, checked, whole or not at all.

    A user's own file is copied, and a dataset that comes with a package leaves the package's version there. Any other archive is the
    local copy `task.archive`, or is generated, or is downloaded from `task.url` (three retries when an answer breaks off; none when
    there is no connection, so that working offline fails in seconds). Every one of them must have the content digest `task.digest`,
    where that is set.

    Returns:
        The archive's path.

    Raises:
        FairsweepError: no such copy, no connection, or another content than expected.
    """
    source = dataset(task.source)
    target = folder / source.archive
    if source.copy:
        source.copy(columns or Columns(), folder)
        if not target.is_file():
            raise FairsweepError(
                f"task.source={task.source}: copy did not write {target}. Set Dataset.archive to a file that it writes."
            )
        return target
    if task.archive is None and not source.make and _has_checksum(target, task.checksum):
        return target
    with replace_file(target) as part:
        if task.archive is not None:
            _copy(Path(task.archive), part)
        elif source.make:
            source.make(part)
        elif source.version_of:
            part.write_text(f"{source.version_of} {version(source.version_of)}\n")
        elif task.url is None and task.source not in SHIPPED:
            part.write_text(f"{task.source}\n")
        else:
            _download(task, source, part)
        if task.digest is not None:
            _check_content(task, source, part)
    return target


def archive_in(task: Task, folder: Path) -> Path:
    """Where `fetch` has put the archive.

    Raises:
        FairsweepError: it has not.
    """
    archive = folder / dataset(task.source).archive
    if not archive.is_file():
        raise FairsweepError(f"There is no {archive}. First run `python -m pipeline.download` with the same study and overrides.")
    return archive


def read(task: Task, archive: Path, columns: Columns | None = None) -> Corpus | Sequences:
    """All labelled examples of an archive that `fetch` has put there.

    Raises:
        FairsweepError: the archive is not what `task.source` says.
    """
    source, arguments = dataset(task.source), (task, archive, columns or Columns())
    try:
        inspect.signature(source.read).bind(*arguments)
    except TypeError as error:
        raise FairsweepError(f"task.source={task.source}: read must take (task, archive, columns): {error}.") from error
    return source.read(*arguments)


def _copy(source: Path, target: Path) -> None:
    source = own_file(source)
    if not source.is_file():
        raise FairsweepError(f"task.archive names {source}, and there is no such file. Give the path of a local copy.")
    shutil.copyfile(source, target)


def _has_checksum(path: Path, checksum: str | None) -> bool:
    """Whether an earlier download is still there, so that it need not be made again."""
    if checksum is None or not path.is_file():
        return False
    algorithm, _, expected = checksum.rpartition(":")
    return pooch.file_hash(str(path), alg=algorithm or "sha256") == expected


def _download(task: Task, source: Dataset, target: Path) -> None:
    if task.url is None:
        raise FairsweepError(
            f"Task {task.name} has neither task.url nor task.archive, so there is no archive to read. Give task.archive=FILE."
        )
    # Its log announces every download, and where the file lands; the progress bar and our own last line say enough.
    pooch.get_logger().setLevel("ERROR")
    archive = pooch.create(
        path=target.parent, base_url="", urls={target.name: task.url}, registry={target.name: task.checksum}, retry_if_failed=3
    )
    try:
        archive.fetch(target.name, downloader=_downloader(task, source))
    except (ValueError, requests.RequestException) as error:
        raise _unreachable(task, source, error) from error


def _downloader(task: Task, source: Dataset) -> Callable[[str, Any, Any], None]:
    """Pooch's own, but for one thing: when nothing at all arrives it gives up at once instead of trying thrice more."""

    def download(url: str, output: Any, caller: Any) -> None:
        bar = tqdm(total=0, unit="B", unit_scale=True, desc=url.rpartition("/")[2], disable=None)
        http = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=_TIMEOUT)
        try:
            http(url, output, caller)
        except requests.RequestException as error:
            # A FairsweepError is none of the exceptions that pooch tries again after.
            if Path(output).stat().st_size == 0:
                raise _unreachable(task, source, error) from error
            raise

    return download


def _unreachable(task: Task, source: Dataset, error: Exception) -> FairsweepError:
    inner = error.args[0] if error.args else error
    return FairsweepError(f"{task.url} could not be downloaded: {getattr(inner, 'reason', inner)}\n{_local_hint(source)}")


def _local_hint(source: Dataset) -> str:
    if source.local_copy is None:
        return "With a copy on this machine, use the override task.archive=FILE."
    variable, path = source.local_copy
    return f"With a copy on this machine: {variable}={path} make run, or the override task.archive={path}"


def _check_content(task: Task, source: Dataset, archive: Path) -> None:
    """Refuse an archive of another content."""
    if source.content:
        found, amount = source.content(archive, _origin(task))
        expected = source.official
    else:
        found, amount = _sha256(archive), f"{archive.stat().st_size:,} bytes"
        expected = f"the file of source {task.source}"
    if found != task.digest:
        raise FairsweepError(
            f"{_origin(task)} is not the archive that task.digest describes.\n"
            f"expected: {expected}, digest {task.digest}\n"
            f"found:    {amount}, digest {found}\n"
            "Nothing was kept. Get another copy, or set task.digest=null to use other data on purpose."
        )


def _origin(task: Task) -> str:
    return str(task.archive or task.url or "the generated archive")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
