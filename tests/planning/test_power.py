"""The gaps that a study detects, compared with simulation, and the earlier studies it takes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.config.schema import Config, Search, Task
from pipeline.planning.power import TABLE, Row, earlier_studies, power
from pipeline.statistics.estimate import Estimate
from pipeline.statistics.power import POWER, chance
from planning.earlier import table
from study_copy import ROOT

# One search has an error of half a point, and one test row of 15 points.
SEARCH_SD, ROW_SD, ROWS = 0.005, 0.15, 25_000
SEARCH = Search(trials=60, budget=10, margin=0.01)

Result = tuple[float, Sequence[tuple[float, float, int | None]]]


def powered(search: Search = SEARCH, rows: int = ROWS) -> Result:
    return power(search, SEARCH_SD, ROW_SD, rows)


def test_the_power_is_that_of_simulated_studies() -> None:
    generator, gap = np.random.default_rng(0), Estimate(1.0, 0.16, 10.0)
    estimates = generator.normal(gap.value, gap.se, 200_000)
    errors = gap.se * np.sqrt(generator.chisquare(gap.df, 200_000) / gap.df)
    share = np.mean(np.abs(estimates) / errors > stats.t.ppf(0.975, gap.df))
    assert chance(gap, 0.05) == pytest.approx(share, abs=0.005)


def test_the_smallest_gap_is_detected_with_80_percent_power() -> None:
    smallest, gaps = powered()
    (_, probability, _), _ = powered(replace(SEARCH, margin=smallest))[1]
    assert probability == pytest.approx(POWER, abs=1e-6)
    assert [gap for gap, *_ in gaps] == [0.01, 0.005]


def test_the_needed_number_of_trials_is_the_first_with_80_percent_power() -> None:
    size = powered()[1][1][2]
    assert size is not None
    assert size > SEARCH.trials
    less, enough = (powered(replace(SEARCH, trials=trials))[1][1][1] for trials in (size - 1, size))
    assert less < POWER <= enough


def test_more_trials_and_more_test_rows_detect_smaller_gaps() -> None:
    more_trials = powered(replace(SEARCH, trials=120))[0]
    assert more_trials < powered()[0] < powered(rows=500)[0]


def test_more_looks_have_less_power() -> None:
    assert powered(replace(SEARCH, looks=4))[1][0][1] < powered()[1][0][1]


def test_no_number_of_trials_makes_up_for_a_small_test_set() -> None:
    assert powered(rows=400)[1][1][2] is None


def test_the_size_of_repeated_searches_is_their_number() -> None:
    search = Search(design="repeated", repeats=5, trials=10, budget=10, margin=0.01)
    smallest, (_, (_, _, size)) = powered(search)
    assert smallest < powered(replace(search, repeats=3))[0]
    assert size is not None
    assert size < 60


def earlier(
    name: str, task: str, fraction: float = 1.0, budget: int = 10, metric: str = "accuracy"
) -> tuple[list[Row], str]:
    """The earlier studies for a study of this description."""
    described = Task(name=task, source="csv", train_fraction=fraction)
    config = Config(name=name, cells=["rnn", "gru"], task=described, search=Search(budget=budget))
    return earlier_studies(config, metric)


def test_the_committed_table_agrees_with_the_committed_results() -> None:
    remedy = "python tests/planning/earlier.py writes it"
    assert table() == pd.read_csv(TABLE).to_dict("records"), remedy


def test_the_errors_are_those_of_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Study imdb: standard errors of .0024, .0022 and .0014 with 60 trials, n = 10."""
    monkeypatch.chdir(ROOT)
    (row,), source = earlier("imdb", "imdb")
    assert "results/imdb" in source
    assert row["search_sd"] / 6**0.5 == pytest.approx(0.0020, abs=0.0001)
    assert row["row_sd"] / 25_000**0.5 == pytest.approx(0.00085, abs=0.00005)


@pytest.fixture
def no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without results."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_results_the_most_similar_committed_study_is_taken(no_results: Path) -> None:
    (row,), source = earlier("mine", "imdb", fraction=0.12, budget=5)
    assert (row["study"], row["budget"]) == ("imdb_small", 5)
    assert "imdb_small" in source


def test_of_another_task_all_studies_with_the_accuracy_are_taken(no_results: Path) -> None:
    rows, _ = earlier("mine", "reviews")
    assert {row["metric"] for row in rows} == {"accuracy"}
    assert sorted(row["study"] for row in rows) == ["digits", "imdb", "imdb_small", "imdb_third"]
    assert {row["study"]: row["budget"] for row in rows}["imdb"] == 10
    assert earlier("mine", "prices", metric="mae")[0] == []


def test_a_study_in_results_comes_first(no_results: Path) -> None:
    (no_results / "results").mkdir()
    (no_results / "results/imdb_third").symlink_to(ROOT / "results/imdb_third")
    (row,), source = earlier("imdb", "imdb", budget=10)
    assert "results/imdb_third" in source
    # Its trials are enough for a search of five, and for none of ten.
    assert 5 <= row["budget"] < 10
    assert earlier("other", "imdb", budget=10) == ([row], source)
