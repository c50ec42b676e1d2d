"""Reader of the user's scores for `compare`. Every error names the file, the line and the column.

The header is `arm,trial,validation,test`, with one row per trial of a random search and equally
many trials of each arm, or `arm,repeat,score`, with one row per repeated search. Scores are
fractions. Blank lines and spaces around a cell are ignored. Lines are counted from 1.

A failed trial has an empty validation. It stays in the table, because the searches must have equal
budgets. If its test score is empty too, it counts as guessing between two balanced classes (0.5).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ..data.csv_reader import records
from ..errors import FairsweepError
from ..metrics import GUESS

TRIALS = ("arm", "trial", "validation", "test")
REPEATS = ("arm", "repeat", "score")
HEADERS = f"{','.join(TRIALS)} (trials of a search) or {','.join(REPEATS)} (repeated searches)"
# Bytes (half a million trials), arms (each pair of which is compared) and characters of a cell.
LARGEST_FILE, MOST_ARMS, LONGEST_CELL = 20_000_000, 100, 1_000
FAILED = float("-inf")


@dataclass(frozen=True)
class Arm:
    """The rows of one arm, in the order of `names`.

    Attributes:
        names: of the trials or repeats, all different.
        validation: <float64>[N], fractions, -inf for a failed trial. Empty for repeated searches.
        score: <float64>[N], fractions: test scores, or scores of the repeats.
        guessed: number of failed trials without a test score.
    """

    names: tuple[str, ...]
    validation: NDArray[np.float64]
    score: NDArray[np.float64]
    guessed: int

    def __len__(self) -> int:
        return len(self.names)

    def ordered(self, names: tuple[str, ...]) -> "Arm":
        """Return the same rows in the order of `names`, a permutation of this arm's names."""
        index = {name: row for row, name in enumerate(self.names)}
        rows = [index[name] for name in names]
        validation = self.validation[rows] if len(self.validation) else self.validation
        return Arm(names, validation, self.score[rows], self.guessed)


@dataclass(frozen=True)
class ScoresFile:
    """A file of scores: its design, `shared` or `repeated`, and its arms in order of appearance."""

    path: Path
    design: str
    arms: dict[str, Arm]

    @property
    def row(self) -> str:
        """The name of one row: `trial` or `repeat`."""
        return TRIALS[1] if self.design == "shared" else REPEATS[1]

    def unmatched(self) -> str | None:
        """Return a description of a row that another arm lacks, or None."""
        first, *others = self.arms
        for other in others:
            for has, lacks in ((first, other), (other, first)):
                if names := set(self.arms[has].names) - set(self.arms[lacks].names):
                    return f"{self.row} {min(names)!r} of {has} is not among those of {lacks}"
        return None


@dataclass
class _Rows:
    """The rows of an arm while the file is read. `lines` maps each name to its line."""

    lines: dict[str, int] = field(default_factory=dict)
    validation: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    guessed: int = 0


def read(path: Path) -> ScoresFile:
    """Read and check a file of scores.

    Raises:
        FairsweepError: the file is missing, unreadable or malformed.
    """
    try:
        if not path.is_file():
            fault = "is not a file" if path.exists() else "does not exist"
            raise FairsweepError(f"{path} {fault}. Give a CSV file with the columns {HEADERS}.")
        columns, rows = _read_rows(path)
    except OSError as error:
        raise FairsweepError(
            f"{path} cannot be read: {error.strerror}. Make it readable, or give another file."
        ) from error
    _check_arms(path, columns, rows)
    arms = {
        name: Arm(tuple(arm.lines), np.array(arm.validation), np.array(arm.score), arm.guessed)
        for name, arm in rows.items()
    }
    return ScoresFile(path, "shared" if columns == TRIALS else "repeated", arms)


def _read_rows(path: Path) -> tuple[tuple[str, ...], dict[str, _Rows]]:
    columns: tuple[str, ...] = ()
    arms: dict[str, _Rows] = {}
    for line, record in records(path, LARGEST_FILE):
        cells = [cell.strip() for cell in record]
        for number, cell in enumerate(cells):
            if len(cell) > LONGEST_CELL:
                column = columns[number] if columns else str(number + 1)
                _refuse(path, line, column, f"is longer than {LONGEST_CELL} characters.")
        if columns:
            _add(path, line, columns, arms, cells)
        else:
            columns = _columns(path, line, tuple(cells))
    if not columns:
        raise FairsweepError(f"{path} is empty. Give a CSV file with the columns {HEADERS}.")
    return columns, arms


