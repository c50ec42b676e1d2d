"""What stands beside the cells on tasks that are no texts: what needs no learning, and what is linear in the inputs.

`trivial` is what a run scores that learned nothing of the inputs, `seasonal` what a series was a season ago, `linear` what a
penalised linear model makes of the same inputs. A text has `trivial` as well; its linear models are those of `models.linear`.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipeline.data.arrays import Data
from pipeline.errors import FairsweepError
from pipeline.evidence.scores import NO_LABEL, rate
from pipeline.models.linear import Candidate

# Steps of a season: weeks of a year.
PERIOD = 52
# Inverse strengths of the L2 penalty on classes, and penalties on series (scikit-learn's C and alpha).
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
# How many of the last steps, this one among them, a label of a step is predicted from, and C there.
LAGS = (1, 2, 4, 9)
STEP_STRENGTHS = (0.1, 1.0)
# Steps that are fitted at most, drawn from all: the 65,536 of tagging would take minutes, these take half of one.
FITTED_STEPS = 24_000

# Settings, and what they predict of the validation and of the test rows.
Predicted = tuple[dict[str, Any], list[NDArray[np.floating]]]


def fit_all(kind: str, data: Data) -> list[Candidate]:
    """Fits every setting of one kind on the training part alone; the same arguments give the same numbers.

    Args:
        kind: trivial, seasonal (regression alone) or linear (numbers alone).
        data: of any form; of texts, `trivial` looks at nothing but the labels.

    Returns:
        A candidate a setting, in the order in which ties go. Settings: `C` of classes, `alpha` of a regression, `steps` and `C`
        of labels at each step; none of trivial and seasonal.

    Raises:
        FairsweepError: a kind that the form of the data has no model for, or inputs shorter than a season.
    """
    form = data.form
    candidates = []
    dtype: Any = np.float32 if form.kind == "regression" else np.float16
    for settings, predicted in _model(kind, data)(data):
        # Judged as they are stored.
        own, test = (part.astype(dtype) for part in predicted)
        rated = rate(form.metric, own, data.validation_labels, form.scale)
        candidates.append(Candidate(settings, rated.value, rated.loss, own, test))
    return candidates


def _model(kind: str, data: Data) -> Callable[[Data], Iterator[Predicted]]:
    form = data.form
    models: dict[tuple[str, str], Callable[[Data], Iterator[Predicted]]] = {
        ("trivial", "binary"): _shares,
        ("trivial", "classes"): _shares,
        ("trivial", "steps"): _frequencies,
        ("trivial", "regression"): _last_value,
        ("seasonal", "regression"): _season_ago,
        ("linear", "binary"): _linear_classes,
        ("linear", "classes"): _linear_classes,
        ("linear", "steps"): _linear_steps,
        ("linear", "regression"): _autoregression,
    }
    model = models.get((kind, form.kind))
    if model is None or (form.features is None and kind != "trivial"):
        inputs = "token ids" if form.features is None else "numbers"
        raise FairsweepError(
            f"baseline {kind!r}: there is no such model for a task of kind {form.kind} on {inputs}. Expected trivial, seasonal "
            "for a regression, linear for numbers. Correct `baselines` in the form of the task's source."
        )
    return model


def _shares(data: Data) -> Iterator[Predicted]:
    """The shares of the classes in training, whatever the input: the most frequent class wins, of two equal ones the first."""
    outputs = data.form.outputs
    counts = np.bincount(data.train_labels, minlength=2 if data.form.kind == "binary" else outputs)
    logits = _log_odds(counts[1], counts[0]) if data.form.kind == "binary" else np.log((counts + 0.5) / (counts + 0.5).sum())
    yield {}, [np.broadcast_to(logits, (len(part), *logits.shape)) for part in _asked(data)]


def _frequencies(data: Data) -> Iterator[Predicted]:
    """How often each label is 1 in training, at every step. Where none is 1 half of the time none is ever said, and f1 is 0."""
    real, positive = (data.train_labels != NO_LABEL).sum(axis=(0, 1)), (data.train_labels == 1).sum(axis=(0, 1))
    logits = _log_odds(positive, real - positive)
    yield {}, [np.broadcast_to(logits, (*part.shape[:2], len(logits))) for part in _asked(data)]


def _last_value(data: Data) -> Iterator[Predicted]:
    """The last input, for every horizon: inputs and labels are in one unit, and relative to one value, or neither is.

    Of windows told relative to the last value seen (`task.relative`) the last input is 0, and so is the forecast.
    """
    outputs = data.form.outputs
    yield {}, [np.repeat(part[:, -1, :1], outputs, axis=1) for part in _asked(data)]


def _season_ago(data: Data) -> Iterator[Predicted]:
    """The latest value seen that is whole seasons before the one asked for, in windows told either way, as in `_last_value`."""
    length = data.train_inputs.shape[1]
    if length < PERIOD:
        raise FairsweepError(
            f"task.length={length}: the seasonal baseline looks {PERIOD} steps back. Raise task.length to {PERIOD} or more, "
            "or leave `seasonal` out of the form of the task's source."
        )
    # The input of place `length - 1` is the last one; horizon h is h steps after it.
    places = length - PERIOD + np.arange(data.form.outputs) % PERIOD
    yield {}, [part[:, places, 0] for part in _asked(data)]


def _linear_classes(data: Data) -> Iterator[Predicted]:
    """Multinomial logistic regression on all numbers of all steps."""
    from sklearn.linear_model import LogisticRegression

    train, *asked = (_flat(part) for part in (data.train_inputs, *_asked(data)))
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=10_000).fit(train, data.train_labels)
        yield {"C": strength}, [_of_classes(model.decision_function(part), data.form.kind) for part in asked]


def _of_classes(logits: NDArray[np.floating], kind: str) -> NDArray[np.floating]:
    """A logit a class also where scikit-learn tells two classes by one."""
    return np.stack([np.zeros_like(logits), logits], axis=1) if kind == "classes" and logits.ndim == 1 else logits


def _autoregression(data: Data) -> Iterator[Predicted]:
    """Ridge regression of all horizons on the values of the window."""
    from sklearn.linear_model import Ridge

    train, *asked = (_flat(part) for part in (data.train_inputs, *_asked(data)))
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty, solver="cholesky").fit(train, data.train_labels.astype(np.float64))
        yield {"alpha": penalty}, [model.predict(part).reshape(len(part), -1) for part in asked]


def _linear_steps(data: Data) -> Iterator[Predicted]:
    """A logistic regression a label on the inputs of the last steps, fitted on FITTED_STEPS of the steps that have labels."""
    rows, steps = np.nonzero((data.train_labels != NO_LABEL).any(axis=2))
    if len(rows) > FITTED_STEPS:
        drawn = np.sort(np.random.default_rng(0).choice(len(rows), FITTED_STEPS, replace=False))
        rows, steps = rows[drawn], steps[drawn]
    train, labels = _history(data.train_inputs, rows, steps), data.train_labels[rows, steps]
    asked = [_history(part, *np.divmod(np.arange(part.shape[0] * part.shape[1]), part.shape[1])) for part in _asked(data)]
    for lags, strength in product(LAGS, STEP_STRENGTHS):
        # The columns of fewer steps stand first among those of more.
        width = lags * data.train_inputs.shape[2]
        weights, biases = _fit_labels(train[:, :width], labels, strength)
        predicted = (part[:, :width] @ weights + biases for part in asked)
        shapes = (part.shape[:2] for part in _asked(data))
        yield {"steps": lags, "C": strength}, [part.reshape(*shape, -1) for part, shape in zip(predicted, shapes, strict=True)]


def _fit_labels(
    features: sparse.csr_matrix, labels: NDArray[np.uint8], strength: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Weights [features, labels] and biases [labels]; a label that never changes has a bias alone, its log odds."""
    from sklearn.linear_model import LogisticRegression

    weights, biases = np.zeros((features.shape[1], labels.shape[1])), np.zeros(labels.shape[1])
    for place, label in enumerate(labels.T):
        ones = np.count_nonzero(label == 1)
        if ones in (0, len(label)):
            biases[place] = _log_odds(ones, len(label) - ones)
            continue
        model = LogisticRegression(C=strength, solver="liblinear", tol=1e-3, max_iter=1000).fit(features, label == 1)
        weights[:, place], biases[place] = model.coef_[0], model.intercept_[0]
    return weights, biases


def _history(inputs: NDArray[Any], rows: NDArray[np.integer], steps: NDArray[np.integer]) -> sparse.csr_matrix:
    """The inputs of each (row, step) and of the steps before it, the latest first, 0 before the start.

    Returns:
        <float32>[(row, step) pairs, lags * features].
    """
    blocks = []
    for lag in range(max(LAGS)):
        block = inputs[rows, np.maximum(steps - lag, 0)].astype(np.float32)
        block[steps < lag] = 0.0
        blocks.append(sparse.csr_matrix(block))
    return sparse.hstack(blocks, format="csr")


def _asked(data: Data) -> tuple[NDArray[Any], NDArray[Any]]:
    return data.validation_inputs, data.test_inputs


def _flat(inputs: NDArray[Any]) -> NDArray[np.float64]:
    return inputs.reshape(len(inputs), -1).astype(np.float64)


def _log_odds(ones: Any, zeros: Any) -> Any:
    """Log odds with half a count more on either side (Krichevsky and Trofimov 1981), so that what never occurred stays finite."""
    return np.log((ones + 0.5) / (zeros + 0.5))
