"""The Large Movie Review Dataset, read from its tar as a stream. The groups are movies.

`aclImdb/{train,test}/{pos,neg}/ID_RATING.txt` are the reviews. Line ID (from 0) of
`aclImdb/{train,test}/urls_{pos,neg}.txt` is the web page of the review's movie.
"""

import gzip
import hashlib
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config.schema import Columns, Task
from ..errors import FairsweepError
from .spec import Corpus, Dataset, Shape, Texts
from .text import tokenize

# Labelled reviews and their four lists of movies, in the official data.
OFFICIAL_FILES = 50_004

_REVIEW = re.compile(r"aclImdb/(train|test)/(pos|neg)/(\d{1,9})_\d{1,2}\.txt")
_URLS = re.compile(r"aclImdb/(train|test)/urls_(pos|neg)\.txt")
_MOVIE = re.compile(r"/title/(tt\d+)")
_REMEDY = "Get another copy of the archive."
# Bytes. The official maxima are 14 kB for a review, 1 MB for a list and 0.2 GB in 100,016 members.
_LARGEST_REVIEW, _LARGEST_URLS = 1_000_000, 10_000_000
_LARGEST_ARCHIVE, _MOST_MEMBERS = 1_000_000_000, 1_000_000
# Headers whose content tarfile would read at once, however large. The reviews need none of them.
_SKIPPED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE),
)


@dataclass(frozen=True)
class Review:
    """A review: `part` is train or test, `number` the ID in its file name."""

    part: str
    label: int
    number: int
    text: str
    movie: str


class _Refused(FairsweepError):
    """A fault of the archive, without the archive's name."""


class _Header(tarfile.TarInfo):
    """The header of a member. Members of an unknown type are skipped."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(tar)
        # tarfile takes a damaged or missing header for the end of the archive.
        except (
            tarfile.InvalidHeaderError,  # type: ignore[attr-defined]
            tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]
            tarfile.EmptyHeaderError,  # type: ignore[attr-defined]
        ) as error:
            raise tarfile.ReadError(str(error)) from error

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _SKIPPED:
            self.type = b"?"
        return super()._proc_member(tar)  # type: ignore[misc]


class _Stream:
    """The unpacked archive, up to a limit."""

    def __init__(self, archive: gzip.GzipFile) -> None:
        self.archive, self.left = archive, _LARGEST_ARCHIVE

    def read(self, size: int) -> bytes:
        content = self.archive.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise _Refused(f"it unpacks to more than {_LARGEST_ARCHIVE:,} bytes")
        return content


def members(archive: Path, origin: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every labelled review and list of movies, in the archive's order.

    Only regular files of the expected names are read, so links, absolute paths and devices are
    skipped. Nothing is written. Errors name the archive by `origin`.

    Raises:
        FairsweepError: the archive is no tar.gz, incomplete or too large, or contains a file that
            is too large, or a name twice.
    """
    names: set[str] = set()
    last = None
    try:
        # tarfile's own gzip reader takes a cut between two files for the end.
        with gzip.open(archive) as packed:
            stream = _Stream(packed)  # type: ignore[arg-type]
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as tar:  # type: ignore[call-overload]
                for number, member in enumerate(tar):
                    # tarfile keeps every header in memory.
                    tar.members.clear()
                    last = member.name
                    if number >= _MOST_MEMBERS:
                        raise _Refused(f"it has more than {_MOST_MEMBERS:,} members")
                    if member.size > stream.left:
                        raise _Refused(f"it unpacks to more than {_LARGEST_ARCHIVE:,} bytes")
                    review = _REVIEW.fullmatch(member.name)
                    if not member.isreg() or not (review or _URLS.fullmatch(member.name)):
                        continue
                    limit = _LARGEST_REVIEW if review else _LARGEST_URLS
                    if member.size > limit:
                        raise _Refused(f"{last} has {member.size:,} bytes, more than {limit:,}")
                    if last in names:
                        raise _Refused(f"it holds {last} twice")
                    # A regular member always has a file.
                    content = tar.extractfile(member).read()  # type: ignore[union-attr]
                    names.add(last)
                    yield last, content
            # gzip compares its checksum at the end of the file.
            while stream.read(1 << 20):
                pass
    except _Refused as error:
        raise FairsweepError(
            f"{origin} is refused: {error}. It must be a tar.gz in the folder layout of the Large "
            f"Movie Review Dataset. {_REMEDY}"
        ) from error
    # A damaged header raises nearly any exception in tarfile.
    except Exception as error:
        where = "before its first file"
        if last:
            where = f"in or after {last if last.isprintable() else repr(last)}"
        raise FairsweepError(
            f"{origin} is cut or damaged {where}: {error}. The file has "
            f"{archive.stat().st_size:,} bytes, and {len(names):,} of the expected "
            f"{OFFICIAL_FILES:,} files were read from it. {_REMEDY}"
        ) from error


