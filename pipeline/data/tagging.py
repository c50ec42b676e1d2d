"""Generated sequences that ask how far back a cell sees: ten labels a step, each an input of 1 to 64 steps before.

No label can be told better than rightly in 98 of 100: that share is not flipped.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Columns, Task
from pipeline.data.form import Dataset, Examples, Form, Sequences
from pipeline.errors import FairsweepError

# Label k tells what feature k was LAGS[k] steps ago.
LAGS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
FLIPPED = 0.02
TRAIN_ROWS, TEST_ROWS = 320, 160
_SEED = 64
# Of 256: how often a signal is 1 (a half), and how often noise is (about a tenth).
_SIGNAL, _NOISE = 128, 26


def read(task: Task, archive: Path | None = None, columns: Columns | None = None) -> Sequences:
    """Sequences from a fixed seed; train and test are drawn apart, and each row stands alone.

    Returns:
        Inputs <uint8>[rows, task.length, task.features] of 0 and 1: the first ten features are signals, the others noise.
        Labels <uint8>[rows, task.length, 10]: label k at step t is signal k at step t - LAGS[k], flipped with probability .02,
        and 0 where there is no such step.

    Raises:
        FairsweepError: too few features for the labels, or too few steps for the longest lag.
    """
    if task.features < len(LAGS):
        raise FairsweepError(
            f"task.features={task.features}: task {task.name} has {len(LAGS)} labels, each told by a feature. Set at least that."
        )
    if task.length <= max(LAGS):
        raise FairsweepError(
            f"task.length={task.length}: task {task.name} has labels {max(LAGS)} steps behind. Set at least {max(LAGS) + 1}."
        )
    train, test = np.random.default_rng(_SEED).spawn(2)
    form = Form(
        kind="steps",
        metric="f1",
        outputs=len(LAGS),
        features=task.features,
        length=task.length,
        example="sequence",
        group="",
        baselines=["trivial", "linear"],
    )
    return Sequences(form, _part(task, TRAIN_ROWS, train), _part(task, TEST_ROWS, test))


def _part(task: Task, rows: int, generator: np.random.Generator) -> Examples:
    """`rows` sequences; whole bytes are drawn and compared, since floats would take four times the memory."""
    often = np.full(task.features, _NOISE, np.uint8)
    often[: len(LAGS)] = _SIGNAL
    bits = generator.integers(256, size=(rows, task.length, task.features), dtype=np.uint8) < often
    return Examples(bits.view(np.uint8), _labels(bits[:, :, : len(LAGS)], generator))


def _labels(signals: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.uint8]:
    """The labels of signals <bool>[rows, time, 10]."""
    flipped = generator.random(signals.shape) < FLIPPED
    labels = np.zeros(signals.shape, np.uint8)
    for label, lag in enumerate(LAGS):
        labels[:, lag:, label] = signals[:, :-lag, label] ^ flipped[:, lag:, label]
    return labels


DATASET = Dataset(
    read,
    version_of="numpy",
    caveat="Invented sequences: their labels are so many steps behind, and nothing else is asked.",
)
