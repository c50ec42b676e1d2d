import numpy as np
import pandas as pd
import pytest

from pipeline.config.schema import Columns, Task
from pipeline.data import co2, timeseries
from pipeline.data.spec import Sequences
from pipeline.data.splits import ordered_rows
from pipeline.errors import FairsweepError


def task(length: int = 6, horizon: int = 2, relative: bool = True) -> Task:
    return Task(name="csv", source="csv", length=length, horizon=horizon, relative=relative)


def cut(values: np.ndarray, relative: bool = True, period: int | None = None) -> Sequences:
    times = np.arange(len(values)).astype("datetime64[D]")
    return timeseries.windows(values, times, task(relative=relative), "ppm", period)


def frame(*values: str, **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"level": list(values), **columns}, dtype=str)


def test_co2_is_whole_and_weekly() -> None:
    values, times = co2.values()
    assert values.shape == times.shape == (2284,)
    assert times.dtype == "datetime64[D]"
    assert (str(times[0]), str(times[-1])) == ("1958-03-29", "2001-12-29")
    assert set(np.diff(times).astype(int)) == {7}
    # Week 6 is missing, between 316.9 and 317.5.
    assert values[[0, 5, 6, 7, -1]] == pytest.approx([316.1, 316.9, 317.2, 317.5, 371.5])


@pytest.mark.parametrize("relative", [True, False])
def test_windows_hold_their_own_part_in_order(relative: bool) -> None:
    # A value tells its place: where windows reach is seen from what they hold.
    places = np.arange(103.0)
    read = cut(places, relative)
    assert (len(read.train.inputs), len(read.test.inputs)) == (82 - 7, 21 - 7)
    first = cut(places - 50, relative).spec.scale
    assert first == pytest.approx(read.spec.scale)
    base = read.extras["bases"][:, None]
    assert base.dtype == np.float32
    inputs = read.test.inputs[:, :, 0] * read.spec.scale + base
    labels = read.test.labels * read.spec.scale + base
    assert np.concatenate([inputs, labels], axis=1) == pytest.approx(
        82.0 + np.arange(14)[:, None] + np.arange(8), rel=1e-6
    )
    assert read.extras["times"].astype(int).tolist() == (82 + 5 + np.arange(14)).tolist()
    assert read.extras["times"].dtype == "datetime64[D]"
    # The last value that a window of train holds is the last before the test.
    told = float(places[81 - 2]) if relative else places[:82].mean()
    assert read.train.labels[-1, -1] * read.spec.scale + told == pytest.approx(81)


@pytest.mark.parametrize("relative", [True, False])
def test_the_scale_comes_from_training_values_alone(relative: bool) -> None:
    values = np.random.default_rng(3).normal(size=200).cumsum()
    changed = values.copy()
    changed[160:] = 1000 * np.arange(40)
    read, other = cut(values, relative), cut(changed, relative)
    assert read.spec.scale == other.spec.scale
    assert np.array_equal(read.train.inputs, other.train.inputs)
    if relative:
        assert np.mean(read.train.labels.astype(float) ** 2) == pytest.approx(1, rel=1e-5)
        assert not read.train.inputs[:, -1].any()
    else:
        assert read.spec.scale == pytest.approx(values[:160].std())


def test_co2_in_its_unit() -> None:
    values, times = co2.values()
    read = timeseries.windows(
        values, times, Task(name="co2", source="co2", length=52, horizon=4), "ppm", co2.YEAR
    )
    told = read.test.labels * np.float32(read.spec.scale) + read.extras["bases"][:, None]
    start = np.searchsorted(times, read.extras["times"]) + 1
    assert told == pytest.approx(values[start[:, None] + np.arange(4)], abs=1e-4)
    assert (read.spec.example, read.spec.group, read.spec.unit) == ("week", "year", "ppm")
    assert read.spec.baselines == ["trivial", "seasonal", "linear"]


