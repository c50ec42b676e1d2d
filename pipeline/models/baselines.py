"""The baselines: trivial, seasonal and linear models, fitted to the training part of the cells.

`trivial` ignores the inputs, `seasonal` repeats the value one season before, and `linear` is a
penalised linear model of the inputs. For texts, linear models are logistic regressions on the
TF-IDF of token n-grams.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..data.arrays import Data, Ids
from ..data.text import RANK_OFFSET
from ..errors import FairsweepError
from ..metrics import NO_LABEL, rate

NGRAMS = (1, 2, 3)
TEXT_STRENGTHS = (1.0, 3.0, 10.0, 30.0)
# Fitted texts that an n-gram must occur in. Nine in ten occur in one text, and cannot generalise.
_LEAST_TEXTS = 2


@dataclass(frozen=True)
class Candidate:
    """A baseline fitted with one setting.

    Attributes:
        settings: as in the table. For texts: `ngrams`, the length of the longest n-gram; `C`, the
            inverse strength of the L2 penalty; `features`, the number of n-grams.
        validation: the score of `validation_logits`; higher is better, so errors are negative.
        validation_loss: the loss, as `metrics.rate` returns it.
        validation_logits: <float16>[rows, ...], or standardised numbers <float32>[rows, outputs].
        test_logits: likewise for the test rows.
    """

    settings: dict[str, Any]
    validation: float
    validation_loss: float
    validation_logits: NDArray[np.floating]
    test_logits: NDArray[np.floating]


def fit_texts(
    train: Ids,
    train_labels: NDArray[np.integer],
    validation: Ids,
    validation_labels: NDArray[np.integer],
    test: Ids,
    outputs: int = 1,
) -> list[Candidate]:
    """Fit every setting to `train`, without random numbers.

    Args:
        outputs: 1 for labels 0 and 1, with logits <float16>[rows]; otherwise the number of classes,
            with logits <float16>[rows, outputs].
    """
    fitted, seen = len(train), len(train) + len(validation)
    candidates = []
    for ngrams, features in _features([train, validation, test], fitted):
        for strength in TEXT_STRENGTHS:
            logits = _logits(
                features[:fitted], train_labels, features[fitted:], strength, outputs
            ).astype(np.float16)
            on_validation, on_test = logits[: seen - fitted], logits[seen - fitted :]
            score, loss = _score(on_validation, validation_labels)
            settings = {"ngrams": ngrams, "C": strength, "features": features.shape[1]}
            candidates.append(Candidate(settings, score, loss, on_validation, on_test))
    return candidates


def _logits(
    train: sparse.csr_matrix,
    labels: NDArray[np.integer],
    rows: sparse.csr_matrix,
    strength: float,
    outputs: int,
) -> NDArray[np.floating]:
    """Logits of `rows`: <float>[rows] for two classes, otherwise [rows, outputs]."""
    from sklearn.linear_model import LogisticRegression

    # With few rows and many features the dual takes under a second. Its random order is fixed.
    model = LogisticRegression(
        C=strength, solver="liblinear", dual=True, tol=1e-3, max_iter=1000, random_state=0
    )
    if outputs == 1:
        return model.fit(train, labels).decision_function(rows)
    columns = [model.fit(train, labels == name).decision_function(rows) for name in range(outputs)]
    # Log probabilities of each class against the rest. Their softmax scales these to sum to 1.
    return -np.logaddexp(0.0, -np.stack(columns, axis=1))


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """The highest validation score, then the lower loss, then the first, as for cells."""
    return min(candidates, key=lambda candidate: (-candidate.validation, candidate.validation_loss))


def _score(logits: NDArray[np.float16], labels: NDArray[np.integer]) -> tuple[float, float]:
    """Accuracy and mean log loss of the stored logits."""
    if logits.ndim == 2:
        return rate("accuracy", logits, labels)[:2]
    exact = logits.astype(np.float64)
    accuracy = np.mean((exact > 0) == (labels == 1))
    loss = np.mean(np.logaddexp(0.0, np.where(labels == 1, -exact, exact)))
    return float(accuracy), float(loss)


def _features(parts: Sequence[Ids], fitted: int) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """TF-IDF <float32>[all rows, features] per order in NGRAMS, from the first `fitted` rows."""
    from sklearn.feature_extraction.text import TfidfTransformer

    ids = np.concatenate([part.ids for part in parts])
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    blocks: list[sparse.csr_matrix] = []
    for order in NGRAMS:
        blocks.append(_counts(ids, lengths, order, fitted))
        counts = sparse.hstack(blocks, format="csr")
        yield order, TfidfTransformer(sublinear_tf=True).fit(counts[:fitted]).transform(counts)


def _counts(
    ids: NDArray[np.int32], lengths: NDArray[np.int64], order: int, fitted: int
) -> sparse.csr_matrix:
    """Counts <float32>[rows, n-grams] of n-grams of `order` words that enough fitted rows have."""
    row = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    starts = max(len(ids) - order + 1, 0)
    # An n-gram is within one row, and of known words.
    whole = row[:starts] == row[order - 1 :]
    # One number per n-gram: with a vocabulary under two million, three ids fit into 63 bits.
    key, base = np.zeros(starts, np.int64), int(ids.max()) + 1
    for shift in range(order):
        word = ids[shift : shift + starts]
        whole &= word > RANK_OFFSET
        key = key * base + word
    runs, column = np.unique(key[whole], return_inverse=True)
    ones = np.ones(len(column), np.float32)
    counts = sparse.csr_matrix(
        (ones, (row[:starts][whole], column)), shape=(len(lengths), len(runs))
    )
    counts.sum_duplicates()
    reviews = np.bincount(counts[:fitted].indices, minlength=len(runs))
    return counts[:, reviews >= _LEAST_TEXTS]


# Steps per season: weeks per year.
PERIOD = 52
# L2 penalties in scikit-learn: C for classes, alpha for series.
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
# Number of last steps, with the current one, that predict the labels of a step; and C for these.
LAGS = (1, 2, 4, 9)
STEP_STRENGTHS = (0.1, 1.0)
# Largest number of steps that is fitted, in half a minute; the others are left out at random.
FITTED_STEPS = 24_000

# Settings, and predictions of the validation and test rows.
Predicted = tuple[dict[str, Any], list[NDArray[np.floating]]]


def fit_all(kind: str, data: Data) -> list[Candidate]:
    """Fit every setting of one kind to the training part, without random numbers.

    Args:
        kind: trivial, seasonal (for a regression) or linear (for numbers).
        data: of any task; `trivial` reads only the labels of texts.

    Returns:
        One candidate per setting; of equal ones the first wins. Settings: `C` for classes, `alpha`
        for a regression, `steps` and `C` for labels at each step, none for trivial and seasonal.

    Raises:
        FairsweepError: the task has no model of this kind, or inputs are shorter than a season.
    """
    spec = data.spec
    candidates = []
    dtype: Any = np.float32 if spec.kind == "regression" else np.float16
    for settings, predicted in _model(kind, data)(data):
        # Scored as they are stored.
        validation, test = (part.astype(dtype) for part in predicted)
        rated = rate(spec.metric, validation, data.validation_labels, spec.scale)
        candidates.append(Candidate(settings, rated.value, rated.loss, validation, test))
    return candidates


def _model(kind: str, data: Data) -> Callable[[Data], Iterator[Predicted]]:
    spec = data.spec
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
    model = models.get((kind, spec.kind))
    if model is None or (spec.features is None and kind != "trivial"):
        inputs = "token ids" if spec.features is None else "numbers"
        raise FairsweepError(
            f"baseline {kind!r}: there is no such model for a task of kind {spec.kind} on "
            f"{inputs}. Expected trivial, seasonal "
            "for a regression, linear for numbers. Correct `baselines` in the TaskSpec of the "
            "task's source."
        )
    return model


def _shares(data: Data) -> Iterator[Predicted]:
    """The shares of the classes in training. Of equally frequent classes the first wins."""
    outputs = data.spec.outputs
    counts = np.bincount(data.train_labels, minlength=2 if data.spec.kind == "binary" else outputs)
    logits = (
        _log_odds(counts[1], counts[0])
        if data.spec.kind == "binary"
        else np.log((counts + 0.5) / (counts + 0.5).sum())
    )
    yield {}, [np.broadcast_to(logits, (len(part), *logits.shape)) for part in _scored_inputs(data)]


def _frequencies(data: Data) -> Iterator[Predicted]:
    """The frequency of each label in training, at every step. F1 is 0 if all are below one half."""
    real, positive = (
        (data.train_labels != NO_LABEL).sum(axis=(0, 1)),
        (data.train_labels == 1).sum(axis=(0, 1)),
    )
    logits = _log_odds(positive, real - positive)
    yield (
        {},
        [np.broadcast_to(logits, (*part.shape[:2], len(logits))) for part in _scored_inputs(data)],
    )


def _last_value(data: Data) -> Iterator[Predicted]:
    """The last input, for every horizon: inputs and labels have the same unit and reference.

    With `task.relative` values are relative to the last input, so it is 0, and so is the forecast.
    """
    outputs = data.spec.outputs
    yield {}, [np.repeat(part[:, -1, :1], outputs, axis=1) for part in _scored_inputs(data)]


def _season_ago(data: Data) -> Iterator[Predicted]:
    """The last input that is a whole number of seasons before the label."""
    length = data.train_inputs.shape[1]
    if length < PERIOD:
        raise FairsweepError(
            f"task.length={length}: the seasonal baseline looks {PERIOD} steps back. Raise "
            f"task.length to {PERIOD} or more, "
            "or remove `seasonal` from the TaskSpec of the task's source."
        )
    # Input `length - 1` is the last one; horizon h is h steps later.
    places = length - PERIOD + np.arange(data.spec.outputs) % PERIOD
    yield {}, [part[:, places, 0] for part in _scored_inputs(data)]


def _linear_classes(data: Data) -> Iterator[Predicted]:
    """Multinomial logistic regression on all numbers of all steps."""
    from sklearn.linear_model import LogisticRegression

    train, *scored = (_flat(part) for part in (data.train_inputs, *_scored_inputs(data)))
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=10_000).fit(train, data.train_labels)
        yield (
            {"C": strength},
            [_of_classes(model.decision_function(part), data.spec.kind) for part in scored],
        )


def _of_classes(logits: NDArray[np.floating], kind: str) -> NDArray[np.floating]:
    """One logit per class, also for two classes, for which scikit-learn returns one."""
    return (
        np.stack([np.zeros_like(logits), logits], axis=1)
        if kind == "classes" and logits.ndim == 1
        else logits
    )


def _autoregression(data: Data) -> Iterator[Predicted]:
    """Ridge regression of all horizons on the values of the window."""
    from sklearn.linear_model import Ridge

    train, *scored = (_flat(part) for part in (data.train_inputs, *_scored_inputs(data)))
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty, solver="cholesky").fit(
            train, data.train_labels.astype(np.float64)
        )
        yield {"alpha": penalty}, [model.predict(part).reshape(len(part), -1) for part in scored]


def _linear_steps(data: Data) -> Iterator[Predicted]:
    """One logistic regression per label on the inputs of the last steps."""
    rows, steps = np.nonzero((data.train_labels != NO_LABEL).any(axis=2))
    if len(rows) > FITTED_STEPS:
        sampled = np.sort(np.random.default_rng(0).choice(len(rows), FITTED_STEPS, replace=False))
        rows, steps = rows[sampled], steps[sampled]
    train, labels = _history(data.train_inputs, rows, steps), data.train_labels[rows, steps]
    scored = [
        _history(part, *np.divmod(np.arange(part.shape[0] * part.shape[1]), part.shape[1]))
        for part in _scored_inputs(data)
    ]
    for lags, strength in product(LAGS, STEP_STRENGTHS):
        # The latest steps are the first columns.
        width = lags * data.train_inputs.shape[2]
        weights, biases = _fit_labels(train[:, :width], labels, strength)
        predicted = (part[:, :width] @ weights + biases for part in scored)
        shapes = (part.shape[:2] for part in _scored_inputs(data))
        yield (
            {"steps": lags, "C": strength},
            [part.reshape(*shape, -1) for part, shape in zip(predicted, shapes, strict=True)],
        )


def _fit_labels(
    features: sparse.csr_matrix, labels: NDArray[np.uint8], strength: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Weights [features, labels] and biases [labels]. A constant label has only a bias."""
    from sklearn.linear_model import LogisticRegression

    weights, biases = np.zeros((features.shape[1], labels.shape[1])), np.zeros(labels.shape[1])
    for place, label in enumerate(labels.T):
        ones = np.count_nonzero(label == 1)
        if ones in (0, len(label)):
            biases[place] = _log_odds(ones, len(label) - ones)
            continue
        model = LogisticRegression(C=strength, solver="liblinear", tol=1e-3, max_iter=1000).fit(
            features, label == 1
        )
        weights[:, place], biases[place] = model.coef_[0], model.intercept_[0]
    return weights, biases


def _history(
    inputs: NDArray[Any], rows: NDArray[np.integer], steps: NDArray[np.integer]
) -> sparse.csr_matrix:
    """The inputs of each (row, step) and of the steps before, the latest first; 0 before the start.

    Returns:
        <float32>[(row, step) pairs, lags * features].
    """
    blocks = []
    for lag in range(max(LAGS)):
        block = inputs[rows, np.maximum(steps - lag, 0)].astype(np.float32)
        block[steps < lag] = 0.0
        blocks.append(sparse.csr_matrix(block))
    return sparse.hstack(blocks, format="csr")


def _scored_inputs(data: Data) -> tuple[NDArray[Any], NDArray[Any]]:
    return data.validation_inputs, data.test_inputs


def _flat(inputs: NDArray[Any]) -> NDArray[np.float64]:
    return inputs.reshape(len(inputs), -1).astype(np.float64)


def _log_odds(ones: Any, zeros: Any) -> Any:
    """Log odds with half a count more on each side (Krichevsky and Trofimov 1981)."""
    return np.log((ones + 0.5) / (zeros + 0.5))
