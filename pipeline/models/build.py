"""The network: an embedding or the input numbers, layers of the cell, and the output layer."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..config.schema import Config
from ..data.spec import PAD, TaskSpec
from ..errors import FairsweepError
from .cells import BACKWARDS, apply_layer, cell_layer, check_cell, keras_name

# Marks the padded steps of a layer's output until a mask is attached to them.
MASKED = -1e9


def check_model(config: Config, spec: TaskSpec) -> None:
    """Raise FairsweepError for a network that cannot be built or would read the answers."""
    check_cell(config.cell)
    task, arm = config.task.name, config.cell.arm or config.cell.type
    if spec.causal and config.cell.type.startswith(BACKWARDS):
        raise FairsweepError(
            f"cell={arm}: on task {task} the next step is both the answer and a later input, and a "
            "cell that reads "
            f"backwards would see it. Choose {arm.removeprefix(BACKWARDS)}."
        )
    if spec.kind == "steps" and config.model.pooling != "last":
        raise FairsweepError(
            f"model.pooling={config.model.pooling}: task {task} needs an output at every step, so "
            "nothing is pooled. "
            "Set it to last."
        )
    if config.train.buckets > 1 and spec.features is not None and not spec.padded:
        raise FairsweepError(
            f"train.buckets={config.train.buckets}: all rows of task {task} have the same length. "
            "Set it to 1."
        )


def build_model(config: Config, spec: TaskSpec) -> Any:
    """Build an uncompiled Keras model from inputs to logits (or standardised numbers) <float32>.

    Inputs are token ids <int32>[batch, length], or numbers [batch, length, spec.features]. Outputs
    are [batch, spec.outputs], or [batch, length, spec.outputs] for a task of kind steps. With
    `train.buckets` above 1 the length is variable. Initial weights and dropout masks depend on
    `config.seed` alone. With `model.masking` token 0 is skipped; padded steps of numbers always
    are. If a user-defined layer does not support masks, its padded steps are zeros.

    Raises:
        FairsweepError: as `check_model`, `cell_layer` and `apply_layer`.
    """
    import keras

    check_model(config, spec)
    # Without explicit names and seeds, both depend on the models that this process built before.
    seeds = _seeds(config.seed, 2 + 4 * config.model.layers)
    more_seeds = _seeds(config.seed, 3 * config.model.layers + 2, 1)
    inputs, states, real = _read(config, spec, seeds)
    model = config.model
    for number in range(model.layers):
        every_step = number < model.layers - 1 or spec.kind == "steps" or model.pooling != "last"
        layer = cell_layer(
            config.cell,
            model.units,
            seeds,
            more_seeds,
            f"{keras_name(config.cell.type).removeprefix(BACKWARDS)}_{number}",
            return_sequences=every_step,
            dropout=model.input_dropout,
            recurrent_dropout=model.recurrent_dropout,
        )
        unmasked = real is not None and not _supports_masks(layer)
        if unmasked:
            # The operation drops the mask, which the layer would ignore with a warning.
            states = states * _column(real)
        states = apply_layer(config.cell, layer, states, model.units, every_step)
        if unmasked and every_step:
            states = keras.ops.where(keras.ops.expand_dims(real, -1), states, MASKED)
            states = keras.layers.Masking(MASKED, name=f"masked_{number}")(states)
        elif not every_step and len(states.shape) == 3:
            states = _last(states, real)
        if model.layer_norm:
            states = keras.layers.LayerNormalization(name=f"norm_{number}")(states)
        if model.dropout and not model.hidden:
            states = keras.layers.Dropout(
                model.dropout, seed=next(seeds), name=f"dropout_{number}"
            )(states)
    if spec.kind != "steps":
        states = _pooled(states, model.pooling, real)
    if model.hidden:
        first = keras.initializers.GlorotUniform(seed=next(more_seeds))
        states = keras.layers.Dense(
            model.hidden, activation="relu", kernel_initializer=first, name="hidden"
        )(states)
        if model.dropout:
            states = keras.layers.Dropout(
                model.dropout, seed=next(more_seeds), name="dropout_hidden"
            )(states)
    head = keras.initializers.GlorotUniform(seed=next(seeds))
    outputs = keras.layers.Dense(spec.outputs, kernel_initializer=head, name="logit")(states)
    return keras.Model(inputs, outputs, name=keras_name(config.cell.type))


def _seeds(seed: int, count: int, *spawned: int) -> Iterator[int]:
    words = np.random.SeedSequence(seed, spawn_key=spawned).generate_state(count)
    return (int(word) >> 1 for word in words)


def _read(config: Config, spec: TaskSpec, seeds: Iterator[int]) -> tuple[Any, Any, Any]:
    """The input, what the first layer reads, and the real steps <bool>[batch, length] or None."""
    import keras

    length = None if config.train.buckets > 1 else spec.length
    first = keras.initializers.RandomUniform(-0.05, 0.05, seed=next(seeds))
    if spec.features is not None:
        inputs = keras.Input((length, spec.features), dtype="float32", name="numbers")
        if not spec.padded:
            return inputs, inputs, None
        real = keras.ops.any(keras.ops.not_equal(inputs, PAD), axis=-1)
        return inputs, keras.layers.Masking(PAD, name="masking")(inputs), real
    inputs = keras.Input((length,), dtype="int32", name="tokens")
    table = keras.layers.Embedding(
        config.task.vocabulary,
        config.model.embedding,
        embeddings_initializer=first,
        mask_zero=config.model.masking,
        name="embedding",
    )
    real = keras.ops.not_equal(inputs, 0) if config.model.masking else None
    return inputs, table(inputs), real


def _supports_masks(layer: Any) -> bool:
    """Whether a layer, and each layer inside it, passes a mask on."""
    inner = getattr(layer, "layers", [])
    return bool(layer.supports_masking) and all(_supports_masks(each) for each in inner)


def _column(real: Any) -> Any:
    """Real steps as <float32>[batch, length, 1]."""
    import keras

    return keras.ops.expand_dims(keras.ops.cast(real, "float32"), -1)


def _last(states: Any, real: Any) -> Any:
    """The output at the last real step: [batch, length, units] to [batch, units]."""
    import keras

    if real is None:
        return states[:, -1]
    steps = keras.ops.cumsum(_column(real), axis=1)
    last = _column(real) * keras.ops.cast(keras.ops.equal(steps, steps[:, -1:]), "float32")
    return keras.ops.sum(states * last, axis=1)


def _pooled(states: Any, pooling: str, real: Any) -> Any:
    """One state per row: the last one unchanged, or the mean or maximum over the real steps."""
    import keras

    if pooling == "mean":
        return keras.layers.GlobalAveragePooling1D(name="mean")(states)
    if pooling == "max":
        if real is not None:
            # Keras's maximum ignores masks. States are between -1 and 1, or a few with layer_norm.
            states = keras.ops.where(keras.ops.expand_dims(real, -1), states, -1e4)
        return keras.layers.GlobalMaxPooling1D(name="max")(states)
    return states
