"""The recurrent cells that can be compared: Keras's, a user's own by import path `MODULE:FUNCTION`, and bidirectional ones, `bi_NAME`."""

import difflib
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from pipeline.config import Cell
from pipeline.errors import FairsweepError
from pipeline.imports import source_of
from pipeline.models.recurrence import install
from pipeline.plugins import check, load

# Layers of Keras.
CELLS = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}
BACKWARDS = "bi_"
# What a cell alone has: key of the config, option of its layer.
OWN = {"gru": ("reset_after",), "lstm": ("unit_forget_bias",)}


def own_module(cell_type: str) -> list[str]:
    """The name of the module of a user's own cell, without importing it; an empty list for a cell of Keras."""
    kind = cell_type.removeprefix(BACKWARDS)
    return [kind.partition(":")[0]] if ":" in kind else []


def keras_name(cell_type: str) -> str:
    """The type of a cell as a name that Keras accepts: `bi_lstm`, `my_module_my_cell`."""
    return re.sub(r"\W", "_", cell_type)


def check_cell(cell: Cell) -> None:
    """Raise FairsweepError unless `cell.type` is a known cell, or an import path whose module exists."""
    names = [*CELLS, *(BACKWARDS + name for name in CELLS)]
    if ":" in cell.type:
        if cell.type.startswith(BACKWARDS) and source_of(cell.type.partition(":")[0]):
            raise FairsweepError(
                f"cell.type={cell.type}: the prefix {BACKWARDS} stands for both directions, and there is a module with this name, too. "
                "Rename the module."
            )
        check("cell.type", cell.type.removeprefix(BACKWARDS))
    elif cell.type not in names:
        near = difflib.get_close_matches(cell.type, names, n=1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise FairsweepError(
            f"cell.type={cell.type}: no such cell{hint}. There are: {', '.join(names)}. For a cell of your own give MODULE:FUNCTION."
        )


def load_model(path: Path, cell: Cell) -> Any:
    """The Keras model in a .keras file, also of a cell whose layer is not Keras's own: Keras must have met its class before.

    Raises:
        FairsweepError: no such file, a damaged one, or one with code in it, which is not run.
    """
    import keras

    cell_layer(cell, 1, count(), count(), "cell", dropout=0.0, recurrent_dropout=0.0)
    # Older forms of file, which Keras knows by their ends, run the code that they hold.
    if path.suffix != ".keras" or not path.is_file():
        raise FairsweepError(f"{path}: there is no such .keras file.")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    # A damaged or hostile file is answered with nearly any exception.
    except Exception as error:
        raise FairsweepError(
            f"{path} is no model of this project: {_first_line(error)} Make it again: dvc repro replicate@{cell.arm or cell.type}."
        ) from error


def _first_line(error: Exception) -> str:
    """What Keras says, up to where it begins to advise."""
    return f"{type(error).__name__}, {str(error).strip().split(chr(10))[0][:300]}"


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
    # Keras makes the two anew, of which SimpleRNN forgets the seed of its masks.
    for given, made in ((forward, both.forward_layer), (backward, both.backward_layer)):
        install(made)
        seed = getattr(getattr(given, "cell", None), "seed", None)
        if seed is not None and made.cell.seed != seed:
            made.cell.seed_generator.state.assign([seed, 0])
    return both


def _layer(kind: str, units: int, seeds: Iterator[int], **options: Any) -> Any:
    import keras

    make = getattr(keras.layers, CELLS[kind]) if kind in CELLS else load("cell.type", kind)
    if not callable(make):
        raise FairsweepError(f"cell.type={kind}: expected a function that returns a Keras layer, and it is {make!r:.100}.")
    layer = make(
        units,
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
        seed=next(seeds),
        **options,
    )
    if not isinstance(layer, keras.Layer):
        raise FairsweepError(f"cell.type={kind}: expected a function that returns a Keras layer, and it returned {layer!r:.100}.")
    return install(layer)
