import numpy as np
import pytest

from pipeline.data.splits import ordered_rows, validation_rows


def reviews(rows: int = 2000, groups: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return np.arange(rows) % 2, generator.integers(groups, size=rows)


@pytest.mark.parametrize("seed", range(5))
def test_no_movie_on_both_sides_and_labels_balanced(seed: int) -> None:
    labels, groups = reviews()
    rows = validation_rows(labels, groups, seed)
    assert rows.dtype == bool
    assert not set(groups[rows]) & set(groups[~rows])
    assert rows.sum() == pytest.approx(400, abs=4)
    assert labels[rows].mean() == pytest.approx(0.5, abs=0.01)


def test_without_movies_the_share_is_exact() -> None:
    labels = np.repeat([0, 1], [300, 700])
    rows = validation_rows(labels, np.arange(1000), seed=0, fraction=0.1)
    assert (labels[rows] == 0).sum() == 30
    assert (labels[rows] == 1).sum() == 70


def test_a_function_of_its_arguments() -> None:
    labels, groups = reviews()
    first = validation_rows(labels, groups, 3)
    assert np.array_equal(first, validation_rows(labels, groups, 3))
    assert not np.array_equal(first, validation_rows(labels, groups, 4))
    # The movies' numbers carry no meaning but their order.
    assert np.array_equal(first, validation_rows(labels, groups * 7 + 5, 3))


def test_bad_arguments_are_named() -> None:
    labels, groups = reviews()
    with pytest.raises(ValueError, match=r"above 0 and below 1, not 1\.0"):
        validation_rows(labels, groups, 0, fraction=1.0)
    with pytest.raises(ValueError, match="equally long, not 2000 and 1999"):
        validation_rows(labels, groups[1:], 0)


@pytest.mark.parametrize(("rows", "reach"), [(100, 1), (103, 5), (1772, 56), (31, 10)])
@pytest.mark.parametrize("seed", range(6))
def test_ordered_parts_share_no_value(rows: int, reach: int, seed: int) -> None:
    train, validation = ordered_rows(rows, reach, seed)
    place = np.flatnonzero(validation)
    assert np.array_equal(place, np.arange(place[0], place[-1] + 1))
    assert len(place) == pytest.approx(rows / 5, abs=1)
    assert place[-1] == pytest.approx((5 - seed % 5) * rows / 5 - 1, abs=1)
    # Exactly the rows all of whose values no validation row has.
    taken = {value for row in place for value in range(row, row + reach)}
    assert train.tolist() == [taken.isdisjoint(range(row, row + reach)) for row in range(rows)]


def test_every_row_validates_once_in_five_seeds() -> None:
    assert (sum(ordered_rows(103, 5, seed)[1].astype(int) for seed in range(5)) == 1).all()
    assert ordered_rows(103, 5, 0, fraction=0.25)[1].sum() == 26


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((100, 5, 0, 0.3), r"whole number above 1, not 0\.3"),
        ((100, 5, 0, 1.0), r"not 1\.0"),
        ((20, 30, 0), "20 rows of reach 30"),
    ],
)
def test_ordered_parts_need_a_fraction_and_rows(arguments: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ordered_rows(*arguments)
