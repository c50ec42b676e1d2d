"""The network: what reads the inputs, recurrent layers, and the head that the task wants."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.data.form import PAD, Form
from pipeline.errors import FairsweepError
from pipeline.models.cells import BACKWARDS, cell_layer, check_cell, keras_name


def check_model(config: Config, form: Form) -> None:
    """Raise FairsweepError for a network that cannot be built, or would see the answers, before anything is trained."""
    check_cell(config.cell)
    task, arm = config.task.name, config.cell.arm or config.cell.type
    if form.causal and config.cell.type.startswith(BACKWARDS):
        raise FairsweepError(
            f"cell={arm}: on task {task} the next step is both the answer and a later input, and a cell that reads backwards would see "
            f"it. Choose {arm.removeprefix(BACKWARDS)}."
        )
    if form.kind == "steps" and config.model.pooling != "last":
        raise FairsweepError(
            f"model.pooling={config.model.pooling}: task {task} asks for every step, so nothing is pooled. Set it to last."
        )
    if config.train.buckets > 1 and form.features is not None and not form.padded:
        raise FairsweepError(f"train.buckets={config.train.buckets}: every row of task {task} is equally long. Set it to 1.")


def build_model(config: Config, form: Form) -> Any:
    """A built, uncompiled Keras model from inputs to logits (or standardised numbers) <float32>.

    Inputs are token ids <int32>[batch, length], or numbers [batch, length, form.features]; outputs [batch, form.outputs], of kind
    steps [batch, length, form.outputs]. With `train.buckets` above 1 any length will do. Initial weights and dropout masks come
    from `config.seed` alone. With `model.masking` token 0 is skipped, and padded steps of numbers always are.

    Raises:
        FairsweepError: as `check_model`.
    """
    import keras

    check_model(config, form)
    # Explicit names and seeds: both else depend on what this process built before.
    seeds = _seeds(config.seed, 2 + 4 * config.model.layers)
    more_seeds = _seeds(config.seed, 3 * config.model.layers + 2, 1)
    inputs, states, real = _read(config, form, seeds)
    model = config.model
    for layer in range(model.layers):
        every_step = layer < model.layers - 1 or form.kind == "steps" or model.pooling != "last"
        states = cell_layer(
            config.cell,
            model.units,
            seeds,
            more_seeds,
            f"{keras_name(config.cell.type).removeprefix(BACKWARDS)}_{layer}",
            return_sequences=every_step,
            dropout=model.input_dropout,
            recurrent_dropout=model.recurrent_dropout,
        )(states)
        if model.layer_norm:
            states = keras.layers.LayerNormalization(name=f"norm_{layer}")(states)
        if model.dropout and not model.hidden:
            states = keras.layers.Dropout(model.dropout, seed=next(seeds), name=f"dropout_{layer}")(states)
    if form.kind != "steps":
        states = _pooled(states, model.pooling, real)
    if model.hidden:
        first = keras.initializers.GlorotUniform(seed=next(more_seeds))
        states = keras.layers.Dense(model.hidden, activation="relu", kernel_initializer=first, name="hidden")(states)
        if model.dropout:
            states = keras.layers.Dropout(model.dropout, seed=next(more_seeds), name="dropout_hidden")(states)
    head = keras.initializers.GlorotUniform(seed=next(seeds))
    outputs = keras.layers.Dense(form.outputs, kernel_initializer=head, name="logit")(states)
    return keras.Model(inputs, outputs, name=keras_name(config.cell.type))


def _seeds(seed: int, count: int, *spawned: int) -> Iterator[int]:
    return (int(word) >> 1 for word in np.random.SeedSequence(seed, spawn_key=spawned).generate_state(count))


def _read(config: Config, form: Form, seeds: Iterator[int]) -> tuple[Any, Any, Any]:
    """The input, what the first recurrent layer gets of it, and which steps are real (None where all are)."""
    import keras

    length = None if config.train.buckets > 1 else form.length
    first = keras.initializers.RandomUniform(-0.05, 0.05, seed=next(seeds))
    if form.features is not None:
        inputs = keras.Input((length, form.features), dtype="float32", name="numbers")
        if not form.padded:
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
    return inputs, table(inputs), keras.ops.not_equal(inputs, 0) if config.model.masking else None


def _pooled(states: Any, pooling: str, real: Any) -> Any:
    """One state an example: the last as it comes, or the mean or maximum over the steps that are real."""
    import keras

    if pooling == "mean":
        return keras.layers.GlobalAveragePooling1D(name="mean")(states)
    if pooling == "max":
        if real is not None:
            # Keras's maximum knows no mask; states lie between -1 and 1, or a few with layer_norm.
            states = keras.ops.where(keras.ops.expand_dims(real, -1), states, -1e4)
        return keras.layers.GlobalMaxPooling1D(name="max")(states)
    return states
