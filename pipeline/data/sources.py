"""Where a task's examples come from: obtaining an archive, checking it, reading it."""

import difflib
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import requests
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.config import Columns, Task
from pipeline.data import aclimdb, chorales, csv_file, digits, generated, keras_npz, series, tagging
from pipeline.data.form import Form, Sequences
from pipeline.data.text import tokenize
from pipeline.errors import FairsweepError
from pipeline.files import own_file, replace_file

# Seconds without an answer, and without the next byte, after which a download is given up.
_TIMEOUT = (5, 30)
_FILES = {
    "aclimdb": "reviews.tar.gz",
    "generated": "reviews.tar.gz",
    "imdb_npz": "imdb.npz",
    "chorales": "chorales.npz",
    "csv": "data.csv",
}
# These come with a package, of which the archive names the version, or are drawn by it.
_PACKAGES = {"digits": "scikit-learn", "co2": "statsmodels", "tagging": "numpy"}
_LOCAL_COPY = {"aclimdb": ("IMDB_ARCHIVE", "/path/aclImdb_v1.tar.gz"), "imdb_npz": ("IMDB_NPZ", "/path/imdb.npz")}


@dataclass(frozen=True)
class Reviews:
    """Labelled reviews, or other texts. All of the fields have one entry a review.

    Attributes:
        texts: the review's words, joined by one space: what its row is ordered by, and a fifth of the memory of lists.
        labels: <uint8>[reviews], 1 for positive; of more than two classes their numbers.
        movies: what each review is about, what its group is, or None when the source does not say.
    """

    texts: list[str]
    labels: NDArray[np.uint8]
    movies: list[str] | None


@dataclass(frozen=True)
class Corpus:
    """A source of texts, read. `encoded`: the "words" are the numbers of ranks the source has fixed, so no vocabulary is counted."""

    train: Reviews
    test: Reviews
    encoded: bool = False
    form: Form = field(default_factory=Form)


def fetch(task: Task, folder: Path, columns: Columns | None = None) -> Path:
    """Puts the task's archive into `folder`, checked, whole or not at all.

    A user's own file is copied, and a source that comes with a package leaves the package's version there. An archive of reviews
    comes from the local copy `task.archive`, or is generated, or is downloaded from `task.url` (three retries when an answer
    breaks off; none when there is no connection, so that working offline fails in seconds). Every one of them must have the
    content digest `task.digest`, where that is set.

    Returns:
        The archive's path.

    Raises:
        FairsweepError: no such copy, no connection, or another content than expected.
    """
    target = _target(task, folder)
    if task.source == "csv":
        csv_file.check(columns or Columns())
        csv_file.copy(columns or Columns(), folder)
        return target
    if task.archive is None and task.source != "generated" and _has_checksum(target, task.checksum):
        return target
    with replace_file(target) as part:
        if task.archive is not None:
            _copy(Path(task.archive), part)
        elif task.source == "generated":
            generated.generate(part)
        elif task.source == "chorales":
            chorales.extract(part)
        elif task.source in _PACKAGES:
            package = _PACKAGES[task.source]
            part.write_text(f"{package} {version(package)}\n")
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
    archive = _target(task, folder)
    if not archive.is_file():
        raise FairsweepError(f"There is no {archive}. First run `python -m pipeline.download` with the same study and overrides.")
    return archive


def _target(task: Task, folder: Path) -> Path:
    """Where the archive lies; refuses a source that is not known."""
    known = {**_FILES, **_PACKAGES}
    if task.source not in known:
        near = difflib.get_close_matches(task.source, known, n=1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise FairsweepError(f"task.source={task.source}: no such source{hint}. There are: {', '.join(known)}.")
    return folder / _FILES.get(task.source, "package.txt")


def read(task: Task, archive: Path, columns: Columns | None = None) -> Corpus | Sequences:
    """All labelled examples of an archive that `fetch` has put there.

    Raises:
        FairsweepError: the archive is not what `task.source` says.
    """
    if task.source in _READERS:
        return _READERS[task.source](task)
    if task.source == "chorales":
        return chorales.read(archive, task)
    if task.source == "csv":
        return csv_file.read(archive.parent, columns or Columns(), task)
    if task.source == "imdb_npz":
        parts = keras_npz.load(archive)
        train, test = (Reviews([" ".join(map(str, row)) for row in rows], labels, None) for rows, labels in parts)
        return Corpus(train, test, encoded=True)
    reviews = aclimdb.reviews(archive)
    train, test = (_words_of([review for review in reviews if review.part == part]) for part in ("train", "test"))
    return Corpus(train, test)


def _co2(task: Task) -> Sequences:
    values, times = series.co2()
    return series.windows(values, times, task, unit="ppm", period=series.YEAR)


# Sources that need nothing but the task: a line each.
_READERS: dict[str, Callable[[Task], Corpus | Sequences]] = {"digits": digits.read, "co2": _co2, "tagging": tagging.read}


def _words_of(reviews: list[aclimdb.Review]) -> Reviews:
    texts = [" ".join(tokenize(review.text)) for review in reviews]
    labels = np.array([review.label for review in reviews], np.uint8)
    return Reviews(texts, labels, [review.movie for review in reviews])


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


def _download(task: Task, target: Path) -> None:
    if task.url is None:
        raise FairsweepError(
            f"Task {task.name} has neither task.url nor task.archive: there is nothing to get reviews from. Give task.archive=FILE."
        )
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
    """Refuses an archive of another content; other sources are one file, so there the content is its bytes."""
    if task.source not in ("aclimdb", "generated"):
        found, amount = _sha256(archive), f"{archive.stat().st_size:,} bytes"
        expected = f"the file of source {task.source}"
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
