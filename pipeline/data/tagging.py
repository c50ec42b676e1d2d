"""Generated sequences with ten labels per step, each an input of 1 to 64 steps before.

They measure how far back a cell remembers. 2 % of the labels are flipped, so that a perfect model
has an accuracy of 0.98.
"""

from pathlib import Path

import numpy as np

from ..config.schema import Columns, Task
from ..errors import FairsweepError
from .spec import Dataset, Examples, Sequences, TaskSpec

# Label k is feature k of LAGS[k] steps before.
LAGS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
FLIPPED = 0.02
TRAIN_ROWS, TEST_ROWS = 320, 160
_SEED = 64
# How many of 256 values of a signal, and of noise, are 1: a half, and about a tenth.
_SIGNAL, _NOISE = 128, 26


def read(task: Task, archive: Path | None = None, columns: Columns | None = None) -> Sequences:
    """Generate independent rows from a fixed seed.

    Returns:
        Inputs <uint8>[rows, task.length, task.features] of 0 and 1: the first ten features are
        signals, the others noise. Labels <uint8>[rows, task.length, 10]: label k at step t is
        signal k at step t - LAGS[k], flipped with probability 0.02, and 0 if there is no such step.

    Raises:
        FairsweepError: there are fewer features than labels, or no more steps than the longest lag.
    """
    if task.features < len(LAGS):
        raise FairsweepError(
            f"task.features={task.features}: each of the {len(LAGS)} labels of task {task.name} "
            f"needs a feature. Set at least {len(LAGS)}."
        )
    if task.length <= max(LAGS):
        raise FairsweepError(
            f"task.length={task.length}: labels of task {task.name} depend on inputs of "
            f"{max(LAGS)} steps before. Set at least {max(LAGS) + 1}."
        )
    train, test = np.random.default_rng(_SEED).spawn(2)
    spec = TaskSpec(
        kind="steps",
        metric="f1",
        outputs=len(LAGS),
        features=task.features,
        length=task.length,
        example="sequence",
        group="",
        baselines=["trivial", "linear"],
    )
    return Sequences(spec, _part(task, TRAIN_ROWS, train), _part(task, TEST_ROWS, test))


def _part(task: Task, rows: int, generator: np.random.Generator) -> Examples:
    frequency = np.full(task.features, _NOISE, np.uint8)
    frequency[: len(LAGS)] = _SIGNAL
    # Random bytes take a quarter of the memory of random floats.
    size = (rows, task.length, task.features)
    inputs = generator.integers(256, size=size, dtype=np.uint8) < frequency
    signals = inputs[:, :, : len(LAGS)]
    flipped = generator.random(signals.shape) < FLIPPED
    labels = np.zeros(signals.shape, np.uint8)
    for label, lag in enumerate(LAGS):
        labels[:, lag:, label] = signals[:, :-lag, label] ^ flipped[:, lag:, label]
    return Examples(inputs.view(np.uint8), labels)


DATASET = Dataset(
    read,
    version_of="numpy",
    caveat="Invented sequences: their labels test memory of a known number of steps, and nothing "
    "else.",
)
