"""Anyone's scores from a CSV file: every fault is told by file, line and column, and nothing is guessed.

Two headers are read. `arm,trial,validation,test` is a pool: a row a trial of a random search, as many in every arm. `arm,study,score`
is separate studies: a row a study, with its one score. Scores are fractions. Lines are counted as an editor counts them, the header
being line 1, a line break within quotes included. Blank lines and blanks around a cell are ignored.

A failed trial has an empty validation and keeps its place, or the budgets would not be equal. It counts with the test score it
was given; with none, as guessing on two balanced classes (0.5). `Arm.guessed` says how many did, for the command to print.
"""

import csv
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FairsweepError
from pipeline.evidence.scores import GUESS

POOL = ("arm", "trial", "validation", "test")
STUDIES = ("arm", "study", "score")
HEADERS = f"{','.join(POOL)} (a pool of trials) or {','.join(STUDIES)} (separate studies)"
LONGEST_LINE = 1 << 20
# Half a million trials; studies have hundreds. Of more arms, each pair of which is compared, nobody could say what won.
LARGEST_FILE, MOST_ARMS, LONGEST_CELL = 20_000_000, 100, 1_000
FAILED = float("-inf")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """One arm's rows, in the order of `names`.

    Attributes:
        names: of the trials or studies, all different.
        validation: float64 [N], fractions, -inf for a failed trial; of separate studies, empty.
        score: float64 [N], fractions: test scores, or the studies' scores.
        guessed: failed trials whose test score was not given.
    """

    names: tuple[str, ...]
    validation: Floats
    score: Floats
    guessed: int

    def __len__(self) -> int:
        return len(self.names)

    def ordered(self, names: tuple[str, ...]) -> "Arm":
        """The same rows in the order of `names`, which must be this arm's own."""
        if names == self.names:
            return self
        place = {name: row for row, name in enumerate(self.names)}
        rows = np.array([place[name] for name in names])
        return Arm(names, self.validation[rows] if len(self.validation) else self.validation, self.score[rows], self.guessed)


@dataclass(frozen=True)
class ScoresFile:
    """What a file of scores holds: its design, `pool` or `studies`, and its arms in the order of their first rows."""

    path: Path
    design: str
    arms: dict[str, Arm]

    @property
    def row(self) -> str:
        """What one row is: `trial` or `study`."""
        return POOL[1] if self.design == "pool" else STUDIES[1]

    def unmatched(self) -> str | None:
        """What keeps the arms' rows from being paired by name, or None."""
        first, *others = self.arms
        ours = set(self.arms[first].names)
        for other in others:
            theirs = set(self.arms[other].names)
            for has, lacks, names in ((first, other, ours - theirs), (other, first, theirs - ours)):
                if names:
                    return f"{self.row} {min(names)!r} of {has} is not among those of {lacks}"
        return None


@dataclass
class _Rows:
    """An arm as it is read; `lines` has the line of each name, in the order of the rows."""

    lines: dict[str, int] = field(default_factory=dict)
    validation: array = field(default_factory=lambda: array("d"))
    score: array = field(default_factory=lambda: array("d"))
    guessed: int = 0


def read(path: Path) -> ScoresFile:
    """Reads and checks a file of scores; memory grows with its rows, not with their length.

    Raises:
        FairsweepError: naming file, line and column, what was expected, what was found and what to do.
    """
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise FairsweepError(f"{path} {what}. Expected a CSV file with the columns {HEADERS}.")
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise FairsweepError(
                f"{path} has {size:,} bytes, and at most {LARGEST_FILE:,} are read. Expected a row a {POOL[1]} and arm."
            )
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns, rows = _read_rows(path, file)
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except OSError as error:
        raise FairsweepError(
            f"{path} cannot be read: {error.strerror}. Make it readable (ls -l), or give another file."
        ) from error
    _check_arms(path, columns, rows)
    arms = {name: Arm(tuple(arm.lines), np.array(arm.validation), np.array(arm.score), arm.guessed) for name, arm in rows.items()}
    return ScoresFile(path, "pool" if columns == POOL else "studies", arms)


def _fault(path: Path, line: int, column: str | int | None, text: str) -> FairsweepError:
    where = f"{path}, line {line}" + ("" if column is None else f", column {column}")
    return FairsweepError(f"{where}: {text}")


def _read_rows(path: Path, file: TextIO) -> tuple[tuple[str, ...], dict[str, _Rows]]:
    records = _records(path, file)
    line, header = next(records, (1, []))
    columns = _columns(path, line, header)
    arms: dict[str, _Rows] = {}
    for line, cells in records:
        if len(cells) != len(columns):
            raise _wrong_count(path, line, columns, cells)
        arm = arms.get(cells[0])
        if arm is None:
            arm = arms[_arm_name(path, line, cells[0])] = _Rows()
        _add(path, line, columns, arm, cells)
    return columns, arms


