"""The loops of `recurrence` give what Keras's own give, forward and backward.

On JAX, so in the process that tests/test_population.py starts.
"""

import os
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

STEPS, BATCH, FEATURES, UNITS = 7, 5, 3, 4
# (layer, backwards, sequences, masked): these cases cover every pair of values of any two. The
# others run at the level night.
PAIRS = {
    ("SimpleRNN", False, False, True),
    ("SimpleRNN", True, True, False),
    ("GRU", False, True, False),
    ("GRU", True, False, True),
    ("LSTM", False, False, False),
    ("LSTM", True, True, True),
}

pytestmark = pytest.mark.skipif(
    "FAIRSWEEP_POPULATION" not in os.environ, reason="runs in a process of tests/test_population.py"
)


@pytest.fixture
def jax() -> Iterator[Any]:
    """JAX without most of XLA's optimizations, which take two thirds of the time of compiling."""
    from pipeline.training import backend

    backend.use("jax")
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield jax
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize(
    ("name", "backwards", "sequences", "masked"),
    [
        pytest.param(*case, marks=() if case in PAIRS else pytest.mark.night)
        for case in product(("SimpleRNN", "GRU", "LSTM"), *[(False, True)] * 3)
    ],
)
def test_outputs_and_gradients_are_those_of_keras(
    name: str, backwards: bool, sequences: bool, masked: bool, jax: Any
) -> None:
    import keras

    from pipeline.models.recurrence import install

    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(BATCH, STEPS, FEATURES)).astype(np.float32)
    mask = (
        np.array([[False] * row + [True] * (STEPS - row) for row in range(BATCH)])
        if masked
        else None
    )
    options = {"return_sequences": sequences, "go_backwards": backwards, "dropout": 0.4, "seed": 3}
    layers = [getattr(keras.layers, name)(UNITS, **options) for _ in range(2)]
    for layer in layers:
        layer.build(inputs.shape)
    given = [
        generator.normal(size=weight.shape).astype(np.float32)
        for weight in layers[0].trainable_variables
    ]

    def asked(layer, training):
        for variable, value in zip(layer.trainable_variables, given, strict=True):
            variable.assign(value)
        variables = [variable.value for variable in layer.trainable_variables]
        other = [variable.value for variable in layer.non_trainable_variables]

        def loss(variables, inputs):
            made = layer.stateless_call(variables, other, inputs, mask=mask, training=training)[0]
            return (made * np.cos(np.arange(made.size)).reshape(made.shape)).sum(), made

        grads, made = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables, inputs)
        return jax.tree.leaves((made, grads))

    install(layers[0])
    assert "inner_loop" in vars(layers[0])
    for training in (False, True):
        ours, plain = (asked(layer, training) for layer in layers)
        assert len(ours) == len(plain) == 5
        for one, other in zip(ours, plain, strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
            assert np.abs(one).max() > 0


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # Keras's get_weights
@pytest.mark.parametrize("kind", ["binary", "steps"])
def test_a_training_as_programs_is_keras_own_to_the_bit(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.config.schema import Cell, Config, Model, Task, Train
    from pipeline.data.arrays import Data
    from pipeline.data.spec import PAD, TaskSpec
    from pipeline.metrics import NO_LABEL
    from pipeline.training import backend
    from pipeline.training import fit as fitting
    from pipeline.training.loops import Looped, Scanned

    backend.use("jax")
    import jax

    # XLA as in a training.
    jax.config.update("jax_disable_most_optimizations", False)
    generator = np.random.default_rng(0)
    if kind == "binary":
        spec = TaskSpec(length=12)
        inputs = generator.integers(1, 30, (70, 12)).astype(np.int32)
        inputs[:30, :4] = 0
        labels = (inputs[:, -1] > 15).astype(np.uint8)
    else:
        spec = TaskSpec("steps", "nll", 3, features=2, length=12, padded=True, group="")
        inputs = generator.random((70, 12, 2)).astype(np.float32)
        inputs[:30, 8:] = PAD
        labels = (inputs[:, :, [0, 1, 0]] > 0.5).astype(np.uint8)
        labels[:30, 8:] = NO_LABEL
    data = Data(spec, inputs, labels, inputs[:20], labels[:20], inputs[:33], "digest", True)
    told = []
    for network in (Scanned, Looped):
        monkeypatch.setattr(fitting, "network", network)
        run = fitting.fit(
            Config(
                name="tiny",
                cells=["gru"],
                task=Task(name="tiny", source="synthetic", length=12, vocabulary=30),
                cell=Cell("gru", "gru"),
                model=Model(units=4, embedding=4, dropout=0.3, recurrent_dropout=0.2, masking=True),
                train=Train(
                    backend="jax",
                    batch_size=16,
                    epochs=3,
                    learning_rate=0.01,
                    clipnorm=1.0,
                    patience=None,
                ),
            ),
            data,
            keep_model=True,
        )
        assert run.state == "complete"
        told.append(
            (run.epochs, run.best_epoch, run.validation_logits.tobytes(), run.test_logits.tobytes())
        )
    assert told[0] == told[1]
