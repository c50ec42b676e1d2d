"""Your own file: texts with a label each, or a series; what its columns are called stands in the config's `data`.

The rules are those of Python's csv module: commas between fields, quotes around a field that holds a comma, a quote (written
twice) or a line break. Encoded in UTF-8, with or without its mark. The first line names the columns.
"""

import codecs
import csv
import difflib
import filecmp
import hashlib
import io
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Columns, Task
from pipeline.data.form import Corpus, Dataset, Form, Reviews, Sequences
from pipeline.data.splits import validation_rows
from pipeline.data.text import tokenize
from pipeline.errors import FairsweepError
from pipeline.files import own_file, replace_folder

if TYPE_CHECKING:
    from pandas import DataFrame

_NAMES = {"path": "data.csv", "test_path": "test.csv"}
_USAGE = "data.path=FILE.csv with data.text=COLUMN data.label=COLUMN, or for a series with data.value=COLUMN"
# Which rows are the test is a matter of the file, not of a study's split_seed.
_TEST_SEED = 5
_TEST_FRACTION = 0.2
# Below, a fifth of a fifth has no row, or hardly any.
_FEWEST_ROWS, _FEWEST_OF_A_CLASS = 50, 5
_MOST_CLASSES = 255
# A file is read whole, and takes memory several times its size: most of all where its cells are short.
_LARGEST, _MOST_CELLS = 500_000_000, 20_000_000
# Those of a spreadsheet.
_MOST_COLUMNS = 16_384
# Of a name or a label in a message, and how many names one lists.
_SHOWN, _LISTED = 60, 20


@dataclass(frozen=True)
class _Rows:
    """Texts as `Reviews` has them, and the names of their classes and groups."""

    texts: list[str]
    labels: list[str]
    groups: list[str] | None

    def where(self, rows: NDArray[np.bool_]) -> "_Rows":
        """The marked rows. `rows`: <bool>[rows]."""
        marked = np.flatnonzero(rows)
        groups = None if self.groups is None else [self.groups[row] for row in marked]
        return _Rows([self.texts[row] for row in marked], [self.labels[row] for row in marked], groups)


def check(columns: Columns) -> None:
    """Hold `columns` against the file, or the two files, that they name.

    Raises:
        FairsweepError: keys that are missing, or that do not go together; no such file, or one that is not CSV; a column that
            is not there, or is named twice; one file for training and test.
    """
    _check_keys(columns)
    paths = _paths(columns)
    for key, path in paths.items():
        if not path.is_file():
            raise FairsweepError(
                f"data.{key}={getattr(columns, key)}: there is no file {path.resolve()}. Give the path of a CSV file."
            )
        _check_columns(table(path), columns, path)
    if columns.test_path and filecmp.cmp(paths["path"], paths["test_path"], shallow=False):
        raise FairsweepError(
            f"data.test_path={columns.test_path} holds the same as data.path={columns.path}: a test on the training rows tells nothing. "
            "Give another file, or leave data.test_path out, and a fifth of the rows is the test."
        )


def copy(columns: Columns, folder: Path) -> None:
    """Puts the files into `folder` as data.csv and test.csv: the folder is whole or not there at all.

    Raises:
        FairsweepError: as `check`.
    """
    check(columns)
    with replace_folder(folder) as part:
        for key, path in _paths(columns).items():
            shutil.copyfile(path, part / _NAMES[key])


def table(path: Path) -> "DataFrame":
    """The rows of a CSV file, every cell a string, empty ones too; blank lines are no rows.

    Raises:
        FairsweepError: too large; not UTF-8, a NUL byte, no header or no row, a column named twice, a quote left open, a row of
            another length than the header; it names the file and the line.
    """
    import pandas as pd

    lines = _records(_checked(path), path)
    if len(lines) < 2:
        raise FairsweepError(
            f"{path} has {'no row below its header' if lines else 'nothing in it'}: expected a line of names, then rows. Give another file."
        )
    header = lines[0][1]
    if twice := [name for name, count in Counter(header).items() if name and count > 1]:
        raise FairsweepError(
            f"{path}, line {lines[0][0]}: two columns are named {_shown(twice[0])}. Give each a name of its own."
        )
    for line, row in lines:
        if len(row) != len(header):
            raise FairsweepError(
                f"{path}, line {line}: {_fields(len(row))}, and the header {len(header)}. A field with a comma stands in quotes."
            )
    return pd.DataFrame([row for _, row in lines[1:]], columns=header, dtype=str)


