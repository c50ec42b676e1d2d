"""What a worker process does: load the arrays once, train one configuration after another."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipeline.config import Config, Task
from pipeline.data.arrays import Data, load
from pipeline.errors import FairsweepError
from pipeline.training.fit import Epoch, Run, fit
from pipeline.training.population import fit_family

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


def train_family(configs: Sequence[Config], keep_models: Sequence[bool], folder: Path | None = None) -> list[tuple[Run, int]]:
    """The run of each config of one family, and how many shared the program it was trained in; one alone is `train`.

    A program that ends in an error, as where the device's memory does, is tried again in two halves, so that what fails in the end
    is a member's own. What the try cost is in their seconds.
    """
    if len(configs) == 1:
        return [(train(configs[0], keep_models[0], None, folder), 1)]
    data, started = load_data(configs[0], folder), time.perf_counter()
    try:
        return [(run, len(configs)) for run in fit_family(configs, data, keep_models)]
    except FairsweepError:
        raise
    except Exception:
        lost = time.perf_counter() - started
    # Out of the handler, which holds on to what the program had of memory.
    half = len(configs) // 2
    parts = [slice(half), slice(half, None)]
    done = [one for part in parts for one in train_family(configs[part], keep_models[part], folder)]
    for run, _ in done:
        run.seconds += lost / len(configs)
    return done
