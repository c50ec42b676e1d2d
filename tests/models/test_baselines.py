"""The baselines, against values by hand and planted signals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.data.arrays import Data
from pipeline.data.spec import PAD, TaskSpec
from pipeline.errors import FairsweepError
from pipeline.metrics import NO_LABEL, rate
from pipeline.models import baselines
from pipeline.models.baselines import best_of, fit_all

LENGTH, FEATURES, LAG = 12, 6, 2


def data(
    spec: TaskSpec, inputs: np.ndarray, labels: np.ndarray, train: int, validation: int
) -> Data:
    cut = train + validation
    return Data(
        spec=spec,
        train_inputs=inputs[:train],
        train_labels=labels[:train],
        validation_inputs=inputs[train:cut],
        validation_labels=labels[train:cut],
        test_inputs=inputs[cut:],
        digest="",
        by_group=False,
    )


def images(kind: str = "classes", classes: int = 3) -> Data:
    """In each class another number is larger."""
    generator = np.random.default_rng(3)
    labels = generator.integers(0, classes, 300)
    inputs = generator.normal(size=(300, 4, 3)) + 2 * np.eye(3)[labels][:, None, :]
    spec = TaskSpec(kind=kind, outputs=1 if kind == "binary" else classes, features=3, length=4)
    return data(spec, inputs.astype(np.float32), labels.astype(np.uint8), 150, 75)


def steps(metric: str = "nll", padded: bool = True) -> Data:
    """Label k is input k two steps ago, in one of twenty wrongly; sequences of 6 to 12 steps, where
    they are padded.
    """
    generator = np.random.default_rng(4)
    inputs = (generator.random((200, LENGTH, FEATURES)) < 0.4).astype(np.float32)
    labels = np.zeros((200, LENGTH, 3), np.uint8)
    labels[:, LAG:] = inputs[:, :-LAG, :3] != (generator.random((200, LENGTH - LAG, 3)) < 0.05)
    if padded:
        beyond = np.arange(LENGTH) >= generator.integers(6, LENGTH + 1, 200)[:, None]
        inputs[beyond], labels[beyond] = PAD, NO_LABEL
    spec = TaskSpec(
        kind="steps", metric=metric, outputs=3, features=FEATURES, length=LENGTH, padded=padded
    )
    return data(spec, inputs, labels, 120, 40)


def series(length: int = 60, horizon: int = 3, relative: bool = False) -> Data:
    """A year's wave with a slope, in windows of `length` weeks; a standardised 1 is 2.5 of its
    unit.
    """
    weeks = np.arange(400)
    values = (
        np.sin(2 * np.pi * weeks / 52)
        + 0.003 * weeks
        + np.random.default_rng(5).normal(0, 0.05, 400)
    )
    windows = np.lib.stride_tricks.sliding_window_view(values, length + horizon)
    windows = (windows - windows[:, length - 1 : length] if relative else windows).astype(
        np.float32
    )
    spec = TaskSpec(
        kind="regression",
        metric="mae",
        outputs=horizon,
        features=1,
        length=length,
        ordered=True,
        scale=2.5,
    )
    return data(spec, windows[:, :length, None], windows[:, length:], 200, 60)


def same(one: list[Any], other: list[Any]) -> bool:
    return all(
        a.settings == b.settings
        and a.validation == b.validation
        and np.array_equal(a.validation_logits, b.validation_logits)
        and np.array_equal(a.test_logits, b.test_logits)
        for a, b in zip(one, other, strict=True)
    )


def test_trivial_predicts_the_shares_of_the_classes() -> None:
    own = replace(images(), train_labels=np.array([2, 0, 2, 1, 2, 0], np.uint8))
    (candidate,) = fit_all("trivial", own)
    # Counts 2, 1 and 3, half a count more each.
    assert candidate.validation_logits == pytest.approx(
        np.tile(np.log([2.5 / 7.5, 1.5 / 7.5, 3.5 / 7.5]), (75, 1)), rel=1e-3
    )
    assert candidate.validation == np.mean(own.validation_labels == 2)
    assert candidate.test_logits.shape == (75, 3)


@pytest.mark.parametrize(
    ("ones", "logit"), [(1, np.log(1.5 / 5.5)), (3, 0.0), (6, np.log(6.5 / 0.5))]
)
def test_trivial_of_two_classes_is_one_logit(ones: int, logit: float) -> None:
    own = replace(
        images("binary", 2), train_labels=np.repeat([1, 0], [ones, 6 - ones]).astype(np.uint8)
    )
    (candidate,) = fit_all("trivial", own)
    assert candidate.validation_logits == pytest.approx(np.full(75, logit), rel=1e-3)
    assert candidate.validation == np.mean(own.validation_labels == (ones > 3))


@pytest.mark.parametrize("features", [FEATURES, None])
def test_trivial_predicts_the_frequency_of_each_label(features: int | None) -> None:
    own = steps()
    labels = np.full((2, 3, 2), NO_LABEL, np.uint8)
    labels[0], labels[1, :1] = [[0, 0], [1, 0], [0, 0]], [[1, 0]]
    spec = replace(own.spec, outputs=2, features=features)
    (candidate,) = fit_all(
        "trivial",
        replace(
            own, spec=spec, train_labels=labels, validation_labels=own.validation_labels[..., :2]
        ),
    )
    # Of four real steps two have the first label and none has the second, half a count more on
    # either side.
    assert candidate.validation_logits == pytest.approx(
        np.tile([0.0, np.log(0.5 / 4.5)], (40, LENGTH, 1)), rel=1e-3
    )
    assert candidate.test_logits.shape == (40, LENGTH, 2)


def test_trivial_has_f1_0_if_labels_are_rarer_than_one_half() -> None:
    assert fit_all("trivial", steps("f1"))[0].validation == 0.0


@pytest.mark.parametrize("relative", [False, True])
def test_trivial_forecasts_the_last_value(relative: bool) -> None:
    own = series(relative=relative)
    (candidate,) = fit_all("trivial", own)
    last = own.validation_inputs[:, -1]
    assert np.array_equal(candidate.validation_logits, np.hstack([last] * 3))
    assert np.all(last == 0) == relative
    # In the unit: a standardised 1 is 2.5 of it.
    assert candidate.validation == pytest.approx(-2.5 * np.abs(own.validation_labels - last).mean())


@pytest.mark.parametrize("length", [52, 60])
@pytest.mark.parametrize("relative", [False, True])
def test_seasonal_forecasts_the_value_a_year_before(length: int, relative: bool) -> None:
    horizon = 54
    weeks = np.arange(300.0, dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(weeks, length + horizon)
    windows = windows - windows[:, length - 1 : length] if relative else windows
    own = replace(
        series(length, horizon),
        validation_inputs=windows[:, :length, None],
        validation_labels=windows[:, length:],
    )
    (candidate,) = fit_all("seasonal", own)
    # A year before is 52 lower; the last two horizons are more than a year ahead, and the year
    # before them is not seen either.
    ago = np.r_[np.full(52, 52.0), 104.0, 104.0]
    assert np.array_equal(candidate.validation_logits, own.validation_labels - ago)
    assert candidate.validation_logits.dtype == np.float32


def test_seasonal_needs_a_season() -> None:
    with pytest.raises(FairsweepError, match=r"task\.length=51: .* task\.length to 52"):
        fit_all("seasonal", series(51))


@pytest.mark.parametrize(
    ("own", "least"),
    [
        (images(), 0.4),
        (images("binary", 2), 0.2),
        (images("classes", 2), 0.2),
        (steps(), 0.8),
        (steps("f1"), 0.8),
        (series(), 0.3),
        (series(relative=True), 0.3),
    ],
    ids=["classes", "binary", "two classes", "nll", "f1", "absolute", "relative"],
)
def test_linear_finds_a_planted_signal(own: Data, least: float) -> None:
    trivial, found = (best_of(fit_all(kind, own)) for kind in ("trivial", "linear"))
    assert found.validation > trivial.validation + least * (
        abs(trivial.validation) if own.spec.kind == "regression" else 1
    )
    assert found.validation_logits.shape == trivial.validation_logits.shape
    assert found.test_logits.dtype == trivial.test_logits.dtype
    # The stored predictions are those that were scored.
    rated = rate(own.spec.metric, found.validation_logits, own.validation_labels, own.spec.scale)
    assert (found.validation, found.validation_loss) == (rated.value, rated.loss)


def test_the_number_of_steps_is_chosen_by_validation() -> None:
    scores = {
        (one.settings["steps"], one.settings["C"]): one.validation
        for one in fit_all("linear", steps("f1"))
    }
    assert list(scores) == [(lags, strength) for lags in (1, 2, 4, 9) for strength in (0.1, 1.0)]
    # The label is of two steps ago, so three steps have it and two have not.
    assert scores[4, 1.0] > 0.9 > 0.5 > scores[2, 1.0]


def test_padded_steps_have_no_influence() -> None:
    own, wild = steps(), steps()
    for part, labels in (("train", own.train_labels), ("validation", own.validation_labels)):
        getattr(wild, f"{part}_inputs")[labels[..., 0] == NO_LABEL] = 7.0
    for kind in ("trivial", "linear"):
        for one, other in zip(fit_all(kind, own), fit_all(kind, wild), strict=True):
            real = own.validation_labels[..., 0] != NO_LABEL
            assert np.array_equal(one.validation_logits[real], other.validation_logits[real])
            assert one.validation == other.validation


def test_no_step_reads_a_later_one() -> None:
    own, changed = steps(padded=False), steps(padded=False)
    changed.test_inputs[:, 7:] = 1 - changed.test_inputs[:, 7:]
    one, other = (best_of(fit_all("linear", some)).test_logits for some in (own, changed))
    assert np.array_equal(one[:, :7], other[:, :7])
    assert np.all(np.any(one[:, 7] != other[:, 7], axis=1))


@pytest.mark.parametrize(
    "own", [images(), steps(), series()], ids=["classes", "steps", "regression"]
)
def test_the_same_data_give_the_same_numbers(own: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "FITTED_STEPS", 500)
    assert same(fit_all("linear", own), fit_all("linear", own))


def test_steps_beyond_the_bound_are_sampled_from_all_sequences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(baselines, "FITTED_STEPS", 300)
    own = steps()
    silent = own.train_labels[:60]
    silent[silent == 1] = 0
    # The first 300 steps know no label that is 1, and would give each its odds alone.
    found = best_of(fit_all("linear", own))
    assert np.ptp(found.test_logits[..., 0].astype(float)) > 1
    monkeypatch.setattr(baselines, "FITTED_STEPS", 10_000)
    assert not same([found], [best_of(fit_all("linear", own))])


def test_a_label_that_never_occurs_in_training_has_only_its_odds() -> None:
    own = steps()
    own.train_labels[own.train_labels[..., 2] != NO_LABEL, 2] = 0
    real = np.count_nonzero(own.train_labels[..., 2] != NO_LABEL)
    for candidate in fit_all("linear", own):
        assert candidate.test_logits[..., 2] == pytest.approx(np.log(0.5 / (real + 0.5)), rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("seasonal", images()),
        ("whole_text", images()),
        ("linear", replace(images(), spec=replace(images().spec, features=None))),
    ],
    ids=["no series", "unknown", "texts"],
)
def test_a_kind_without_a_model_raises(kind: str, own: Data) -> None:
    with pytest.raises(FairsweepError, match=f"baseline '{kind}'.*`baselines`"):
        fit_all(kind, own)
