import numpy as np
import pytest

from pipeline.config.schema import Task
from pipeline.data import tagging
from pipeline.errors import FairsweepError


def task(length: int = 100, features: int = 20) -> Task:
    return Task(name="tagging", source="tagging", length=length, features=features)


def test_a_label_is_an_earlier_input_but_for_flips() -> None:
    read = tagging.read(task())
    assert (len(read.train.inputs), len(read.test.inputs)) == (320, 160)
    for part in (read.train, read.test):
        assert part.inputs.dtype == part.labels.dtype == np.uint8
        assert part.labels.shape == (len(part.inputs), 100, read.spec.outputs)
        for label, lag in enumerate((1, 2, 4, 8, 12, 16, 24, 32, 48, 64)):
            assert not part.labels[:, :lag, label].any()
            wrong = part.labels[:, lag:, label] != part.inputs[:, :-lag, label]
            # Six standard errors of the smallest count, 160 rows of 36 steps.
            assert wrong.mean() == pytest.approx(0.02, abs=0.011)


def test_signals_are_fair_and_noise_is_rare() -> None:
    inputs = tagging.read(task()).train.inputs
    assert set(np.unique(inputs)) == {0, 1}
    assert inputs.mean(axis=(0, 1)) == pytest.approx([0.5] * 10 + [0.1] * 10, abs=0.02)


def test_the_seed_is_fixed_and_parts_differ() -> None:
    first, again = tagging.read(task()), tagging.read(task())
    assert np.array_equal(first.train.inputs, again.train.inputs)
    assert np.array_equal(first.test.labels, again.test.labels)
    agree = first.train.labels[:160, 64:] == first.test.labels[:, 64:]
    assert agree.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"features": 9}, r"task\.features=9"), ({"length": 64}, r"task\.length=64.*at least 65")],
)
def test_labels_need_features_and_steps(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(FairsweepError, match=said):
        tagging.read(task(**wrong))
