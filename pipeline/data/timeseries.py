"""Windows of a series of numbers, with the values that follow each window as labels.

The first four fifths of the values are for training, the last fifth is the test. No window has
values of both parts.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config.schema import Columns, Task
from ..errors import FairsweepError
from .spec import Examples, Sequences, TaskSpec

# The series is cut into so many parts. The last one is the test.
_PARTS = 5
# Sums and squares of larger values leave the range of float32.
_LARGEST = 1e15
# Characters of a cell in a message.
_SHOWN = 60


def windows(
    values: NDArray[np.floating],
    times: NDArray[np.datetime64],
    task: Task,
    unit: str,
    period: int | None,
) -> Sequences:
    """Return every window of `task.length` values with the `task.horizon` values that follow it.

    With `task.relative`, each window is relative to its last input, and the scale is the root mean
    square of the relative training targets (not their standard deviation, so that "no change" is 0
    and a steady trend is not). Otherwise values are relative to the mean of the training values,
    and the scale is their standard deviation.

    Args:
        values: <float>[values], equally spaced in time.
        times: <datetime64[D]>[values], the day of each value.
        task: gives length, horizon and relative.
        unit: of the values, such as ppm.
        period: values per year; None if the series has no known period.

    Returns:
        Inputs <float32>[rows, length, 1], labels <float32>[rows, horizon], both standardised: a
        value in `unit` is base + label * `TaskSpec.scale`. Each group has `period` consecutive
        rows, or length + horizon. Extras of the test: `times` <datetime64[D]>[rows], the day of the
        last input, and `bases` <float32>[rows].

    Raises:
        FairsweepError: there are fewer than five times length + horizon values; a value is not
            finite, or beyond 1e15; the training values are constant.
    """
    reach = task.length + task.horizon
    cut = len(values) * (_PARTS - 1) // _PARTS
    _check(values, cut, task)
    mean = float(values[:cut].mean())
    parts, bases = [], []
    for part in (values[:cut], values[cut:]):
        view = np.lib.stride_tricks.sliding_window_view(part, reach)
        last = view[:, task.length - 1].astype(np.float64)
        parts.append(view)
        bases.append(last if task.relative else np.full(len(view), mean))
    targets = parts[0][:, task.length :] - bases[0][:, None]
    scale = float(np.sqrt(np.mean(targets**2)) if task.relative else values[:cut].std())
    if not scale > 0:
        raise FairsweepError(
            f"Task {task.name}: every training target equals the last input of its window: there "
            "is nothing to learn. Give another series, or set task.relative=false."
        )
    stretch = period or reach
    examples = []
    # The test has other group numbers than the training part.
    for part, base, first in zip(parts, bases, (0, -(-len(parts[0]) // stretch)), strict=True):
        scaled = ((part - base[:, None]) / scale).astype(np.float32)
        groups = [str(first + row // stretch) for row in range(len(scaled))]
        inputs, labels = scaled[:, : task.length, None], scaled[:, task.length :]
        examples.append(Examples(inputs, labels, groups))
    days = times[cut + task.length - 1 :][: len(parts[1])].astype("datetime64[D]")
    spec = TaskSpec(
        kind="regression",
        metric="mae",
        outputs=task.horizon,
        features=1,
        length=task.length,
        ordered=True,
        scale=scale,
        unit=unit,
        example="week" if period else "step",
        group="year" if period else "stretch",
        baselines=["trivial", "seasonal", "linear"] if period else ["trivial", "linear"],
    )
    extras = {"times": days, "bases": bases[1].astype(np.float32)}
    return Sequences(spec, examples[0], examples[1], extras)


def from_columns(frame: pd.DataFrame, columns: Columns, task: Task) -> Sequences:
    """Return the windows of the series in a table.

    Args:
        frame: the table, all cells strings.
        columns: `value` names the numbers. Empty cells between numbers are interpolated linearly by
            row. `time` names ISO 8601 dates in ascending order. Without it, rows count as days from
            1970-01-01.
        task: as in `windows`.

    Raises:
        FairsweepError: a cell is not as described, and as in `windows`.
    """
    name, time = str(columns.value), columns.time
    values = _numbers(frame[name].str.strip(), name)
    days = _days(frame[time].str.strip(), time) if time else np.arange(len(values))
    return windows(values, days.astype("datetime64[D]"), task, unit=name, period=None)


def _check(values: NDArray[np.floating], cut: int, task: Task) -> None:
    # `splits.ordered_rows` needs a fifth of the training windows and others that do not overlap it.
    least = _PARTS * (task.length + task.horizon)
    if len(values) < least:
        raise FairsweepError(
            f"Task {task.name}: the series has {len(values)} values; windows of "
            f"task.length={task.length} and task.horizon={task.horizon} need at least {least}. "
            "Reduce them."
        )
    wrong = np.flatnonzero(~(np.abs(values) <= _LARGEST))
    if len(wrong):
        value = values[wrong[0]]
        fault, remedy = f"{value}, not a number", "Fill or cut it."
        if np.isfinite(value):
            fault, remedy = f"{value:g}, and {_LARGEST:g} is the largest", "Use another unit."
        raise FairsweepError(
            f"Task {task.name}: value {wrong[0] + 1} of the series is {fault}. {remedy}"
        )
    if np.ptp(values[:cut]) == 0:
        raise FairsweepError(
            f"Task {task.name}: the first {cut} values, those for training, all are {values[0]:g}: "
            "there is nothing to learn. Give another series."
        )


def _refuse(cells: Any, name: str, row: int, fault: str) -> None:
    raise FairsweepError(f"Column {name}, row {row + 1}: {cells.iloc[row][:_SHOWN]!r} {fault}")


def _numbers(cells: "pd.Series[str]", name: str) -> NDArray[np.float64]:
    """Return the cells as numbers, with empty cells interpolated."""
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    empty = (cells == "").to_numpy()
    wrong = np.flatnonzero(~empty & ~np.isfinite(numbers))
    if len(wrong):
        _refuse(cells, name, wrong[0], "is not a number. Write a number, or leave the cell empty.")
    if empty[0] or empty[-1]:
        row = 0 if empty[0] else len(cells) - 1
        _refuse(cells, name, row, "is empty, at an end of the series. Cut the file there.")
    rows = np.arange(len(cells))
    return np.interp(rows, rows[~empty], numbers[~empty]) if empty.any() else numbers


def _days(cells: "pd.Series[str]", name: str) -> NDArray[np.datetime64]:
    """Return the day of each cell. Several times of one day are permitted."""
    # Other notations are ambiguous, such as 03/04/2020.
    times = pd.to_datetime(cells, format="ISO8601", utc=True, errors="coerce")
    wrong = np.flatnonzero(times.isna())
    if len(wrong):
        _refuse(cells, name, wrong[0], "is not a date. Write it as 1958-03-29.")
    stamps = times.dt.tz_localize(None).to_numpy()
    early = np.flatnonzero(stamps[1:] <= stamps[:-1])
    if len(early):
        before = cells.iloc[early[0]][:_SHOWN]
        fault = f"does not come after {before!r}. Sort the file by time, one row per time."
        _refuse(cells, name, early[0] + 1, fault)
    return stamps.astype("datetime64[D]")
