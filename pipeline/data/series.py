"""A series of numbers, cut into windows that forecast what follows.

The first four fifths of the values are for training, the last fifth is the test. A window lies wholly inside its part.
"""

import difflib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.config import Columns, Task
from pipeline.data.form import Examples, Form, Sequences
from pipeline.errors import FairsweepError

# Of the values; the number of parts, the last of which is the test.
_PARTS = 5
# Larger ones leave the range of float32 where they are added or squared.
_LARGEST = 1e15
# Of a cell in a message.
_SHOWN = 60


def windows(values: NDArray[np.floating], times: NDArray[np.datetime64], task: Task, unit: str, period: int | None) -> Sequences:
    """Every window of `task.length` values with the `task.horizon` values that follow it.

    With `task.relative` a window's values are told relative to its last input, and a standardised 1 is the root mean square of
    the training targets so told (from 0, so that "no change" is 0 and a steady rise has a size). Otherwise they are told
    relative to the mean of the training values, whose standard deviation is a standardised 1.

    Args:
        values: <float>[values], equally spaced in time.
        times: <datetime64[D]>[values], the day of each.
        task: its length, horizon and whether it is relative.
        unit: of the values, such as ppm.
        period: values a year; None for a series of which no period is known.

    Returns:
        Inputs <float32>[rows, length, 1], labels <float32>[rows, horizon], both standardised: label times `Form.scale` plus the
        base is the value in `unit`. Groups: each `period` rows in a row, or length + horizon, share a number. Extras of the
        test: `times` <datetime64[D]>[rows], the day of the last input, and `bases` <float32>[rows].

    Raises:
        FairsweepError: fewer than five times length + horizon values, values that are not finite or beyond 1e15, or a series
            that, told so, is constant.
    """
    reach = task.length + task.horizon
    cut = len(values) * (_PARTS - 1) // _PARTS
    _check(values, cut, task)
    parts = [np.lib.stride_tricks.sliding_window_view(part, reach) for part in (values[:cut], values[cut:])]
    bases = [_bases(part, float(values[:cut].mean()), task) for part in parts]
    targets = parts[0][:, task.length :] - bases[0][:, None]
    scale = float(np.sqrt(np.mean(targets**2)) if task.relative else values[:cut].std())
    if not scale > 0:
        raise FairsweepError(
            f"Task {task.name}: no value of the training part differs from the last one seen: there is nothing to learn. "
            "Give another series, or set task.relative=false."
        )
    scaled = [((part - base[:, None]) / scale).astype(np.float32) for part, base in zip(parts, bases, strict=True)]
    stretch = period or reach
    train = _examples(scaled[0], task.length, stretch, first=0)
    # Numbered on, so that no stretch holds rows of both parts.
    test = _examples(scaled[1], task.length, stretch, first=-(-len(parts[0]) // stretch))
    days = times[cut + task.length - 1 :][: len(parts[1])].astype("datetime64[D]")
    return Sequences(_form(task, unit, period, scale), train, test, {"times": days, "bases": bases[1].astype(np.float32)})


def from_columns(frame: pd.DataFrame, columns: Columns, task: Task) -> Sequences:
    """The windows of one's own series.

    Args:
        frame: the file, all of its cells text.
        columns: `value`, numbers; empty cells between others are filled linearly, by their row. `time`, where given: dates as
            ISO 8601 writes them, each later than the one before; else rows count as days from 1970-01-01.
        task: as in `windows`.

    Raises:
        FairsweepError: a column or a cell that is not as above, `data.test_path` is set, and as `windows`.
    """
    if columns.test_path is not None:
        raise FairsweepError(
            "data.test_path: the test of a series is its last fifth, so there is no second file. Set data.test_path=null."
        )
    if columns.value is None:
        raise FairsweepError("data.value is not set: name the column that holds the series.")
    values = _numbers(_column(frame, columns.value, "data.value"), columns.value)
    if columns.time is None:
        times = np.arange(len(values)).astype("datetime64[D]")
    else:
        times = _days(_column(frame, columns.time, "data.time"), columns.time)
    return windows(values, times, task, unit=columns.value, period=None)


def _check(values: NDArray[np.floating], cut: int, task: Task) -> None:
    # So many that every fifth of the training windows leaves windows that share no value with it: `splits.ordered_rows`.
    least = _PARTS * (task.length + task.horizon)
    if len(values) < least:
        raise FairsweepError(
            f"Task {task.name}: the series has {len(values)} values; windows of task.length={task.length} and "
            f"task.horizon={task.horizon} need at least {least}. Shorten them."
        )
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise FairsweepError(
            f"Task {task.name}: value {first + 1} of the series is {values[first]}, not a number. Fill or cut it."
        )
    if np.abs(values).max() > _LARGEST:
        first = int(np.flatnonzero(np.abs(values) > _LARGEST)[0])
        raise FairsweepError(
            f"Task {task.name}: value {first + 1} of the series is {values[first]:g}, and {_LARGEST:g} is the largest. "
            "Give the series in another unit."
        )
    if np.ptp(values[:cut]) == 0:
        raise FairsweepError(
            f"Task {task.name}: the first {cut} values, those for training, all are {values[0]:g}: there is nothing to learn. "
            "Give another series."
        )


def _bases(part: NDArray[np.floating], mean: float, task: Task) -> NDArray[np.float64]:
    """What the values of each window <float>[rows, length + horizon] are told relative to, <float64>[rows]."""
    return part[:, task.length - 1].astype(np.float64) if task.relative else np.full(len(part), mean)


def _examples(scaled: NDArray[np.float32], length: int, stretch: int, first: int) -> Examples:
    groups = [str(first + row // stretch) for row in range(len(scaled))]
    return Examples(scaled[:, :length, None], scaled[:, length:], groups)


def _form(task: Task, unit: str, period: int | None, scale: float) -> Form:
    return Form(
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


def _column(frame: pd.DataFrame, name: str, key: str) -> "pd.Series[str]":
    if name not in frame.columns:
        near = difflib.get_close_matches(name, map(str, frame.columns), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(map(str, frame.columns))}."
        raise FairsweepError(f"{key}={name}: the file has no such column. {hint}")
    return frame[name].str.strip()


def _numbers(cells: "pd.Series[str]", name: str) -> NDArray[np.float64]:
    """The cells as numbers, gaps between numbers filled linearly."""
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    empty = (cells == "").to_numpy()
    wrong = np.flatnonzero(~empty & ~np.isfinite(numbers))
    if len(wrong):
        raise FairsweepError(
            f"Column {name}, row {wrong[0] + 1}: {cells.iloc[wrong[0]][:_SHOWN]!r} is not a number. "
            "Write a number, or leave the cell empty."
        )
    if empty.any() and (empty[0] or empty[-1]):
        row = 1 if empty[0] else len(cells)
        raise FairsweepError(f"Column {name}, row {row}: empty, and no gap at an end can be filled. Cut the file there.")
    rows = np.arange(len(cells))
    return np.interp(rows, rows[~empty], numbers[~empty]) if empty.any() else numbers


def _days(cells: "pd.Series[str]", name: str) -> NDArray[np.datetime64]:
    """The day of each cell; in their order they may be of one day, at later hours."""
    # One notation alone: 03/04/2020 is of March or of April, and guessing would be silent.
    times = pd.to_datetime(cells, format="ISO8601", utc=True, errors="coerce")
    wrong = np.flatnonzero(times.isna())
    if len(wrong):
        raise FairsweepError(
            f"Column {name}, row {wrong[0] + 1}: {cells.iloc[wrong[0]][:_SHOWN]!r} is not a date. Write it as 1958-03-29."
        )
    stamps = times.dt.tz_localize(None).to_numpy()
    late = np.flatnonzero(stamps[1:] <= stamps[:-1])
    if len(late):
        raise FairsweepError(
            f"Column {name}, row {late[0] + 2}: {cells.iloc[late[0] + 1][:_SHOWN]!r} does not come after {cells.iloc[late[0]][:_SHOWN]!r}. "
            "Sort the file by time, one row for each."
        )
    return stamps.astype("datetime64[D]")
