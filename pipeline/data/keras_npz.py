"""Keras's encoded copy of the reviews, opened without running anything that its pickles name.

Its `x_train` and `x_test` are object arrays of Python lists, which numpy can only store as pickles, and unpickling runs
whatever a file asks for. Here every name in the pickle becomes an inert shell, so lists of numbers are all that can come out.
"""

import io
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Columns, Task
from pipeline.data.form import Corpus, Dataset, Reviews, Shape
from pipeline.errors import FairsweepError

# What a pickled object array refers to, in the spellings of both numpy generations and of pickle protocol 2 (bytes).
_EXPECTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}
# The official arrays have 40 MB unpacked.
_LARGEST_MEMBER = 500_000_000
# The official ranks end at 88,586. A vocabulary is counted up to the largest.
_LARGEST_RANK = 10_000_000
# Bytes that reading may take: a pickle of a few bytes can ask for any number of them.
_MEMORY = 4_000_000_000


class _Shell:
    """Stands for an array under construction: keeps the state it is given, does nothing."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _InertUnpickler(pickle.Unpickler):
    """Never imports: expected names become shells, any other is refused."""

    def find_class(self, module: str, name: str) -> type[_Shell]:
        if (module, name) not in _EXPECTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array of reviews needs")
        return _Shell


def load(archive: Path) -> list[tuple[list[list[int]], NDArray[np.uint8]]]:
    """For the training and then the test reviews: word ranks from 1, a list a review, and labels <uint8>[rows].

    Raises:
        FairsweepError: not an npz of this layout, or one whose pickles hold more than lists of numbers.
    """
    try:
        with _bounded(), zipfile.ZipFile(archive) as file:
            return [_part(file, part) for part in ("train", "test")]
    # Unpickling and numpy's header reader answer a damaged file with nearly any exception; none of them may pass as ours.
    except Exception as error:
        raise FairsweepError(
            f"{archive} is refused: {str(error) or type(error).__name__}. "
            "Expected Keras's imdb.npz, with x_train, y_train, x_test and y_test. Get another copy."
        ) from error


@contextmanager
def _bounded() -> Iterator[None]:
    """Until the block ends this process may grow by `_MEMORY`, beyond which it meets MemoryError; where there is /proc, on Linux."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    most = int(status.read_text().split()[0]) * resource.getpagesize() + _MEMORY
    soft = most if before[0] == resource.RLIM_INFINITY else min(most, before[0])
    resource.setrlimit(resource.RLIMIT_AS, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _part(file: zipfile.ZipFile, part: str) -> tuple[list[list[int]], NDArray[np.uint8]]:
    reviews, labels = _reviews(file, f"x_{part}.npy"), _labels(file, f"y_{part}.npy")
    if len(reviews) != len(labels):
        raise ValueError(f"x_{part} has {len(reviews)} reviews and y_{part} {len(labels)} labels")
    return reviews, labels


def _member(file: zipfile.ZipFile, name: str) -> io.BytesIO:
    if name not in file.namelist():
        raise ValueError(f"it has no member {name}")
    if file.getinfo(name).file_size > _LARGEST_MEMBER:
        raise ValueError(f"its member {name} is larger than {_LARGEST_MEMBER:,} bytes")
    return io.BytesIO(file.read(name))


def _labels(file: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
    labels = np.lib.format.read_array(_member(file, name), allow_pickle=False)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{name} must hold labels 0 and 1")
    return labels.astype(np.uint8)


def _reviews(file: zipfile.ZipFile, name: str) -> list[list[int]]:
    stream = _member(file, name)
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream)
    if dtype.kind != "O" or len(shape) != 1:
        raise ValueError(f"{name} must be a one-dimensional object array, not {dtype} {shape}")
    array = _InertUnpickler(stream).load()
    # The state of a pickled array: version, shape, type, order, and for objects the list of its elements.
    state = array.state if isinstance(array, _Shell) else None
    rows = state[4] if isinstance(state, tuple) and len(state) == 5 else None
    if not isinstance(rows, list) or len(rows) != shape[0]:
        raise ValueError(f"{name} does not hold the {shape[0]} reviews it announces")
    fault = f"{name} must hold lists of word ranks from 1 and nothing else, the largest {_LARGEST_RANK:,}"
    if not all(type(row) is list for row in rows):
        raise ValueError(fault)
    # One list may stand in a thousand rows, and take up the room of one.
    if sum(map(len, rows)) > file.getinfo(name).file_size:
        raise ValueError(f"{name} holds more ranks than it has bytes")
    if not all(type(rank) is int and 0 < rank <= _LARGEST_RANK for row in rows for rank in row):
        raise ValueError(fault)
    return rows


def read(task: Task, archive: Path, columns: Columns | None = None) -> Corpus:
    """The reviews, with the ranks of words in place of the words. The movie of a review is not known."""
    train, test = (Reviews([" ".join(map(str, row)) for row in rows], labels, None) for rows, labels in load(archive))
    return Corpus(train, test, encoded=True)


DATASET = Dataset(
    read,
    "imdb.npz",
    local_copy=("IMDB_NPZ", "/path/imdb.npz"),
    shape=Shape(train=25_000, test=25_000, megabytes=17, tokens=236),
    encoded=True,
    language="English film reviews",
)
