"""The recurrent cells that can be compared: one entry each, and of each the bidirectional one, `bi_NAME`."""

import difflib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from pipeline.config import Cell
from pipeline.errors import FairsweepError
from pipeline.models.recurrence import install

# A layer of Keras by its name, or a function of `units` and Keras's options for recurrent layers that gives one.
CELLS: dict[str, str | Callable[..., Any]] = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}
BACKWARDS = "bi_"
# What a cell alone has: key of the config, option of its layer.
OWN = {"gru": ("reset_after",), "lstm": ("unit_forget_bias",)}


def check_cell(cell: Cell) -> None:
    """Raise FairsweepError unless `cell.type` is known."""
    names = [*CELLS, *(BACKWARDS + name for name in CELLS)]
    if cell.type not in names:
        near = difflib.get_close_matches(cell.type, names, n=1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise FairsweepError(f"cell.type={cell.type}: no such cell{hint}. There are: {', '.join(names)}.")


def load_model(path: Path, cell: Cell) -> Any:
    """The Keras model in a .keras file, also of a cell whose layer is not Keras's own: Keras must have met its class before."""
    import keras

    cell_layer(cell, 1, count(), count(), "cell", dropout=0.0, recurrent_dropout=0.0)
    return keras.models.load_model(path)


def cell_layer(cell: Cell, units: int, seeds: Iterator[int], more_seeds: Iterator[int], name: str, **options: Any) -> Any:
    """The Keras layer of `cell`: <float32>[batch, time, features] to [batch, units], or to every step with `return_sequences`.

    A bidirectional one reads both ways and gives twice the units, the forward states first. Each direction takes three seeds:
    kernel, recurrent kernel, dropout; the backward one takes them from `more_seeds`.
    """
    from keras import layers

    kind = cell.type.removeprefix(BACKWARDS)
    own = {key: getattr(cell, key) for key in OWN.get(kind, ())}
    forward = _layer(kind, units, seeds, name=name, **own, **options)
    if kind == cell.type:
        return forward
    backward = _layer(kind, units, more_seeds, name=f"{name}_back", go_backwards=True, **own, **options)
    both = layers.Bidirectional(forward, backward_layer=backward, name=f"{BACKWARDS}{name}")
    # Keras makes the two anew.
    install(both.forward_layer), install(both.backward_layer)
    return both


def _layer(kind: str, units: int, seeds: Iterator[int], **options: Any) -> Any:
    import keras

    make = CELLS[kind]
    make = getattr(keras.layers, make) if isinstance(make, str) else make
    layer = make(
        units,
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
        seed=next(seeds),
        **options,
    )
    return install(layer)
