"""A synthetic study that `evaluate` has scored."""

from pathlib import Path

import pytest

from pipeline.evaluate import evaluate
from pipeline.scoring import results as tables
from synthetic import Study


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """Two cells of eight trials and two seeds, trial 1 of rnn failed; scored, with the working directory at its root."""
    monkeypatch.chdir(tmp_path)
    written = Study(tmp_path, failed=(("rnn", 1),)).write()
    evaluate(written.config)
    return written


@pytest.fixture
def scores(study) -> Path:
    """The folder that `report` reads."""
    return study.root / "results/tiny/scores"


@pytest.fixture
def results(scores) -> tables.Results:
    return tables.load(scores)
