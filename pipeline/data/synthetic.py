"""A small generated archive of reviews in the layout of the IMDB reviews.

It serves smoke studies and tests without a network. A review mixes judgements ("very good", "not
bad at all") with other words. Most judgements agree with the label, and some are negated, so that
the order of words matters. Movies differ in quality and in how clearly reviews judge them. Training
and test have different movies.
"""

import gzip
import io
import tarfile
from pathlib import Path
from random import Random

from ..files import replace_file
from . import imdb
from .spec import Dataset


def _words(text: str) -> list[str]:
    return text.split()


_GOOD = _words(
    "good great excellent wonderful moving funny charming superb brilliant touching clever fresh "
    "warm gripping lovely honest memorable perfect stunning delightful"
)
_BAD = _words(
    "bad awful terrible boring dull weak stupid poor horrible lame silly tedious flat ugly "
    "annoying empty clumsy hollow predictable painful"
)
_NEGATIONS = _words("not never hardly")
_STRENGTHS = _words("very really quite so truly rather")
_TOPICS = _words(
    "acting plot story script music camera ending hero villain dialogue scene cast director "
    "editing humor action romance photography pace mood city war family school island train dog "
    "ghost robot doctor singer murder wedding desert ship prison letter secret journey summer "
    "winter king soldier teacher painter garden mirror castle river bridge circus hotel island"
)
_FILLERS = _words(
    "i we they it the a this that and but with from about when while after before again still "
    "just only even also maybe watched saw think felt found was is had made gave took came went "
    "film movie people time way life end part first last other one two much many some more most "
    "well then there here over br on in of to for at by as if or my me his her their our you who "
    "what how all any because once yesterday together"
)

# The share of judgements that agree with the label, in the clearest and the most ambiguous movie.
_AGREEMENT = (0.97, 0.72)
_NEGATED, _STRENGTHENED = 0.2, 0.3
_SHORTEST, _LONGEST = 5, 60
_REVIEWS_PER_MOVIE = (2, 9)


def generate(path: Path, seed: int = 0, train: int = 1600, test: int = 1000) -> None:
    """Write the archive. Equal arguments give equal bytes.

    Args:
        path: of the tar.gz.
        seed: of all random numbers.
        train: number of training reviews, half of them positive.
        test: number of test reviews, half of them positive.
    """
    random = Random(seed)
    files: list[tuple[str, str]] = []
    first = 1
    for part, rows in (("test", test), ("train", train)):
        movies: list[_Movie] = []
        while rows:
            reviews = min(rows, random.randint(*_REVIEWS_PER_MOVIE))
            movies.append(_Movie(random, first + len(movies), reviews))
            rows -= reviews
        first += len(movies)
        files += _part(random, part, movies)
    packed = io.BytesIO()
    # Without a time and a file name in the header, the bytes depend on the content alone.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w") as tar,
    ):
        for name, text in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    with replace_file(path) as target:
        target.write_bytes(packed.getvalue())


class _Movie:
    """A movie: its topics, how clearly reviews judge it, and the opinion of each review."""

    def __init__(self, random: Random, number: int, reviews: int) -> None:
        self.number = number
        self.topics = random.sample(_TOPICS, 6)
        clearest, vaguest = _AGREEMENT
        self.agreement = vaguest + (clearest - vaguest) * random.random()
        quality = random.gauss(0.0, 0.8)
        self.opinions = [random.gauss(quality, 1.0) for _ in range(reviews)]


def _part(random: Random, part: str, movies: list[_Movie]) -> list[tuple[str, str]]:
    """Return name and content of every file of train or test, negative reviews first."""
    opinions = sorted(
        (opinion, movie.number, index)
        for movie in movies
        for index, opinion in enumerate(movie.opinions)
    )
    by_number = {movie.number: movie for movie in movies}
    half = len(opinions) // 2
    files = []
    for side, share in (("neg", opinions[:half]), ("pos", opinions[half:])):
        random.shuffle(share)
        for index, (_, number, _) in enumerate(share):
            rating = random.randint(7, 10) if side == "pos" else random.randint(1, 4)
            text = _review(random, by_number[number], positive=side == "pos")
            files.append((f"aclImdb/{part}/{side}/{index}_{rating}.txt", text))
        urls = [
            f"http://www.imdb.com/title/tt{number:07d}/usercomments\n" for _, number, _ in share
        ]
        files.append((f"aclImdb/{part}/urls_{side}.txt", "".join(urls)))
    return files


def _review(random: Random, movie: _Movie, positive: bool) -> str:
    """Return a text that begins with a judgement, so that the shortest review has one."""
    length = random.randint(_SHORTEST, _LONGEST)
    words: list[str] = []
    while len(words) < length:
        agrees = random.random() < movie.agreement
        words += _judgement(random, good=positive == agrees)
        for _ in range(random.randint(2, 5)):
            words.append(random.choice(movie.topics if random.random() < 0.25 else _FILLERS))
    return " ".join(words[:length]).capitalize() + "."


def _judgement(random: Random, good: bool) -> list[str]:
    """Return a good or bad word, or the negation of an opposite one."""
    negated = random.random() < _NEGATED
    words = [random.choice(_NEGATIONS)] if negated else []
    if random.random() < _STRENGTHENED:
        words.append(random.choice(_STRENGTHS))
    words.append(random.choice(_GOOD if good != negated else _BAD))
    return words


DATASET = Dataset(
    imdb.read,
    "reviews.tar.gz",
    make=generate,
    content=imdb.content,
    official=f"{imdb.OFFICIAL_FILES:,} files",
    language="invented text, which is no language at all",
)
