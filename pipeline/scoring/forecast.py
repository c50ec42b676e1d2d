"""Forecasts and true values of a regression task: one row per test window and horizon."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.spec import TaskSpec
from ..errors import FairsweepError
from ..files import reading
from .join import Floats, StageRuns
from .results import DIGITS, best_row

KEYS = ("date", "horizon", "truth")


def table(
    cells: Sequence[str], parts: Sequence[StageRuns], labels: Floats, spec: TaskSpec, data: Path
) -> pd.DataFrame:
    """Return forecast.csv.

    Args:
        cells: the arms. Each has the forecast of its tuned replicate with the best validation score
            (without a search: of its run of the first recipe).
        parts: all runs, from `join.read_runs`; every baseline is included.
        labels: <float32>[rows, horizons], standardised.
        spec: the task; label * scale + base is in its unit.
        data: the folder data/STUDY, with arrays/test_times.npy (the day of each row's last input)
            and arrays/test_bases.npy.

    Returns:
        Columns date, horizon (from 1), truth, and one per cell and baseline.

    Raises:
        FairsweepError: if an array is missing or differs in length from the labels.
    """
    times, bases = (
        _array(data / "arrays" / f"test_{name}.npy", len(labels)) for name in ("times", "bases")
    )
    horizons = labels.shape[1]

    def column(values: Floats) -> Floats:
        numbers = np.asarray(values, np.float64) * spec.scale + bases[:, None]
        return numbers.ravel().round(DIGITS)

    days = np.datetime_as_string(times.astype("datetime64[D]"))
    columns: dict[str, Any] = {
        "date": np.repeat(days, horizons),
        "horizon": np.tile(np.arange(1, horizons + 1), len(labels)),
        "truth": column(labels),
        **{cell: column(_best_forecast(parts, cell)) for cell in cells},
    }
    for part in parts:
        runs = zip(part.table["arm"], part.table["kind"], part.logits, strict=True)
        columns |= {kind: column(values) for arm, kind, values in runs if arm == "baseline"}
    return pd.DataFrame(columns)


def errors(forecast: pd.DataFrame) -> dict[str, list[float]]:
    """Return the mean absolute error of each forecast column at each horizon, in the unit."""
    names = [name for name in forecast.columns if name not in KEYS]
    distances = forecast[names].sub(forecast["truth"], axis=0).abs()
    means = distances.groupby(forecast["horizon"]).mean()
    return {name: means[name].tolist() for name in names}


def _best_forecast(parts: Sequence[StageRuns], cell: str) -> Floats:
    """Return the forecast of the best replicate of a cell, of its first kind of replicates."""
    for part in parts:
        runs = part.table[(part.table["arm"] == cell) & (part.table["kind"] != "trial")]
        if len(runs):
            runs = runs[runs["kind"] == runs["kind"].iloc[0]]
            numeric = ["validation", "validation_loss", "repeat", "trial"]
            best = best_row(runs.assign(**{key: pd.to_numeric(runs[key]) for key in numeric}))
            return part.logits[int(best.name)]  # type: ignore[call-overload]
    raise ValueError(f"parts must hold a replicate of {cell}.")


def _array(path: Path, rows: int) -> NDArray[Any]:
    with reading(path, "A forecasting task needs it. Run `dvc repro pad`."):
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    if len(array) != rows:
        raise FairsweepError(
            f"{path} has {len(array)} rows, but there are {rows} test labels. Run `dvc repro pad`."
        )
    return array
