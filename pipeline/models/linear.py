"""The linear anchor of texts: TF-IDF over runs of tokens, and a logistic regression a class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipeline.data.arrays import Ids
from pipeline.data.text import RANK_OFFSET
from pipeline.evidence.scores import rate

NGRAMS = (1, 2, 3)
STRENGTHS = (1.0, 3.0, 10.0, 30.0)
# A run of words must occur in two of the reviews that are fitted: others cannot help on new ones, and are nine in ten.
_LEAST_REVIEWS = 2


@dataclass(frozen=True)
class Candidate:
    """One setting, fitted.

    Attributes:
        settings: what was chosen among, as it goes into a table. Of texts: `ngrams`, the longest run of words (shorter ones count
            too), `C`, scikit-learn's inverse strength of the L2 penalty, and `features`, the number of runs with a weight.
        validation: the score of `validation_logits`, higher better: accuracy or micro-F1 as a fraction, errors negated.
        validation_loss: as `evidence.scores.rate` gives it.
        validation_logits: <float16>[validation rows, ...], or standardised numbers <float32>[validation rows, outputs].
        test_logits: the same of the test rows.
    """

    settings: dict[str, Any]
    validation: float
    validation_loss: float
    validation_logits: NDArray[np.floating]
    test_logits: NDArray[np.floating]


def fit_all(
    train: Ids,
    train_labels: NDArray[np.integer],
    validation: Ids,
    validation_labels: NDArray[np.integer],
    test: Ids,
    outputs: int = 1,
) -> list[Candidate]:
    """Fits every setting on `train` alone; the same arguments give the same numbers.

    Args:
        outputs: 1 where labels are 0 and 1, and logits <float16>[rows]; else the number of classes, and <float16>[rows, outputs].
    """
    fitted, judged = len(train), len(train) + len(validation)
    candidates = []
    for ngrams, features in _features([train, validation, test], fitted):
        for strength in STRENGTHS:
            logits = _logits(features[:fitted], train_labels, features[fitted:], strength, outputs).astype(np.float16)
            own, test_logits = logits[: judged - fitted], logits[judged - fitted :]
            score, loss = _judge(own, validation_labels)
            settings = {"ngrams": ngrams, "C": strength, "features": features.shape[1]}
            candidates.append(Candidate(settings, score, loss, own, test_logits))
    return candidates


def _logits(
    train: sparse.csr_matrix, labels: NDArray[np.integer], asked: sparse.csr_matrix, strength: float, outputs: int
) -> NDArray[np.floating]:
    """The logits of the rows `asked`: <float>[rows] of two classes, [rows, outputs] of more, each class against the rest."""
    from sklearn.linear_model import LogisticRegression

    # The dual of few rows and many features is solved in under a second; its random order of rows is fixed.
    model = LogisticRegression(C=strength, solver="liblinear", dual=True, tol=1e-3, max_iter=1000, random_state=0)
    if outputs == 1:
        return model.fit(train, labels).decision_function(asked)
    columns = [model.fit(train, labels == name).decision_function(asked) for name in range(outputs)]
    # Log probabilities of "this one, not the rest": their softmax is those probabilities, scaled to sum to 1.
    return -np.logaddexp(0.0, -np.stack(columns, axis=1))


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """The highest validation score, then the lower loss, then the earlier: the rule that the cells are chosen by."""
    return min(candidates, key=lambda candidate: (-candidate.validation, candidate.validation_loss))


def _judge(logits: NDArray[np.float16], labels: NDArray[np.integer]) -> tuple[float, float]:
    """Accuracy and mean log loss, from the logits as they are stored."""
    if logits.ndim == 2:
        return rate("accuracy", logits, labels)[:2]
    exact = logits.astype(np.float64)
    accuracy = np.mean((exact > 0) == (labels == 1))
    loss = np.mean(np.logaddexp(0.0, np.where(labels == 1, -exact, exact)))
    return float(accuracy), float(loss)


def _features(parts: Sequence[Ids], fitted: int) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """For each of NGRAMS the TF-IDF <float32>[all rows, features]; only the first `fitted` rows say which, and how rare."""
    from sklearn.feature_extraction.text import TfidfTransformer

    ids = np.concatenate([part.ids for part in parts])
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    blocks: list[sparse.csr_matrix] = []
    for order in NGRAMS:
        blocks.append(_counts(ids, lengths, order, fitted))
        counts = sparse.hstack(blocks, format="csr")
        yield order, TfidfTransformer(sublinear_tf=True).fit(counts[:fitted]).transform(counts)


def _counts(ids: NDArray[np.int32], lengths: NDArray[np.int64], order: int, fitted: int) -> sparse.csr_matrix:
    """How often each row has each run of `order` words: <float32>[rows, runs that enough of the fitted rows have]."""
    row = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    starts = max(len(ids) - order + 1, 0)
    # Runs stay inside their row, and are of known words: no start token, nothing out of vocabulary.
    whole = row[:starts] == row[order - 1 :]
    # One number a run: with a vocabulary under two million, three ids fit into 63 bits.
    key, base = np.zeros(starts, np.int64), int(ids.max()) + 1
    for shift in range(order):
        word = ids[shift : shift + starts]
        whole &= word > RANK_OFFSET
        key = key * base + word
    runs, column = np.unique(key[whole], return_inverse=True)
    ones = np.ones(len(column), np.float32)
    counts = sparse.csr_matrix((ones, (row[:starts][whole], column)), shape=(len(lengths), len(runs)))
    counts.sum_duplicates()
    reviews = np.bincount(counts[:fitted].indices, minlength=len(runs))
    return counts[:, reviews >= _LEAST_REVIEWS]