def read(task: Task, archive: Path, columns: Columns) -> Corpus | Sequences:
    """The copies beside `archive`: texts as a Corpus, binary or of 3 to 255 classes in the order of their names; a series as Sequences.

    Without a test file a fifth of the rows is the test, drawn once and for all from the file's order: of each class a fifth,
    and whole groups. White space around a label or a group's name is dropped. An empty text is a text without words.

    Raises:
        FairsweepError: no copies, or the file has changed since; an empty label or group; too few rows, classes or rows of a
            class, too many classes; in the test an unknown class or a group of the training rows; groups too large to split.
    """
    folder = archive.parent
    _check_unchanged(folder, columns)
    frame = _copied(folder, "path", columns)
    if columns.value:
        from pipeline.data.series import from_columns

        return from_columns(frame, columns, task)
    train = _rows(frame, columns, "path")
    classes = _classes(train.labels, columns)
    if columns.test_path:
        test = _rows(_copied(folder, "test_path", columns), columns, "test_path")
        _check_apart(train, test, columns)
    else:
        chosen = _fifth(train, columns)
        train, test = train.where(~chosen), train.where(chosen)
    _warn_of_copies(train, test)
    form = Form(
        kind="binary" if len(classes) == 2 else "classes",
        outputs=1 if len(classes) == 2 else len(classes),
        length=task.length,
        example="text",
        group=columns.group or "",
        classes=classes,
        baselines=["trivial", "same_tokens", "whole_text"],
    )
    return Corpus(_reviews(train, classes), _reviews(test, classes), encoded=False, form=form)


def _check_unchanged(folder: Path, columns: Columns) -> None:
    """Raise FairsweepError where a copy is not of the file that is named now; one that has gone is not missed."""
    for key, path in _paths(columns).items():
        copied = folder / _NAMES[key]
        if path.is_file() and copied.is_file() and not filecmp.cmp(path, copied, shallow=False):
            raise FairsweepError(
                f"data.{key}={getattr(columns, key)} is not the file that {copied} was copied from: it has changed since. "
                "Copy it again: dvc repro -f download, or python -m pipeline.download with the same study and overrides."
            )


def content(columns: Columns) -> str:
    """sha256 over the files.

    Raises:
        FairsweepError: as `check`.
    """
    check(columns)
    digest = hashlib.sha256()
    for path in _paths(columns).values():
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def _paths(columns: Columns) -> dict[str, Path]:
    return {key: own_file(getattr(columns, key)) for key in _NAMES if getattr(columns, key)}


def _check_keys(columns: Columns) -> None:
    """Raise FairsweepError unless the keys say one thing: texts or a series."""
    needed, more = (("value",), ("time",)) if columns.value else (("text", "label"), ("group", "test_path"))
    if missing := [f"data.{key}" for key in ("path", *needed) if not getattr(columns, key)]:
        raise FairsweepError(f"{' and '.join(missing)} missing: task csv needs {_USAGE}.")
    given = {key: value for key, value in vars(columns).items() if value}
    if idle := [f"data.{key}" for key in given if key not in ("path", *needed, *more)]:
        reason = (
            "a series (data.value) has data.time alone, and its last fifth is the test"
            if columns.value
            else "texts have no data.time"
        )
        raise FairsweepError(f"{' and '.join(idle)}: {reason}. Take {idle[0]} out, or give {_USAGE}.")
    named = Counter(value for key, value in given.items() if key not in _NAMES)
    name, count = named.most_common(1)[0]
    if count > 1:
        keys = [f"data.{key}" for key, value in given.items() if value == name and key not in _NAMES]
        raise FairsweepError(f"{' and '.join(keys)} both name the column {name!r}. Give each a column of its own.")
    for key in ("group", "value"):
        # The report speaks of a group and of a unit by these names.
        if not given.get(key, "").isprintable():
            raise FairsweepError(
                f"data.{key}={given[key]!r}: holds a character that cannot be printed, such as a mark that turns text around. "
                "Give the column another name."
            )


