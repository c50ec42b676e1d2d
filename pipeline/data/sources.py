"""Where reviews come from: obtaining an archive, checking it, reading it."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import requests
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.config import Task
from pipeline.data import aclimdb, generated, keras_npz
from pipeline.data.text import tokenize
from pipeline.errors import FairsweepError
from pipeline.files import replace_file

# Seconds without an answer, and without the next byte, after which a download is given up.
_TIMEOUT = (5, 30)
_FILES = {"aclimdb": "reviews.tar.gz", "generated": "reviews.tar.gz", "imdb_npz": "imdb.npz"}
_LOCAL_COPY = {"aclimdb": ("IMDB_ARCHIVE", "/path/aclImdb_v1.tar.gz"), "imdb_npz": ("IMDB_NPZ", "/path/imdb.npz")}


@dataclass(frozen=True)
class Reviews:
    """Labelled reviews. All of the fields have one entry a review.

    Attributes:
        texts: the review's words, joined by one space: what its row is ordered by, and a fifth of the memory of lists.
        labels: <uint8>[reviews], 1 for positive.
        movies: what each review is about, or None when the source does not say.
    """

    texts: list[str]
    labels: NDArray[np.uint8]
    movies: list[str] | None


@dataclass(frozen=True)
class Corpus:
    """A source, read. `encoded`: the "words" are the numbers of ranks the source has fixed, so no vocabulary is counted."""

    train: Reviews
    test: Reviews
    encoded: bool = False


def fetch(task: Task, folder: Path) -> Path:
    """Puts the task's archive into `folder`, checked, whole or not at all.

    It comes from the local copy `task.archive`, or is generated, or is downloaded from `task.url` (three retries when an answer
    breaks off; none when there is no connection, so that working offline fails in seconds). Every one of them must have the
    content digest `task.digest`, where that is set.

    Returns:
        The archive's path.

    Raises:
        FairsweepError: no such copy, no connection, or another content than expected.
    """
    target = folder / _FILES[task.source]
    if task.archive is None and task.source != "generated" and _has_checksum(target, task.checksum):
        return target
    with replace_file(target) as part:
        if task.archive is not None:
            _copy(Path(task.archive), part)
        elif task.source == "generated":
            generated.generate(part)
        else:
            _download(task, part)
        if task.digest is not None:
            _check_content(task, part)
    return target


def archive_in(task: Task, folder: Path) -> Path:
    """Where `fetch` has put the archive.

    Raises:
        FairsweepError: it has not.
    """
    archive = folder / _FILES[task.source]
    if not archive.is_file():
        raise FairsweepError(f"There is no {archive}. First run `python -m pipeline.download` with the same study and overrides.")
    return archive


def read(task: Task, archive: Path) -> Corpus:
    """All labelled reviews of an archive that `fetch` has put there.

    Raises:
        FairsweepError: the archive is not what `task.source` says.
    """
    if task.source == "imdb_npz":
        parts = keras_npz.load(archive)
        train, test = (Reviews([" ".join(map(str, row)) for row in rows], labels, None) for rows, labels in parts)
        return Corpus(train, test, encoded=True)
    reviews = aclimdb.reviews(archive)
    train, test = (_words_of([review for review in reviews if review.part == part]) for part in ("train", "test"))
    return Corpus(train, test)


def _words_of(reviews: list[aclimdb.Review]) -> Reviews:
    texts = [" ".join(tokenize(review.text)) for review in reviews]
    labels = np.array([review.label for review in reviews], np.uint8)
    return Reviews(texts, labels, [review.movie for review in reviews])


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise FairsweepError(f"task.archive names {source}, and there is no such file. Give the path of a local copy.")
    shutil.copyfile(source, target)


def _has_checksum(path: Path, checksum: str | None) -> bool:
    """Whether an earlier download is still there, so that it need not be made again."""
    if checksum is None or not path.is_file():
        return False
    algorithm, _, expected = checksum.rpartition(":")
    return pooch.file_hash(str(path), alg=algorithm or "sha256") == expected


def _download(task: Task, target: Path) -> None:
    if task.url is None:
        raise FairsweepError(f"Task {task.name} has neither task.url nor task.archive: there is nothing to get reviews from.")
    # Its log announces every download, and where the file lands; the progress bar and our own last line say enough.
    pooch.get_logger().setLevel("ERROR")
    archive = pooch.create(
        path=target.parent, base_url="", urls={target.name: task.url}, registry={target.name: task.checksum}, retry_if_failed=3
    )
    try:
        archive.fetch(target.name, downloader=_downloader(task))
    except (ValueError, requests.RequestException) as error:
        raise _unreachable(task, error) from error


def _downloader(task: Task) -> Callable[[str, Any, Any], None]:
    """Pooch's own, but for one thing: when nothing at all arrives it gives up at once instead of trying thrice more."""

    def download(url: str, output: Any, source: Any) -> None:
        bar = tqdm(total=0, unit="B", unit_scale=True, desc=url.rpartition("/")[2], disable=None)
        http = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=_TIMEOUT)
        try:
            http(url, output, source)
        except requests.RequestException as error:
            # A FairsweepError is none of the exceptions that pooch tries again after.
            if Path(output).stat().st_size == 0:
                raise _unreachable(task, error) from error
            raise

    return download


def _unreachable(task: Task, error: Exception) -> FairsweepError:
    inner = error.args[0] if error.args else error
    return FairsweepError(f"{task.url} could not be downloaded: {getattr(inner, 'reason', inner)}\n{_local_hint(task)}")


def _local_hint(task: Task) -> str:
    variable, path = _LOCAL_COPY[task.source]
    return f"With a copy on this machine: {variable}={path} make run, or the override task.archive={path}"


def _check_content(task: Task, archive: Path) -> None:
    """Refuses an archive of another content; an npz is one file, so there the content is its bytes."""
    if task.source == "imdb_npz":
        found, amount = _sha256(archive), f"{archive.stat().st_size:,} bytes"
        expected = "Keras's imdb.npz"
    else:
        found, files = aclimdb.content_digest(archive, _origin(task))
        amount, expected = f"{files:,} files", f"{aclimdb.OFFICIAL_FILES:,} files"
    if found != task.digest:
        raise FairsweepError(
            f"{_origin(task)} is not the archive that task.digest describes.\n"
            f"expected: {expected}, digest {task.digest}\n"
            f"found:    {amount}, digest {found}\n"
            "Nothing was kept. Get another copy; for other reviews on purpose set task.digest=null."
        )


def _origin(task: Task) -> str:
    return str(task.archive or task.url or "the generated archive")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
