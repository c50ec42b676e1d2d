"""Handwritten digits, as scikit-learn ships them: 1,797 images of 8 by 8 (Alpaydin and Kaynak, UCI repository, 1998)."""

from pathlib import Path

import numpy as np

from pipeline.config import Columns, Task
from pipeline.data.form import Dataset, Examples, Form, Sequences
from pipeline.data.splits import validation_rows
from pipeline.errors import FairsweepError

_SIDE = 8
# A pixel counts the dark cells in a block of 4 by 4 of the scan.
_DARKEST = 16
_TEST_SEED = 1998


def read(task: Task, archive: Path | None = None, columns: Columns | None = None) -> Sequences:
    """The images, read row by row from the top; a fifth of each digit, drawn once, is the test.

    Who wrote an image is not told, so writers stand on both sides.

    Returns:
        Inputs <float32>[rows, 8, 8] from 0 to 1, labels <uint8>[rows], no groups.

    Raises:
        FairsweepError: `task.length` is not 8.
    """
    if task.length != _SIDE:
        raise FairsweepError(
            f"task.length={task.length}: an image of task {task.name} has 8 rows, each a step. Set task.length=8."
        )
    # A second to import, and other tasks have no use for it here.
    from sklearn.datasets import load_digits

    source = load_digits()
    images, labels = (source.images / _DARKEST).astype(np.float32), source.target.astype(np.uint8)
    test = validation_rows(labels, np.arange(len(labels)), _TEST_SEED)
    form = Form(
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
    return Sequences(form, Examples(images[~test], labels[~test]), Examples(images[test], labels[test]))


DATASET = Dataset(read, version_of="scikit-learn")
