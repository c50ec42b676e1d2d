"""What one run scored, from its stored predictions and the labels: every task's metric, higher better.

A run of logits says "positive" where its logit is above 0. A failed run scores what guessing would (`GUESS` where nothing trivial
stands beside the cells), so that a cell which crashes often pays for it and every arm keeps its full number of runs.
"""

from math import log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float16).max)
# The label of a padded step: it counts nowhere.
NO_LABEL = 255


class Guess(NamedTuple):
    """Test accuracy (fraction), log loss (nats a review) and area under the ROC curve (fraction)."""

    accuracy: float
    loss: float
    auc: float


GUESS = Guess(0.5, log(2.0), 0.5)


class Rated(NamedTuple):
    """A run on one part: its score (higher is better), its mean loss, and what each example adds.

    `examples` <float64>[rows] has the score as its mean. Of a ratio (F1, nats a step) it holds the linearised shares
    R + (a_i - R b_i) / mean(b) of R = sum(a) / sum(b), whose spread over examples is that of R.
    """

    value: float
    loss: float
    examples: NDArray[np.floating]


def rate(metric: str, predictions: NDArray[np.floating], labels: NDArray[Any], scale: float = 1.0) -> Rated:
    """What predictions are worth.

    Args:
        metric: accuracy, f1, nll or mae.
        predictions: logits <float>[rows] (binary), [rows, classes], [rows, time, labels] (f1, nll), or standardised numbers
            [rows, outputs] (mae).
        labels: <uint8>[rows] of accuracy; <uint8>[rows, time, labels] of 0, 1 and NO_LABEL; <float32>[rows, outputs].
        scale: what a standardised 1 is in the unit of `mae`.

    Returns:
        accuracy: the share classified rightly, log loss in nats. f1: micro-F1 over all steps and labels, log loss a label.
        nll: minus the nats a step, summed over labels; the loss is the same, positive. mae: minus the mean absolute error in the
        unit; the loss is the mean square of the standardised error.

    Raises:
        ValueError: an unknown metric, NaN, or shapes that do not belong together.
    """
    if np.isnan(predictions).any():
        raise ValueError(
            f"predictions must be numbers, not NaN ({int(np.isnan(predictions).sum())} of {np.size(predictions)} are)."
        )
    # Infinite ones (overflown float16) count as the largest, so that one of them cannot make a mean infinite.
    exact = np.clip(np.asarray(predictions, np.float64), -LARGEST, LARGEST)
    if metric == "accuracy":
        return _accuracy(exact, labels)
    if exact.shape != labels.shape:
        raise ValueError(f"predictions and labels must have one shape, not {exact.shape} and {labels.shape}.")
    if metric == "mae":
        errors = np.abs(exact - labels).reshape(len(labels), -1)
        examples = -scale * errors.mean(axis=1)
        return Rated(float(examples.mean()), float((errors**2).mean()), examples)
    if metric not in ("f1", "nll"):
        raise ValueError(f"metric must be accuracy, f1, nll or mae, not {metric!r}.")
    real, positive = labels != NO_LABEL, labels == 1
    losses = np.where(real, np.logaddexp(0.0, np.where(positive, -exact, exact)), 0.0)
    if metric == "nll":
        examples = _ratio(-losses.sum(axis=(1, 2)), real.any(axis=2).sum(axis=1))
        return Rated(float(examples.mean()), -float(examples.mean()), examples)
    said = (exact > 0) & real
    right = (said & positive).sum(axis=(1, 2))
    examples = _ratio(2.0 * right, said.sum(axis=(1, 2)) + positive.sum(axis=(1, 2)))
    return Rated(float(examples.mean()), float(losses.sum() / real.sum()), examples)


def _accuracy(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Rated:
    if len(logits) != len(labels):
        raise ValueError(f"predictions and labels must be equally long, not {len(logits)} and {len(labels)}.")
    if logits.ndim == 1:
        right, losses = (logits > 0) == (labels == 1), np.logaddexp(0.0, logits) - labels * logits
    else:
        right = logits.argmax(axis=1) == labels
        top = logits.max(axis=1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        losses = total - logits[np.arange(len(labels)), labels]
    return Rated(float(right.mean()), float(losses.mean()), right.astype(np.float64))


def _ratio(parts: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.floating]:
    """The linearised shares of each row in sum(parts) / sum(whole); 0 where the whole is nothing at all."""
    if not whole.sum():
        return np.zeros(len(parts))
    ratio = parts.sum() / whole.sum()
    shares: NDArray[np.floating] = ratio + (parts - ratio * whole) / whole.mean()
    return shares


def auc(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Probability that a positive review has the larger logit, a tie counting one half; logits [reviews].

    Raises:
        ValueError: unless both are equally long and the labels hold 0 and 1, both.
    """
    if np.shape(logits) != np.shape(labels) or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, one a logit, not {np.shape(labels)} for {np.shape(logits)}.")
    positive = labels == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        raise ValueError(f"labels must hold both classes, not {positives} positive and {negatives} negative reviews.")
    _, place, ties = np.unique(np.asarray(logits), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def pack(correct: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Correctness bool [runs, reviews] as bits, uint8 [runs, ceil(reviews / 8)], the first review in the highest bit."""
    return np.packbits(np.asarray(correct, dtype=bool), axis=1)


def unpack(packed: NDArray[np.uint8], reviews: int) -> NDArray[np.bool_]:
    """The inverse of `pack`: bool [runs, reviews].

    Raises:
        ValueError: if so many reviews do not fit the packed width.
    """
    if packed.shape[1] != -(-reviews // 8):
        raise ValueError(f"packed must be {-(-reviews // 8)} bytes wide for {reviews} reviews, not {packed.shape[1]}.")
    return np.unpackbits(packed, axis=1, count=reviews).astype(bool)
