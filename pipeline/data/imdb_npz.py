"""The encoded copy of the IMDB reviews that Keras provides.

Its `x_train` and `x_test` are object arrays of Python lists. numpy stores such arrays as pickles,
so `allow_pickle=False` cannot read them, and unpickling may call any function that a file names.
The unpickler here permits only the names that a pickled array needs.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config.schema import Columns, Task
from ..errors import FairsweepError
from .spec import Corpus, Dataset, Shape, Texts

# The names in both numpy generations and in pickle protocol 2 (bytes).
_PERMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}
# Bytes of a member (the official ones have 40 MB), and a word's rank (the largest is 88,586).
_LARGEST_MEMBER, _LARGEST_RANK = 500_000_000, 10_000_000


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PERMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load(archive: Path) -> list[tuple[list[list[int]], NDArray[np.uint8]]]:
    """Return the training and then the test reviews: lists of word ranks, and labels <uint8>[rows].

    Raises:
        FairsweepError: the file is not an npz of this layout, or its pickles contain anything but
            lists of numbers.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                if member.file_size > _LARGEST_MEMBER:
                    raise ValueError(f"{member.filename} has more than {_LARGEST_MEMBER:,} bytes")
            return [_part(file, part) for part in ("train", "test")]
    # Damaged files raise nearly any exception.
    except Exception as error:
        raise FairsweepError(
            f"{archive} is refused: {str(error) or type(error).__name__}. It must be imdb.npz of "
            "Keras, with x_train, y_train, x_test and y_test. Get another copy."
        ) from error


def _part(file: zipfile.ZipFile, part: str) -> tuple[list[list[int]], NDArray[np.uint8]]:
    rows, labels = _rows(file, f"x_{part}.npy"), _labels(file, f"y_{part}.npy")
    if len(rows) != len(labels):
        raise ValueError(f"x_{part} has {len(rows)} reviews and y_{part} {len(labels)} labels")
    return rows, labels


def _labels(file: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
    with file.open(name) as stream:
        labels = np.lib.format.read_array(stream, allow_pickle=False)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{name} must hold labels 0 and 1")
    return labels.astype(np.uint8)


def _rows(file: zipfile.ZipFile, name: str) -> list[list[int]]:
    with file.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        old = version == (1, 0)
        header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, _ = header(stream)
        array = _Unpickler(stream).load()
    if not isinstance(array, np.ndarray) or array.dtype != object or array.shape != shape:
        raise ValueError(f"{name} does not hold an array of shape {shape} as its header says")
    rows = array.tolist()
    if not all(type(row) is list for row in rows):
        raise ValueError(f"{name} must hold lists of word ranks and nothing else")
    # A pickle may contain one list many times, which takes the memory of one.
    if sum(map(len, rows)) > file.getinfo(name).file_size:
        raise ValueError(f"{name} holds more ranks than it has bytes")
    if not all(type(rank) is int and 0 < rank <= _LARGEST_RANK for row in rows for rank in row):
        raise ValueError(
            f"{name} must hold word ranks from 1 to {_LARGEST_RANK:,} and nothing else"
        )
    return rows


def read(task: Task, archive: Path, columns: Columns | None = None) -> Corpus:
    """Return the reviews, ranks in place of words, without groups: their movies are unknown."""
    train, test = (
        Texts([" ".join(map(str, row)) for row in rows], labels, None)
        for rows, labels in load(archive)
    )
    return Corpus(train, test, encoded=True)


DATASET = Dataset(
    read,
    "imdb.npz",
    local_copy=("IMDB_NPZ", "/path/imdb.npz"),
    shape=Shape(train=25_000, test=25_000, megabytes=17, tokens=236),
    encoded=True,
    language="English film reviews",
)
