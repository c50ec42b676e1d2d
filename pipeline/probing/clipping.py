"""What clipping does to a step of SGD where gradients explode."""

import math
from typing import Any

import numpy as np

from .gradients import scaled
from .network import FEATURES, compiled, network, recurrent, sequences

RATE = 0.01
LIMIT = 1.0
ROWS = 64
# Inputs so small that tanh stays linear for some thirty steps: saturated, it would hold the gradient back.
QUIET = 1e-6
RULES = ("none", "clipnorm", "global_clipnorm", "clipvalue")


def bounds(rate: float, limit: float, tensors: int, parameters: int) -> dict[str, float]:
    """The largest norm that one step of SGD can have under each rule.

    Keras's clipnorm cuts the gradient of each weights tensor by its own norm, global_clipnorm all of them together, clipvalue
    each number.
    """
    whole = rate * limit
    return {
        "none": math.inf,
        "clipnorm": whole * math.sqrt(tensors),
        "global_clipnorm": whole,
        "clipvalue": whole * math.sqrt(parameters),
    }


def clipping(units: int, lag: int, seeds: int) -> list[dict[str, Any]]:
    """Rows of clipping.csv: `rule,seed,limit,learning_rate,gradient,update,bound`, norms of the whole gradient and of one step.

    The step is one of SGD on the recall task, its inputs times QUIET, of an rnn with its recurrent kernel scaled: the same weights
    and batch for each rule. `bound` is infinite without clipping.
    """
    rows: list[dict[str, Any]] = []
    for rule in RULES:
        model = exploding(units, lag, rule)
        for seed in range(seeds):
            inputs, symbols = sequences(np.random.default_rng([seed, 20]), lag, ROWS)
            weights = start(units, lag, seed)
            update = step(model, weights, (np.float32(QUIET) * inputs, symbols))
            bound = bounds(RATE, LIMIT, len(weights), model.count_params())[rule]
            rows.append(
                {
                    "rule": rule,
                    "seed": seed,
                    "limit": LIMIT,
                    "learning_rate": RATE,
                    "update": update,
                    "bound": bound,
                }
            )
    unclipped = {row["seed"]: row["update"] / RATE for row in rows if row["rule"] == "none"}
    return [{**row, "gradient": unclipped[row["seed"]]} for row in rows]


def exploding(units: int, lag: int, rule: str) -> Any:
    """The rnn's network, compiled with SGD under `rule`."""
    import keras

    clip = {} if rule == "none" else {rule: LIMIT}
    model = network(recurrent("rnn", units, 0), 2 * lag + 1, FEATURES, 0)
    return compiled(model, keras.optimizers.SGD(RATE, **clip))


def start(units: int, lag: int, seed: int) -> list[np.ndarray]:
    """The weights before the step: `seed`'s, with the recurrent kernel scaled."""
    fresh = network(recurrent("rnn", units, seed), 2 * lag + 1, FEATURES, seed).get_weights()
    return [*scaled(fresh[:3]), *fresh[3:]]


def step(model: Any, weights: list[np.ndarray], batch: tuple[np.ndarray, np.ndarray]) -> float:
    """The norm of what one training step on `batch` changes, from `weights` on."""
    model.set_weights(weights)
    model.train_on_batch(*batch)
    changes = [
        after.astype(np.float64) - before
        for after, before in zip(model.get_weights(), weights, strict=True)
    ]
    return math.sqrt(sum(float((change**2).sum()) for change in changes))
