import numpy as np
import pytest

from pipeline.data.splits import validation_rows


def reviews(rows: int = 2000, movies: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return np.arange(rows) % 2, generator.integers(movies, size=rows)


@pytest.mark.parametrize("seed", range(5))
def test_no_movie_on_both_sides_and_labels_balanced(seed: int) -> None:
    labels, movies = reviews()
    rows = validation_rows(labels, movies, seed)
    assert rows.dtype == bool
    assert not set(movies[rows]) & set(movies[~rows])
    assert rows.sum() == pytest.approx(400, abs=4)
    assert labels[rows].mean() == pytest.approx(0.5, abs=0.01)


def test_without_movies_the_share_is_exact() -> None:
    labels = np.repeat([0, 1], [300, 700])
    rows = validation_rows(labels, np.arange(1000), seed=0, fraction=0.1)
    assert (labels[rows] == 0).sum() == 30
    assert (labels[rows] == 1).sum() == 70


def test_a_function_of_its_arguments() -> None:
    labels, movies = reviews()
    first = validation_rows(labels, movies, 3)
    assert np.array_equal(first, validation_rows(labels, movies, 3))
    assert not np.array_equal(first, validation_rows(labels, movies, 4))
    # The movies' numbers carry no meaning but their order.
    assert np.array_equal(first, validation_rows(labels, movies * 7 + 5, 3))


def test_bad_arguments_are_named() -> None:
    labels, movies = reviews()
    with pytest.raises(ValueError, match=r"above 0 and below 1, not 1\.0"):
        validation_rows(labels, movies, 0, fraction=1.0)
    with pytest.raises(ValueError, match="equally long, not 2000 and 1999"):
        validation_rows(labels, movies[1:], 0)
