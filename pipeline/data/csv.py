"""A CSV file of the user: texts with labels, or a series. The config's `data` names its columns."""

import difflib
import filecmp
import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..config.schema import Columns, Task
from ..errors import FairsweepError
from ..files import own_file, replace_folder
from .csv_reader import records
from .spec import Corpus, Dataset, Sequences, TaskSpec, Texts
from .splits import validation_rows
from .text import tokenize

if TYPE_CHECKING:
    from pandas import DataFrame

_COPIES = {"path": "data.csv", "test_path": "test.csv"}
_USAGE = (
    "data.path=FILE.csv with data.text=COLUMN data.label=COLUMN, or for a series with "
    "data.value=COLUMN"
)
# The test rows depend on the file and not on a study's split_seed.
_TEST_SEED, _TEST_FRACTION = 5, 0.2
# With fewer rows, a fifth of a fifth has hardly any row.
_FEWEST_ROWS, _FEWEST_PER_CLASS, _MOST_CLASSES = 50, 5, 255
# Bytes of a file. In memory it takes several times as much.
_LARGEST = 500_000_000
# Characters of a name in a message, and names in a list.
_SHOWN, _LISTED = 60, 20


def check(columns: Columns) -> None:
    """Check the keys of `columns`, and that the files that they name have these columns.

    Raises:
        FairsweepError: keys are missing or contradict each other; a file does not exist or is not
            valid CSV; it lacks a column or has it twice; training and test file are equal.
    """
    _check_keys(columns)
    paths = _paths(columns)
    for key, path in paths.items():
        if not path.is_file():
            raise FairsweepError(
                f"data.{key}={getattr(columns, key)}: there is no file {path.resolve()}. Give the "
                "path of a CSV file."
            )
        _table_with(columns, path)
    if columns.test_path and filecmp.cmp(paths["path"], paths["test_path"], shallow=False):
        raise FairsweepError(
            f"data.test_path={columns.test_path} has the same content as data.path={columns.path}. "
            "Give another file, or leave data.test_path out: then a fifth of the rows is the test."
        )


def copy(columns: Columns, folder: Path) -> None:
    """Copy the files to `folder` as data.csv and test.csv, all of them or none.

    Raises:
        FairsweepError: as in `check`.
    """
    check(columns)
    with replace_folder(folder) as part:
        for key, path in _paths(columns).items():
            shutil.copyfile(path, part / _COPIES[key])


def content(columns: Columns) -> str:
    """Return the sha256 of the files.

    Raises:
        FairsweepError: as in `check`.
    """
    check(columns)
    digest = hashlib.sha256()
    for path in _paths(columns).values():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def table(path: Path) -> "DataFrame":
    """Return the rows of a CSV file. Every cell is a string, also an empty one.

    Raises:
        FairsweepError: the file has no row, or two columns of the same name, or is not valid CSV.
    """
    import pandas as pd

    lines = list(records(path, _LARGEST))
    if len(lines) < 2:
        found = "no row below its header" if lines else "no content"
        raise FairsweepError(f"{path} has {found}. Give a file with a line of names and with rows.")
    line, header = lines[0]
    if duplicates := [name for name, count in Counter(header).items() if name and count > 1]:
        raise FairsweepError(
            f"{path}, line {line}: two columns are named {_shown(duplicates[0])}. Rename one."
        )
    return pd.DataFrame([row for _, row in lines[1:]], columns=header, dtype=str)


