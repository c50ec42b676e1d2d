"""Micro-F1 over the batches of an epoch, from logits: Keras's own F1 takes no steps."""

from typing import Any

import keras


class MicroF1(keras.metrics.Metric):
    """2 TP / (2 TP + FP + FN) over all steps and labels; a label is said where its logit is above 0. Padded steps count nowhere."""

    def __init__(self, name: str = "micro_f1") -> None:
        super().__init__(name=name)
        self.right = self.add_variable((), "zeros", name="right")
        self.all = self.add_variable((), "zeros", name="all")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch: <float>[batch, steps, labels] each."""
        said = keras.ops.cast(y_pred > 0, "float32")
        mask = getattr(y_pred, "_keras_mask", None)
        if mask is not None:
            said = said * keras.ops.expand_dims(keras.ops.cast(mask, "float32"), -1)
        positive = keras.ops.cast(y_true, "float32")
        self.right.assign_add(2 * keras.ops.sum(said * positive))
        self.all.assign_add(keras.ops.sum(said) + keras.ops.sum(positive))

    def result(self) -> Any:
        """The score so far, 0 before any label was said or true."""
        return self.right / keras.ops.maximum(self.all, 1)
