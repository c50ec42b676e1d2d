"""The sealed test set: nothing before `evaluate` depends on a test label, or opens one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config import Config, Task
from pipeline.data import arrays, sources
from pipeline.data.form import Sequences
from pipeline.errors import FairsweepError
from pipeline.evidence.scores import NO_LABEL, auc
from pipeline.search.stage import refuse_test_labels
from study_copy import StudyCopy, files

# Wall times differ between equal runs; the archive and the sealed labels are what was inverted.
SPARED = ("timings.csv", "test_labels.npy", "reviews.tar.gz")


def labels(copy: StudyCopy) -> np.ndarray:
    return np.load(copy.root / "data/smoke/sealed/test_labels.npy")


def test_inverted_test_labels_leave_every_file_before_evaluate_as_it_was(smoke: StudyCopy, inverted_smoke: StudyCopy) -> None:
    np.testing.assert_array_equal(labels(inverted_smoke), 1 - labels(smoke))
    for folder in ("data/smoke", "runs/smoke"):
        expected, seen = files(smoke.root / folder, *SPARED), files(inverted_smoke.root / folder, *SPARED)
        assert expected.keys() == seen.keys()
        assert [path for path in expected if expected[path] != seen[path]] == []
    assert sum(path.endswith("test_logits.npy") for path in files(smoke.root / "runs/smoke")) == 5


def test_inverted_test_labels_mirror_every_score(smoke: StudyCopy, inverted_smoke: StudyCopy) -> None:
    scores, mirrored = (pd.read_csv(copy.root / "results/smoke/scores/scores.csv") for copy in (smoke, inverted_smoke))
    assert len(scores) == 2 * 8 + 2 * 2 * 2 + 2
    np.testing.assert_allclose(mirrored["test"], 1 - scores["test"], atol=1e-6)
    np.testing.assert_allclose(mirrored["test_auc"], 1 - scores["test_auc"], atol=2e-6)
    assert scores["test"].max() > 0.7
    pd.testing.assert_series_equal(scores["validation"], mirrored["validation"])


def test_the_champion_does_not_depend_on_test_labels(smoke: StudyCopy, inverted_smoke: StudyCopy) -> None:
    chosen = [
        json.loads((copy.root / "results/smoke/report/metrics.json").read_text())["champion"] for copy in (smoke, inverted_smoke)
    ]
    assert chosen[0] == chosen[1]


def test_only_pad_and_evaluate_open_the_sealed_labels_and_no_stage_before_report_opens_results(smoke: StudyCopy) -> None:
    sealed = {(stage, mode) for stage, mode, path in smoke.opened() if "sealed" in path}
    assert {stage for stage, _ in sealed} == {"pad", "evaluate"}
    assert {stage for stage, mode in sealed if mode == "r"} == {"evaluate"}
    assert {stage for stage, _, path in smoke.opened() if path.startswith("results/")} == {"evaluate", "report"}


@pytest.mark.parametrize("place", ["data/smoke/arrays/test_labels.npy", "runs/smoke/draw/of/sealed_test_labels.csv"])
def test_a_search_refuses_test_labels_among_its_inputs(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data/smoke/arrays/train_labels.npy", "data/smoke/arrays/test_tokens.npy", "data/smoke/sealed/test_labels.npy"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    config = Config(name="smoke", cells=["rnn"])
    refuse_test_labels(config)
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    with pytest.raises(FairsweepError, match=r"test labels among the inputs of training.*dvc repro pad draw"):
        refuse_test_labels(config)


def test_the_place_of_a_test_row_tells_nothing(smoke: StudyCopy) -> None:
    held = labels(smoke)
    # Six standard errors of an AUC at chance.
    assert abs(auc(np.arange(len(held), dtype=float), held) - 0.5) < 6 * np.sqrt((len(held) + 1) / (3 * len(held) ** 2))


def other_labels(source: Sequences) -> Sequences:
    """The same source with its test labels replaced by others of the same kind."""
    labels = source.test.labels
    changed = labels + 1 if labels.dtype == np.float32 else np.where(labels == NO_LABEL, NO_LABEL, (labels + 1) % 2)
    return replace(source, test=replace(source.test, labels=changed.astype(labels.dtype)))


@pytest.mark.parametrize("name", ["digits", "co2", "tagging"])
def test_the_arrays_of_every_task_hold_no_test_label(name: str, tmp_path: Path) -> None:
    task = {
        "digits": Task(name="digits", source="digits", length=8),
        "co2": Task(name="co2", source="co2", length=52, horizon=4),
        "tagging": Task(name="tagging", source="tagging", length=70, features=12),
    }[name]
    source = sources.read(task, tmp_path)
    assert isinstance(source, Sequences)
    for folder, given in (("plain", source), ("other", other_labels(source))):
        arrays.write(given, task, tmp_path / folder / "arrays", tmp_path / folder / "sealed")
    plain, other = (files(tmp_path / folder) for folder in ("plain", "other"))
    assert [path for path in plain if plain[path] != other[path]] == ["sealed/test_labels.npy"]
    assert plain.keys() == other.keys()


def test_the_place_of_a_digit_tells_nothing(tmp_path: Path) -> None:
    task = Task(name="digits", source="digits", length=8)
    arrays.write(sources.read(task, tmp_path), task, tmp_path / "arrays", tmp_path / "sealed")
    sealed = np.load(tmp_path / "sealed" / "test_labels.npy")
    assert auc(np.arange(len(sealed)), (sealed > 4).astype(np.uint8)) == pytest.approx(0.5, abs=0.1)
    # Neighbours are equal as often as chance has it.
    assert np.mean(sealed[1:] == sealed[:-1]) == pytest.approx(0.1, abs=0.05)
