"""Weekly CO2 in the air of Mauna Loa, 1958 to 2001 (Keeling and Whorf 2004), as statsmodels ships it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Columns, Task
from pipeline.data.form import Dataset, Sequences
from pipeline.data.series import windows

YEAR = 52


def values() -> tuple[NDArray[np.float64], NDArray[np.datetime64]]:
    """Weekly CO2, ppm, 1958-03-29 to 2001-12-29.

    Returns:
        Values <float64>[2284], 59 missing weeks filled by linear interpolation, and their days <datetime64[D]>[2284].
    """
    # Slow to import, and other datasets have no use for it.
    from statsmodels.datasets import co2 as source

    column = source.load_pandas().data["co2"]
    return column.interpolate().to_numpy(np.float64), column.index.to_numpy().astype("datetime64[D]")


def read(task: Task, archive: Path | None = None, columns: Columns | None = None) -> Sequences:
    """The windows of the series, as `series.windows` says."""
    return windows(*values(), task, unit="ppm", period=YEAR)


DATASET = Dataset(
    read,
    version_of="statsmodels",
    caveat="One series, one test stretch: its years are alike, and the interval has few of them to count.",
)
