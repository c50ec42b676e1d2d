import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.config.schema import Task
from pipeline.data import arrays, registry
from pipeline.data.arrays import Ids
from pipeline.errors import FairsweepError
from pipeline.files import replace_folder

GENERATED = Task(name="synthetic", source="synthetic", length=40, vocabulary=160)
IMDB_DIGEST = "8514b2cec35ec66fbc69c73d6933da6b9885d159df04dceacb39c01d72919b29"


def pad(archive: Path, folder: Path, task: Task = GENERATED) -> Path:
    arrays.write(registry.read(task, archive), task, folder / "arrays", folder / "sealed")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def study(generated_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pad(generated_archive, tmp_path_factory.mktemp("data") / "smoke")


@pytest.fixture(scope="module")
def imdb(imdb_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "imdb"
    task = Task(name="imdb", source="imdb", archive=str(imdb_archive), digest=IMDB_DIGEST)
    return pad(registry.fetch(task, folder / "archive"), folder, task)


def test_shapes_and_types(study: Path) -> None:
    data = arrays.load(study / "arrays", GENERATED, 0)
    assert data.train_inputs.shape == (1280, 40)
    assert data.validation_inputs.shape == (320, 40)
    assert data.test_inputs.shape == (1000, 40)
    assert data.train_inputs.dtype == data.test_inputs.dtype == np.int32
    assert data.train_labels.dtype == data.validation_labels.dtype == np.uint8
    assert data.train_inputs.max() < 160
    assert data.by_group
    assert np.load(study / "sealed" / "test_labels.npy").dtype == np.uint8


def test_whole_reviews_end_as_the_cut_ones_do(study: Path) -> None:
    tokens = np.load(study / "arrays" / "test_tokens.npy")
    _, whole = arrays.load_whole(study / "arrays")
    assert len(whole) == 1000
    cut = arrays.without_padding(tokens)
    for row in range(0, 1000, 100):
        review = whole.ids[whole.offsets[row] : whole.offsets[row + 1]]
        assert review[0] == 1
        assert np.array_equal(review[-40:], cut.ids[cut.offsets[row] : cut.offsets[row + 1]])


def test_rows_are_picked_whole() -> None:
    ids = Ids(np.array([1, 4, 1, 1, 5, 6], np.int32), np.array([0, 2, 3, 6]))
    picked = ids.where(np.array([True, False, True]))
    assert picked.ids.tolist() == [1, 4, 1, 5, 6]
    assert picked.offsets.tolist() == [0, 2, 5]


def test_inverted_test_labels_change_the_sealed_file_alone(
    study: Path, inverted_archive: Path, tmp_path: Path
) -> None:
    inverted = pad(inverted_archive, tmp_path / "smoke")
    assert contents(inverted / "arrays") == contents(study / "arrays")
    sealed, mirrored = (
        np.load(folder / "sealed" / "test_labels.npy") for folder in (study, inverted)
    )
    assert np.array_equal(sealed, 1 - mirrored)


def test_position_tells_no_label(study: Path) -> None:
    assert roc_auc_score(
        np.load(study / "sealed" / "test_labels.npy"), np.arange(1000)
    ) == pytest.approx(0.5, abs=0.06)


def test_movies_are_numbered_as_they_appear(study: Path) -> None:
    for part in ("train", "test"):
        groups = np.load(study / "arrays" / f"{part}_groups.npy")
        numbers, first = np.unique(groups, return_index=True)
        assert np.array_equal(numbers, np.arange(len(numbers)))
        assert np.all(np.diff(first) > 0)


def test_split_seeds_split_differently(study: Path) -> None:
    first, second = (arrays.split(study / "arrays", GENERATED, seed)[1] for seed in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("length", "padding"), [(7, "pre"), (60, "post"), (60, "pre")])
def test_texts_can_be_cut_to_any_length_later(
    study: Path, length: int, padding: str, tmp_path: Path, generated_archive: Path
) -> None:
    other = replace(GENERATED, length=length, padding=padding)
    arrays.write(
        registry.read(other, generated_archive), other, tmp_path / "arrays", tmp_path / "sealed"
    )
    made, cut = (arrays.load(folder / "arrays", other, 0) for folder in (tmp_path, study))
    assert cut.spec.length == length
    for name in ("train_inputs", "validation_inputs", "test_inputs", "train_labels"):
        assert np.array_equal(getattr(made, name), getattr(cut, name)), name


def test_a_fraction_of_the_training_rows_lies_in_a_larger_one(study: Path) -> None:
    parts = {
        fraction: arrays.split(study / "arrays", replace(GENERATED, train_fraction=fraction), 0)
        for fraction in (0.1, 0.3, 1.0)
    }
    assert [int(train.sum()) for train, _ in parts.values()] == [128, 384, 1280]
    assert not (parts[0.1][0] & ~parts[0.3][0]).any()
    assert all(np.array_equal(validation, parts[1.0][1]) for _, validation in parts.values())
    other, _ = arrays.split(study / "arrays", replace(GENERATED, train_fraction=0.1), 1)
    assert not np.array_equal(other, parts[0.1][0])
    with pytest.raises(FairsweepError, match=r"task.train_fraction=0.0001: leaves no row of 1,280"):
        arrays.load(study / "arrays", replace(GENERATED, train_fraction=0.0001), 0)


@pytest.mark.parametrize("change", [{"vocabulary": 200}, {"name": "imdb"}])
def test_arrays_of_another_task_are_refused(study: Path, change: dict[str, object]) -> None:
    key, value = next(iter(change.items()))
    with pytest.raises(FairsweepError) as error:
        arrays.load(study / "arrays", replace(GENERATED, **change), 0)
    for part in (
        f"task.{key}={getattr(GENERATED, key)}",
        f"task.{key}={value}",
        "dvc repro pad",
        "pipeline.pad study=smoke",
    ):
        assert part in str(error.value)


def test_missing_arrays_name_the_commands(tmp_path: Path) -> None:
    with pytest.raises(FairsweepError) as error:
        arrays.load(tmp_path / "smoke" / "arrays", GENERATED, 0)
    assert "python -m pipeline.download study=smoke" in str(error.value)
    assert "python -m pipeline.pad study=smoke" in str(error.value)


def test_a_failing_write_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    with replace_folder(folder) as part:
        (part / "old").touch()

    def fail() -> None:
        with replace_folder(folder) as part:
            (part / "new").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in tmp_path.rglob("*")] == ["arrays", "old"]
    with replace_folder(folder) as part:
        (part / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["arrays", "new"]


@pytest.mark.long
def test_real_reviews(imdb: Path) -> None:
    meta = json.loads((imdb / "arrays" / "meta.json").read_text())
    assert meta["train"] == {"rows": 25_000, "groups": 3456}
    assert meta["test"] == {"rows": 25_000, "groups": 3581}
    words = list(arrays.load_vocabulary(imdb / "arrays"))
    assert words[:10] == ["the", "and", "a", "of", "to", "is", "br", "in", "it", "i"]
    assert len(words) == 9996


@pytest.mark.long
def test_real_split_is_exact(imdb: Path) -> None:
    groups, labels = (
        np.load(imdb / "arrays" / f"train_{name}.npy") for name in ("groups", "labels")
    )
    for seed in range(3):
        _, rows = arrays.split(imdb / "arrays", Task(name="imdb", source="imdb"), seed)
        assert rows.sum() == 5000
        assert labels[rows].sum() == 2500
        assert not set(groups[rows]) & set(groups[~rows])


@pytest.mark.long
def test_real_position_tells_no_label(imdb: Path) -> None:
    assert roc_auc_score(
        np.load(imdb / "sealed" / "test_labels.npy"), np.arange(25_000)
    ) == pytest.approx(0.5, abs=0.02)
