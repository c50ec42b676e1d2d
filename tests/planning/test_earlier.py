"""What a plan takes from earlier studies, and from which of them."""

from pathlib import Path

import pytest

from pipeline.config import Config, Search, Task
from pipeline.evaluate import evaluate
from pipeline.planning import earlier
from study_copy import ROOT
from synthetic import Study


def config(name: str, task: str, fraction: float = 1.0, headline: int = 10) -> Config:
    described = Task(name=task, source="csv", train_fraction=fraction)
    return Config(name=name, cells=["rnn", "gru"], task=described, search=Search(headline=headline))


def test_the_committed_table_is_that_of_the_committed_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert earlier.table() == earlier.committed(), "python -m pipeline.planning.earlier writes it anew"


def test_a_spread_is_that_of_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed study imdb: the gaps' standard errors .0024, .0022 and .0014 of 60 trials, six searches of ten."""
    monkeypatch.chdir(ROOT)
    found = earlier.basis(config("imdb", "imdb"), "accuracy")
    assert found is not None
    assert found.source == "results/imdb, of the same task"
    assert found.search_sd / 6**0.5 == pytest.approx(0.0020, abs=0.0001)
    assert found.row_sd / 25_000**0.5 == pytest.approx(0.00085, abs=0.00005)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without results."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_results_the_committed_table_is_asked(elsewhere: Path) -> None:
    found = earlier.basis(config("mine", "imdb", fraction=0.12, headline=5), "accuracy")
    assert found is not None
    assert (found.source, found.headline) == ("study imdb_small of this project, of the same task", 5)
    assert found.low == found.search_sd == found.high


def test_of_another_task_the_middle_is_taken_where_units_are_the_same(elsewhere: Path) -> None:
    found = earlier.basis(config("mine", "reviews"), "accuracy")
    assert found is not None
    assert found.low < found.search_sd < found.high
    assert "digits" in found.source
    assert "co2" not in found.source
    assert earlier.basis(config("mine", "prices"), "mae") is None
    assert 0.5 < earlier.shares() < 1.0


def test_a_study_that_was_run_here_comes_first(elsewhere: Path) -> None:
    evaluate(Study(elsewhere).write().config)
    own = earlier.basis(config("tiny", "tiny", headline=2), "accuracy")
    assert own is not None
    assert own.source == "results/tiny, of the same task"
    # Eight trials are enough for a search of two.
    assert own.headline == 2
    assert earlier.basis(config("other", "tiny", headline=2), "accuracy") == own
