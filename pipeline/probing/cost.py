"""What a training step costs: milliseconds and memory against length, each in a process of its own."""

import math
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import FairsweepError
from pipeline.probing.network import SYMBOLS, compiled, network, recurrent
from pipeline.training import backend as backends

BATCH = 128
WARM_UP = 3
TIMED = 30
# Not a cell: a dense layer on every step, with as many multiplications as the rnn's, none of which waits for another step.
DENSE = "dense"
MIB = 1024.0


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
    """Trains in this process.

    Milliseconds are the processor's: the median of TIMED steps on BATCH sequences of `units` features, after WARM_UP.

    Mebibytes: how far the peak of resident memory rises above what was resident after the same training on a single step, which
    loads the libraries and makes the compiler's room.
    """
    backends.use(backend)
    train(cell, units, 1)
    before = resident("VmRSS")
    parameters, seconds = train(cell, units, length)
    return {
        "cell": cell,
        "length": length,
        "parameters": parameters,
        "milliseconds": 1000 * float(np.median(seconds[WARM_UP:])),
        "mebibytes": resident("VmHWM") - before,
    }


def train(cell: str, units: int, length: int) -> tuple[int, list[float]]:
    """The layer's parameters, and the processor's seconds of each of WARM_UP + TIMED training steps on random numbers.

    On one thread they are the clock's where nothing else runs, and hardly more where something does.
    """
    import keras

    layer = dense(units) if cell == DENSE else recurrent(cell, units, 0)
    features = 2 * units if cell == DENSE else units
    model = compiled(network(layer, length, features, 0), keras.optimizers.Adam())
    random = np.random.default_rng(0)
    # As tensors at once: copying them is no part of a step.
    inputs = keras.ops.convert_to_tensor(random.standard_normal((BATCH, length, features), dtype=np.float32))
    symbols, seconds = keras.ops.convert_to_tensor(random.integers(SYMBOLS, size=BATCH)), []
    for _ in range(WARM_UP + TIMED):
        started = time.process_time()
        model.train_on_batch(inputs, symbols)
        seconds.append(time.process_time() - started)
    return layer.count_params(), seconds


def dense(units: int) -> Any:
    """A layer of [rows, time, 2 units] to [rows, units]: dense and tanh on each step, then the mean over the steps.

    An rnn multiplies each step's `units` inputs and its `units` states by `units` columns; this one, twice as many inputs.
    """
    import keras

    return keras.Sequential([keras.layers.Dense(units, activation="tanh"), keras.layers.GlobalAveragePooling1D()], name=DENSE)


def resident(key: str) -> float:
    """This process's resident memory in MiB, now (VmRSS) or at its peak (VmHWM); nan where the system does not tell.

    `ru_maxrss` is of no use here: it starts at what the parent had.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / MIB for line in lines if line.startswith(f"{key}:")), math.nan)