def _check_columns(frame: "DataFrame", columns: Columns, path: Path) -> None:
    for key in ("text", "label", "group", "value", "time"):
        name = getattr(columns, key)
        if not name or name in frame.columns:
            continue
        near = difflib.get_close_matches(name, frame.columns, n=1, cutoff=0.4)
        hint = f"; the nearest is {_shown(near[0])}" if near else ""
        there = ", ".join(map(_shown, frame.columns[:_LISTED]))
        if len(frame.columns) > _LISTED:
            there += f" and {len(frame.columns) - _LISTED:,} more"
        commas = " (fields are parted by commas)" if len(frame.columns) == 1 else ""
        raise FairsweepError(f"data.{key}={name}: {path} has no such column{hint}. There are: {there}{commas}.")


def _checked(path: Path) -> bytes:
    """What the file holds, without its mark: UTF-8 of a size that can be read."""
    size = path.stat().st_size
    if size > _LARGEST:
        raise FairsweepError(
            f"{path} has {size:,} bytes, and at most {_LARGEST:,} are read, as all of it lies in memory. Take fewer rows, or leave out "
            "columns that are not needed."
        )
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = _line(content[: error.start].decode("utf-8"))
        raise FairsweepError(f"{path}, line {line}: not UTF-8 ({error.reason}). Save the file as CSV in UTF-8.") from error
    nul = content.find(b"\0")
    if nul >= 0:
        line = _line(content[:nul].decode("utf-8"))
        raise FairsweepError(f"{path}, line {line}: a NUL byte, which no text has. Is it a CSV file, whole and in UTF-8?")
    return content


def _line(before: str) -> int:
    """The number of the line that follows `before`, as the csv module counts."""
    return 1 + len(re.findall(r"\r\n|\r|\n", before))


def _records(content: bytes, path: Path) -> list[tuple[int, list[str]]]:
    """Each record with the line it begins on, blank lines left out."""
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""), strict=True)
    records: list[tuple[int, list[str]]] = []
    line, blank, cells = 1, 0, 0
    # The module's own limit, 131,072 characters, is that of a long text.
    limit = csv.field_size_limit(max(len(content), 1))
    try:
        for record in reader:
            if record and blank and len(record) == 1 and records:
                raise FairsweepError(
                    f'{path}, line {blank}: blank, in a file of one column. Write "" for an empty cell, or take the line out.'
                )
            if record:
                cells += len(record)
                _check_size(path, line, len(record), cells)
                records.append((line, record))
            else:
                blank = line
            line = reader.line_num + 1
    except csv.Error as error:
        raise FairsweepError(
            f"{path}, line {line}: a quote that begins there is not closed as it should be ({error}). Fields are parted by commas, and a "
            "quote within quotes is written twice."
        ) from error
    finally:
        csv.field_size_limit(limit)
    return records


def _check_size(path: Path, line: int, columns: int, cells: int) -> None:
    """Raise FairsweepError for a row that is too wide, or one cell too many so far."""
    if columns > _MOST_COLUMNS:
        raise FairsweepError(
            f"{path}, line {line}: {columns:,} columns, and at most {_MOST_COLUMNS:,} are read. Leave out those that are not needed."
        )
    if cells > _MOST_CELLS:
        raise FairsweepError(
            f"{path}, line {line}: more than {_MOST_CELLS:,} cells, which is all that is read, as they lie in memory. Take fewer rows, or "
            "leave out columns that are not needed."
        )


def _shown(name: str) -> str:
    """A name or a label from the file, in quotes, and cut where it is long."""
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _copied(folder: Path, key: str, columns: Columns) -> "DataFrame":
    path = folder / _NAMES[key]
    if not path.is_file():
        raise FairsweepError(f"There is no {path}. First run `python -m pipeline.download` with the same study and overrides.")
    frame = table(path)
    _check_columns(frame, columns, path)
    return frame


def _rows(frame: "DataFrame", columns: Columns, key: str) -> _Rows:
    # The tokenizer knows no carriage return, which would stay part of a word.
    texts = [" ".join(tokenize(text.replace("\r", "\n"))) for text in frame[columns.text]]
    labels = _named(frame, columns, "label", key)
    return _Rows(texts, labels, _named(frame, columns, "group", key) if columns.group else None)


def _named(frame: "DataFrame", columns: Columns, column: str, key: str) -> list[str]:
    """The cells of the label's or the group's column, none of them empty."""
    name = getattr(columns, column)
    cells = [cell.strip() for cell in frame[name]]
    if "" in cells:
        raise FairsweepError(
            f"{getattr(columns, key)}, row {cells.index('') + 1} (the header not counted): column {name!r} (data.{column}) is empty there, "
            f"and in {cells.count('')} of {len(cells):,} rows. Give each row a {column}, or take it out."
        )
    return cells


