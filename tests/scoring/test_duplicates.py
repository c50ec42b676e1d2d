"""Rows in two parts are counted: the digits with planted duplicates."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.compose import compose
from pipeline.data import arrays, digits
from pipeline.data.spec import Examples, Sequences
from pipeline.scoring.duplicates import count_duplicates
from study_copy import ROOT


def counted(source: Sequences, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    monkeypatch.chdir(ROOT)
    config = compose(["study=digits"])
    monkeypatch.chdir(folder)
    arrays.write(source, config.task, folder / "data/digits/arrays", folder / "data/digits/sealed")
    return count_duplicates(config)


def test_copies_are_counted_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    source = digits.read(compose(["study=digits"]).task)
    before = counted(source, tmp_path, monkeypatch)
    assert before["test"] == len(source.test.inputs)
    assert (
        before["test_in_training"]
        == before["test_in_validation"]
        == before["validation_in_training"]
        == 0
    )
    # Some training rows of the source become validation rows, so the ten planted test rows are
    # duplicates of either part.
    test = Examples(
        np.concatenate([source.test.inputs, source.train.inputs[:10]]),
        np.concatenate([source.test.labels, source.train.labels[:10]]),
    )
    planted = counted(replace(source, test=test), tmp_path, monkeypatch)
    assert planted["test"] == before["test"] + 10
    assert planted["test_in_training"] + planted["test_in_validation"] == 10
    # Each training row twice: a validation row is a duplicate if its copy is in training.
    twice = Examples(np.repeat(source.train.inputs, 2, axis=0), np.repeat(source.train.labels, 2))
    doubled = counted(replace(source, train=twice), tmp_path, monkeypatch)
    assert 0 < doubled["validation_in_training"] < doubled["validation"]
