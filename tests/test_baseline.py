import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import baseline
from pipeline.config.schema import Config, Task
from pipeline.data import arrays, registry
from pipeline.data.spec import TaskSpec
from pipeline.errors import FairsweepError
from pipeline.metrics import rate
from pipeline.models.baselines import Candidate, best_of

TASK = Task(name="synthetic", source="synthetic", length=40, vocabulary=160)
CONFIG = Config(name="smoke", task=TASK)


@pytest.fixture(scope="module")
def study(generated_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "smoke"
    arrays.write(registry.read(TASK, generated_archive), TASK, folder / "arrays", folder / "sealed")
    baseline.run(CONFIG, folder / "arrays", folder / "baseline")
    return folder


def test_tables_and_predictions(study: Path) -> None:
    table = pd.read_csv(study / "baseline" / "baseline.csv")
    assert list(table.columns) == [
        "repeat",
        "arm",
        "kind",
        "state",
        "validation",
        "validation_loss",
        "ngrams",
        "C",
        "features",
    ]
    assert table["kind"].tolist() == ["same_tokens", "whole_text"]
    validation, test = (
        np.load(study / "baseline" / f"{part}_logits.npy") for part in ("validation", "test")
    )
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
    assert (
        table["validation"].tolist()
        == grid.groupby("kind", sort=False)["validation"].max().tolist()
    )
    # Order of words carries something that their counts do not.
    assert (table["ngrams"] > 1).all()


def test_a_rerun_gives_the_same_bytes(study: Path) -> None:
    baseline.run(CONFIG, study / "arrays", study / "again")
    for name in ("baseline.csv", "grid.csv", "validation_logits.npy", "test_logits.npy"):
        assert (study / "again" / name).read_bytes() == (study / "baseline" / name).read_bytes()


def test_ties_go_to_the_lower_loss_then_the_earlier() -> None:
    logits = np.zeros(1, np.float16)
    rows = [(1, 0.8, 0.5), (2, 0.9, 0.4), (3, 0.9, 0.3), (4, 0.9, 0.3)]
    candidates = [
        Candidate({"ngrams": ngrams}, accuracy, loss, logits, logits)
        for ngrams, accuracy, loss in rows
    ]
    assert best_of(candidates).settings == {"ngrams": 3}


def three_classes(study: Path) -> arrays.Data:
    """The invented reviews with a third class: those that have the most frequent word more than
    three times.
    """
    data = arrays.load(study / "arrays", TASK, 0)
    common = np.bincount(data.train_inputs[data.train_inputs > 3]).argmax()

    def labels(tokens: np.ndarray, sentiment: np.ndarray) -> np.ndarray:
        return np.where((tokens == common).sum(axis=1) > 3, 2, sentiment).astype(np.uint8)

    return replace(
        data,
        spec=TaskSpec(
            kind="classes",
            outputs=3,
            length=40,
            classes=["bad", "good", "common"],
            baselines=["trivial", *baseline.TEXT],
        ),
        train_labels=labels(data.train_inputs, data.train_labels),
        validation_labels=labels(data.validation_inputs, data.validation_labels),
    )


def waves() -> arrays.Data:
    """Weekly values of a yearly wave, in windows of 60 weeks and 2 to forecast."""
    values = np.sin(2 * np.pi * np.arange(301) / 52) + np.random.default_rng(0).normal(0, 0.3, 301)
    windows = np.lib.stride_tricks.sliding_window_view(values, 62).astype(np.float32)
    inputs, labels = windows[:, :60, None], windows[:, 60:]
    kinds = ["trivial", "seasonal", "linear"]
    spec = TaskSpec(
        kind="regression",
        metric="mae",
        outputs=2,
        features=1,
        length=60,
        ordered=True,
        baselines=kinds,
    )
    return arrays.Data(
        spec=spec,
        train_inputs=inputs[:150],
        train_labels=labels[:150],
        validation_inputs=inputs[150:200],
        validation_labels=labels[150:200],
        test_inputs=inputs[200:],
        digest="",
        by_group=False,
    )


def test_texts_of_three_classes(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = three_classes(study)
    monkeypatch.setattr(arrays, "load", lambda *_: data)
    baseline.run(CONFIG, study / "arrays", tmp_path / "baseline")
    table = pd.read_csv(tmp_path / "baseline" / "baseline.csv", dtype=str, keep_default_na=False)
    assert list(table.columns[4:]) == [
        "validation",
        "validation_loss",
        "settings",
        "ngrams",
        "C",
        "features",
    ]
    assert table["kind"].tolist() == ["trivial", "same_tokens", "whole_text"]
    assert table.loc[0, "settings":].tolist() == ["{}", "", "", ""]
    assert table["settings"].tolist()[1:] == ["", ""]
    # A run of up to 3 words is not one of up to 3.0.
    assert table["ngrams"][1:].isin(["1", "2", "3"]).all()
    grid = pd.read_csv(tmp_path / "baseline" / "grid.csv")
    assert grid["kind"].value_counts().to_dict() == {
        "same_tokens": 12,
        "whole_text": 12,
        "trivial": 1,
    }
    validation, test = (
        np.load(tmp_path / "baseline" / f"{part}_logits.npy") for part in ("validation", "test")
    )
    assert validation.dtype == test.dtype == np.float16
    assert (validation.shape, test.shape) == ((3, 320, 3), (3, 1000, 3))
    scores = [rate("accuracy", logits, data.validation_labels).value for logits in validation]
    assert scores == table["validation"].astype(float).tolist()
    assert min(scores[1:]) > scores[0] + 0.2
    # Log probabilities.
    assert np.all(validation[1:] <= 0)


def test_a_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = waves()
    monkeypatch.setattr(arrays, "load", lambda *_: data)
    baseline.run(CONFIG, tmp_path, tmp_path / "baseline")
    table, grid = (
        pd.read_csv(tmp_path / "baseline" / f"{name}.csv") for name in ("baseline", "grid")
    )
    assert list(table.columns) == [
        "repeat",
        "arm",
        "kind",
        "state",
        "validation",
        "validation_loss",
        "settings",
    ]
    assert (
        table["kind"].tolist()
        == data.spec.baselines
        == pd.read_csv(tmp_path / "baseline" / "timings.csv")["trial"].tolist()
    )
    assert [list(json.loads(settings)) for settings in table["settings"]] == [[], [], ["alpha"]]
    assert (
        table["validation"].tolist()
        == grid.groupby("kind", sort=False)["validation"].max().tolist()
    )
    assert table["validation"].idxmax() == 2
    validation, test = (
        np.load(tmp_path / "baseline" / f"{part}_logits.npy") for part in ("validation", "test")
    )
    assert validation.dtype == test.dtype == np.float32
    assert (validation.shape, test.shape) == ((3, 50, 2), (3, 40, 2))
    assert np.array_equal(test[1], data.test_inputs[:, 8:10, 0])


def test_a_class_without_training_rows_is_named(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = three_classes(study)
    labels = np.where(data.train_labels == 1, 0, data.train_labels)
    monkeypatch.setattr(arrays, "load", lambda *_: replace(data, train_labels=labels))
    with pytest.raises(
        FairsweepError, match=r"class 'good' has no row in the training part of 1,280"
    ):
        baseline.run(CONFIG, study / "arrays", tmp_path / "baseline")
