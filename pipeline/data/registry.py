"""Find a task's dataset, obtain its archive, check it and read it."""

import dataclasses
import hashlib
import importlib
import inspect
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pooch
import requests
from filelock import FileLock
from tqdm import tqdm

from ..config.schema import Columns, Config, Task
from ..errors import FairsweepError, nearest
from ..files import own_file, replace_file
from ..imports import digests
from ..plugins import load
from . import arrays
from .spec import Corpus, Dataset, Sequences

# Modules of this folder with a DATASET. A module is imported only if its task is used.
SHIPPED = ("chorales", "co2", "csv", "digits", "imdb", "imdb_npz", "synthetic", "tagging")
# Arrays for trainings that belong to no stage.
FOLDER = Path(".fairsweep/data")
# Seconds until a download without a connection, or without a further byte, is given up.
_TIMEOUT = (5, 30)


def _unreadable(task: Task, *_: Any) -> Sequences:
    raise FairsweepError(
        f"task.source={task.source}: its module cannot be imported. Put it in the project's root, "
        "or install it."
    )


# Used in place of a dataset whose module cannot be imported.
UNKNOWN = Dataset(_unreadable)


def module_of(source: str) -> str:
    """Return the name of the module that holds the dataset `source`, without importing it.

    Raises:
        FairsweepError: no shipped dataset has this name, and it is not an import path.
    """
    if source in SHIPPED:
        return f"{__package__}.{source}"
    if ":" in source:
        return source.partition(":")[0]
    raise FairsweepError(
        f"task.source={source}: no such source{nearest(source, SHIPPED)}. There are: "
        f"{', '.join(SHIPPED)}. For your own dataset give MODULE:NAME."
    )


def dataset(source: str) -> Dataset:
    """Return the dataset `source`: a shipped one, or `MODULE:NAME` of the project or environment.

    Raises:
        FairsweepError: it does not exist, cannot be imported, or is not a `Dataset`.
    """
    module = module_of(source)
    found = importlib.import_module(module).DATASET if source in SHIPPED else None
    found = found or load("task.source", source)
    if not isinstance(found, Dataset):
        raise FairsweepError(
            f"task.source={source}: expected a Dataset of pipeline.data.spec, and it is a "
            f"{type(found).__name__}."
        )
    return found


def fetch(task: Task, folder: Path, columns: Columns | None = None) -> Path:
    """Put the task's archive into `folder` and check it.

    A user's own file is copied. For a dataset of a package, the archive is a file with the
    package's version. Any other archive is a copy of `task.archive`, or is generated, or is
    downloaded from `task.url`. If `task.digest` is set, the archive must have this digest.

    Returns:
        The archive's path.

    Raises:
        FairsweepError: the local copy does not exist, the download fails, or the digest differs.
    """
    source = dataset(task.source)
    target = folder / source.archive
    if source.copy:
        source.copy(columns or Columns(), folder)
        if not target.is_file():
            raise FairsweepError(
                f"task.source={task.source}: copy did not write {target}. Set Dataset.archive to a "
                "file that it writes."
            )
        return target
    if task.archive is None and not source.make and task.checksum and target.is_file():
        algorithm, _, expected = task.checksum.rpartition(":")
        if pooch.file_hash(str(target), alg=algorithm or "sha256") == expected:
            return target
    with replace_file(target) as part:
        if task.archive is not None:
            local = own_file(task.archive)
            if not local.is_file():
                raise FairsweepError(
                    f"task.archive={local}: there is no such file. Give the path of a local copy."
                )
            shutil.copyfile(local, part)
        elif source.make:
            source.make(part)
        elif source.version_of:
            part.write_text(f"{source.version_of} {version(source.version_of)}\n")
        elif task.url is None and task.source not in SHIPPED:
            part.write_text(f"{task.source}\n")
        else:
            _download(task, source, part)
        if task.digest is not None:
            _check_digest(task, source, part)
    return target


def archive_in(task: Task, folder: Path) -> Path:
    """Return the path of the archive that `fetch` has put into `folder`.

    Raises:
        FairsweepError: there is none.
    """
    archive = folder / dataset(task.source).archive
    if not archive.is_file():
        raise FairsweepError(
            f"There is no {archive}. First run `python -m pipeline.download` with the same study "
            "and overrides."
        )
    return archive


