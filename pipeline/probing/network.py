"""The network that is probed, and the sequences it reads: recall a symbol that was seen some steps ago, among noise."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config.schema import Cell
from ..models.cells import BACKWARDS, cell_layer

SYMBOLS = 8
CHANCE = 1 / SYMBOLS
NOISE = 8
FEATURES = SYMBOLS + NOISE

Array = NDArray[np.float32]


def seeds(*path: int) -> Iterator[int]:
    """Seeds for Keras, a function of `path` alone: numbers from 0."""
    return (int(word) >> 1 for word in np.random.SeedSequence(path).generate_state(3))


def recurrent(cell: str, units: int, seed: int) -> Any:
    """The layer of `cell` with Keras's default initial weights, drawn from `seed`: [rows, time, features] to the last state."""
    return cell_layer(
        Cell(type=cell), units, seeds(seed, 0), seeds(seed, 1), name=cell.removeprefix(BACKWARDS)
    )


def network(layer: Any, length: int, features: int, seed: int) -> Any:
    """A built, uncompiled model: <float32>[rows, length, features] through `layer` to a logit a symbol, [rows, SYMBOLS]."""
    import keras

    head = keras.layers.Dense(
        SYMBOLS,
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds(seed, 2))),
        name="head",
    )
    return keras.Sequential([keras.Input((length, features), name="sequence"), layer, head])


def compiled(model: Any, optimizer: Any) -> Any:
    """`model` with its optimizer and the cross entropy of the symbols, compiled by XLA."""
    import keras

    model.compile(
        optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True
    )
    return model


def sequences(random: np.random.Generator, lag: int, rows: int) -> tuple[Array, NDArray[np.int64]]:
    """Sequences with their answers.

    The symbol stands in the middle, `lag` steps from both ends: a cell that reads in both directions has to hold it as long as
    one that reads in one. Symbol features are 1 for the symbol at that step and 0 elsewhere; noise features are standard normal.

    Returns:
        Inputs <float32>[rows, 2 lag + 1, FEATURES] and symbols <int64>[rows], 0 to SYMBOLS - 1.
    """
    length = 2 * lag + 1
    symbols = random.integers(SYMBOLS, size=rows)
    inputs = np.zeros((rows, length, FEATURES), np.float32)
    inputs[:, :, SYMBOLS:] = random.standard_normal((rows, length, NOISE))
    inputs[np.arange(rows), lag, symbols] = 1.0
    return inputs, symbols
