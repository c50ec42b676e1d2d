"""The cells: three layers of Keras, their bidirectional forms `bi_NAME`, and user-defined ones.

The type of a user-defined cell is the import path `MODULE:FUNCTION` of its builder, a function that
returns a Keras layer.
"""

import inspect
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from ..config.schema import OPTIONS, Cell
from ..errors import FairsweepError, nearest
from ..imports import source_of
from ..plugins import check, load
from .recurrence import install

# Type of a cell: class of keras.layers.
CELLS = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}
BACKWARDS = "bi_"
# Fields of `Cell` that only one type uses; they are also arguments of its layer.
OWN = {"gru": ("reset_after",), "lstm": ("unit_forget_bias",)}
# Arguments that a builder must accept when they are not 0, and the keys that set them.
RATES = {"dropout": "model.input_dropout", "recurrent_dropout": "model.recurrent_dropout"}


def own_module(cell_type: str) -> list[str]:
    """The module name of a user-defined cell, in a list that is empty for a cell of Keras."""
    kind = cell_type.removeprefix(BACKWARDS)
    return [kind.partition(":")[0]] if ":" in kind else []


def keras_name(cell_type: str) -> str:
    """The type of a cell as a name that Keras accepts: `bi_lstm`, `my_module_my_cell`."""
    return re.sub(r"\W", "_", cell_type)


def check_cell(cell: Cell) -> None:
    """Raise FairsweepError unless `cell.type` is a known cell or the path of an existing module."""
    names = [*CELLS, *(BACKWARDS + name for name in CELLS)]
    if ":" in cell.type:
        if cell.type.startswith(BACKWARDS) and source_of(cell.type.partition(":")[0]):
            raise FairsweepError(
                f"cell.type={cell.type}: the prefix {BACKWARDS} stands for both directions, and a "
                "module has this name, "
                "too. Rename the module."
            )
        check("cell.type", cell.type.removeprefix(BACKWARDS))
    elif cell.type not in names:
        raise FairsweepError(
            f"cell.type={cell.type}: no such cell{nearest(cell.type, names)}. There are: "
            f"{', '.join(names)}. "
            "For a user-defined cell, write MODULE:FUNCTION."
        )


def load_model(path: Path, cell: Cell) -> Any:
    """Load a Keras model, after building its cell once so that Keras knows the class of its layer.

    Raises:
        FairsweepError: the file does not exist, is damaged, or contains code.
    """
    import keras

    cell_layer(
        cell,
        1,
        count(),
        count(),
        "cell",
        return_sequences=False,
        dropout=0.0,
        recurrent_dropout=0.0,
    )
    # Keras recognises its older formats by their suffix, and executes code that they contain.
    if path.suffix != ".keras" or not path.is_file():
        raise FairsweepError(f"{path}: there is no such .keras file.")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    # A damaged or malicious file can cause nearly any exception.
    except Exception as error:
        # Keras adds advice on further lines.
        reason = str(error).strip().split("\n")[0][:300]
        raise FairsweepError(
            f"{path} is not a model of this project: {type(error).__name__}, {reason} "
            f"Write it again: dvc repro replicate@{cell.arm or cell.type}."
        ) from error


def cell_layer(
    cell: Cell,
    units: int,
    seeds: Iterator[int],
    more_seeds: Iterator[int],
    name: str,
    **options: Any,
) -> Any:
    """The Keras layer of `cell`: [batch, time, features] to [batch, units] or [batch, time, units].

    A bidirectional cell has 2 * units outputs, the forward states first. Each direction uses three
    seeds: kernel, recurrent kernel, dropout. Those of the backward direction come from
    `more_seeds`.

    Args:
        options: `return_sequences`, `dropout` and `recurrent_dropout`, as in the recurrent layers
            of Keras.

    Raises:
        FairsweepError: a user's builder does not accept a setting that is used, raises an error, or
            does not return a new Keras layer.
    """
    from keras import layers

    kind = cell.type.removeprefix(BACKWARDS)
    own = {key: getattr(cell, key) for key in OWN.get(kind, ())} | cell.options
    forward = _layer(kind, units, seeds, own, name=name, **options)
    if kind == cell.type:
        return forward
    backward = _layer(
        kind, units, more_seeds, own, name=f"{name}_back", go_backwards=True, **options
    )
    try:
        both = layers.Bidirectional(forward, backward_layer=backward, name=f"{BACKWARDS}{name}")
    # Keras reads attributes of the layers that only a recurrent layer has.
    except Exception as error:
        raise FairsweepError(
            f"{described(cell.type)} returned a layer that keras.layers.Bidirectional does not "
            f"accept: {error}\n"
            f"Return a recurrent layer of Keras, or remove the prefix {BACKWARDS}."
        ) from error
    # Keras creates both layers again from their configurations, and SimpleRNN loses the seed of its
    # masks.
    for source, created in ((forward, both.forward_layer), (backward, both.backward_layer)):
        install(created)
        seed = getattr(getattr(source, "cell", None), "seed", None)
        if seed is not None and created.cell.seed != seed:
            created.cell.seed_generator.state.assign([seed, 0])
    return both