def read(task: Task, archive: Path, columns: Columns) -> Corpus | Sequences:
    """Read the copies that `copy` has written next to `archive`.

    Without a test file a fifth of the rows is the test: a fifth of each class, and whole groups.
    These rows depend on the file alone. Spaces around a label or the name of a group are removed.

    Returns:
        Texts as a Corpus with 2 to 255 classes in the order of their names; a series as Sequences.

    Raises:
        FairsweepError: there are no copies, or the file has changed since; a label or group is
            empty; too few rows, classes or rows of a class, or too many classes; the test has an
            unknown class or a group of the training rows; the groups are too large to split.
    """
    _check_keys(columns)
    for key, path in _paths(columns).items():
        copied = archive.parent / _COPIES[key]
        if not copied.is_file():
            raise FairsweepError(
                f"There is no {copied}. First run `python -m pipeline.download` with the same "
                "study and overrides."
            )
        if path.is_file() and not filecmp.cmp(path, copied, shallow=False):
            raise FairsweepError(
                f"data.{key}={getattr(columns, key)} has changed since it was copied to {copied}. "
                "Copy it again: dvc repro -f download, or python -m pipeline.download with the "
                "same study and overrides."
            )
    frame = _table_with(columns, archive.parent / _COPIES["path"])
    if columns.value:
        from .timeseries import from_columns

        return from_columns(frame, columns, task)
    train = _rows(frame, columns, "path")
    classes = _classes(train["label"].tolist(), columns)
    if columns.test_path:
        path = archive.parent / _COPIES["test_path"]
        test = _rows(_table_with(columns, path), columns, "test_path")
        _check_test(train, test, columns)
    else:
        chosen = _test_rows(train, columns)
        train, test = train[~chosen], train[chosen]
    known = set(train["text"])
    if copies := sum(text in known for text in test["text"] if text):
        print(f"warning: {copies:,} of {len(test):,} test texts also occur in the training part")
    spec = TaskSpec(
        kind="binary" if len(classes) == 2 else "classes",
        outputs=1 if len(classes) == 2 else len(classes),
        length=task.length,
        example="text",
        group=columns.group or "",
        classes=classes,
        baselines=["trivial", "same_tokens", "whole_text"],
    )
    return Corpus(_texts(train, classes), _texts(test, classes), encoded=False, spec=spec)


def _paths(columns: Columns) -> dict[str, Path]:
    return {key: own_file(getattr(columns, key)) for key in _COPIES if getattr(columns, key)}


def _check_keys(columns: Columns) -> None:
    """Raise FairsweepError unless the keys describe either texts or a series."""
    needed, optional = ["text", "label"], ["group", "test_path"]
    reason = "texts have no data.time"
    if columns.value:
        needed, optional = ["value"], ["time"]
        reason = "a series (data.value) has data.time alone, and its last fifth is the test"
    if missing := [f"data.{key}" for key in ("path", *needed) if not getattr(columns, key)]:
        raise FairsweepError(f"{' and '.join(missing)} missing: task csv needs {_USAGE}.")
    keys = {key: value for key, value in vars(columns).items() if value}
    if extra := [f"data.{key}" for key in keys if key not in ("path", *needed, *optional)]:
        raise FairsweepError(
            f"{' and '.join(extra)}: {reason}. Take {extra[0]} out, or give {_USAGE}."
        )
    names = {key: value for key, value in keys.items() if key not in _COPIES}
    name, count = Counter(names.values()).most_common(1)[0]
    if count > 1:
        same = " and ".join(f"data.{key}" for key, value in names.items() if value == name)
        raise FairsweepError(f"{same} both name the column {name!r}. Give each another column.")
    for key in ("group", "value"):
        # The report prints these names.
        if not keys.get(key, "").isprintable():
            raise FairsweepError(
                f"data.{key}={keys[key]!r}: the name contains a character that cannot be printed, "
                "such as a mark that reverses text. Rename the column."
            )


def _table_with(columns: Columns, path: Path) -> "DataFrame":
    """Return the table in `path`, which must have the columns that `columns` names."""
    frame = table(path)
    for key in ("text", "label", "group", "value", "time"):
        name = getattr(columns, key)
        if not name or name in frame.columns:
            continue
        near = difflib.get_close_matches(name, frame.columns, n=1, cutoff=0.4)
        hint = f"; the nearest is {_shown(near[0])}" if near else ""
        names = ", ".join(map(_shown, frame.columns[:_LISTED]))
        if len(frame.columns) > _LISTED:
            names += f" and {len(frame.columns) - _LISTED:,} more"
        commas = " (separate fields by commas)" if len(frame.columns) == 1 else ""
        raise FairsweepError(
            f"data.{key}={name}: {path} has no such column{hint}. There are: {names}{commas}."
        )
    return frame


def _rows(frame: "DataFrame", columns: Columns, key: str) -> "DataFrame":
    """Return the columns text (words joined by spaces), label and, where named, group."""
    import pandas as pd

    # The tokenizer of Keras does not split at a carriage return.
    texts = [" ".join(tokenize(text.replace("\r", "\n"))) for text in frame[columns.text]]
    rows = {"text": texts}
    for role in ("label", "group") if columns.group else ("label",):
        name = getattr(columns, role)
        rows[role] = [cell.strip() for cell in frame[name]]
        if empty := rows[role].count(""):
            raise FairsweepError(
                f"{getattr(columns, key)}, row {rows[role].index('') + 1} (the header not counted)"
                f": column {name!r} (data.{role}) is empty there, and in {empty} of {len(frame):,} "
                f"rows. Give each row a {role}, or delete the row."
            )
    return pd.DataFrame(rows, dtype=object)