@pytest.mark.parametrize(("period", "stretch"), [(None, 8), (20, 20)])
def test_neighbours_share_a_group_and_parts_share_none(period: int | None, stretch: int) -> None:
    read = cut(np.sin(np.arange(300.0)), period=period)
    train, test = read.train.groups, read.test.groups
    assert train is not None
    assert test is not None
    assert train == [str(row // stretch) for row in range(len(read.train.labels))]
    assert [test.count(name) for name in dict.fromkeys(test)][:-1] == [stretch] * (
        (len(test) - 1) // stretch
    )
    assert not set(train) & set(test)
    assert ("seasonal" in read.spec.baselines) == (period is not None)


def test_the_shortest_series_can_be_split_for_validation() -> None:
    for length, horizon in [(1, 1), (6, 2), (9, 4)]:
        shape = task(length, horizon)
        values = np.random.default_rng(0).normal(size=5 * (length + horizon))
        times = np.arange(len(values)).astype("datetime64[D]")
        read = timeseries.windows(values, times, shape, "", None)
        for seed in range(5):
            ordered_rows(len(read.train.inputs), length + horizon, seed)
        with pytest.raises(
            FairsweepError, match=rf"has {len(values) - 1} values.*at least {len(values)}"
        ):
            timeseries.windows(values[1:], times[1:], shape, "", None)


def test_what_cannot_be_learnt_is_refused() -> None:
    values = np.arange(100.0)
    values[41] = np.nan
    with pytest.raises(FairsweepError, match="value 42 of the series is nan"):
        cut(values)
    with pytest.raises(FairsweepError, match=r"first 80 values.*all are 7"):
        cut(np.append(np.full(80, 7.0), np.arange(20.0)))


def test_a_file_is_its_values() -> None:
    numbers = np.random.default_rng(1).normal(size=60).cumsum()
    cells = [repr(float(number)) for number in numbers]
    days = [str(day) for day in np.datetime64("2020-02-01") + 3 * np.arange(60)]
    expected = cut(numbers)
    read = timeseries.from_columns(frame(*cells), Columns(value="level"), task())
    assert np.array_equal(read.train.labels, expected.train.labels)
    assert np.array_equal(read.extras["times"], expected.extras["times"])
    assert (read.spec.unit, read.spec.example, read.spec.group) == ("level", "step", "stretch")
    dated = timeseries.from_columns(
        frame(*cells, day=days), Columns(value="level", time="day"), task()
    )
    assert str(dated.extras["times"][0]) == days[48 + 5]


def test_gaps_are_filled_by_their_neighbours() -> None:
    numbers = np.random.default_rng(1).normal(size=60).cumsum()
    cells = [repr(float(number)) for number in numbers]
    cells[20], cells[50], cells[51] = "", "", " "
    numbers[20] = (numbers[19] + numbers[21]) / 2
    numbers[50:52] = numbers[49] + (numbers[52] - numbers[49]) * np.array([1, 2]) / 3
    expected, read = (
        cut(numbers),
        timeseries.from_columns(frame(*cells), Columns(value="level"), task()),
    )
    assert read.train.inputs == pytest.approx(expected.train.inputs)
    assert read.test.labels == pytest.approx(expected.test.labels)


GOOD = [str(number) for number in range(60)]
DAYS = [str(day) for day in np.datetime64("2020-01-01") + np.arange(60)]


@pytest.mark.parametrize(
    ("cells", "columns", "said"),
    [
        (
            {"level": [*GOOD[:9], "NA", *GOOD[10:]]},
            {},
            "Column level, row 10: 'NA' is not a number",
        ),
        (
            {"level": [*GOOD[:9], "inf", *GOOD[10:]]},
            {},
            "Column level, row 10: 'inf' is not a number",
        ),
        ({"level": ["", *GOOD[1:]]}, {}, "Column level, row 1: '' is empty"),
        ({"level": [*GOOD[:-1], ""]}, {}, "Column level, row 60: '' is empty"),
        (
            {"day": [*DAYS[:9], "3/4/2020", *DAYS[10:]]},
            {},
            "Column day, row 10: '3/4/2020' is not a date",
        ),
        (
            {"day": [*DAYS[:9], DAYS[8], *DAYS[10:]]},
            {},
            "Column day, row 10: '2020-01-09' does not come after '2020-01-09'",
        ),
    ],
)
def test_a_bad_file_is_named(
    cells: dict[str, list[str]], columns: dict[str, str | None], said: str
) -> None:
    table = pd.DataFrame({"level": GOOD, "day": DAYS} | cells, dtype=str)
    with pytest.raises(FairsweepError, match=said):
        timeseries.from_columns(
            table, Columns(**{"value": "level", "time": "day"} | columns), task()
        )
