"""What one run scored on a binary task, from its stored logits and the labels.

A run is a row of float16 logits; it says "positive" where its logit is above 0. A failed run scores what guessing would
(`GUESS`), so that a cell which crashes often pays for it and every arm keeps its full number of runs.
"""

from math import log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float16).max)


class Score(NamedTuple):
    """Test accuracy (fraction), log loss (nats a review) and area under the ROC curve (fraction)."""

    accuracy: float
    loss: float
    auc: float


GUESS = Score(0.5, log(2.0), 0.5)


def correctness(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether each review is classified rightly.

    Args:
        logits: float [..., reviews]; a logit of exactly 0 says "negative".
        labels: uint8 [reviews], 0 or 1.

    Returns:
        bool [..., reviews].

    Raises:
        ValueError: if the last axes differ or a label is neither 0 nor 1.
    """
    labels = _checked(logits, labels)
    right: NDArray[np.bool_] = (np.asarray(logits) > 0) == (labels == 1)
    return right


def log_loss(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean of -log p(label) in nats, from logits [reviews], in float64 without forming a probability.

    Infinite logits (overflown float16) count as the largest float16, so that one of them cannot make a mean infinite.

    Raises:
        ValueError: as `correctness`.
    """
    labels = _checked(logits, labels)
    bounded = np.clip(np.asarray(logits, dtype=np.float64), -LARGEST, LARGEST)
    against = np.where(labels == 1, -bounded, bounded)
    return float(np.logaddexp(0.0, against).mean())


def auc(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Probability that a positive review has the larger logit, a tie counting one half; logits [reviews].

    Raises:
        ValueError: as `correctness`, or if one of the classes is absent.
    """
    labels = _checked(logits, labels)
    positive = labels == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        raise ValueError(f"labels must hold both classes, not {positives} positive and {negatives} negative reviews.")
    _, place, ties = np.unique(np.asarray(logits), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def score(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Score:
    """The three scores of one run that did not fail; logits [reviews], labels uint8 [reviews].

    Raises:
        ValueError: if a logit is NaN, and as `auc`.
    """
    if np.isnan(logits).any():
        raise ValueError(f"logits must be numbers, not NaN ({int(np.isnan(logits).sum())} of {np.size(logits)} are).")
    return Score(float(correctness(logits, labels).mean()), log_loss(logits, labels), auc(logits, labels))


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


def _checked(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.integer]:
    labels = np.asarray(labels)
    if labels.ndim != 1 or np.shape(logits)[-1:] != labels.shape:
        raise ValueError(f"logits must end in an axis of {labels.size} reviews like labels, not have shape {np.shape(logits)}.")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1.")
    return labels
