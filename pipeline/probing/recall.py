"""Short memory: how often a cell learns, in a short training, to recall a symbol that it saw some steps ago."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .network import FEATURES, SYMBOLS, compiled, network, recurrent, sequences

BATCH = 64
RATE = 0.01
FRESH = 1024


def recall(
    cell: str, units: int, lag: int, steps: int, seeds: Sequence[int], unrelated: bool = False
) -> tuple[list[dict[str, Any]], dict[int, Any]]:
    """Trains one cell at one lag, compiled once: each seed has weights, training and fresh sequences of its own.

    Args:
        cell: its name, as in conf/cell/.
        units: of the cell.
        lag: steps that the symbol has to be held.
        steps: of Adam, each on BATCH sequences that were never seen before.
        seeds: one training each, none of which depends on another.
        unrelated: train on answers drawn apart from the inputs, which teach nothing: the check of chance. (Answers that change
            places within a batch do teach: one in SYMBOLS stays right, and one more in BATCH.)

    Returns:
        Rows of recall.csv, `cell,lag,seed,accuracy` (of FRESH sequences, a fraction); and the cell's weights by seed.
    """
    import keras

    model = compiled(
        network(recurrent(cell, units, 0), 2 * lag + 1, FEATURES, 0), keras.optimizers.Adam(RATE)
    )
    model.optimizer.build(model.trainable_variables)
    untouched = [variable.numpy() for variable in model.optimizer.variables]
    rows, weights = [], {}
    for seed in seeds:
        model.set_weights(
            network(recurrent(cell, units, seed), 2 * lag + 1, FEATURES, seed).get_weights()
        )
        for variable, value in zip(model.optimizer.variables, untouched, strict=True):
            variable.assign(value)
        random = np.random.default_rng([seed, lag, 30])
        for _ in range(steps):
            inputs, symbols = sequences(random, lag, BATCH)
            model.train_on_batch(
                inputs, random.integers(SYMBOLS, size=BATCH) if unrelated else symbols
            )
        rows.append(
            {"cell": cell, "lag": lag, "seed": seed, "accuracy": accuracy(model, lag, seed)}
        )
        weights[seed] = model.layers[0].get_weights()
    return rows, weights


def accuracy(model: Any, lag: int, seed: int) -> float:
    """The share of FRESH sequences, of a generator that no training has, whose symbol `model` names."""
    inputs, symbols = sequences(np.random.default_rng([seed, lag, 31]), lag, FRESH)
    return float(
        np.mean(model.predict(inputs, batch_size=FRESH, verbose=0).argmax(axis=1) == symbols)
    )
