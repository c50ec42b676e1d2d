"""`data/STUDY/arrays/`: everything that training and prediction may see, and `sealed/`: what only `evaluate` may.

Rows are ordered by the sha256 of their inputs, so a row's place tells nothing, neither the label nor where the archive had it.
Those of a series stay in time.
"""

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Task
from pipeline.data.form import Corpus, Form, Reviews, Sequences
from pipeline.data.splits import ordered_rows, validation_rows
from pipeline.data.text import PADDING, RANK_OFFSET, build_vocabulary, encode, pad_tokens
from pipeline.errors import FairsweepError
from pipeline.files import reading, replace_folder

# What arrays must have in common with the task they are loaded for. Texts can be cut to any length later.
_AGREED = {"texts": ("name", "vocabulary"), "numbers": ("name", "length", "features", "horizon", "relative")}
_TOLD = ("name", "length", "vocabulary", "padding", "source")


@dataclass(frozen=True)
class Data:
    """What a training may see; there are no test labels.

    Inputs are token ids <int32>[rows, length], or numbers <float32> or <uint8>[rows, length, features]; labels as `Form.kind` says.

    Attributes:
        form: of the task, its length that of these inputs.
        digest: of every file in the folder.
        by_movie: whether validation and training share no movie; else the source names none and rows were split at random.
    """

    form: Form
    train_inputs: NDArray[Any]
    train_labels: NDArray[Any]
    validation_inputs: NDArray[Any]
    validation_labels: NDArray[Any]
    test_inputs: NDArray[Any]
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


def write(source: Corpus | Sequences, task: Task, arrays: Path, sealed: Path) -> dict[str, Any]:
    """Writes both folders, whole or not at all, and returns what `meta.json` says."""
    with replace_folder(sealed) as sealed_part, replace_folder(arrays) as part:
        told = _write_texts if isinstance(source, Corpus) else _write_numbers
        meta = told(part, sealed_part, source, task)  # type: ignore[arg-type]
        (part / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", "utf-8")
    return meta


def load(folder: Path, task: Task, split_seed: int) -> Data:
    """The arrays of a task, the training rows split into training and validation, of the training rows `task.train_fraction`.

    Texts are cut and padded as `task` says, whatever length the folder was made with.

    Raises:
        FairsweepError: no such folder, or one that was made for another task.
    """
    meta = checked_meta(folder, task)
    labels = _kept(folder, "train_labels")
    train, validation = split(folder, task, split_seed)
    inputs, test = (_inputs(folder, part, meta, task) for part in ("train", "test"))
    return Data(
        form=replace(Form(**meta["form"]), length=inputs.shape[1]),
        train_inputs=inputs[train],
        train_labels=labels[train],
        validation_inputs=inputs[validation],
        validation_labels=labels[validation],
        test_inputs=test,
        digest=meta["digest"],
        by_movie=meta["by_movie"],
    )


def split(folder: Path, task: Task, split_seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(training, validation), each <bool>[official training rows]: which rows `load` takes for what.

    The fraction is drawn from the split's seed, so that a smaller one is a part of a larger one.
    """
    form = Form(**checked_meta(folder, task)["form"])
    labels, movies = _kept(folder, "train_labels"), _kept(folder, "train_movies")
    if form.ordered:
        train, validation = ordered_rows(len(labels), task.length + task.horizon, split_seed)
    else:
        classes = labels if labels.ndim == 1 else np.zeros(len(labels), np.uint8)
        validation = validation_rows(classes, movies, split_seed)
        train = ~validation
    rows = np.flatnonzero(train)
    kept = np.random.default_rng([split_seed, 1]).permutation(rows)[: round(task.train_fraction * len(rows))]
    if not len(kept):
        raise FairsweepError(
            f"task.train_fraction={task.train_fraction}: leaves no row of {len(rows):,} to train on. Raise it: 1.0 keeps them all."
        )
    chosen = np.zeros(len(train), bool)
    chosen[kept] = True
    return chosen, validation


def _inputs(folder: Path, part: str, meta: dict[str, Any], task: Task) -> NDArray[Any]:
    """The inputs of `train` or `test`, texts as long as `task` wants them."""
    if meta["form"]["features"] is not None:
        return _kept(folder, f"{part}_inputs")
    if (meta["length"], meta["padding"]) == (task.length, task.padding):
        return _kept(folder, f"{part}_tokens")
    return _tokens(_whole(folder, part), task)


def _whole(folder: Path, part: str) -> Ids:
    return Ids(_kept(folder, f"{part}_ids"), _kept(folder, f"{part}_offsets"))


def _kept(folder: Path, name: str) -> NDArray[Any]:
    """The array `name` of a folder that `write` has filled."""
    with reading(folder / f"{name}.npy", _again(folder)) as path:
        kept: NDArray[Any] = np.load(path)
        return kept


def _again(folder: Path) -> str:
    """How to have the arrays in `folder` made again."""
    if ".fairsweep" in folder.parts:
        return f"Remove {folder.parent}, and it is made again."
    return f"Make it again: `dvc repro pad`, or `python -m pipeline.pad study={folder.parent.name}` with the same overrides."


def load_whole(folder: Path) -> tuple[Ids, Ids]:
    """All official training reviews and the test reviews, uncut, the start token first, in the folder's order."""
    return _whole(folder, "train"), _whole(folder, "test")


def load_vocabulary(folder: Path) -> dict[str, int]:
    """Word to rank, from 1, for `encode`; empty when the source came encoded and its words are not known."""
    with reading(folder / "vocabulary.json", _again(folder)) as path:
        words = json.loads(path.read_text("utf-8"))
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
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__))
    return order, _numbered(reviews.movies, order)


