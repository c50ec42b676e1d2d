"""`data/STUDY/arrays/`: everything that training and prediction may see, and `sealed/`: what only `evaluate` may.

Rows are ordered by the sha256 of their words, so a row's place tells nothing, neither the label nor where the archive had it.
"""

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Task
from pipeline.data.sources import Corpus, Reviews
from pipeline.data.splits import validation_rows
from pipeline.data.text import PADDING, RANK_OFFSET, build_vocabulary, encode, pad_tokens
from pipeline.errors import FairsweepError
from pipeline.files import replace_folder

# What a study's arrays must have in common with the task they are loaded for.
_AGREED = ("name", "length", "vocabulary", "padding")


@dataclass(frozen=True)
class Data:
    """What a training may see; tokens are <int32>[rows, length], labels <uint8>[rows]; there are no test labels.

    Attributes:
        digest: of every file in the folder.
        by_movie: whether validation and training share no movie; else the source names none and rows were split at random.
    """

    train_tokens: NDArray[np.int32]
    train_labels: NDArray[np.uint8]
    validation_tokens: NDArray[np.int32]
    validation_labels: NDArray[np.uint8]
    test_tokens: NDArray[np.int32]
    digest: str
    by_movie: bool


@dataclass(frozen=True)
class Ids:
    """Reviews of any length: row i is `ids[offsets[i]:offsets[i + 1]]`.

    Attributes:
        ids: <int32>[tokens].
        offsets: <int64>[rows + 1].
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def where(self, rows: NDArray[np.bool_]) -> "Ids":
        """The marked rows. `rows`: <bool>[rows]."""
        lengths = np.diff(self.offsets)
        return Ids(self.ids[np.repeat(rows, lengths)], _offsets(lengths[rows]))


def without_padding(tokens: NDArray[np.int32]) -> Ids:
    """The tokens <int32>[rows, length] of each row that are not padding, in their order."""
    real = tokens != PADDING
    return Ids(tokens[real], _offsets(real.sum(axis=1)))


def write(corpus: Corpus, task: Task, arrays: Path, sealed: Path) -> dict[str, Any]:
    """Writes both folders, whole or not at all, and returns what `meta.json` says."""
    vocabulary = _vocabulary(corpus)
    with replace_folder(sealed) as sealed_part, replace_folder(arrays) as part:
        train, train_order = _write_part(part, "train", corpus.train, vocabulary, task)
        test, test_order = _write_part(part, "test", corpus.test, vocabulary, task)
        np.save(part / "train_labels.npy", corpus.train.labels[train_order])
        np.save(sealed_part / "test_labels.npy", corpus.test.labels[test_order])
        # The kept words; an encoded source has none to tell.
        words = [] if corpus.encoded else list(vocabulary)[: task.vocabulary - RANK_OFFSET - 1]
        (part / "vocabulary.json").write_text(json.dumps(words, ensure_ascii=False, indent=0) + "\n", "utf-8")
        meta = {key: getattr(task, key) for key in (*_AGREED, "source")}
        meta |= {"train": train, "test": test, "by_movie": corpus.train.movies is not None, "digest": _digest(part)}
        (part / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", "utf-8")
    return meta


def load(folder: Path, task: Task, split_seed: int) -> Data:
    """The arrays of a task, the training rows split by movie into training and validation.

    Raises:
        FairsweepError: no such folder, or one that was made for another task.
    """
    meta = _checked_meta(folder, task)
    tokens, labels = np.load(folder / "train_tokens.npy"), np.load(folder / "train_labels.npy")
    validation = validation_mask(folder, split_seed)
    return Data(
        train_tokens=tokens[~validation],
        train_labels=labels[~validation],
        validation_tokens=tokens[validation],
        validation_labels=labels[validation],
        test_tokens=np.load(folder / "test_tokens.npy"),
        digest=meta["digest"],
        by_movie=meta["by_movie"],
    )


def validation_mask(folder: Path, split_seed: int) -> NDArray[np.bool_]:
    """<bool>[official training rows], true where `load` takes a row for validation."""
    return validation_rows(np.load(folder / "train_labels.npy"), np.load(folder / "train_movies.npy"), split_seed)


def load_whole(folder: Path) -> tuple[Ids, Ids]:
    """All official training reviews and the test reviews, uncut, the start token first, in the folder's order."""
    train, test = (
        Ids(np.load(folder / f"{part}_ids.npy"), np.load(folder / f"{part}_offsets.npy")) for part in ("train", "test")
    )
    return train, test


