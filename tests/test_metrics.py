"""Scores against hand-computed values and scikit-learn's, and the format of scores and gaps."""

import math
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, mean_absolute_error, roc_auc_score

from pipeline import metrics
from pipeline.data.spec import TaskSpec
from pipeline.metrics import NO_LABEL, Measure, rate
from synthetic import FORMS

LABELS = np.array([1, 0, 1, 0], np.uint8)


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    return generator.normal(size=301).round(1).astype(np.float16), generator.integers(
        0, 2, 301
    ).astype(np.uint8)


def test_by_hand():
    logits = np.array([2.0, -1.0, -0.5, 0.25], np.float16)
    rated = rate("accuracy", logits, LABELS)
    loss = np.mean([math.log1p(math.exp(x)) for x in (-2.0, -1.0, 0.5, 0.25)])
    assert (rated.value, rated.loss) == pytest.approx((0.5, loss))
    assert rated.examples.tolist() == [1, 1, 0, 0]
    assert metrics.auc(logits, LABELS) == 0.75


def test_a_logit_of_zero_predicts_the_negative_class():
    assert rate("accuracy", np.zeros(4, np.float16), LABELS).examples.tolist() == [0, 1, 0, 1]


def test_scikit_learn_agrees(sample):
    logits, labels = sample
    chances = 1 / (1 + np.exp(-logits.astype(float)))
    rated = rate("accuracy", logits, labels)
    assert (rated.value, rated.loss) == pytest.approx(
        (((chances > 0.5) == labels).mean(), log_loss(labels, chances)), abs=1e-12
    )
    assert metrics.auc(logits, labels) == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)


def test_scikit_learn_agrees_on_classes():
    generator = np.random.default_rng(0)
    logits, labels = (
        generator.normal(size=(200, 4)).astype(np.float16),
        generator.integers(0, 4, 200).astype(np.uint8),
    )
    chances = np.exp(logits.astype(float))
    chances /= chances.sum(axis=1, keepdims=True)
    rated = rate("accuracy", logits, labels)
    assert rated.value == np.mean(logits.argmax(axis=1) == labels)
    assert rated.loss == pytest.approx(log_loss(labels, chances), abs=1e-12)


def steps() -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels [rows, time, labels], of which the rows' ends are padding."""
    generator = np.random.default_rng(1)
    logits, labels = (
        generator.normal(size=(30, 6, 3)).astype(np.float16),
        generator.integers(0, 2, (30, 6, 3)).astype(np.uint8),
    )
    for row, length in enumerate(generator.integers(1, 7, 30)):
        labels[row, length:] = NO_LABEL
    return logits, labels


@pytest.mark.parametrize("metric", ["f1", "nll"])
def test_padded_steps_count_nowhere(metric):
    logits, labels = steps()
    other = np.where(labels == NO_LABEL, np.float16(9), logits)
    one, two = rate(metric, logits, labels), rate(metric, other, labels)
    assert (one.value, one.loss) == (two.value, two.loss)
    assert np.array_equal(one.examples, two.examples)


def test_micro_f1_and_nats_a_step_are_those_of_the_real_steps():
    logits, labels = steps()
    real = labels != NO_LABEL
    losses = np.logaddexp(0, np.where(labels == 1, -1.0, 1.0) * logits.astype(float))
    assert rate("f1", logits, labels).value == pytest.approx(
        f1_score(labels[real], logits[real] > 0)
    )
    assert rate("f1", logits, labels).loss == pytest.approx(losses[real].mean())
    assert rate("nll", logits, labels).value == pytest.approx(
        -losses[real].sum() / real.any(axis=2).sum()
    )


@pytest.mark.parametrize("metric", ["f1", "nll"])
def test_the_shares_of_a_ratio_have_its_mean_and_its_spread(metric):
    logits, labels = steps()
    rated = rate(metric, logits, labels)
    assert rated.examples.mean() == pytest.approx(rated.value)
    deleted = [
        rate(metric, np.delete(logits, row, 0), np.delete(labels, row, 0)).value
        for row in range(30)
    ]
    jackknife = 29 / 30 * np.sum((np.array(deleted) - np.mean(deleted)) ** 2)
    assert rated.examples.var(ddof=1) / 30 == pytest.approx(jackknife, rel=0.15)


def test_an_error_is_in_its_unit():
    generator = np.random.default_rng(2)
    numbers, labels = generator.normal(size=(2, 50, 3)).astype(np.float32)
    rated = rate("mae", numbers, labels, scale=2.5)
    assert rated.value == pytest.approx(-2.5 * mean_absolute_error(labels, numbers), rel=1e-6)
    assert rated.loss == pytest.approx(np.mean((numbers - labels) ** 2), rel=1e-6)
    assert rated.examples == pytest.approx(-2.5 * np.abs(numbers - labels).mean(axis=1), rel=1e-5)


def test_auc_counts_a_tie_as_one_half():
    assert metrics.auc(np.array([1.0, 1.0, 1.0, 1.0]), LABELS) == 0.5


def test_mirrored_labels_mirror_accuracy_and_auc(sample):
    logits, labels = sample
    logits = np.where(logits == 0, np.float16(0.1), logits)
    assert rate("accuracy", logits, 1 - labels).value == pytest.approx(
        1 - rate("accuracy", logits, labels).value
    )
    assert metrics.auc(logits, 1 - labels) == pytest.approx(1 - metrics.auc(logits, labels))


