from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import baseline
from pipeline.config import Config, Task
from pipeline.data import arrays, sources
from pipeline.models.linear import Candidate, best_of

TASK = Task(name="generated", source="generated", length=40, vocabulary=160)
CONFIG = Config(name="smoke", task=TASK)


@pytest.fixture(scope="module")
def study(generated_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "smoke"
    arrays.write(sources.read(TASK, generated_archive), TASK, folder / "arrays", folder / "sealed")
    baseline.run(CONFIG, folder / "arrays", folder / "baseline")
    return folder


def test_tables_and_predictions(study: Path) -> None:
    table = pd.read_csv(study / "baseline" / "baseline.csv")
    assert list(table.columns) == ["study", "arm", "kind", "state", "validation", "validation_loss", "ngrams", "C", "features"]
    assert table["kind"].tolist() == ["same_tokens", "whole_text"]
    validation, test = (np.load(study / "baseline" / f"{part}_logits.npy") for part in ("validation", "test"))
    assert validation.dtype == test.dtype == np.float16
    assert validation.shape == (2, 320)
    assert test.shape == (2, 1000)
    labels = arrays.load(study / "arrays", TASK, 0).validation_labels
    assert ((validation > 0) == labels).mean(axis=1).tolist() == table["validation"].tolist()


def test_it_learns_but_not_everything(study: Path) -> None:
    labels = np.load(study / "sealed" / "test_labels.npy")
    accuracy = ((np.load(study / "baseline" / "test_logits.npy") > 0) == labels).mean(axis=1)
    assert np.all((accuracy > 0.75) & (accuracy < 0.93))


def test_the_choice_is_the_best_of_the_grid(study: Path) -> None:
    table, grid = (pd.read_csv(study / "baseline" / f"{name}.csv") for name in ("baseline", "grid"))
    assert table["validation"].tolist() == grid.groupby("kind", sort=False)["validation"].max().tolist()
    # Order of words carries something that their counts do not.
    assert (table["ngrams"] > 1).all()


def test_a_rerun_gives_the_same_bytes(study: Path) -> None:
    baseline.run(CONFIG, study / "arrays", study / "again")
    for name in ("baseline.csv", "grid.csv", "validation_logits.npy", "test_logits.npy"):
        assert (study / "again" / name).read_bytes() == (study / "baseline" / name).read_bytes()


def test_ties_go_to_the_lower_loss_then_the_earlier() -> None:
    logits = np.zeros(1, np.float16)
    rows = [(1, 0.8, 0.5), (2, 0.9, 0.4), (3, 0.9, 0.3), (4, 0.9, 0.3)]
    candidates = [Candidate(ngrams, 1.0, 1, accuracy, loss, logits, logits) for ngrams, accuracy, loss in rows]
    assert best_of(candidates).ngrams == 3