def _records(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not blank, with the line it begins on."""
    reader = csv.reader(_lines(path, file), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            text = f"cannot be read as CSV ({error}). Close each quote, and write a quote within quotes twice."
            raise _fault(path, line, None, text) from error
        if long := [at for at, cell in enumerate(cells, 1) if len(cell) > LONGEST_CELL]:
            raise _fault(path, line, long[0], f"is longer than {LONGEST_CELL} characters. Expected a name or a number.")
        if cells and cells != [""]:
            yield line, cells


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of the file, held against what the csv module would swallow: NUL bytes, and a line without an end."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), ""), 1):
        if "\0" in line:
            at = line[: line.index("\0")].count(",") + 1
            raise _fault(path, number, at, "holds a NUL byte. Expected text: save the file as CSV in UTF-8.")
        if len(line) == LONGEST_LINE:
            raise _fault(path, number, None, f"is longer than {LONGEST_LINE} characters. Expected a row a line.")
        yield line


def _columns(path: Path, line: int, header: list[str]) -> tuple[str, ...]:
    found = tuple(header)
    if found in (POOL, STUDIES):
        return found
    if not found:
        raise FairsweepError(f"{path} is empty. Expected a CSV file with the columns {HEADERS}.")
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(separator in cell for cell in found):
            text = f"the columns are separated by {name}. Expected commas, and points in numbers (0.864): save the file as such."
            raise _fault(path, line, 1, text)
    meant = max((POOL, STUDIES), key=lambda header: _common(header, found))
    at = _common(meant, found)
    texts = [repr(cells[at]) if at < len(cells) else "no such column" for cells in (found, meant)]
    raise _fault(path, line, at + 1, f"found {texts[0]}, expected {texts[1]}. The header must be {HEADERS}.")


def _common(header: tuple[str, ...], found: tuple[str, ...]) -> int:
    """How many leading columns agree."""
    agree = [one == other for one, other in zip(header, found, strict=False)]
    return agree.index(False) if False in agree else len(agree)


def _wrong_count(path: Path, line: int, columns: tuple[str, ...], cells: list[str]) -> FairsweepError:
    told = f"{len(cells)} cells, expected {len(columns)} ({','.join(columns)})."
    if len(cells) < len(columns):
        return _fault(path, line, columns[len(cells)], f"is missing: {told} Write an empty cell with its comma.")
    remedy = "Numbers have a point, not a comma, and a name with a comma stands in quotes."
    return _fault(path, line, len(columns) + 1, f"is one too many: {told} {remedy}")


def _arm_name(path: Path, line: int, name: str) -> str:
    if not name:
        raise _fault(path, line, "arm", "is empty. Expected the name of what is compared, such as lstm.")
    if not name.isprintable():
        raise _fault(path, line, "arm", f"{name!r} cannot be printed. Expected a name on one line, without control characters.")
    return name


def _add(path: Path, line: int, columns: tuple[str, ...], arm: _Rows, cells: list[str]) -> None:
    kind, name = columns[1], cells[1]
    if not name:
        raise _fault(path, line, kind, f"is empty. Expected a name or number, the same in each arm where {kind} rows pair.")
    if name in arm.lines:
        remedy = (
            "Give each trial a name of its own." if kind == "trial" else "Give one score a study: the mean of its retrainings."
        )
        raise _fault(path, line, kind, f"{cells[0]} has {kind} {name!r} already, on line {arm.lines[name]}. {remedy}")
    arm.lines[name] = line
    if columns == STUDIES:
        arm.score.append(_fraction(path, line, "score", cells[2]))
        return
    validation, test = cells[2:]
    if validation and not test:
        text = "is empty, though the trial has a validation score. Give its test score; a failed trial has an empty validation."
        raise _fault(path, line, "test", text)
    arm.validation.append(_fraction(path, line, "validation", validation) if validation else FAILED)
    arm.score.append(_fraction(path, line, "test", test) if test else GUESS.accuracy)
    arm.guessed += not test


def _fraction(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = None
    # Python reads 0.8_6 as a number; no table means it.
    if value is None or "_" in text:
        empty = " A failed trial has an empty cell." if column == "validation" else ""
        raise _fault(path, line, column, f"{text!r} is not a number. Expected a fraction such as 0.864.{empty}")
    if not 0 <= value <= 1:
        raise _fault(path, line, column, _not_a_fraction(text, value))
    return value


def _not_a_fraction(text: str, value: float) -> str:
    if not np.isfinite(value):
        return f"{text} is not a finite number. Expected a fraction from 0 to 1; a failed trial has an empty validation."
    if 1 < value <= 100:
        return f"scores are fractions: {text} looks like a percentage, write {value / 100:.6g}."
    return f"scores are fractions: expected a number from 0 to 1, found {text}."


def _check_arms(path: Path, columns: tuple[str, ...], arms: dict[str, _Rows]) -> None:
    if len(arms) < 2:
        found = f"only {next(iter(arms))!r}" if arms else "no row below the header"
        raise FairsweepError(f"{path}, column arm: found {found}. Expected at least two arms to compare, a row a {columns[1]}.")
    if len(arms) > MOST_ARMS:
        raise FairsweepError(
            f"{path}, column arm: {len(arms):,} arms, and at most {MOST_ARMS} are compared. Is it the right column?"
        )
    if columns == STUDIES:
        return
    first, *others = arms
    for other in others:
        sizes = {name: len(arms[name].lines) for name in (first, other)}
        if len(set(sizes.values())) > 1:
            told = " and ".join(f"{count} of {name}" for name, count in sizes.items())
            raise FairsweepError(
                f"{path}, column arm: found {told}. Expected equally many trials of each arm, as a larger search wins by luck alone. "
                "Keep a failed trial as a row with an empty validation, or leave out the last trials of the larger arm."
            )
    for name, arm in arms.items():
        if max(arm.validation) == FAILED:
            text = f"every trial of {name} failed. Expected one with a validation score: without it a search picks nothing."
            raise FairsweepError(f"{path}, column validation: {text}")


def _not_utf8(path: Path) -> FairsweepError:
    """Where the first byte is that is no UTF-8, found by reading the file again."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        for number, line in enumerate(file, 1):
            if found := re.search("[\udc80-\udcff]", line):
                at = len(line[: found.start()].encode()) + 1
                text = f"is not UTF-8 (0x{ord(found[0]) - 0xDC00:02x} at byte {at} of the line). Save the file as CSV in UTF-8."
                return _fault(path, number, line[: found.start()].count(",") + 1, text)
    return FairsweepError(f"{path} is not UTF-8. Save the file as CSV in UTF-8.")
