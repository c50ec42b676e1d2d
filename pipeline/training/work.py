"""What a worker process does: load the arrays once, train one configuration after another."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.config import Config, Task
from pipeline.data.arrays import Data, load
from pipeline.errors import FairsweepError
from pipeline.training.fit import Epoch, Run, fit

# Separate studies train on a split each: 10 MB for a split of 25,000 reviews of 100 tokens.
SPLITS = 8
_test_inputs: dict[tuple, np.ndarray] = {}


def load_data(config: Config, folder: Path | None = None) -> Data:
    """The arrays in `folder`, by default the study's own, read once a process for each task and split."""
    folder = folder or Path("data") / config.name / "arrays"
    return _load(folder, dataclasses.astuple(config.task), config.split_seed)


@functools.lru_cache(maxsize=SPLITS)
def _load(folder: Path, task: tuple, split_seed: int) -> Data:
    data = load(folder, Task(*task), split_seed)
    # The test inputs are those of every split, so one copy serves all.
    same = (data.digest, *data.test_inputs.shape, Task(*task).padding)
    return dataclasses.replace(data, test_inputs=_test_inputs.setdefault(same, data.test_inputs))


def train(
    config: Config,
    keep_model: bool = False,
    on_epoch: Callable[[int, Epoch], bool | None] | None = None,
    folder: Path | None = None,
) -> Run:
    """`fit` on the arrays of `load_data`; an error of the training is a failed run with its reason, not an exception."""
    data = load_data(config, folder)
    try:
        return fit(config, data, keep_model, on_epoch)
    except FairsweepError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return Run(state="failed", reason=f"{type(error).__name__}: {first}"[:300])
