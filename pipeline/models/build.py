"""The network: embedding, recurrent layers, one logit."""

from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.models.cells import cell_layer


def build_model(config: Config) -> Any:
    """A built, uncompiled Keras model: tokens <int32>[batch, task.length] to logits <float32>[batch, 1].

    Initial weights and dropout masks come from `config.seed` alone. With `model.masking`, token 0 is skipped.
    """
    import keras

    # Explicit names and seeds: both else depend on what this process built before.
    seeds = (int(word) >> 1 for word in np.random.SeedSequence(config.seed).generate_state(2 + 4 * config.model.layers))
    model = config.model
    stack = [
        keras.Input((config.task.length,), dtype="int32", name="tokens"),
        keras.layers.Embedding(
            config.task.vocabulary,
            model.embedding,
            embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05, seed=next(seeds)),
            mask_zero=model.masking,
            name="embedding",
        ),
    ]
    for layer in range(model.layers):
        stack.append(
            cell_layer(
                config.cell.type,
                model.units,
                return_sequences=layer < model.layers - 1,
                recurrent_dropout=model.recurrent_dropout,
                kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
                recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
                seed=next(seeds),
                name=f"{config.cell.type}_{layer}",
            )
        )
        if model.dropout:
            stack.append(keras.layers.Dropout(model.dropout, seed=next(seeds), name=f"dropout_{layer}"))
    head = keras.initializers.GlorotUniform(seed=next(seeds))
    stack.append(keras.layers.Dense(1, kernel_initializer=head, name="logit"))
    return keras.Sequential(stack, name=config.cell.type)
