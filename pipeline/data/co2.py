"""Weekly CO2 of Mauna Loa, 1958 to 2001 (Keeling and Whorf 2004), from statsmodels."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config.schema import Columns, Task
from .spec import Dataset, Sequences
from .timeseries import windows

YEAR = 52  # weeks


def values() -> tuple[NDArray[np.float64], NDArray[np.datetime64]]:
    """Return weekly CO2, ppm, <float64>[2284], and its days <datetime64[D]>[2284].

    The series spans 1958-03-29 to 2001-12-29. 59 missing weeks are filled by linear interpolation.
    """
    # Slow to import.
    from statsmodels.datasets import co2 as source

    column = source.load_pandas().data["co2"]
    days = column.index.to_numpy().astype("datetime64[D]")
    return column.interpolate().to_numpy(np.float64), days


def read(task: Task, archive: Path | None = None, columns: Columns | None = None) -> Sequences:
    """Return the windows of the series, as `timeseries.windows` describes them."""
    return windows(*values(), task, unit="ppm", period=YEAR)


DATASET = Dataset(
    read,
    version_of="statsmodels",
    caveat="There is one series with one test stretch of a few similar years, which limits what "
    "its interval can show.",
)