def content(archive: Path, origin: str) -> tuple[str, str]:
    """Return a digest that all copies of the same reviews have, and a text such as "2,604 files".

    The digest is the sha256 of `path + "\\0" + hex sha256 of the content + "\\n"` over the sorted
    paths. It does not depend on order, compression and the unlabelled rest of the archive.
    """
    lines = [
        f"{name}\0{hashlib.sha256(member).hexdigest()}\n"
        for name, member in members(archive, origin)
    ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest(), f"{len(lines):,} files"


def reviews(archive: Path) -> list[Review]:
    """Return every labelled review with its movie, sorted by part, number and label.

    Raises:
        FairsweepError: as in `members`, and if a review's movie is not listed, a file is not UTF-8,
            or a part has no review of a label.
    """
    # Part, number, side (neg or pos) and text of each review.
    entries: list[tuple[str, int, str, str]] = []
    movies: dict[tuple[str, str], list[str]] = {}
    for name, member in members(archive, str(archive)):
        try:
            text = member.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FairsweepError(f"{name} in {archive} is not UTF-8: {error}. {_REMEDY}") from error
        if review := _REVIEW.fullmatch(name):
            entries.append((review[1], int(review[3]), review[2], text))
        elif urls := _URLS.fullmatch(name):
            movies[urls[1], urls[2]] = [_movie(archive, name, line) for line in text.splitlines()]
    entries.sort(key=lambda entry: entry[:3])
    sides = {(part, side) for part, _, side, _ in entries}
    for part, side in (("train", "pos"), ("train", "neg"), ("test", "pos"), ("test", "neg")):
        if (part, side) not in sides:
            raise FairsweepError(
                f"{archive} has no file aclImdb/{part}/{side}/ID_RATING.txt: is it the right "
                "archive? Give that of the Large Movie Review Dataset (task.archive)."
            )
    for part, number, side, _ in entries:
        listed = len(movies.get((part, side), []))
        if number >= listed:
            raise FairsweepError(
                f"aclImdb/{part}/urls_{side}.txt in {archive} has {listed:,} lines, so review "
                f"{number} has no movie there. {_REMEDY}"
            )
    return [
        Review(part, int(side == "pos"), number, text, movies[part, side][number])
        for part, number, side, text in entries
    ]


def _movie(archive: Path, name: str, line: str) -> str:
    match = _MOVIE.search(line)
    if not match:
        raise FairsweepError(
            f"{name} in {archive} has the line {line[:100]!r}, which names no movie "
            f"(/title/tt...). {_REMEDY}"
        )
    return match[1]


def read(task: Task, archive: Path, columns: Columns | None = None) -> Corpus:
    """Return the labelled reviews. The groups are movies."""
    every = reviews(archive)
    train, test = (
        _texts([review for review in every if review.part == part]) for part in ("train", "test")
    )
    return Corpus(train, test)


def _texts(part: list[Review]) -> Texts:
    texts = [" ".join(tokenize(review.text)) for review in part]
    labels = np.array([review.label for review in part], np.uint8)
    return Texts(texts, labels, [review.movie for review in part])


DATASET = Dataset(
    read,
    "reviews.tar.gz",
    content=content,
    official=f"{OFFICIAL_FILES:,} files",
    local_copy=("IMDB_ARCHIVE", "/path/aclImdb_v1.tar.gz"),
    shape=Shape(train=25_000, test=25_000, megabytes=84, tokens=236),
    language="English film reviews",
)
