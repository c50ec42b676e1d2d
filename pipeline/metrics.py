"""The metrics: scores of predictions, Keras metrics of training, and the format of scores and gaps.

Internally a higher score is always better: errors and negative log likelihoods are negative, and
shown as positive. A gap is score a minus score b, so it is positive if a is better.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float16).max)
# The label of a padded step, which is not scored.
NO_LABEL = 255


class Guess(NamedTuple):
    """Test accuracy (fraction), log loss (nats per example) and area under the ROC curve
    (fraction).
    """

    accuracy: float
    loss: float
    auc: float


# The score of a failed run where the task has no trivial baseline.
GUESS = Guess(0.5, log(2.0), 0.5)


class Rated(NamedTuple):
    """The score of predictions (higher is better), their mean loss, and contributions per example.

    The mean of `examples` <float64>[rows] is the score. For a ratio (F1, nats per step) the
    contributions are the linearised shares R + (a_i - R b_i) / mean(b) of R = sum(a) / sum(b),
    whose variance over examples is that of R.
    """

    value: float
    loss: float
    examples: NDArray[np.floating]


def _accuracy(logits: NDArray[np.floating], labels: NDArray[np.integer], scale: float) -> Rated:
    """The share of correct predictions and the log loss in nats per example."""
    if len(logits) != len(labels):
        raise ValueError(
            f"predictions and labels must be equally long, not {len(logits)} and {len(labels)}."
        )
    if logits.ndim == 1:
        right, losses = (logits > 0) == (labels == 1), np.logaddexp(0.0, logits) - labels * logits
    else:
        right = logits.argmax(axis=1) == labels
        top = logits.max(axis=1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        losses = total - logits[np.arange(len(labels)), labels]
    return Rated(float(right.mean()), float(losses.mean()), right.astype(np.float64))


def _f1(logits: NDArray[np.floating], labels: NDArray[np.integer], scale: float) -> Rated:
    """Micro-F1 over all steps and labels, and the log loss in nats per label."""
    real, positive, losses = _of_steps(logits, labels)
    predicted = (logits > 0) & real
    right = (predicted & positive).sum(axis=(1, 2))
    examples = _ratio(2.0 * right, predicted.sum(axis=(1, 2)) + positive.sum(axis=(1, 2)))
    return Rated(float(examples.mean()), float(losses.sum() / real.sum()), examples)


def _nll(logits: NDArray[np.floating], labels: NDArray[np.integer], scale: float) -> Rated:
    """Minus the nats per step, summed over labels. The loss is the same number, positive."""
    real, _, losses = _of_steps(logits, labels)
    examples = _ratio(-losses.sum(axis=(1, 2)), real.any(axis=2).sum(axis=1))
    return Rated(float(examples.mean()), -float(examples.mean()), examples)


def _mae(predictions: NDArray[np.floating], labels: NDArray[np.floating], scale: float) -> Rated:
    """Minus the mean absolute error in the task's unit, and the mean squared standardised error."""
    _check_shapes(predictions, labels)
    errors = np.abs(predictions - labels).reshape(len(labels), -1)
    examples = -scale * errors.mean(axis=1)
    return Rated(float(examples.mean()), float((errors**2).mean()), examples)