def _numbered(groups: Sequence[str] | None, order: NDArray[np.integer]) -> NDArray[np.int32]:
    """The groups of the rows in `order`, numbered as they appear; a number a row when there are none."""
    if groups is None:
        return np.arange(len(order), dtype=np.int32)
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(groups[row], len(numbers)) for row in order], np.int32)


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


def _write_texts(part: Path, sealed: Path, corpus: Corpus, task: Task) -> dict[str, Any]:
    vocabulary = _vocabulary(corpus)
    train, train_order = _write_part(part, "train", corpus.train, vocabulary, task)
    test, test_order = _write_part(part, "test", corpus.test, vocabulary, task)
    np.save(part / "train_labels.npy", corpus.train.labels[train_order])
    np.save(sealed / "test_labels.npy", corpus.test.labels[test_order])
    # The kept words; an encoded source has none to tell.
    words = [] if corpus.encoded else list(vocabulary)[: task.vocabulary - RANK_OFFSET - 1]
    (part / "vocabulary.json").write_text(json.dumps(words, ensure_ascii=False, indent=0) + "\n", "utf-8")
    meta = {key: getattr(task, key) for key in _TOLD}
    meta |= {"train": train, "test": test, "by_movie": corpus.train.movies is not None, "digest": _digest(part)}
    return {**meta, "form": asdict(replace(corpus.form, length=task.length))}


def _write_numbers(part: Path, sealed: Path, source: Sequences, task: Task) -> dict[str, Any]:
    form, counts = source.form, {}
    for name, examples, labels in (("train", source.train, part), ("test", source.test, sealed)):
        keys = [hashlib.sha256(row.tobytes()).digest() for row in examples.inputs]
        order = np.arange(len(keys)) if form.ordered else np.array(sorted(range(len(keys)), key=keys.__getitem__))
        np.save(part / f"{name}_inputs.npy", examples.inputs[order])
        np.save(part / f"{name}_movies.npy", _numbered(examples.groups, order))
        np.save(labels / f"{name}_labels.npy", examples.labels[order])
        counts[name] = {"rows": len(order), "movies": len(set(examples.groups)) if examples.groups else None}
        if name == "test":
            for extra, values in source.extras.items():
                np.save(part / f"test_{extra}.npy", values[order])
    meta = {key: getattr(task, key) for key in ("name", "length", "features", "horizon", "relative", "source")}
    return {**meta, **counts, "by_movie": source.train.groups is not None, "digest": _digest(part), "form": asdict(form)}


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


def checked_meta(folder: Path, task: Task) -> dict[str, Any]:
    """meta.json of `folder`.

    Raises:
        FairsweepError: there is none, or it is of another task.
    """
    path, study = folder / "meta.json", folder.parent.name
    if not path.is_file():
        raise FairsweepError(
            f"There is no {path}. First run `python -m pipeline.download study={study}`, then "
            f"`python -m pipeline.pad study={study}`."
        )
    with reading(path, _again(folder)):
        meta: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for key in _AGREED["texts" if meta["form"]["features"] is None else "numbers"]:
            if meta[key] != getattr(task, key):
                raise FairsweepError(
                    f"{folder} was made with task.{key}={meta[key]}, and this run has task.{key}={getattr(task, key)}. {_again(folder)}"
                )
    return meta
