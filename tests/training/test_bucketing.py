"""Rows of like length together: every row once, nothing real cut away, and with masking the same
predictions.
"""

import numpy as np
import pytest

from pipeline.config.schema import Cell, Config, Model, Task, Train
from pipeline.data.arrays import Data
from pipeline.data.spec import PAD, TaskSpec
from pipeline.training import backend
from pipeline.training.bucketing import Buckets, lengths
from pipeline.training.fit import compiled, fit, predict
from pipeline.training.loops import network

LENGTH, ROWS = 20, 90
FORM = TaskSpec(length=LENGTH)


def config(buckets: int, padding: str = "pre") -> Config:
    return Config(
        name="tiny",
        cells=["gru"],
        task=Task(name="tiny", source="synthetic", length=LENGTH, vocabulary=30, padding=padding),
        cell=Cell("gru", "gru"),
        model=Model(units=4, embedding=4, masking=True),
        train=Train(buckets=buckets, batch_size=8, epochs=1, learning_rate=0.01),
    )


def tokens(padding: str, rows: int = ROWS) -> np.ndarray:
    """Texts of 1 to 20 tokens."""
    generator = np.random.default_rng(0)
    inputs = generator.integers(1, 30, (rows, LENGTH)).astype(np.int32)
    for row, length in enumerate(generator.integers(1, LENGTH + 1, rows)):
        inputs[row, : LENGTH - length] = 0
    return inputs if padding == "pre" else np.ascontiguousarray(inputs[:, ::-1])


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_every_row_is_in_one_part_and_loses_padding_alone(padding: str) -> None:
    inputs = tokens(padding)
    buckets = Buckets.of(config(4, padding), FORM, inputs)
    assert buckets.edges[-1] == LENGTH
    assert 2 <= len(buckets.edges) <= 4
    parts = buckets.parts(inputs)
    assert sorted(np.concatenate([rows for _, rows in parts])) == list(range(ROWS))
    for length, rows in parts:
        cut = buckets.cut(inputs[rows], length)
        assert cut.shape == (len(rows), length)
        assert np.array_equal(lengths(cut), lengths(inputs[rows]))


def test_an_epoch_is_of_whole_batches_in_random_order() -> None:
    inputs = tokens("pre")
    buckets = Buckets.of(config(3), FORM, inputs)
    made = list(buckets.batches(inputs, 8, np.random.default_rng(0)))
    rows = np.concatenate([rows for _, rows in made])
    assert {len(rows) for _, rows in made} == {8}
    assert len(rows) == len(set(rows)) == sum(len(own) // 8 * 8 for _, own in buckets.parts(inputs))
    assert [length for length, _ in made] != sorted(length for length, _ in made)
    again = list(buckets.batches(inputs, 8, np.random.default_rng(1)))
    assert not np.array_equal(rows, np.concatenate([rows for _, rows in again]))


def test_padded_numbers_are_cut_at_their_end() -> None:
    inputs = np.random.default_rng(0).random((6, LENGTH, 2)).astype(np.float32)
    for row in range(6):
        inputs[row, row + 3 :] = PAD
    spec = TaskSpec("steps", "nll", 3, features=2, length=LENGTH, padded=True)
    assert lengths(inputs).tolist() == [3, 4, 5, 6, 7, 8]
    buckets = Buckets.of(config(2), spec, inputs)
    (length, rows), *_ = buckets.parts(inputs)
    assert np.array_equal(buckets.cut(inputs[rows], length), inputs[rows, :length])


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_with_masking_buckets_predict_as_the_whole_does(padding: str) -> None:
    backend.use("tensorflow")
    inputs, several = tokens(padding), config(3, padding)
    model = compiled(several, FORM)
    whole = predict(network(model), inputs, FORM, Buckets.of(config(1, padding), FORM, inputs))
    parts = predict(network(model), inputs, FORM, Buckets.of(several, FORM, inputs))
    assert parts.dtype == np.float16
    assert parts.astype(float) == pytest.approx(whole.astype(float), abs=1e-4)
    assert np.ptp(whole) > 0


def test_the_setting_reaches_the_training() -> None:
    inputs, labels = tokens("pre"), (np.arange(ROWS) % 2).astype(np.uint8)
    data = Data(FORM, inputs, labels, inputs[:20], labels[:20], inputs[:10], "digest", True)
    one, three = (fit(config(buckets), data) for buckets in (1, 3))
    assert (one.state, three.state) == ("complete", "complete")
    assert one.epochs != three.epochs
