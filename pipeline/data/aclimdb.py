"""The folder layout of the Large Movie Review Dataset, read from its tar as a stream and never unpacked.

`aclImdb/{train,test}/{pos,neg}/ID_RATING.txt` are the reviews, and line ID of `aclImdb/{train,test}/urls_{pos,neg}.txt` is
the page of the review's movie (lines from 0).
"""

import gzip
import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import FairsweepError

# Labelled reviews and their four lists of movies, in the official data.
OFFICIAL_FILES = 50_004

_REVIEW = re.compile(r"aclImdb/(train|test)/(pos|neg)/(\d{1,9})_\d{1,2}\.txt")
_URLS = re.compile(r"aclImdb/(train|test)/urls_(pos|neg)\.txt")
_MOVIE = re.compile(r"/title/(tt\d+)")
# The longest real review has 14 kB and the longest list 1 MB: what is larger is not this data.
_LARGEST_REVIEW, _LARGEST_URLS = 1_000_000, 10_000_000


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


def members(archive: Path, origin: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of every labelled review and list of movies, in the archive's order.

    Only regular files of the expected names are read, so links, absolute paths and devices are passed over. Errors name the
    archive by its `origin`: a download is checked under a temporary name that would tell nobody anything.

    Raises:
        FairsweepError: not a tar.gz, cut short, a member too large, or a name twice.
    """
    seen: set[str] = set()
    last = None
    try:
        # Tarfile's own reading of gzip takes a cut between two files for the end; the gzip module does not.
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                last = member.name
                if not member.isreg() or not _wanted(member):
                    continue
                if member.name in seen:
                    raise FairsweepError(f"{origin} holds {member.name} twice.")
                # A regular member always has a file.
                content = tar.extractfile(member).read()  # type: ignore[union-attr]
                seen.add(member.name)
                yield member.name, content
            # To the last byte, which is where gzip's own checksum is compared.
            while stream.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        where = f"in or after {last}" if last else "before its first file"
        raise FairsweepError(
            f"{origin} is cut or damaged {where}: {error}. The file has {archive.stat().st_size:,} bytes, and "
            f"{len(seen):,} of the expected {OFFICIAL_FILES:,} files were read from it."
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
                raise FairsweepError(f"{archive} has no file aclImdb/{part}/{side}/ID_RATING.txt: is it the right archive?")
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
        raise FairsweepError(f"{member.name} has {member.size:,} bytes, more than the {limit:,} that such a file may have.")
    return True


def _text(archive: Path, name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FairsweepError(f"{name} in {archive} is not UTF-8: {error}") from error


def _movie(archive: Path, name: str, line: str) -> str:
    match = _MOVIE.search(line)
    if not match:
        raise FairsweepError(f"{name} in {archive} has the line {line!r}, which names no movie (/title/tt...).")
    return match[1]


def _lookup(archive: Path, movies: dict[tuple[str, str], list[str]], part: str, side: str, number: int) -> str:
    listed = movies.get((part, side), [])
    if number >= len(listed):
        raise FairsweepError(
            f"aclImdb/{part}/urls_{side}.txt in {archive} has {len(listed):,} lines, so review {number} has no movie there."
        )
    return listed[number]
