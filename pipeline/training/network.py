"""A compiled model at work on rows: by Keras's own loop, or on JAX an epoch as one program, which asks Python for nothing in between."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# What an epoch told: the mean of `loss` and, where the model has a metric, of `score` over its batches.
Told = dict[str, float]


class Network(Protocol):
    """A model with its optimizer's state. Rows are <int64>[batches, batch]: which of `inputs` each batch is.

    Attributes:
        batch: rows to predict at a time, as fast as any; 5,000 and 25,000 divide by it.
    """

    model: Any
    batch: int

    def begin(self) -> None:
        """A new epoch: the means start anew."""

    def run(self, inputs: NDArray[Any], labels: NDArray[Any], rows: NDArray[np.int64]) -> Told:
        """Train on each batch in turn; the means since `begin`."""

    def outputs(self, inputs: NDArray[Any], batch: int) -> NDArray[np.float32]:
        """What the model gives for `inputs`, whose rows `batch` divides."""

    def weights(self) -> Any:
        """Those of now, for `restore`."""

    def restore(self, weights: Any) -> None:
        """Put `weights` into the model."""


def network(model: Any) -> Network:
    """The way to run `model` that this process's backend has."""
    import keras

    return Scanned(model) if keras.backend.backend() == "jax" else Looped(model)


class Looped:
    """Keras's `fit` and `predict`."""

    batch = 1000

    def __init__(self, model: Any) -> None:
        self.model = model

    def begin(self) -> None:
        self.model.reset_metrics()

    def run(self, inputs: NDArray[Any], labels: NDArray[Any], rows: NDArray[np.int64]) -> Told:
        if len(rows) == 1:
            told: Told = self.model.train_on_batch(inputs[rows[0]], labels[rows[0]], return_dict=True)
            return told
        order = rows.reshape(-1)
        history = self.model.fit(inputs[order], labels[order], batch_size=rows.shape[1], shuffle=False, verbose=0).history
        return {name: values[-1] for name, values in history.items()}

    def outputs(self, inputs: NDArray[Any], batch: int) -> NDArray[np.float32]:
        made: NDArray[np.float32] = self.model.predict(inputs, batch_size=batch, verbose=0)
        return made

    def weights(self) -> Any:
        return self.model.get_weights()

    def restore(self, weights: Any) -> None:
        self.model.set_weights(weights)


class Scanned:
    """Keras's `train_step` of every batch in one `jax.lax.scan`; the model's variables lag behind until `restore`."""

    # What more rows compute no longer fits the processor's cache.
    batch = 250

    def __init__(self, model: Any) -> None:
        import jax

        self.model = model
        model.optimizer.build(model.trainable_variables)
        self._build_metrics()
        self.trained, self.other = _values(model.trainable_variables), _values(model.non_trainable_variables)
        self.optimizer = _values(model.optimizer.variables)
        self.means = self.no_means = _values(model.metrics_variables)

        def epoch(state: Any, inputs: Any, labels: Any, rows: Any) -> Any:
            def step(state: Any, batch: Any) -> Any:
                return model.train_step(state, (inputs[batch], labels[batch]))[1], None

            return jax.lax.scan(step, state, rows)[0]

        def outputs(trained: Any, other: Any, inputs: Any) -> Any:
            return model.stateless_call(trained, other, inputs, training=False)

        self._epoch, self._outputs = jax.jit(epoch), jax.jit(outputs)

    def _build_metrics(self) -> None:
        """Keras makes a metric's variables when it meets its first numbers."""
        shape = [size or 1 for size in self.model.output_shape]
        zeros = np.zeros(shape, np.float32)
        self.model.compute_metrics(None, zeros[..., 0] if self._sparse else zeros, zeros, None)
        self.model.reset_metrics()

    @property
    def _sparse(self) -> bool:
        import keras

        return isinstance(self.model.loss, keras.losses.SparseCategoricalCrossentropy)

    def begin(self) -> None:
        self.means = self.no_means

    def run(self, inputs: NDArray[Any], labels: NDArray[Any], rows: NDArray[np.int64]) -> Told:
        state = self.trained, self.other, self.optimizer, self.means
        state = self._epoch(state, inputs, labels, rows.astype(np.int32))
        self.trained, self.other, self.optimizer, self.means = state
        _assign(self.model.metrics_variables, self.means)
        return {name: float(value) for name, value in self.model.get_metrics_result().items()}

    def outputs(self, inputs: NDArray[Any], batch: int) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(inputs), batch):
            # As in Keras's predict, layers with dropout take a seed here too.
            made, self.other = self._outputs(self.trained, self.other, inputs[start : start + batch])
            parts.append(np.asarray(made))
        return np.concatenate(parts)

    def weights(self) -> Any:
        # Arrays of JAX never change.
        return self.trained, self.other

    def restore(self, weights: Any) -> None:
        self.trained, self.other = weights
        _assign(self.model.trainable_variables, self.trained)
        _assign(self.model.non_trainable_variables, self.other)


def _values(variables: Sequence[Any]) -> list[Any]:
    return [variable.value for variable in variables]


def _assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