def _of_steps(
    logits: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(labels that are not padding, positive labels, log losses), each [rows, time, labels]."""
    _check_shapes(logits, labels)
    real, positive = labels != NO_LABEL, labels == 1
    return (
        real,
        positive,
        np.where(real, np.logaddexp(0.0, np.where(positive, -logits, logits)), 0.0),
    )


def _check_shapes(predictions: NDArray[Any], labels: NDArray[Any]) -> None:
    if predictions.shape != labels.shape:
        raise ValueError(
            f"predictions and labels must have one shape, not {predictions.shape} and "
            f"{labels.shape}."
        )


def _ratio(parts: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.floating]:
    """The linearised share of each row in sum(parts) / sum(whole); zeros if that sum is zero."""
    if not whole.sum():
        return np.zeros(len(parts))
    ratio = parts.sum() / whole.sum()
    shares: NDArray[np.floating] = ratio + (parts - ratio * whole) / whole.mean()
    return shares


def _keras_accuracy(kind: str) -> Any:
    import keras

    if kind == "classes":
        return keras.metrics.SparseCategoricalAccuracy(name="score")
    return keras.metrics.BinaryAccuracy(threshold=0.0, name="score")


def _keras_mae(kind: str) -> Any:
    import keras

    return keras.metrics.MeanAbsoluteError(name="score")


@functools.cache
def _micro_f1() -> Any:
    """The class MicroF1, defined when Keras is first needed. `keras.metrics.F1Score` does not
    accept a label per step.
    """
    import keras

    class MicroF1(keras.metrics.Metric):
        """2 TP / (2 TP + FP + FN) over all steps and labels of an epoch. A logit above 0 predicts
        its label. Padded steps are ignored.
        """

        def __init__(self, name: str = "micro_f1") -> None:
            super().__init__(name=name)
            self.right = self.add_variable((), "zeros", name="right")
            self.all = self.add_variable((), "zeros", name="all")

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            """Adds a batch: <float>[batch, steps, labels] each."""
            predicted = keras.ops.cast(y_pred > 0, "float32")
            mask = getattr(y_pred, "_keras_mask", None)
            if mask is not None:
                predicted = predicted * keras.ops.expand_dims(keras.ops.cast(mask, "float32"), -1)
            positive = keras.ops.cast(y_true, "float32")
            self.right.assign_add(2 * keras.ops.sum(predicted * positive))
            self.all.assign_add(keras.ops.sum(predicted) + keras.ops.sum(positive))

        def result(self) -> Any:
            """The score so far; 0 if no label was predicted or true."""
            return self.right / keras.ops.maximum(self.all, 1)

    return MicroF1


@dataclass(frozen=True)
class Metric:
    """A metric. To add one, add an entry to METRICS.

    Attributes:
        name: as readers see it.
        fraction: whether scores are fractions, and higher is better as shown. Otherwise lower is
            better as shown.
        rate: takes (predictions <float64>, labels, scale) and returns a `Rated`.
        keras_metric: takes the kind of the task and returns the Keras metric of training. None: the
            loss is the metric.
        loss: description of the loss; `{example}` stands for the name of one row.
        leads: predicate of the better one of two models.
        top: description of the best score.
        trivial: short name and description of the trivial baseline.
        packed: whether the contribution of an example is 0 or 1, which is stored as one bit.
        decimals: of a shown score.
    """

    name: str
    fraction: bool
    rate: Callable[[NDArray[Any], NDArray[Any], float], Rated]
    keras_metric: Callable[[str], Any] | None
    loss: str
    leads: str = "scores higher on test"
    top: str = "highest test score"
    trivial: tuple[str, str] = (
        "trivial: label frequencies",
        "predicting each label by its frequency alone",
    )
    packed: bool = False
    decimals: int = 4


METRICS = {
    "accuracy": Metric(
        *("accuracy", True, _accuracy, _keras_accuracy, "log loss (nats per {example})"),
        trivial=("trivial: the most frequent class", "predicting always the most frequent class"),
        packed=True,
    ),
    "f1": Metric(
        *(
            "micro-F1",
            True,
            _f1,
            lambda kind: _micro_f1()(name="score"),
            "log loss (nats per label)",
        )
    ),
    "nll": Metric(
        *("nats per step", False, _nll, None, "log loss (nats per step)"),
        leads="needs fewer nats per step on test",
        top="fewest nats per step on test",
    ),
    "mae": Metric(
        *("error", False, _mae, _keras_mae, "mean square of the standardised error"),
        leads="has the lower error on test",
        top="lowest test error",
        trivial=("trivial: the last value", "repeating the last value"),
        decimals=3,
    ),
}
# Short name and description of the other baselines.
BASELINES: dict[str, tuple[str, str]] = {
    "same_tokens": ("linear, same tokens", "a linear model that sees the same tokens"),
    "whole_text": ("linear, whole text", "a linear model that sees whole texts"),
    "seasonal": ("seasonal", "the value one season before"),
    "linear": ("linear", "a linear model of the same inputs"),
}


def rate(
    metric: str, predictions: NDArray[np.floating], labels: NDArray[Any], scale: float = 1.0
) -> Rated:
    """Score predictions.

    Args:
        metric: a key of METRICS.
        predictions: logits <float>[rows] (binary), [rows, classes], [rows, time, labels] (f1, nll),
            or standardised numbers [rows, outputs] (mae).
        labels: <uint8>[rows] for accuracy; <uint8>[rows, time, labels] of 0, 1 and NO_LABEL;
            <float32>[rows, outputs].
        scale: size of one standardised unit in the unit of the task.

    Raises:
        ValueError: the metric is unknown, a prediction is NaN, or the shapes differ.
    """
    if np.isnan(predictions).any():
        raise ValueError(
            f"predictions must be numbers, not NaN ({int(np.isnan(predictions).sum())} of "
            f"{np.size(predictions)} are)."
        )
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}.")
    # A logit that is too large for float16 is infinite. It counts as the largest number, so that it
    # cannot make a mean infinite.
    exact = np.clip(np.asarray(predictions, np.float64), -LARGEST, LARGEST)
    return METRICS[metric].rate(exact, labels, scale)


def auc(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Area under the ROC curve of logits <float>[rows]; a tie counts one half.

    Raises:
        ValueError: `labels` does not hold 0 and 1, both, or has another length.
    """
    from sklearn.metrics import roc_auc_score

    if np.shape(logits) != np.shape(labels) or set(np.unique(labels)) != {0, 1}:
        raise ValueError(
            f"labels must be 0 and 1, both, one per logit, not {np.unique(labels)} for "
            f"{np.shape(logits)} logits."
        )
    return float(roc_auc_score(labels, logits))


def pack(correct: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Correctness <bool>[runs, rows] as bits <uint8>[runs, ceil(rows / 8)], highest bit first."""
    return np.packbits(np.asarray(correct, dtype=bool), axis=1)


def unpack(packed: NDArray[np.uint8], rows: int) -> NDArray[np.bool_]:
    """The inverse of `pack`: <bool>[runs, rows].

    Raises:
        ValueError: the width of `packed` does not fit that many rows.
    """
    if packed.shape[1] != -(-rows // 8):
        raise ValueError(
            f"packed must be {-(-rows // 8)} bytes wide for {rows} rows, not {packed.shape[1]}."
        )
    return np.unpackbits(packed, axis=1, count=rows).astype(bool)


@dataclass(frozen=True)
class Measure:
    """A metric on one task: how scores, gaps and intervals are shown.

    Attributes:
        metric: a key of METRICS.
        unit: of an error, such as ppm.
        decimals: of a shown score.
        example: name of a row, such as review.
        group: name of a group of rows, such as film; empty without groups.
    """

    metric: str = "accuracy"
    unit: str = ""
    decimals: int = 4
    example: str = "review"
    group: str = "film"

    @property
    def fraction(self) -> bool:
        """Whether scores are fractions; otherwise lower is better as shown."""
        return METRICS[self.metric].fraction

    @property
    def name(self) -> str:
        """`accuracy`, `micro-F1`, `nats per step`, `error`."""
        return METRICS[self.metric].name

    @property
    def axis(self) -> str:
        """The name with its unit, as on an axis: `accuracy`, `error, ppm`."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    @property
    def quantity(self) -> str:
        """The name with its unit, as in a caption: `accuracy (fraction)`, `error (ppm)`."""
        return (
            f"{self.name} (fraction)"
            if self.fraction
            else f"{self.name} ({self.unit})"
            if self.unit
            else self.name
        )

    @property
    def loss(self) -> str:
        """Description of the loss: `log loss (nats per review)`."""
        return METRICS[self.metric].loss.format(example=self.example)

    @property
    def gaps(self) -> str:
        """The unit of a gap: `points`, `ppm`, `nats per step`."""
        return "points" if self.fraction else self.unit or self.name

    @property
    def leads(self) -> str:
        """Predicate of the better one of two: `scores higher on test`."""
        return METRICS[self.metric].leads

    @property
    def top(self) -> str:
        """Description of the best score: `highest test score`."""
        return METRICS[self.metric].top

    @property
    def against(self) -> str:
        """The sign or word between the two arms of a gap, the better one first."""
        return "−" if self.fraction else "over"

    @property
    def examples(self) -> str:
        """Several rows: `reviews`."""
        return _plural(self.example)

    @property
    def groups(self) -> str:
        """The unit of sampling in the test set: `films`, or single rows without groups."""
        return _plural(self.group or self.example)

    def shown(self, value: float) -> float:
        """A score as a reader sees it: errors and nats are positive."""
        return value if self.fraction else 0.0 - value

    def score(self, value: float | None) -> str:
        """A score without its unit; a dash for None."""
        return "–" if value is None else _true_minus(f"{self.shown(value):.{self.decimals}f}")

    def score_unit(self, value: float) -> str:
        """A score with its unit: `0.8512`, `0.512 ppm`."""
        return self.score(value) if self.fraction else f"{self.score(value)} {self.gaps}"

    def mean_sd(self, values: Mapping[str, Any] | None) -> str:
        """`0.8512 ± 0.0021`. The mean alone if there was one run; a dash if there was none."""
        if values is None:
            return "–"
        return self.score(values["mean"]) + (
            "" if values["sd"] is None else f" ± {values['sd']:.{self.decimals}f}"
        )

    def interval(self, low: float, high: float) -> str:
        """The interval of a score, the smaller shown number first: `[0.8532, 0.8637]`."""
        ends = (low, high) if self.fraction else (high, low)
        return f"[{self.score(ends[0])}, {self.score(ends[1])}]"

    def with_interval(self, values: Mapping[str, Any]) -> str:
        """`0.8584 [0.8532, 0.8637]`."""
        return f"{self.score(values['mean'])} {self.interval(values['low'], values['high'])}"

    def sized(self, gap: float) -> float:
        """A gap in its unit; a fraction in points."""
        return 100 * gap if self.fraction else gap

    def points(self, gap: float | None) -> str:
        """A gap in its unit, without the unit's name; a dash for None."""
        return (
            "–"
            if gap is None
            else _true_minus(f"{self.sized(gap):.{2 if self.fraction else self.decimals}f}")
        )

    def span(self, low: float, high: float) -> str:
        """The interval of a gap."""
        return f"[{self.points(low)}, {self.points(high)}]"

    def gap(self, pair: Mapping[str, Any]) -> str:
        """`0.75 points [0.30, 1.20]`, `0.120 ppm [0.050, 0.190]`."""
        return f"{self.points(pair['gap'])} {self.gaps} {self.span(pair['low'], pair['high'])}"

    def margin(self, value: float) -> str:
        """`1 point`, `0.5 points`, `0.1 ppm`."""
        size = round(self.sized(value), 9)
        return f"{size:.6g} {'point' if self.fraction and size == 1 else self.gaps}"

    def baseline(self, kind: str) -> str:
        """The short name of a baseline."""
        return _baseline(kind, self.metric)[0]

    def baseline_text(self, kind: str) -> str:
        """The description of a baseline."""
        return _baseline(kind, self.metric)[1]


def measure_of(summary: Mapping[str, Any]) -> Measure:
    """The measure that a summary carries."""
    return Measure(**summary["measure"])


def _baseline(kind: str, metric: str) -> tuple[str, str]:
    plain = kind.replace("_", " ")
    return (
        METRICS[metric].trivial
        if kind == "trivial"
        else BASELINES.get(kind, (plain, f"the baseline {plain}"))
    )


def _plural(word: str) -> str:
    return word if word.endswith("s") else f"{word}s"


def _true_minus(text: str) -> str:
    """`text` with a minus sign in place of a hyphen, and without the sign of a zero."""
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text.replace("-", "−")
