"""What a training step costs: milliseconds and memory against length, each in a process of its own."""

import ctypes
import math
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FairsweepError
from ..training import backend as backends
from .network import SYMBOLS, compiled, network, recurrent

BATCH = 128
WARM_UP = 3
TIMED = 30
# Not a cell: a dense layer on every step, with as many multiplications as the rnn's, none of which waits for another step.
DENSE = "dense"
# Kibibytes, of which /proc speaks.
MIB = 1024.0
M_MMAP_THRESHOLD = -3  # malloc.h
STATUS = Path("/proc/self/status")


def cost(cell: str, units: int, length: int, backend: str) -> dict[str, Any]:
    """One row of cost.csv: `cell,length,parameters,milliseconds,mebibytes`, measured in a fresh process.

    Raises:
        FairsweepError: if that process dies, as it does where memory is short.
    """
    try:
        return alone(measure, cell, units, length, backend)
    except BrokenProcessPool as error:
        raise FairsweepError(
            f"lengths: the process that trained {cell} on {length} steps died, probably of too little memory. "
            "Give shorter lengths, or fewer units."
        ) from error


def alone(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What `function` returns in a process of its own, which has seen nothing before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(cell: str, units: int, length: int, backend: str) -> dict[str, Any]:
    """Trains in this process, on BATCH sequences of `units` random features.

    Milliseconds are the processor's, the median of TIMED steps: on one thread they are the clock's where nothing else runs, and
    hardly more where something does. Mebibytes: how far resident memory then rises within one more step above what stays between steps
    (weights, data, the compiled program).
    """
    backends.use(backend)
    import keras

    layer = dense(units) if cell == DENSE else recurrent(cell, units, 0)
    features = 2 * units if cell == DENSE else units
    model = compiled(network(layer, length, features, 0), keras.optimizers.Adam())
    random = np.random.default_rng(0)
    # As tensors at once: copying them is no part of a step.
    inputs = keras.ops.convert_to_tensor(
        random.standard_normal((BATCH, length, features), dtype=np.float32)
    )
    symbols, seconds = keras.ops.convert_to_tensor(random.integers(SYMBOLS, size=BATCH)), []
    for _ in range(WARM_UP + TIMED):
        started = time.process_time()
        model.train_on_batch(inputs, symbols)
        seconds.append(time.process_time() - started)
    before = settled()
    # Once: a second step may leave the first one's holes.
    model.train_on_batch(inputs, symbols)
    return {
        "cell": cell,
        "length": length,
        "parameters": layer.count_params(),
        "milliseconds": 1000 * float(np.median(seconds[WARM_UP:])),
        "mebibytes": resident("VmHWM") - before,
    }


def dense(units: int) -> Any:
    """A layer of [rows, time, 2 units] to [rows, units]: dense and tanh on each step, then the mean over the steps.

    An rnn multiplies each step's `units` inputs and its `units` states by `units` columns; this one, twice as many inputs.
    """
    import keras

    return keras.Sequential(
        [keras.layers.Dense(units, activation="tanh"), keras.layers.GlobalAveragePooling1D()],
        name=DENSE,
    )


def settled() -> float:
    """Resident MiB, from where the peak counts anew; nan where there is no /proc.

    What is free went back to the system, and large buffers come from it and go back one by one from now on: else the peak tells
    which holes the heap had. It makes steps slower.
    """
    if not STATUS.is_file():
        return math.nan
    library = ctypes.CDLL(None)
    library.mallopt(M_MMAP_THRESHOLD, 128 * 1024)
    library.malloc_trim(0)
    STATUS.with_name("clear_refs").write_text("5", encoding="utf-8")
    return resident("VmRSS")


def resident(key: str) -> float:
    """This process's resident memory in MiB, now (VmRSS) or at its peak (VmHWM); nan where there is no /proc.

    `ru_maxrss` is of no use here: it starts at what the parent had, and never anew.
    """
    lines = STATUS.read_text(encoding="utf-8").splitlines() if STATUS.is_file() else []
    return next(
        (int(line.split()[1]) / MIB for line in lines if line.startswith(f"{key}:")), math.nan
    )
