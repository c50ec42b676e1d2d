"""A plan needs no download: rows of the task's shape stand in where that is known, and where it is not the way to them is told."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.config import compose
from pipeline.errors import FairsweepError
from pipeline.planning import inputs


def test_reviews_are_invented_in_the_shape_of_the_real_ones(bare_project: Path) -> None:
    config = compose(["study=imdb"])
    found = inputs.find(config)
    assert (found.folder, found.train, found.validation, found.test) == (None, 20_000, 5_000, 25_000)
    data = found.data(config)
    assert [part.shape for part in (data.train_inputs, data.validation_inputs, data.test_inputs)] == [
        (20_000, 100),
        (5_000, 100),
        (25_000, 100),
    ]
    assert data.train_inputs.dtype == np.int32
    assert (data.train_inputs[:, -1] > 0).all()
    assert data.train_inputs.max() == 9_999
    # Some are shorter than 100 tokens and padded before, as of the real ones one in nine is.
    assert 0.05 < (data.train_inputs[:, 0] == 0).mean() < 0.3
    assert not list(bare_project.rglob("*.npy"))


def test_a_recipe_of_another_length_gets_rows_of_that_length(bare_project: Path) -> None:
    found = inputs.find(compose(["study=lengths"]))
    assert found.data(compose(["study=lengths", "recipe=length_50"])).test_inputs.shape == (25_000, 50)


def test_a_part_of_the_training_rows_is_taken(bare_project: Path) -> None:
    assert inputs.find(compose(["study=imdb_small"])).train == 2_000


def test_data_that_come_with_a_package_are_made(bare_project: Path) -> None:
    found = inputs.find(compose(["study=digits"]))
    assert found.folder is not None
    assert found.folder.is_relative_to(".fairsweep/data")
    assert (found.form.outputs, found.train + found.validation, found.test) == (10, 1438, 359)


def test_of_data_that_are_slow_to_make_the_way_is_told(bare_project: Path) -> None:
    with pytest.raises(
        FairsweepError, match=r"First run `python -m pipeline.download study=chorales`, then `python -m pipeline.pad"
    ):
        inputs.find(compose(["study=chorales"]))