def read(task: Task, archive: Path, columns: Columns | None = None) -> Corpus | Sequences:
    """Return all labelled examples of an archive.

    Raises:
        FairsweepError: the content of the archive does not match `task.source`.
    """
    source, arguments = dataset(task.source), (task, archive, columns or Columns())
    try:
        inspect.signature(source.read).bind(*arguments)
    except TypeError as error:
        raise FairsweepError(
            f"task.source={task.source}: read must take (task, archive, columns): {error}."
        ) from error
    return source.read(*arguments)


def _download(task: Task, source: Dataset, target: Path) -> None:
    """Download the archive. An interrupted download is tried three more times."""
    if task.url is None:
        raise FairsweepError(
            f"Task {task.name} has neither task.url nor task.archive, so there is no archive to "
            "read. Give task.archive=FILE."
        )

    def download(url: str, output: Any, caller: Any) -> None:
        name = url.rpartition("/")[2]
        bar = tqdm(total=0, unit="B", unit_scale=True, desc=name, disable=None)
        http = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=_TIMEOUT)
        try:
            http(url, output, caller)
        except requests.RequestException as error:
            # pooch does not retry after a FairsweepError: working offline fails in seconds.
            if Path(output).stat().st_size == 0:
                raise _unreachable(task, source, error) from error
            raise

    # The progress bar replaces pooch's log.
    pooch.get_logger().setLevel("ERROR")
    archive = pooch.create(
        path=target.parent,
        base_url="",
        urls={target.name: task.url},
        registry={target.name: task.checksum},
        retry_if_failed=3,
    )
    try:
        archive.fetch(target.name, downloader=download)
    except (ValueError, requests.RequestException) as error:
        raise _unreachable(task, source, error) from error


def _unreachable(task: Task, source: Dataset, error: Exception) -> FairsweepError:
    hint = "With a copy on this machine, use the override task.archive=FILE."
    if source.local_copy:
        variable, path = source.local_copy
        hint = (
            f"With a copy on this machine: {variable}={path} make run, or the override "
            f"task.archive={path}"
        )
    inner = error.args[0] if error.args else error
    reason = getattr(inner, "reason", inner)
    return FairsweepError(f"{task.url} could not be downloaded: {reason}\n{hint}")


def _check_digest(task: Task, source: Dataset, archive: Path) -> None:
    """Raise FairsweepError unless the archive has the digest `task.digest`."""
    origin = str(task.archive or task.url or "the generated archive")
    if source.content:
        digest, size = source.content(archive, origin)
        expected = source.official
    else:
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = f"{archive.stat().st_size:,} bytes"
        expected = f"the file of source {task.source}"
    if digest != task.digest:
        raise FairsweepError(
            f"{origin} is not the archive that task.digest describes.\n"
            f"expected: {expected}, digest {task.digest}\n"
            f"found:    {size}, digest {digest}\n"
            "It was deleted. Get another copy, or set task.digest=null to use other data."
        )


def prepared(config: Config) -> Path:
    """Return the folder of arrays for `config`. Obtain and write them if they are missing.

    Raises:
        FairsweepError: the archive cannot be obtained or read.
    """
    folder = Path("data") / config.name / "arrays"
    try:
        arrays.checked_meta(folder, config.task)
        return folder
    except FairsweepError:
        pass
    task = config.task
    covered: list[Any] = [
        dataclasses.asdict(task) | {"train_fraction": None},
        dataclasses.asdict(config.data),
    ]
    if digest := dataset(task.source).digest:
        covered.append(digest(config.data))
    if ":" in task.source:
        covered.append(digests([module_of(task.source)]))
    name = hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:8]
    folder = FOLDER / f"{task.name}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    # One process at a time writes them.
    with FileLock(folder / "lock"):
        if not (folder / "arrays" / "meta.json").is_file():
            print(f"writing the arrays of task {task.name} to {folder}", flush=True)
            source = read(task, fetch(task, folder / "archive", config.data), config.data)
            arrays.write(source, task, folder / "arrays", folder / "sealed")
    return folder / "arrays"
