"""The folder layout of the Large Movie Review Dataset, read from its tar as a stream and never unpacked.

`aclImdb/{train,test}/{pos,neg}/ID_RATING.txt` are the reviews, and line ID of `aclImdb/{train,test}/urls_{pos,neg}.txt` is
the page of the review's movie (lines from 0).
"""

import gzip
import hashlib
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.config import Columns, Task
from pipeline.data.form import Corpus, Dataset, Reviews, Shape
from pipeline.data.text import tokenize
from pipeline.errors import FairsweepError

# Labelled reviews and their four lists of movies, in the official data.
OFFICIAL_FILES = 50_004

_REVIEW = re.compile(r"aclImdb/(train|test)/(pos|neg)/(\d{1,9})_\d{1,2}\.txt")
_URLS = re.compile(r"aclImdb/(train|test)/urls_(pos|neg)\.txt")
_MOVIE = re.compile(r"/title/(tt\d+)")
# The longest real review has 14 kB and the longest list 1 MB: what is larger is not this data.
_LARGEST_REVIEW, _LARGEST_URLS = 1_000_000, 10_000_000
_REMEDY = "Get another copy of the archive."
# Nor is what unpacks to more: the real reviews to 0.2 GB, of 100,016 members, the official archive with its word counts to some more.
_LARGEST_ARCHIVE, _MOST_MEMBERS = 1_000_000_000, 1_000_000
# Headers that say more of the member behind them, such as a name too long to be one of these, and files with holes: nothing to be
# read here, though tarfile would, whole and however large.
_PASSED_OVER = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE),
)


@dataclass(frozen=True)
class Review:
    """One review as the archive has it: `part` is train or test, `number` the ID in its file name."""

    part: str
    label: int
    number: int
    text: str
    movie: str


@dataclass
class _Digest:
    """Collects what the content digest covers."""

    lines: list[str] = field(default_factory=list)

    def add(self, name: str, content: bytes) -> None:
        self.lines.append(f"{name}\0{hashlib.sha256(content).hexdigest()}\n")

    def value(self) -> str:
        return hashlib.sha256("".join(sorted(self.lines)).encode()).hexdigest()


class _Refused(FairsweepError):
    """What is wrong with the archive, to be told with its name."""


class _Header(tarfile.TarInfo):
    """A member's header, of which nothing is followed: a type that tarfile does not know is skipped by its size."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(tar)
        # Tarfile takes a header that is cut or damaged, and a missing end, for the end of the archive.
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _PASSED_OVER:
            self.type = b"?"
        return super()._proc_member(tar)  # type: ignore[misc]


class _Stream:
    """What `archive` unpacks to, up to a limit."""

    def __init__(self, archive: gzip.GzipFile) -> None:
        self.archive, self.left = archive, _LARGEST_ARCHIVE

    def read(self, size: int) -> bytes:
        content = self.archive.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise _Refused(f"it unpacks to more than {_LARGEST_ARCHIVE:,} bytes")
        return content


def members(archive: Path, origin: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of every labelled review and list of movies, in the archive's order.

    Only regular files of the expected names are read, so links, absolute paths and devices are passed over, and nothing is ever
    written. Errors name the archive by its `origin`: a download is checked under a temporary name that would tell nobody anything.

    Raises:
        FairsweepError: not a tar.gz, cut short, larger than such an archive is, a member too large, or a name twice.
    """
    seen: set[str] = set()
    last = None
    try:
        # Tarfile's own reading of gzip takes a cut between two files for the end; the gzip module does not.
        with gzip.open(archive) as packed:
            stream = _Stream(packed)  # type: ignore[arg-type]
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as tar:  # type: ignore[call-overload]
                for number, member in enumerate(tar):
                    # It keeps each one that it has read.
                    tar.members.clear()
                    if number >= _MOST_MEMBERS:
                        raise _Refused(f"it has more than {_MOST_MEMBERS:,} members")
                    last = member.name
                    if member.size > stream.left:
                        raise _Refused(f"it unpacks to more than {_LARGEST_ARCHIVE:,} bytes")
                    if not member.isreg() or not _wanted(member):
                        continue
                    if member.name in seen:
                        raise _Refused(f"it holds {member.name} twice")
                    # A regular member always has a file.
                    content = tar.extractfile(member).read()  # type: ignore[union-attr]
                    seen.add(member.name)
                    yield member.name, content
            # To the last byte, which is where gzip's own checksum is compared.
            while stream.read(1 << 20):
                pass
    except _Refused as error:
        raise FairsweepError(
            f"{origin} is refused: {error}. Expected a tar.gz in the folder layout of the Large Movie Review Dataset. {_REMEDY}"
        ) from error
    # Tarfile answers a damaged header with nearly any exception.
    except Exception as error:
        where = f"in or after {last if last.isprintable() else repr(last)}" if last else "before its first file"
        raise FairsweepError(
            f"{origin} is cut or damaged {where}: {error}. The file has {archive.stat().st_size:,} bytes, and "
            f"{len(seen):,} of the expected {OFFICIAL_FILES:,} files were read from it. {_REMEDY}"
        ) from error


