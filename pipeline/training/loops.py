"""Run a compiled model on rows: with the loops of Keras, or on JAX with one program per epoch."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Means over the batches of an epoch: of `loss` and, if the model has a metric, of `score`.
Means = dict[str, float]


class Network(Protocol):
    """A model with the state of its optimizer. Rows are indices <int64>[batches, batch] of inputs.

    Attributes:
        batch: rows per prediction batch, the fastest of several that divide 25,000.
    """

    model: Any
    batch: int

    def begin(self) -> None:
        """Start an epoch: reset the means."""

    def run(self, inputs: NDArray[Any], labels: NDArray[Any], rows: NDArray[np.int64]) -> Means:
        """Train on each batch in turn; return the means since `begin`."""

    def outputs(self, inputs: NDArray[Any], batch: int) -> NDArray[np.float32]:
        """The outputs for `inputs`, a multiple of `batch` rows."""

    def weights(self) -> Any:
        """The current weights, for `restore`."""

    def restore(self, weights: Any) -> None:
        """Put `weights` into the model."""


def network(model: Any) -> Network:
    """`model` with the loop for the backend of this process."""
    import keras

    return Scanned(model) if keras.backend.backend() == "jax" else Looped(model)


class Looped:
    """The loops of Keras: `fit` and `predict`."""

    batch = 1000

    def __init__(self, model: Any) -> None:
        self.model = model

    def begin(self) -> None:
        self.model.reset_metrics()

    def run(self, inputs: NDArray[Any], labels: NDArray[Any], rows: NDArray[np.int64]) -> Means:
        if len(rows) == 1:
            means: Means = self.model.train_on_batch(
                inputs[rows[0]], labels[rows[0]], return_dict=True
            )
            return means
        order = rows.reshape(-1)
        history = self.model.fit(
            inputs[order], labels[order], batch_size=rows.shape[1], shuffle=False, verbose=0
        ).history
        return {name: values[-1] for name, values in history.items()}

    def outputs(self, inputs: NDArray[Any], batch: int) -> NDArray[np.float32]:
        return np.asarray(self.model.predict(inputs, batch_size=batch, verbose=0))

    def weights(self) -> Any:
        return self.model.get_weights()

    def restore(self, weights: Any) -> None:
        self.model.set_weights(weights)


class Scanned:
    """One `jax.lax.scan` per epoch over Keras's `train_step`. `restore` updates the variables."""

    # Intermediate results of more rows do not fit into the cache of a processor.
    batch = 250

    def __init__(self, model: Any) -> None:
        import jax
        import keras

        self.model = model
        model.optimizer.build(model.trainable_variables)
        # Keras creates the variables of a metric with its first numbers.
        zeros = np.zeros([size or 1 for size in model.output_shape], np.float32)
        sparse = isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy)
        model.compute_metrics(None, zeros[..., 0] if sparse else zeros, zeros, None)
        model.reset_metrics()
        self.trained = _values(model.trainable_variables)
        self.other = _values(model.non_trainable_variables)
        self.optimizer = _values(model.optimizer.variables)
        self.means = self.no_means = _values(model.metrics_variables)

        def epoch(state: Any, inputs: Any, labels: Any, rows: Any) -> Any:
            def step(state: Any, batch: Any) -> Any:
                return model.train_step(state, (inputs[batch], labels[batch]))[1], None

            return jax.lax.scan(step, state, rows)[0]

        def outputs(trained: Any, other: Any, inputs: Any) -> Any:
            return model.stateless_call(trained, other, inputs, training=False)

        self._epoch, self._outputs = jax.jit(epoch), jax.jit(outputs)

    def begin(self) -> None:
        self.means = self.no_means

    def run(self, inputs: NDArray[Any], labels: NDArray[Any], rows: NDArray[np.int64]) -> Means:
        state = self.trained, self.other, self.optimizer, self.means
        state = self._epoch(state, inputs, labels, rows.astype(np.int32))
        self.trained, self.other, self.optimizer, self.means = state
        _assign(self.model.metrics_variables, self.means)
        return {name: float(value) for name, value in self.model.get_metrics_result().items()}

    def outputs(self, inputs: NDArray[Any], batch: int) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(inputs), batch):
            # As in the `predict` of Keras, layers with dropout use up a seed.
            result, self.other = self._outputs(
                self.trained, self.other, inputs[start : start + batch]
            )
            parts.append(np.asarray(result))
        return np.concatenate(parts)

    def weights(self) -> Any:
        # Arrays of JAX are immutable.
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
