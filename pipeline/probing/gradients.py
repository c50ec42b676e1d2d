"""How much of a gradient arrives some steps back: it vanishes, or explodes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .network import FEATURES, recurrent, sequences

ROWS = 64
# Largest factor of the scaled recurrent kernel: an orthogonal one has 1 (Keras's default), so this is its spectral radius.
RADIUS = 1.5

Array = NDArray[np.float32]


def input_gradient(layer: Any) -> Callable[[Array, Array], Array]:
    """The derivative of `layer`'s last state along a direction, with respect to every input, compiled once.

    Returns:
        A function of inputs <float32>[rows, time, features] and directions <float32>[rows, units]; it gives
        d(state . direction) / d(inputs), <float32>[rows, time, features], at the weights that the layer has when it is called.
    """
    import keras

    return _by_tape(layer) if keras.backend.backend() == "tensorflow" else _by_jax(layer)


def _by_tape(layer: Any) -> Callable[[Array, Array], Array]:
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def gradient(inputs: Any, directions: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            along = tf.reduce_sum(layer(inputs) * directions)
        return tape.gradient(along, inputs)

    return lambda inputs, directions: gradient(tf.constant(inputs), tf.constant(directions)).numpy()


def _by_jax(layer: Any) -> Callable[[Array, Array], Array]:
    import jax

    def along(weights: Any, others: Any, inputs: Any, directions: Any) -> Any:
        return (layer.stateless_call(weights, others, inputs)[0] * directions).sum()

    gradient = jax.jit(jax.grad(along, argnums=2))

    def now(inputs: Array, directions: Array) -> Array:
        weights, others = (
            [one.value for one in kind]
            for kind in (layer.trainable_variables, layer.non_trainable_variables)
        )
        return np.asarray(gradient(weights, others, inputs, directions))

    return now


def norms(
    gradient: Callable[[Array, Array], Array],
    inputs: Array,
    states: int,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Norm of d(last state . random unit vector) / d(input), <float64>[time], by lag: entry 0 is the last input's.

    It is the geometric mean over the rows, each with a direction of its own among `states` numbers: so a slope of its logarithm
    is the mean of the rows' slopes.
    """
    directions = random.standard_normal((len(inputs), states)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    sizes = np.linalg.norm(gradient(inputs, directions).astype(np.float64), axis=2)
    with np.errstate(divide="ignore"):
        return np.exp(np.log(sizes).mean(axis=0))[::-1]


def measured_lags(far: int) -> list[int]:
    """The lags that are written down: about 16 from 0 to `far`, evenly spaced."""
    return sorted({*range(0, far + 1, max(1, far // 16)), far})


def gradients(
    cell: str, units: int, far: int, seeds: int, trained: dict[int, list[Array]]
) -> list[dict[str, Any]]:
    """Rows of gradients.csv of one cell: `cell,stage,seed,lag,norm`.

    Stages: `initial`, Keras's default weights; `trained`, the weights of the recall training; and of an rnn `scaled`, its
    recurrent kernel times RADIUS and inputs of zero, where tanh is linear and nothing holds the growth back.

    Args:
        cell: its name, as in conf/cell/.
        units: of the cell.
        far: the largest lag; inputs are recall sequences of 2 far + 1 steps.
        seeds: how many, from 0.
        trained: the layer's weights after the recall training, by seed.
    """
    layer = recurrent(cell, units, 0)
    layer.build((None, 2 * far + 1, FEATURES))
    states = layer.compute_output_shape((1, 2 * far + 1, FEATURES))[-1]
    gradient, rows = input_gradient(layer), []
    for seed in range(seeds):
        inputs, _ = sequences(np.random.default_rng([seed, 10]), far, ROWS)
        fresh = recurrent(cell, units, seed)
        fresh.build(inputs.shape)
        stages = {"initial": (fresh.get_weights(), inputs), "trained": (trained[seed], inputs)}
        if cell == "rnn":
            stages["scaled"] = (scaled(fresh.get_weights()), np.zeros_like(inputs))
        for stage, (weights, read) in stages.items():
            layer.set_weights(weights)
            found = norms(gradient, read, states, np.random.default_rng([seed, 11]))
            rows += [
                {"cell": cell, "stage": stage, "seed": seed, "lag": lag, "norm": found[lag]}
                for lag in measured_lags(far)
            ]
    return rows


def scaled(weights: list[Array]) -> list[Array]:
    """An rnn's weights (kernel, recurrent kernel, bias) with the recurrent kernel times RADIUS."""
    kernel, own, bias = weights
    return [kernel, RADIUS * own, bias]
