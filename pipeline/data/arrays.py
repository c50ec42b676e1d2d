"""The folders `data/STUDY/arrays/` and `data/STUDY/sealed/`.

`arrays/` has everything that training and prediction may read. `sealed/` has the test labels, which
only `evaluate` may read. Rows are ordered by the sha256 of their inputs, so that a row's position
does not depend on its label. Rows of a series stay in the order of time.
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

from ..config.schema import Task
from ..errors import FairsweepError
from ..files import reading, replace_folder
from .spec import Corpus, Examples, Sequences, TaskSpec, Texts
from .splits import ordered_rows, validation_rows
from .text import PADDING, RANK_OFFSET, build_vocabulary, encode, pad_tokens

# Keys of the task that arrays must agree with. Texts can be cut to any length later.
_TEXT_KEYS = ("name", "vocabulary")
_NUMBER_KEYS = ("name", "length", "features", "horizon", "relative")


@dataclass(frozen=True)
class Data:
    """The data of a training. It has no test labels.

    Inputs are token ids <int32>[rows, length], or numbers <float32> or <uint8>[rows, length,
    features]. Labels are as in `TaskSpec.kind`.

    Attributes:
        spec: of the task, with the length of these inputs.
        digest: of all files in the folder.
        by_group: whether training and validation share no group. Otherwise the rows have no
            groups and were split at random.
    """

    spec: TaskSpec
    train_inputs: NDArray[Any]
    train_labels: NDArray[Any]
    validation_inputs: NDArray[Any]
    validation_labels: NDArray[Any]
    test_inputs: NDArray[Any]
    digest: str
    by_group: bool


@dataclass(frozen=True)
class Ids:
    """Texts of any length: row i is `ids[offsets[i]:offsets[i + 1]]`.

    Attributes:
        ids: <int32>[tokens].
        offsets: <int64>[rows + 1].
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def where(self, rows: NDArray[np.bool_]) -> "Ids":
        """Return the rows that `rows` <bool>[rows] marks."""
        lengths = np.diff(self.offsets)
        return Ids(self.ids[np.repeat(rows, lengths)], _offsets(lengths[rows]))


def without_padding(tokens: NDArray[np.int32]) -> Ids:
    """Return the tokens <int32>[rows, length] of each row that are not padding."""
    real = tokens != PADDING
    return Ids(tokens[real], _offsets(real.sum(axis=1)))