def _classes(labels: Sequence[str], columns: Columns) -> list[str]:
    """The names of the classes, sorted as strings, of a file that one can learn from."""
    counts = Counter(labels)
    where = f"{columns.path}, column {columns.label!r} (data.label)"
    if len(labels) < _FEWEST_ROWS:
        raise FairsweepError(
            f"{columns.path} has {len(labels)} rows: at least {_FEWEST_ROWS} are needed for training, validation and test. Give a "
            "larger file."
        )
    if len(counts) > _MOST_CLASSES:
        raise FairsweepError(
            f"{where}: {len(counts):,} different values in {len(labels):,} rows, probably no label; at most {_MOST_CLASSES} classes. "
            "Name another column; numbers to forecast are data.value."
        )
    if len(counts) == 1:
        raise FairsweepError(f"{where}: every row is {_shown(labels[0])}. At least two classes are needed: name another column.")
    rarest = min(sorted(counts), key=counts.__getitem__)
    if counts[rarest] < _FEWEST_OF_A_CLASS:
        raise FairsweepError(
            f"{where}: class {_shown(rarest)} has {counts[rarest]} of {len(labels):,} rows, and each class needs {_FEWEST_OF_A_CLASS}. "
            "Join it with another, or take it out."
        )
    return sorted(counts)


def _check_apart(train: _Rows, test: _Rows, columns: Columns) -> None:
    """Raise FairsweepError unless the test file can be a test of what is learned from the training file."""
    where = f"data.test_path={columns.test_path}"
    fewest = round(_TEST_FRACTION * _FEWEST_ROWS)
    if len(test.labels) < fewest:
        raise FairsweepError(
            f"{where} has {len(test.labels)} rows: at least {fewest} are needed. Give a larger file, or leave data.test_path out."
        )
    if unknown := sorted(set(test.labels) - set(train.labels)):
        row = test.labels.index(unknown[0]) + 1
        raise FairsweepError(
            f"{where}, row {row} (the header not counted): class {_shown(unknown[0])} is not in {columns.path}, where there are: "
            f"{', '.join(map(_shown, sorted(set(train.labels))))}. Correct the label, or take the row out."
        )
    if shared := sorted(set(test.groups or ()) & set(train.groups or ())):
        raise FairsweepError(
            f"{where}: {len(shared):,} groups of column {columns.group!r} (data.group) stand in {columns.path} too, such as "
            f"{_shown(shared[0])}. "
            "Rows of one group are alike, so the test would be of what was learned by heart: leave each group on one side."
        )


def _fifth(rows: _Rows, columns: Columns) -> NDArray[np.bool_]:
    """<bool>[rows], true where a row is of the test."""
    labels = np.unique(rows.labels, return_inverse=True)[1]
    groups = np.arange(len(labels)) if rows.groups is None else np.unique(rows.groups, return_inverse=True)[1]
    chosen = validation_rows(labels, groups, _TEST_SEED, _TEST_FRACTION)
    all_of, test_of = Counter(rows.labels), Counter(label for label, test in zip(rows.labels, chosen, strict=True) if test)
    for name in sorted(all_of):
        # Half of its share is far from it, and yet something to count.
        if test_of[name] < _TEST_FRACTION * all_of[name] / 2:
            raise FairsweepError(
                f"{columns.path}: a fifth for the test, of whole groups of column {columns.group!r} (data.group), has {test_of[name]} of "
                f"{all_of[name]:,} rows of class {_shown(name)}: its {len(set(groups)):,} groups are too large or too few. "
                "Give a test file (data.test_path), or name a finer group."
            )
    return chosen


def _warn_of_copies(train: _Rows, test: _Rows) -> None:
    known = set(train.texts)
    copies = sum(text in known for text in test.texts if text)
    if copies:
        print(f"warning: {copies:,} of {len(test.texts):,} test texts stand word for word in the training part, too")


def _reviews(rows: _Rows, classes: Sequence[str]) -> Reviews:
    number = {name: index for index, name in enumerate(classes)}
    return Reviews(rows.texts, np.array([number[label] for label in rows.labels], np.uint8), rows.groups)


DATASET = Dataset(read, _NAMES["path"], copy=copy, digest=content)
