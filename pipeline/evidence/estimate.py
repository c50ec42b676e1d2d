"""A number with its uncertainty, and how the search's and the films' parts of that uncertainty are added."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A value (any unit), the variance of its error (unit squared) and the degrees of freedom of that variance."""

    value: float
    variance: float
    df: float

    @property
    def se(self) -> float:
        """The standard error, in the value's unit."""
        return float(np.sqrt(self.variance))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Student's interval of confidence 1 - `alpha`, as (low, high)."""
        half = float(stats.t.ppf(1 - alpha / 2, self.df)) * self.se if self.variance > 0 else 0.0
        return self.value - half, self.value + half

    def no_surer_than(self, part: "Estimate", alpha: float) -> "Estimate":
        """This estimate, with the degrees of freedom of `part` where its interval would be narrower than that of `part`.

        `part` leaves out a source of error. With few degrees of freedom Satterthwaite's rule gains more of them from a small second
        source than that source widens the interval: of five paired studies the films would make a verdict surer.
        """
        own, other = self.interval(alpha), part.interval(alpha)
        return replace(self, df=part.df) if own[1] - own[0] < other[1] - other[0] else self

    def plus(self, variance: float, df: float) -> "Estimate":
        """The same value with an independent source of error added; degrees of freedom by Satterthwaite (1946)."""
        if variance <= 0:
            return self
        total = self.variance + variance
        return Estimate(self.value, total, total**2 / (self.variance**2 / self.df + variance**2 / df))


def film_variance(right: NDArray[np.floating], movies: NDArray[np.integer]) -> tuple[float, float]:
    """Variance of the mean of `right` over films, since reviews of one film are alike: clustered by film.

    V = G/(G-1) * sum over films of (sum of deviations from the mean)^2 / reviews^2, for G films.

    Args:
        right: float [reviews], a share of rightness a review, or a difference of two such shares.
        movies: int [reviews], which film each review is about.

    Returns:
        (variance, degrees of freedom G - 1).

    Raises:
        ValueError: if the lengths differ, or there is only one film.
    """
    if right.shape != movies.shape:
        raise ValueError(f"right and movies must be equally long, not {right.shape} and {movies.shape}.")
    films, film = np.unique(movies, return_inverse=True)
    if len(films) < 2:
        raise ValueError("movies must hold at least two films, not one.")
    sums = np.bincount(film, weights=right - right.mean())
    return float(len(films) / (len(films) - 1) * (sums**2).sum() / right.size**2), float(len(films) - 1)


def jackknife_variance(deleted: NDArray[np.floating]) -> float:
    """Variance of an estimate from its values with each of G parts left out in turn, float [G]: (G-1)/G * sum of squares."""
    shifted = deleted - deleted[0]  # a constant has a variance of exactly 0
    return float((len(deleted) - 1) * shifted.var())


def all_alike(share: float, searches: float, alpha: float) -> tuple[float, float]:
    """Clopper and Pearson's (1934) interval of a share of 0 or 1 among so many independent searches, all of which ended alike."""
    reach = float((alpha / 2) ** (1 / searches))
    return (reach, 1.0) if share > 0.5 else (0.0, 1 - reach)
