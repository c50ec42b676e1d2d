"""Scores against hand-computed values and scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from pipeline.evidence import scores

LABELS = np.array([1, 0, 1, 0], np.uint8)


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    return generator.normal(size=301).round(1).astype(np.float16), generator.integers(0, 2, 301).astype(np.uint8)


def test_by_hand():
    scored = scores.score(np.array([2.0, -1.0, -0.5, 0.25], np.float16), LABELS)
    loss = np.mean([math.log1p(math.exp(x)) for x in (-2.0, -1.0, 0.5, 0.25)])
    assert scored == pytest.approx((0.5, loss, 0.75))


def test_a_logit_of_zero_says_negative():
    assert scores.correctness(np.zeros(4, np.float16), LABELS).tolist() == [False, True, False, True]


def test_scikit_learn_agrees(drawn):
    logits, labels = drawn
    chances = 1 / (1 + np.exp(-logits.astype(float)))
    expected = ((chances > 0.5) == labels).mean(), log_loss(labels, chances), roc_auc_score(labels, logits)
    assert scores.score(logits, labels) == pytest.approx(expected, abs=1e-12)


def test_auc_counts_a_tie_as_one_half():
    assert scores.auc(np.array([1.0, 1.0, 1.0, 1.0]), LABELS) == 0.5


def test_mirrored_labels_mirror_accuracy_and_auc(drawn):
    logits, labels = drawn
    logits = np.where(logits == 0, np.float16(0.1), logits)
    plain, mirrored = scores.score(logits, labels), scores.score(logits, 1 - labels)
    assert mirrored.accuracy == pytest.approx(1 - plain.accuracy)
    assert mirrored.auc == pytest.approx(1 - plain.auc)


@pytest.mark.parametrize("largest", [60000.0, np.inf])
def test_large_logits_keep_the_loss_finite(largest):
    wrong = np.array([-largest, largest, -largest, largest], np.float16)
    assert 50000 < scores.log_loss(wrong, LABELS) < 70000
    assert scores.log_loss(-wrong, LABELS) == 0


def test_guessing_is_what_logits_of_zero_score():
    assert scores.log_loss(np.zeros(4), LABELS) == pytest.approx(scores.GUESS.loss)


@pytest.mark.parametrize("reviews", [1, 8, 9, 64, 67])
def test_packing_comes_back(reviews):
    correct = np.random.default_rng(0).random((3, reviews)) < 0.5
    packed = scores.pack(correct)
    assert packed.dtype == np.uint8
    assert packed.shape == (3, math.ceil(reviews / 8))
    assert (scores.unpack(packed, reviews) == correct).all()


def test_unpacking_another_number_of_reviews_is_refused():
    with pytest.raises(ValueError, match="packed must be 3 bytes wide for 17 reviews, not 2"):
        scores.unpack(np.zeros((1, 2), np.uint8), 17)


@pytest.mark.parametrize(
    ("logits", "labels", "told"),
    [
        (np.zeros(3), LABELS, "an axis of 4 reviews"),
        (np.zeros(4), np.array([0, 1, 2, 0]), "0 or 1"),
        (np.zeros(4), np.ones(4, int), "both classes"),
        (np.array([np.nan, 0, 0, 0]), LABELS, "not NaN"),
    ],
)
def test_refusals(logits, labels, told):
    with pytest.raises(ValueError, match=told):
        scores.score(logits, labels)