def content_digest(archive: Path, origin: str) -> tuple[str, int]:
    """The digest that any copy of the same reviews has, and the number of files it covers.

    The sha256 of `path + "\\0" + hex sha256 of the content + "\\n"` over the paths in order: it sees neither the order, nor
    the compression, nor the unlabelled rest of the archive.
    """
    digest = _Digest()
    for name, content in members(archive, origin):
        digest.add(name, content)
    return digest.value(), len(digest.lines)


def reviews(archive: Path) -> list[Review]:
    """Every labelled review with its movie, ordered by part, number and label, whatever the archive's order.

    Raises:
        FairsweepError: also when a review's movie is not listed, a file is not UTF-8, or there is no review at all.
    """
    found: list[tuple[str, str, int, str]] = []
    movies: dict[tuple[str, str], list[str]] = {}
    for name, content in members(archive, str(archive)):
        text = _text(archive, name, content)
        if urls := _URLS.fullmatch(name):
            movies[urls[1], urls[2]] = [_movie(archive, name, line) for line in text.splitlines()]
        elif review := _REVIEW.fullmatch(name):
            found.append((review[1], review[2], int(review[3]), text))
    for part in ("train", "test"):
        for side in ("pos", "neg"):
            if not any(entry[:2] == (part, side) for entry in found):
                raise FairsweepError(
                    f"{archive} has no file aclImdb/{part}/{side}/ID_RATING.txt: is it the right archive? Give that of the Large Movie "
                    "Review Dataset (task.archive)."
                )
    found.sort(key=lambda entry: (entry[0], entry[2], entry[1]))
    return [
        Review(part, int(side == "pos"), number, text, _lookup(archive, movies, part, side, number))
        for part, side, number, text in found
    ]


def _wanted(member: tarfile.TarInfo) -> bool:
    """Whether the member is part of the data, by its name; one that is too large to be is refused."""
    if _REVIEW.fullmatch(member.name):
        limit = _LARGEST_REVIEW
    elif _URLS.fullmatch(member.name):
        limit = _LARGEST_URLS
    else:
        return False
    if member.size > limit:
        raise _Refused(f"{member.name} has {member.size:,} bytes, more than the {limit:,} that such a file may have")
    return True


def _text(archive: Path, name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FairsweepError(f"{name} in {archive} is not UTF-8: {error}. {_REMEDY}") from error


def _movie(archive: Path, name: str, line: str) -> str:
    match = _MOVIE.search(line)
    if not match:
        raise FairsweepError(f"{name} in {archive} has the line {line[:100]!r}, which names no movie (/title/tt...). {_REMEDY}")
    return match[1]


def _lookup(archive: Path, movies: dict[tuple[str, str], list[str]], part: str, side: str, number: int) -> str:
    listed = movies.get((part, side), [])
    if number >= len(listed):
        raise FairsweepError(
            f"aclImdb/{part}/urls_{side}.txt in {archive} has {len(listed):,} lines, so review {number} has no movie there. {_REMEDY}"
        )
    return listed[number]


def content(archive: Path, origin: str) -> tuple[str, str]:
    """Like `content_digest`, with the number of files as a text such as "2,604 files"."""
    digest, files = content_digest(archive, origin)
    return digest, f"{files:,} files"


def read(task: Task, archive: Path, columns: Columns | None = None) -> Corpus:
    """The labelled reviews; the groups are movies."""
    found = reviews(archive)
    train, test = (_words_of([review for review in found if review.part == part]) for part in ("train", "test"))
    return Corpus(train, test)


def _words_of(found: list[Review]) -> Reviews:
    texts = [" ".join(tokenize(review.text)) for review in found]
    labels = np.array([review.label for review in found], np.uint8)
    return Reviews(texts, labels, [review.movie for review in found])


DATASET = Dataset(
    read,
    "reviews.tar.gz",
    content=content,
    official=f"{OFFICIAL_FILES:,} files",
    local_copy=("IMDB_ARCHIVE", "/path/aclImdb_v1.tar.gz"),
    shape=Shape(train=25_000, test=25_000, megabytes=84, tokens=236),
    language="English film reviews",
)