def _classes(labels: Sequence[str], columns: Columns) -> list[str]:
    """Return the names of the classes, sorted as strings."""
    counts = Counter(labels)
    where = f"{columns.path}, column {columns.label!r} (data.label)"
    if len(labels) < _FEWEST_ROWS:
        raise FairsweepError(
            f"{columns.path} has {len(labels)} rows: at least {_FEWEST_ROWS} are needed for "
            "training, validation and test. Give a larger file."
        )
    if len(counts) > _MOST_CLASSES:
        raise FairsweepError(
            f"{where}: {len(counts):,} different values in {len(labels):,} rows, and at most "
            f"{_MOST_CLASSES} classes. Name another column; for numbers to forecast use data.value."
        )
    if len(counts) == 1:
        raise FairsweepError(
            f"{where}: every row is {_shown(labels[0])}. At least two classes are needed: name "
            "another column."
        )
    rarest = min(sorted(counts), key=counts.__getitem__)
    if counts[rarest] < _FEWEST_PER_CLASS:
        raise FairsweepError(
            f"{where}: class {_shown(rarest)} has {counts[rarest]} of {len(labels):,} rows, and "
            f"each class needs {_FEWEST_PER_CLASS}. Merge it with another class, or delete it."
        )
    return sorted(counts)


def _check_test(train: "DataFrame", test: "DataFrame", columns: Columns) -> None:
    """Raise FairsweepError if the test file is small, or has unknown classes or known groups."""
    where, fewest = f"data.test_path={columns.test_path}", round(_TEST_FRACTION * _FEWEST_ROWS)
    if len(test) < fewest:
        raise FairsweepError(
            f"{where} has {len(test)} rows: at least {fewest} are needed. Give a larger file, or "
            "leave data.test_path out."
        )
    if unknown := sorted(set(test["label"]) - set(train["label"])):
        row = test["label"].tolist().index(unknown[0]) + 1
        raise FairsweepError(
            f"{where}, row {row} (the header not counted): class {_shown(unknown[0])} is not in "
            f"{columns.path}, which has: {', '.join(map(_shown, sorted(set(train['label']))))}. "
            "Correct the label, or delete the row."
        )
    if columns.group and (shared := sorted(set(test["group"]) & set(train["group"]))):
        raise FairsweepError(
            f"{where}: {len(shared):,} groups of column {columns.group!r} (data.group) are also in "
            f"{columns.path}, such as {_shown(shared[0])}. Rows of a group are alike, and the test "
            "would measure memory of the training rows: put each group into one file."
        )


def _test_rows(rows: "DataFrame", columns: Columns) -> NDArray[np.bool_]:
    """Return <bool>[rows], true for the rows of the test."""
    labels, groups = np.unique(rows["label"], return_inverse=True)[1], np.arange(len(rows))
    if columns.group:
        groups = np.unique(rows["group"], return_inverse=True)[1]
    chosen = validation_rows(labels, groups, _TEST_SEED, _TEST_FRACTION)
    counts, test_counts = Counter(rows["label"]), Counter(rows["label"][chosen])
    for name in sorted(counts):
        # A test with half of a class's share still has rows of it to evaluate.
        if test_counts[name] < _TEST_FRACTION * counts[name] / 2:
            raise FairsweepError(
                f"{columns.path}: a test of whole groups of column {columns.group!r} (data.group) "
                f"has {test_counts[name]} of {counts[name]:,} rows of class {_shown(name)}: "
                f"its {len(set(groups)):,} groups are too large or too few. Give a test file "
                "(data.test_path), or name a finer group."
            )
    return chosen


def _texts(rows: "DataFrame", classes: Sequence[str]) -> Texts:
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[label] for label in rows["label"]], np.uint8)
    return Texts(rows["text"].tolist(), labels, rows["group"].tolist() if "group" in rows else None)


def _shown(name: str) -> str:
    """Return the quoted name, cut to `_SHOWN` characters."""
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")


DATASET = Dataset(read, _COPIES["path"], copy=copy, digest=content)