def load_vocabulary(folder: Path) -> dict[str, int]:
    """Word to rank, from 1, for `encode`; empty when the source came encoded and its words are not known."""
    words = json.loads((folder / "vocabulary.json").read_text("utf-8"))
    return {word: rank for rank, word in enumerate(words, 1)}


def _vocabulary(corpus: Corpus) -> Mapping[str, int]:
    if corpus.encoded:
        largest = max(int(rank) for rank in set(chain.from_iterable(map(str.split, corpus.train.texts))))
        return {str(rank): rank for rank in range(1, largest + 1)}
    return build_vocabulary(map(_words, corpus.train.texts))


def _words(text: str) -> list[str]:
    """The inverse of joining by one space, which the empty review needs said."""
    return text.split(" ") if text else []


def _order(reviews: Reviews) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Which review stands in each row, and the rows' movies, numbered as they appear; a number a row when there are none."""
    movies: Sequence[str] = reviews.movies or [""] * len(reviews.texts)
    keys = [(hashlib.sha256(text.encode()).digest(), movie) for text, movie in zip(reviews.texts, movies, strict=True)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    if reviews.movies is None:
        return np.array(order), np.arange(len(order), dtype=np.int32)
    numbers: dict[str, int] = {}
    anonymous = [numbers.setdefault(movies[review], len(numbers)) for review in order]
    return np.array(order), np.array(anonymous, np.int32)


def _encode(texts: Sequence[str], order: NDArray[np.int64], vocabulary: Mapping[str, int], size: int) -> Ids:
    ids, lengths = array("i"), []
    for review in order:
        row = encode(_words(texts[review]), vocabulary, size)
        ids.extend(row)
        lengths.append(len(row))
    return Ids(np.frombuffer(ids, np.int32), _offsets(lengths))


def _offsets(lengths: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _tokens(ids: Ids, task: Task) -> NDArray[np.int32]:
    rows = [ids.ids[start:end] for start, end in zip(ids.offsets, ids.offsets[1:], strict=False)]
    return pad_tokens(rows, task.length, task.padding)


def _write_part(
    folder: Path, name: str, reviews: Reviews, vocabulary: Mapping[str, int], task: Task
) -> tuple[dict[str, int | None], NDArray[np.int64]]:
    """Writes all of a part but its labels; its counts, and which review stands in each row."""
    order, movies = _order(reviews)
    ids = _encode(reviews.texts, order, vocabulary, task.vocabulary)
    np.save(folder / f"{name}_tokens.npy", _tokens(ids, task))
    np.save(folder / f"{name}_ids.npy", ids.ids)
    np.save(folder / f"{name}_offsets.npy", ids.offsets)
    np.save(folder / f"{name}_movies.npy", movies)
    return {"rows": len(order), "movies": len(np.unique(movies)) if reviews.movies else None}, order


def _digest(folder: Path) -> str:
    """Covers the files written here and never the archive, which knows the test labels."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _checked_meta(folder: Path, task: Task) -> dict[str, Any]:
    path, study = folder / "meta.json", folder.parent.name
    if not path.is_file():
        raise FairsweepError(
            f"There is no {path}. First run `python -m pipeline.download study={study}`, then "
            f"`python -m pipeline.pad study={study}`."
        )
    meta: dict[str, Any] = json.loads(path.read_text("utf-8"))
    for key in _AGREED:
        if meta[key] != getattr(task, key):
            raise FairsweepError(
                f"{folder} was made with task.{key}={meta[key]}, and this run has task.{key}={getattr(task, key)}. "
                f"Make it again: `dvc repro pad`, or `python -m pipeline.pad study={study}` with the same overrides."
            )
    return meta