def _layer(kind: str, units: int, seeds: Iterator[int], own: dict[str, Any], **options: Any) -> Any:
    """One direction of a cell, by its builder."""
    import keras

    build = getattr(keras.layers, CELLS[kind]) if kind in CELLS else load("cell.type", kind)
    shared = {
        "kernel_initializer": keras.initializers.GlorotUniform(seed=next(seeds)),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=next(seeds)),
        "seed": next(seeds),
        **options,
    }
    if not callable(build):
        raise FairsweepError(
            f"{described(kind)} is {build!r:.100}. Expected a function that returns a Keras layer."
        )
    for key in own:
        if key == "units" or key in shared:
            raise FairsweepError(
                f"{OPTIONS}{key}: every cell gets {key!r} from the study. Give the cell's setting "
                "another name."
            )
    try:
        layer = build(units, **_accepted(kind, build, shared, own), **own)
    except FairsweepError:
        raise
    # A user's builder can raise anything.
    except Exception as error:
        raise _failed(kind, "raised", error) from error
    if not isinstance(layer, keras.Layer):
        raise FairsweepError(f"{described(kind)} returned {layer!r:.100}. Expected a Keras layer.")
    if kind not in CELLS:
        # A layer that is used twice keeps the weights of an earlier training.
        if getattr(layer, "_fairsweep_returned", False):
            raise FairsweepError(
                f"{described(kind)} returned the same layer twice. Create a new layer in each call."
            )
        layer._fairsweep_returned = True
        # Names decide how weights are stored, and two layers of one network must not share a name.
        layer.name = options["name"]
    return install(layer)


def _accepted(kind: str, build: Any, shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The shared settings that a builder has parameters for.

    Raises:
        FairsweepError: the builder has no parameter for one of the cell's settings, or for a shared
            one that is in use.
    """
    parameters = inspect.signature(build).parameters
    if any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values()):
        return shared
    for key in own:
        if key not in parameters:
            raise FairsweepError(
                f"{OPTIONS}{key}: {described(kind)} has no parameter "
                f"{key!r}{nearest(key, parameters)}. "
                f"Its parameters: {', '.join(parameters)}."
            )
    for option, key in RATES.items():
        if shared.get(option) and option not in parameters:
            raise FairsweepError(
                f"{key}={shared[option]:g}: {described(kind)} has no parameter {option!r}. Set "
                f"{key}=0, or add the "
                "parameter."
            )
    if "go_backwards" in shared and "go_backwards" not in parameters:
        raise FairsweepError(
            f"{described(BACKWARDS + kind)} has no parameter 'go_backwards', so it cannot read "
            "backwards. Add the "
            f"parameter, or remove the prefix {BACKWARDS}."
        )
    return {key: value for key, value in shared.items() if key in parameters}


def described(cell_type: str) -> str:
    """The builder of a cell for a message: `cell.type=my_module:my_cell: my_cell of my_module.py`,
    or the class of Keras.
    """
    kind = cell_type.removeprefix(BACKWARDS)
    if kind in CELLS:
        return f"keras.layers.{CELLS[kind]}"
    module, _, function = kind.partition(":")
    path = source_of(module)
    return f"cell.type={cell_type}: {function} of {path.name if path else module}"


def _failed(cell_type: str, what: str, error: Exception) -> FairsweepError:
    return FairsweepError(
        f"{described(cell_type)} {what} {type(error).__name__}: {error}\n"
        "Expected a Keras layer that reads [batch, length, features]. Correct the function."
    )


def apply_layer(cell: Cell, layer: Any, inputs: Any, units: int, sequence: bool) -> Any:
    """The symbolic output of a cell's layer: [batch, units] or [batch, length, units].

    Args:
        inputs: symbolic tensor [batch, length, features].
        sequence: whether the network needs one output per step.

    Raises:
        FairsweepError: a user's layer raises an error, or its output has another shape. The message
            names the file, the function and the expected shape.
    """
    try:
        outputs = layer(inputs)
    except Exception as error:
        if not own_module(cell.type):
            raise
        raise _failed(cell.type, "returned a layer that raised", error) from error
    width = 2 * units if cell.type.startswith(BACKWARDS) else units
    states, steps = (None, width), (None, inputs.shape[1], width)
    shape = getattr(outputs, "shape", None)
    if shape == steps or (shape == states and not sequence):
        return outputs
    expected = f"{steps}" if sequence else f"{states} or {steps}"
    output = f"output shape {shape}" if shape else f"{type(outputs).__name__} as output"
    raise FairsweepError(
        f"{described(cell.type)} returned a layer with {output}. Expected {expected}, (batch, "
        "length, units) with "
        f"units={width}{', since the network needs one output per step' if sequence else ''}."
    )
