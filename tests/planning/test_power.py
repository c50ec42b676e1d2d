"""Which gaps a study will see, held against simulation and against what a larger study or test set must change."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.config import Search
from pipeline.evidence.estimate import Estimate
from pipeline.evidence.planning import POWER, chance
from pipeline.planning.earlier import Basis
from pipeline.planning.power import power

# One search is off by half a point, one test row by 15.
BASIS = Basis(10, 0.005, 0.005, 0.005, 0.15, 0.64, "a study")
SEARCH = Search(trials=60, headline=10, margin=0.01)
ROWS = 25_000


def test_the_chance_is_that_of_simulated_studies() -> None:
    generator, gap = np.random.default_rng(0), Estimate(1.0, 0.16, 10.0)
    seen = generator.normal(gap.value, gap.se, 200_000)
    errors = gap.se * np.sqrt(generator.chisquare(gap.df, 200_000) / gap.df)
    share = np.mean(np.abs(seen) / errors > stats.t.ppf(0.975, gap.df))
    assert chance(gap, 0.05) == pytest.approx(share, abs=0.005)


def test_the_smallest_gap_is_the_one_that_is_just_seen() -> None:
    found = power(SEARCH, BASIS, ROWS)
    again = power(replace(SEARCH, margin=found.smallest), BASIS, ROWS)
    assert again.margin.chance == pytest.approx(POWER, abs=1e-6)
    assert found.half.gap == 0.005


def test_the_size_for_a_gap_is_the_first_that_shows_it() -> None:
    size = power(SEARCH, BASIS, ROWS).half.size
    assert size is not None
    assert size > SEARCH.trials
    chances = [power(replace(SEARCH, trials=trials), BASIS, ROWS).half.chance for trials in (size - 1, size)]
    assert chances[0] < POWER <= chances[1]


def test_more_trials_and_more_rows_show_smaller_gaps() -> None:
    smallest = [
        power(replace(SEARCH, trials=trials), BASIS, rows).smallest for trials, rows in ((60, ROWS), (120, ROWS), (60, 500))
    ]
    assert smallest[1] < smallest[0] < smallest[2]


def test_more_looks_show_less() -> None:
    assert power(replace(SEARCH, looks=4), BASIS, ROWS).margin.chance < power(SEARCH, BASIS, ROWS).margin.chance


def test_no_number_of_trials_makes_up_for_a_small_test_set() -> None:
    assert power(SEARCH, BASIS, 400).half.size is None


def test_separate_studies_are_counted_in_studies() -> None:
    several = Search(design="studies", studies=5, trials=10, headline=10, margin=0.01)
    found = power(several, BASIS, ROWS)
    assert found.smallest < power(replace(several, studies=3), BASIS, ROWS).smallest
    assert found.half.size is not None
    assert found.half.size < 60
