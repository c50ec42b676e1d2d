import numpy as np
import pytest

from pipeline.config.schema import Task
from pipeline.data import digits
from pipeline.errors import FairsweepError


def task(length: int = 8) -> Task:
    return Task(name="digits", source="digits", length=length)


def test_a_stratified_fifth_is_the_test() -> None:
    read = digits.read(task())
    every = np.concatenate([read.train.labels, read.test.labels])
    assert len(every) == 1797
    assert read.test.labels.dtype == every.dtype == np.uint8
    share = np.bincount(read.test.labels, minlength=10) / np.bincount(every)
    assert share == pytest.approx(np.full(10, 0.2), abs=0.003)
    assert read.train.groups is read.test.groups is None
    assert np.array_equal(read.test.inputs, digits.read(task()).test.inputs)


def test_images_belong_to_their_labels() -> None:
    from sklearn.datasets import load_digits

    source = load_digits()
    labels = {
        image.tobytes(): label
        for image, label in zip(source.images.astype(np.float32), source.target, strict=True)
    }
    read = digits.read(task())
    for part in (read.train, read.test):
        assert part.inputs.dtype == np.float32
        assert part.inputs.shape[1:] == (read.spec.length, read.spec.features)
        assert part.inputs.min() == 0
        assert part.inputs.max() == 1
        assert [labels[(image * 16).tobytes()] for image in part.inputs] == part.labels.tolist()


def test_another_length_is_refused() -> None:
    with pytest.raises(FairsweepError, match=r"task\.length=16.*Set task\.length=8"):
        digits.read(task(length=16))
