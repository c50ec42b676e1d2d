"""What a worker process does: load the arrays once, train one configuration after another."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from pipeline.config import Config, Task
from pipeline.data.arrays import Data, load
from pipeline.errors import FairsweepError
from pipeline.training.fit import Epoch, Run, fit


def load_data(config: Config) -> Data:
    """The study's arrays, read once a process for each task and split."""
    return _load(config.name, dataclasses.astuple(config.task), config.split_seed)


@functools.lru_cache(maxsize=1)
def _load(name: str, task: tuple, split_seed: int) -> Data:
    return load(Path("data") / name / "arrays", Task(*task), split_seed)


def train(config: Config, keep_model: bool = False, on_epoch: Callable[[int, Epoch], None] | None = None) -> Run:
    """`fit` on the study's arrays; an error of the training is a failed run with its reason, not an exception."""
    data = load_data(config)
    try:
        return fit(config, data, keep_model, on_epoch)
    except FairsweepError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return Run(state="failed", reason=f"{type(error).__name__}: {first}"[:300])