def write(source: Corpus | Sequences, task: Task, arrays: Path, sealed: Path) -> dict[str, Any]:
    """Write both folders, both or none, and return the content of `meta.json`."""
    with replace_folder(sealed) as sealed_part, replace_folder(arrays) as part:
        if isinstance(source, Corpus):
            meta = _write_texts(part, sealed_part, source, task)
        else:
            meta = _write_numbers(part, sealed_part, source, task)
        (part / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", "utf-8")
    return meta


def load(folder: Path, task: Task, split_seed: int) -> Data:
    """Load the arrays of a task, with the official training rows split in training and validation.

    Training rows are reduced to the fraction `task.train_fraction`. Texts are cut and padded as
    `task` says, whatever the length for which the folder was written.

    Raises:
        FairsweepError: the folder is missing, or was written for another task.
    """
    meta = checked_meta(folder, task)
    labels = _load(folder, "train_labels")
    train, validation = split(folder, task, split_seed)
    inputs, test = (_inputs(folder, part, meta, task) for part in ("train", "test"))
    return Data(
        spec=replace(TaskSpec(**meta["spec"]), length=inputs.shape[1]),
        train_inputs=inputs[train],
        train_labels=labels[train],
        validation_inputs=inputs[validation],
        validation_labels=labels[validation],
        test_inputs=test,
        digest=meta["digest"],
        by_group=meta["by_group"],
    )


def split(folder: Path, task: Task, split_seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (training, validation), each <bool>[official training rows], as `load` uses them.

    For the same seed, the training rows of a smaller `task.train_fraction` are a subset of those of
    a larger one.
    """
    spec = TaskSpec(**checked_meta(folder, task)["spec"])
    labels, groups = _load(folder, "train_labels"), _load(folder, "train_groups")
    if spec.ordered:
        train, validation = ordered_rows(len(labels), task.length + task.horizon, split_seed)
    else:
        classes = labels if labels.ndim == 1 else np.zeros(len(labels), np.uint8)
        validation = validation_rows(classes, groups, split_seed)
        train = ~validation
    rows = np.random.default_rng([split_seed, 1]).permutation(np.flatnonzero(train))
    count = round(task.train_fraction * len(rows))
    if not count:
        raise FairsweepError(
            f"task.train_fraction={task.train_fraction}: leaves no row of {len(rows):,} to train "
            "on. Raise it: 1.0 keeps them all."
        )
    chosen = np.zeros(len(train), bool)
    chosen[rows[:count]] = True
    return chosen, validation


def load_whole(folder: Path) -> tuple[Ids, Ids]:
    """Return all official training texts and the test texts, uncut, with their start tokens."""
    return _ids(folder, "train"), _ids(folder, "test")


def load_vocabulary(folder: Path) -> dict[str, int]:
    """Return each word's rank from 1. The result is empty for a source that is already encoded."""
    with reading(folder / "vocabulary.json", _remedy(folder)) as path:
        words = json.loads(path.read_text("utf-8"))
    return {word: rank for rank, word in enumerate(words, 1)}


def checked_meta(folder: Path, task: Task) -> dict[str, Any]:
    """Return meta.json of `folder`.

    Raises:
        FairsweepError: it is missing, or describes another task.
    """
    path, study = folder / "meta.json", folder.parent.name
    if not path.is_file():
        raise FairsweepError(
            f"There is no {path}. First run `python -m pipeline.download study={study}`, then "
            f"`python -m pipeline.pad study={study}`."
        )
    with reading(path, _remedy(folder)):
        meta: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for key in _TEXT_KEYS if meta["spec"]["features"] is None else _NUMBER_KEYS:
            if meta[key] != getattr(task, key):
                raise FairsweepError(
                    f"{folder} was written with task.{key}={meta[key]}, and this run has "
                    f"task.{key}={getattr(task, key)}. {_remedy(folder)}"
                )
    return meta


def _remedy(folder: Path) -> str:
    if ".fairsweep" in folder.parts:
        return f"Remove {folder.parent}: the next command writes it again."
    return (
        "Write it again: `dvc repro pad`, or `python -m pipeline.pad "
        f"study={folder.parent.name}` with the same overrides."
    )


def _load(folder: Path, name: str) -> NDArray[Any]:
    with reading(folder / f"{name}.npy", _remedy(folder)) as path:
        values: NDArray[Any] = np.load(path)
        return values


def _ids(folder: Path, part: str) -> Ids:
    return Ids(_load(folder, f"{part}_ids"), _load(folder, f"{part}_offsets"))


def _inputs(folder: Path, part: str, meta: dict[str, Any], task: Task) -> NDArray[Any]:
    """Return the inputs of `train` or `test`, with texts cut to the length of `task`."""
    if meta["spec"]["features"] is not None:
        return _load(folder, f"{part}_inputs")
    if (meta["length"], meta["padding"]) == (task.length, task.padding):
        return _load(folder, f"{part}_tokens")
    return _tokens(_ids(folder, part), task)


def _tokens(ids: Ids, task: Task) -> NDArray[np.int32]:
    rows = [ids.ids[start:end] for start, end in zip(ids.offsets, ids.offsets[1:], strict=False)]
    return pad_tokens(rows, task.length, task.padding)


def _offsets(lengths: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _write_texts(part: Path, sealed: Path, corpus: Corpus, task: Task) -> dict[str, Any]:
    words = map(_words, corpus.train.texts)
    if corpus.encoded:
        largest = max(int(rank) for rank in set(chain.from_iterable(words)))
        vocabulary = {str(rank): rank for rank in range(1, largest + 1)}
    else:
        vocabulary = build_vocabulary(words)
    counts = {}
    for name, texts, labels in (("train", corpus.train, part), ("test", corpus.test, sealed)):
        order = _order(texts)
        ids = _encode([texts.texts[row] for row in order], vocabulary, task.vocabulary)
        np.save(part / f"{name}_tokens.npy", _tokens(ids, task))
        np.save(part / f"{name}_ids.npy", ids.ids)
        np.save(part / f"{name}_offsets.npy", ids.offsets)
        np.save(labels / f"{name}_labels.npy", texts.labels[order])
        counts[name] = _write_groups(part, name, texts, order)
    # Only words that have an id. The words of an encoded source are unknown.
    known = [] if corpus.encoded else list(vocabulary)[: task.vocabulary - RANK_OFFSET - 1]
    content = json.dumps(known, ensure_ascii=False, indent=0) + "\n"
    (part / "vocabulary.json").write_text(content, "utf-8")
    meta = {
        key: getattr(task, key) for key in ("name", "length", "vocabulary", "padding", "source")
    }
    meta |= {**counts, "by_group": corpus.train.groups is not None, "digest": _digest(part)}
    return {**meta, "spec": asdict(replace(corpus.spec, length=task.length))}


def _write_numbers(part: Path, sealed: Path, source: Sequences, task: Task) -> dict[str, Any]:
    spec, counts = source.spec, {}
    for name, examples, labels in (("train", source.train, part), ("test", source.test, sealed)):
        order = np.arange(len(examples.inputs)) if spec.ordered else _order(examples)
        np.save(part / f"{name}_inputs.npy", examples.inputs[order])
        np.save(labels / f"{name}_labels.npy", examples.labels[order])
        counts[name] = _write_groups(part, name, examples, order)
        if name == "test":
            for extra, values in source.extras.items():
                np.save(part / f"test_{extra}.npy", values[order])
    meta = {key: getattr(task, key) for key in (*_NUMBER_KEYS, "source")}
    meta |= {**counts, "by_group": source.train.groups is not None, "digest": _digest(part)}
    return {**meta, "spec": asdict(spec)}


def _order(part: Texts | Examples) -> NDArray[np.int64]:
    """Return the order of the rows: by the sha256 of their inputs, and texts also by group."""
    keys: Sequence[Any]
    if isinstance(part, Texts):
        groups = part.groups or [""] * len(part.texts)
        digests = (hashlib.sha256(text.encode()).digest() for text in part.texts)
        keys = list(zip(digests, groups, strict=True))
    else:
        keys = [hashlib.sha256(row.tobytes()).digest() for row in part.inputs]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__))


def _write_groups(
    folder: Path, name: str, part: Texts | Examples, order: NDArray[np.int64]
) -> dict[str, int | None]:
    """Write the group of each row, numbered by first occurrence, and return the counts.

    Without groups each row has another number.
    """
    numbers: dict[str, int] = {}
    groups = np.arange(len(order), dtype=np.int32)
    if part.groups is not None:
        names = [part.groups[row] for row in order]
        groups = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)
    np.save(folder / f"{name}_groups.npy", groups)
    return {"rows": len(order), "groups": len(numbers) or None}


def _words(text: str) -> list[str]:
    return text.split(" ") if text else []


def _encode(texts: Sequence[str], vocabulary: Mapping[str, int], size: int) -> Ids:
    # An array takes an eighth of the memory of a list of integers.
    ids, lengths = array("i"), []
    for text in texts:
        row = encode(_words(text), vocabulary, size)
        ids.extend(row)
        lengths.append(len(row))
    return Ids(np.frombuffer(ids, np.int32), _offsets(lengths))


def _digest(folder: Path) -> str:
    """Return a digest of the files in the folder: neither the archive nor the test labels."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.name}\0{content}\n".encode())
    return digest.hexdigest()
