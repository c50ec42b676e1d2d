"""A small archive of invented reviews in the layout of the real one, for smoke studies and tests without a network.

A review mixes judgements ("very good", "not bad at all") with talk about the film. Most judgements agree with its label, and
some are negated, so the order of words tells more than their counts do. Films differ in how good they are and in how plainly
people speak of them, as real ones do. Training and test films are different films.
"""

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from pipeline.data import aclimdb
from pipeline.data.form import Dataset
from pipeline.files import replace_file


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_GOOD = _listed(
    "good great excellent wonderful moving funny charming superb brilliant touching clever fresh warm gripping lovely honest "
    "memorable perfect stunning delightful"
)
_BAD = _listed(
    "bad awful terrible boring dull weak stupid poor horrible lame silly tedious flat ugly annoying empty clumsy hollow "
    "predictable painful"
)
_NEGATIONS = _listed("not never hardly")
_STRENGTHS = _listed("very really quite so truly rather")
_THINGS = _listed(
    "acting plot story script music camera ending hero villain dialogue scene cast director editing humor action romance "
    "photography pace mood city war family school island train dog ghost robot doctor singer murder wedding desert ship prison "
    "letter secret journey summer winter king soldier teacher painter garden mirror castle river bridge circus hotel island"
)
_FILLERS = _listed(
    "i we they it the a this that and but with from about when while after before again still just only even also maybe "
    "watched saw think felt found was is had made gave took came went film movie people time way life end part first last "
    "other one two much many some more most well then there here over br on in of to for at by as if or my me his her their "
    "our you who what how all any because once yesterday together"
)

# The share of judgements that agree with the label, from the plainest film to the most ambiguous.
_AGREEMENT = (0.97, 0.72)
_NEGATED = 0.2
_STRENGTHENED = 0.3
_SHORTEST, _LONGEST = 5, 60
_REVIEWS_A_MOVIE = (2, 9)


def generate(path: Path, seed: int = 0, train: int = 1600, test: int = 1000) -> None:
    """Writes the archive; the same arguments give the same bytes.

    Args:
        path: of the tar.gz, written whole or not at all.
        seed: of everything in it.
        train: number of training reviews, half of them positive.
        test: number of test reviews, half of them positive.
    """
    random = Random(seed)
    files: list[tuple[str, str]] = []
    first_movie = 1
    for part, rows in (("test", test), ("train", train)):
        movies = list(_movies(random, rows, first_movie))
        first_movie = movies[-1].number + 1
        files += _part(random, part, movies)
    with replace_file(path) as target:
        target.write_bytes(_tar_gz(files))


def _tar_gz(files: list[tuple[str, str]]) -> bytes:
    packed = io.BytesIO()
    # Neither the time nor a file's name goes into the header: the bytes depend on the content alone.
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in files:
            content = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


class _Movie:
    """A film and its reviews to come: what people talk about in it, how plainly they judge, how good each finds it."""

    def __init__(self, random: Random, number: int, reviews: int) -> None:
        self.number = number
        self.topics = random.sample(_THINGS, 6)
        plainest, vaguest = _AGREEMENT
        self.agreement = vaguest + (plainest - vaguest) * random.random()
        quality = random.gauss(0.0, 0.8)
        self.opinions = [random.gauss(quality, 1.0) for _ in range(reviews)]


def _movies(random: Random, rows: int, first: int) -> Iterator[_Movie]:
    """Movies, numbered from `first`, that have `rows` reviews together."""
    while rows:
        reviews = min(rows, random.randint(*_REVIEWS_A_MOVIE))
        yield _Movie(random, first, reviews)
        rows -= reviews
        first += 1


def _part(random: Random, part: str, movies: list[_Movie]) -> list[tuple[str, str]]:
    """Name and content of every file of train or test, negative reviews first, as in the real archive."""
    opinions = sorted((opinion, movie.number, index) for movie in movies for index, opinion in enumerate(movie.opinions))
    by_number = {movie.number: movie for movie in movies}
    half = len(opinions) // 2
    files = []
    for side, share in (("neg", opinions[:half]), ("pos", opinions[half:])):
        random.shuffle(share)
        for index, (_, number, _) in enumerate(share):
            rating = random.randint(7, 10) if side == "pos" else random.randint(1, 4)
            text = _review(random, by_number[number], positive=side == "pos")
            files.append((f"aclImdb/{part}/{side}/{index}_{rating}.txt", text))
        urls = "".join(f"http://www.imdb.com/title/tt{number:07d}/usercomments\n" for _, number, _ in share)
        files.append((f"aclImdb/{part}/urls_{side}.txt", urls))
    return files


def _review(random: Random, movie: _Movie, positive: bool) -> str:
    """Talk with a judgement now and then, the first of them early enough for the shortest review."""
    length = random.randint(_SHORTEST, _LONGEST)
    words: list[str] = []
    while len(words) < length:
        agrees = random.random() < movie.agreement
        words += _judgement(random, good=positive == agrees)
        for _ in range(random.randint(2, 5)):
            words.append(random.choice(movie.topics) if random.random() < 0.25 else random.choice(_FILLERS))
    return " ".join(words[:length]).capitalize() + "."


def _judgement(random: Random, good: bool) -> list[str]:
    """A few words that say good or bad, by a word of that kind or by the negation of one of the other kind."""
    negated = random.random() < _NEGATED
    words = [random.choice(_NEGATIONS)] if negated else []
    if random.random() < _STRENGTHENED:
        words.append(random.choice(_STRENGTHS))
    words.append(random.choice(_GOOD if good != negated else _BAD))
    return words


DATASET = Dataset(
    aclimdb.read,
    "reviews.tar.gz",
    make=generate,
    content=aclimdb.content,
    official=f"{aclimdb.OFFICIAL_FILES:,} files",
    language="invented text, which is no language at all",
)
