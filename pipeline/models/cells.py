"""The recurrent cells that can be compared: one entry each."""

from typing import Any

CELLS = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}


def cell_layer(cell: str, units: int, **options: Any) -> Any:
    """The Keras layer of `cell` (a key of CELLS): <float32>[batch, time, features] to [batch, units], or to every step.

    `options` go to the layer (`return_sequences`, `recurrent_dropout`, `seed`, `name`).
    """
    from keras import layers

    return getattr(layers, CELLS[cell])(units, **options)
