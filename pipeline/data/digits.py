"""Handwritten digits of scikit-learn: 1,797 images of 8 by 8 (Alpaydin and Kaynak 1998)."""

from pathlib import Path

import numpy as np

from ..config.schema import Columns, Task
from ..errors import FairsweepError
from .spec import Dataset, Examples, Sequences, TaskSpec
from .splits import validation_rows

_SIDE = 8
# A pixel is the number of dark cells in a block of 4 by 4 of the scan.
_DARKEST = 16
_TEST_SEED = 1998


def read(task: Task, archive: Path | None = None, columns: Columns | None = None) -> Sequences:
    """Return the images, one row of pixels per step. The test is a fixed fifth of each digit.

    The writers are unknown, so the same writer may be in both parts.

    Returns:
        Inputs <float32>[rows, 8, 8] from 0 to 1, labels <uint8>[rows], no groups.

    Raises:
        FairsweepError: `task.length` is not 8.
    """
    if task.length != _SIDE:
        raise FairsweepError(
            f"task.length={task.length}: an image of task {task.name} has 8 rows, one per step. "
            "Set task.length=8."
        )
    # Slow to import.
    from sklearn.datasets import load_digits

    source = load_digits()
    images, labels = (source.images / _DARKEST).astype(np.float32), source.target.astype(np.uint8)
    test = validation_rows(labels, np.arange(len(labels)), _TEST_SEED)
    spec = TaskSpec(
        kind="classes",
        metric="accuracy",
        outputs=10,
        features=_SIDE,
        length=_SIDE,
        example="image",
        group="",
        classes=[str(digit) for digit in range(10)],
        baselines=["trivial", "linear"],
    )
    return Sequences(
        spec, Examples(images[~test], labels[~test]), Examples(images[test], labels[test])
    )


DATASET = Dataset(read, version_of="scikit-learn")
