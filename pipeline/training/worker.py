"""The work of a worker process: load the arrays once, and train configurations in turn."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..config.schema import Config, Task
from ..data.arrays import Data, load
from ..errors import FairsweepError
from .fit import Epoch, Run, fit
from .population import fit_batch

# Each repeated search has a split: 10 MB for 25,000 reviews of 100 tokens.
SPLITS = 8
_test_inputs: dict[tuple, np.ndarray] = {}


def load_data(config: Config, folder: Path | None = None) -> Data:
    """The arrays in `folder` (None: the study's), read once per process, task and split."""
    folder = folder or Path("data") / config.name / "arrays"
    return _load(folder, dataclasses.astuple(config.task), config.split_seed)


@functools.lru_cache(maxsize=SPLITS)
def _load(folder: Path, task: tuple, split_seed: int) -> Data:
    data = load(folder, Task(*task), split_seed)
    # All splits have the same test inputs, so they share one copy.
    key = (data.digest, *data.test_inputs.shape, Task(*task).padding)
    return dataclasses.replace(data, test_inputs=_test_inputs.setdefault(key, data.test_inputs))


def train(
    config: Config,
    keep_model: bool = False,
    on_epoch: Callable[[int, Epoch], bool | None] | None = None,
    folder: Path | None = None,
) -> Run:
    """`fit` on the arrays of `load_data`. An error in it gives a failed run with a reason."""
    data = load_data(config, folder)
    try:
        return fit(config, data, keep_model, on_epoch)
    except FairsweepError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return Run(state="failed", reason=f"{type(error).__name__}: {first}"[:300])


def train_batch(
    configs: Sequence[Config], keep_models: Sequence[bool], folder: Path | None = None
) -> list[tuple[Run, int]]:
    """Train the configurations of one batch of models (see `population.batch_key`).

    After an error, such as for want of memory on the device, each half is trained alone, so that an
    error of one model fails that model only. The seconds lost are added to the runs.

    Returns:
        (run, number of models in its program) per configuration.
    """
    if len(configs) == 1:
        return [(train(configs[0], keep_models[0], None, folder), 1)]
    data, started = load_data(configs[0], folder), time.perf_counter()
    try:
        return [(run, len(configs)) for run in fit_batch(configs, data, keep_models)]
    except FairsweepError:
        raise
    except Exception:
        lost = time.perf_counter() - started
    # Outside of the handler, which keeps the memory of the program in use.
    half = len(configs) // 2
    runs = train_batch(configs[:half], keep_models[:half], folder)
    runs += train_batch(configs[half:], keep_models[half:], folder)
    for run, _ in runs:
        run.seconds += lost / len(configs)
    return runs
