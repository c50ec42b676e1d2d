"""What the networks forecast beside what came: a row a test window and horizon, in the unit of the series."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.data.form import Form
from pipeline.errors import FairsweepError
from pipeline.files import reading
from pipeline.reporting.join import Runs
from pipeline.reporting.tables import DIGITS, best_row

KEYS = ("date", "horizon", "truth")


def table(cells: Sequence[str], parts: Sequence[Runs], labels: NDArray[np.floating], form: Form, data: Path) -> pd.DataFrame:
    """forecast.csv.

    Args:
        cells: the arms, each told by its tuned replicate (without a search: its run of the first recipe) of best validation.
        parts: all runs, as `join.read_runs` gives them; each baseline is told too.
        labels: <float32>[rows, horizons], standardised.
        form: of the task; a number is label * scale + base in its unit.
        data: the folder data/STUDY, with arrays/test_times.npy, the day of each row's last input, and test_bases.npy.

    Returns:
        Columns date, horizon (from 1), truth, and one a cell and a baseline.

    Raises:
        FairsweepError: if one of the arrays is missing or not as long as the labels.
    """
    times, bases = (_extra(data / "arrays" / f"test_{name}.npy", len(labels)) for name in ("times", "bases"))
    horizons = labels.shape[1]

    def column(values: NDArray[np.floating]) -> NDArray[np.floating]:
        return (np.asarray(values, np.float64) * form.scale + bases[:, None]).ravel().round(DIGITS)

    days = np.datetime_as_string(times.astype("datetime64[D]"))
    found: dict[str, Any] = {"date": np.repeat(days, horizons), "horizon": np.tile(np.arange(1, horizons + 1), len(labels))}
    found["truth"] = column(labels)
    for cell in cells:
        found[cell] = column(_chosen(parts, cell))
    for part in parts:
        for arm, kind, values in zip(part.table["arm"], part.table["kind"], part.logits, strict=True):
            if arm == "baseline":
                found[kind] = column(values)
    return pd.DataFrame(found)


def errors(told: pd.DataFrame) -> dict[str, list[float]]:
    """The mean absolute error of each column at each horizon, in the unit."""
    names = [name for name in told.columns if name not in KEYS]
    gaps = told[names].sub(told["truth"], axis=0).abs().groupby(told["horizon"]).mean()
    return {name: gaps[name].tolist() for name in names}


def _chosen(parts: Sequence[Runs], cell: str) -> NDArray[np.floating]:
    """The standardised forecasts of a cell's run of best validation, of the first kind of its replicates."""
    for part in parts:
        own = part.table[(part.table["arm"] == cell) & (part.table["kind"] != "trial")]
        if len(own):
            own = own[own["kind"] == own["kind"].iloc[0]]
            scores = own.assign(**{key: pd.to_numeric(own[key]) for key in ("validation", "validation_loss", "study", "trial")})
            return part.logits[int(best_row(scores).name)]  # type: ignore[call-overload]
    raise ValueError(f"parts must hold a replicate of {cell}.")


def _extra(path: Path, rows: int) -> NDArray[Any]:
    with reading(path, "Expected it of a task that forecasts. Run `dvc repro pad`."):
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    if len(array) != rows:
        raise FairsweepError(f"{path} holds {len(array)} rows. Expected one a test label, {rows}. Run `dvc repro pad`.")
    return array