@pytest.mark.parametrize("largest", [60000.0, np.inf])
def test_large_logits_keep_the_loss_finite(largest):
    wrong = np.array([-largest, largest, -largest, largest], np.float16)
    assert 50000 < rate("accuracy", wrong, LABELS).loss < 70000
    assert rate("accuracy", -wrong, LABELS).loss == 0


def test_a_guess_scores_like_logits_of_zero():
    assert rate("accuracy", np.zeros(4), LABELS).loss == pytest.approx(metrics.GUESS.loss)


@pytest.mark.parametrize("reviews", [1, 8, 9, 64, 67])
def test_unpack_is_the_inverse_of_pack(reviews):
    correct = np.random.default_rng(0).random((3, reviews)) < 0.5
    packed = metrics.pack(correct)
    assert packed.dtype == np.uint8
    assert packed.shape == (3, math.ceil(reviews / 8))
    assert (metrics.unpack(packed, reviews) == correct).all()


def test_unpacking_another_number_of_rows_raises():
    with pytest.raises(ValueError, match="packed must be 3 bytes wide for 17 rows, not 2"):
        metrics.unpack(np.zeros((1, 2), np.uint8), 17)


@pytest.mark.parametrize(
    ("metric", "predictions", "labels", "message"),
    [
        ("accuracy", np.zeros(3), LABELS, "equally long, not 3 and 4"),
        ("accuracy", np.array([np.nan, 0, 0, 0]), LABELS, "not NaN"),
        ("nll", np.zeros((4, 2, 1)), np.zeros((4, 1, 1), np.uint8), "one shape"),
        ("r2", np.zeros(4), LABELS, "metric must be one of accuracy, f1, nll, mae, not 'r2'"),
    ],
)
def test_wrong_arguments_raise(metric, predictions, labels, message):
    with pytest.raises(ValueError, match=message):
        rate(metric, predictions, labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(np.array([0, 1, 2, 0]), "both"), (np.ones(4, int), "both"), (LABELS[:3], "one per logit")],
)
def test_auc_needs_both_classes(labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.auc(np.zeros(4), labels)


MEASURES = {"accuracy": Measure(), **{name: spec.measure for name, spec in FORMS.items()}}


@pytest.mark.parametrize(
    ("metric", "value", "score", "with_unit"),
    [
        ("accuracy", 0.85123, "0.8512", "0.8512"),
        ("f1", 0.5, "0.5000", "0.5000"),
        ("nll", -8.12345, "8.1235", "8.1235 nats per step"),
        ("mae", -0.5124, "0.512", "0.512 ppm"),
        ("mae", 0.0, "0.000", "0.000 ppm"),
    ],
)
def test_errors_are_shown_positive(metric, value, score, with_unit):
    assert (MEASURES[metric].score(value), MEASURES[metric].score_unit(value)) == (score, with_unit)
    assert MEASURES[metric].score(None) == "–"


@pytest.mark.parametrize(
    ("metric", "gap", "text", "margin"),
    [
        ("accuracy", (0.0075, -0.001, 0.016), "0.75 points [−0.10, 1.60]", "1 point"),
        ("f1", (0.0075, -0.001, 0.016), "0.75 points [−0.10, 1.60]", "1 point"),
        ("nll", (0.25, 0.1, 0.4), "0.2500 nats per step [0.1000, 0.4000]", "0.01 nats per step"),
        ("mae", (0.12, -0.00001, 0.19), "0.120 ppm [0.000, 0.190]", "0.01 ppm"),
    ],
)
def test_a_gap_is_positive_where_the_first_is_better(metric, gap, text, margin):
    pair = dict(zip(("gap", "low", "high"), gap, strict=True))
    assert MEASURES[metric].gap(pair) == text
    assert MEASURES[metric].margin(0.01) == margin


def test_an_interval_of_errors_has_the_smaller_number_first():
    values = {"mean": -0.5, "low": -0.6, "high": -0.45, "sd": 0.01}
    assert MEASURES["mae"].with_interval(values) == "0.500 [0.450, 0.600]"
    assert MEASURES["mae"].mean_sd(values) == "0.500 ± 0.010"
    assert Measure().interval(0.45, 0.6) == "[0.4500, 0.6000]"


@pytest.mark.parametrize(
    ("scale", "decimals"), [(1.6, 3), (0.5, 3), (16.0, 2), (0.01, 5), (40_000.0, 0)]
)
def test_the_scale_of_an_error_decides_its_decimals(scale, decimals):
    assert TaskSpec("regression", "mae", scale=scale, unit="x").measure.decimals == decimals


def test_the_measure_survives_metrics_json():
    for measure in MEASURES.values():
        assert Measure(**asdict(measure)) == measure


def test_rows_without_groups_are_their_own():
    assert (
        MEASURES["classes"].groups,
        MEASURES["mae"].groups,
        MEASURES["mae"].examples,
        Measure().groups,
    ) == (
        "images",
        "years",
        "weeks",
        "films",
    )


def test_an_unknown_baseline_keeps_its_name():
    assert MEASURES["mae"].baseline("last_year") == "last year"
    assert MEASURES["mae"].baseline("trivial") == "trivial: the last value"
    assert MEASURES["classes"].baseline("trivial") == "trivial: the most frequent class"