def _refuse(path: Path, line: int, column: str, fault: str) -> NoReturn:
    raise FairsweepError(f"{path}, line {line}, column {column}: {fault}")


def _columns(path: Path, line: int, header: tuple[str, ...]) -> tuple[str, ...]:
    if header in (TRIALS, REPEATS):
        return header
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(separator in cell for cell in header):
            fault = f"columns are separated by {name}. Use commas, and points in numbers (0.864)."
            _refuse(path, line, "1", fault)
    names = ", ".join(map(repr, header[:10]))
    raise FairsweepError(f"{path}, line {line}: the header is {names}. It must be {HEADERS}.")


def _add(
    path: Path, line: int, columns: tuple[str, ...], arms: dict[str, _Rows], cells: list[str]
) -> None:
    """Check a row and add it to its arm in `arms`."""
    arm_name, name, *scores = cells
    if not arm_name:
        _refuse(path, line, "arm", "is empty. Give the name of an arm, such as lstm.")
    if not arm_name.isprintable():
        fault = f"{arm_name!r} contains a character that cannot be printed. Rename the arm."
        _refuse(path, line, "arm", fault)
    if not name:
        _refuse(path, line, columns[1], "is empty. Give a name or number, which pairs the arms.")
    arm = arms.setdefault(arm_name, _Rows())
    if name in arm.lines:
        remedy = "Give each row of an arm another name."
        if columns == REPEATS:
            remedy = "Give one score per repeat: the mean of its retrainings."
        fault = f"{arm_name} already has {columns[1]} {name!r} on line {arm.lines[name]}. {remedy}"
        _refuse(path, line, columns[1], fault)
    arm.lines[name] = line
    if columns == REPEATS:
        arm.score.append(_fraction(path, line, "score", scores[0]))
        return
    validation, test = scores
    if validation and not test:
        fault = "is empty, though the trial has a validation score. Give its test score."
        _refuse(path, line, "test", fault)
    arm.validation.append(_fraction(path, line, "validation", validation) if validation else FAILED)
    arm.score.append(_fraction(path, line, "test", test) if test else GUESS.accuracy)
    arm.guessed += not test


def _fraction(path: Path, line: int, column: str, text: str) -> float:
    failed = " A failed trial has an empty validation." if column == "validation" else ""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if 0 <= value <= 1 and "_" not in text:
        return value
    if 1 < value <= 100:
        fault = f"scores are fractions: {text} looks like a percentage, write {value / 100:.6g}."
    elif np.isfinite(value) and "_" not in text:
        fault = f"scores are fractions: {text} is not between 0 and 1."
    else:
        fault = f"{text!r} is not a finite number. Give a fraction such as 0.864.{failed}"
    _refuse(path, line, column, fault)


def _check_arms(path: Path, columns: tuple[str, ...], arms: dict[str, _Rows]) -> None:
    if len(arms) < 2:
        names = f"only {next(iter(arms))!r}" if arms else "no row"
        raise FairsweepError(f"{path}, column arm: has {names}. Give at least two arms to compare.")
    if len(arms) > MOST_ARMS:
        raise FairsweepError(
            f"{path}, column arm: {len(arms):,} arms, and at most {MOST_ARMS} are compared. Is it "
            "the right column?"
        )
    if columns == REPEATS:
        return
    first = next(iter(arms))
    for name, arm in arms.items():
        sizes = len(arms[first].lines), len(arm.lines)
        if sizes[0] != sizes[1]:
            raise FairsweepError(
                f"{path}, column arm: {sizes[0]} trials of {first} and {sizes[1]} of {name}. A "
                "larger search ranks higher by chance, so give equally many trials of each arm. "
                "Keep a failed trial as a row with an empty validation, or leave out the last "
                "trials of the larger arm."
            )
        if max(arm.validation) == FAILED:
            raise FairsweepError(
                f"{path}, column validation: every trial of {name} failed. At least one needs a "
                "validation score."
            )
