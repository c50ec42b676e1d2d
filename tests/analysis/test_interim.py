"""The record of looks: who looks twice at the same level is told so."""

import copy

import pandas as pd
import pytest

from pipeline.analysis.interim import digest, record

STUDY = {
    **{
        "study": "tiny",
        "protocol": 1,
        "cells": ["rnn", "gru"],
        "design": "shared",
        "sampler": "random",
        "pruner": "none",
    },
    **{
        "repeats": 1,
        "trials": 60,
        "budget": 10,
        "margin": 0.01,
        "alpha": 0.05,
        "looks": 1,
        "backend": "tensorflow",
    },
    **{
        "task": {"name": "tiny"},
        "fixed": {"train.epochs": 8},
        "space": [{"key": "model.units", "choices": [8, 16]}],
    },
    **{"seeds": {"split_seed": 0, "space_seed": 0, "seed": 0}, "data": {"digest": "abc"}},
}


@pytest.fixture
def path(tmp_path):
    """looks.csv after a verdict at 60 trials."""
    looks, refusal = record(tmp_path / "looks.csv", STUDY)
    assert refusal is None
    looks.to_csv(tmp_path / "looks.csv", index=False)
    return tmp_path / "looks.csv"


def changed(**keys):
    study = copy.deepcopy(STUDY)
    study.update(keys)
    return study


def test_the_first_look_is_recorded(path):
    table = pd.read_csv(path, dtype={"digest": str})
    assert ",".join(table.columns) == "digest,space_seed,repeats,trials,budget,margin,alpha,looks"
    assert table.iloc[0].tolist() == [digest(STUDY), 0, 1, 60, 10, 0.01, 0.05, 1]


def test_the_same_size_again_is_the_same_look(path):
    looks, refusal = record(path, STUDY)
    assert refusal is None
    assert len(looks) == 1


def test_another_size_is_refused_when_the_looks_are_spent(path):
    looks, refusal = record(path, changed(trials=120))
    assert "given at 60 trials, and search.looks=1 allows no other" in refusal
    assert "new space_seed" in refusal
    assert len(looks) == 1


def test_two_planned_looks_are_two(tmp_path):
    path = tmp_path / "looks.csv"
    for trials, expected in ((60, 1), (120, 2), (60, 2), (180, None)):
        looks, refusal = record(path, changed(trials=trials, looks=2))
        assert (None if refusal else len(looks)) == expected
        looks.to_csv(path, index=False)
    assert "given at 60 trials and 120 trials" in refusal


@pytest.mark.parametrize(
    ("name", "value"), [("margin", 0.02), ("alpha", 0.1), ("looks", 3), ("budget", 5)]
)
def test_what_was_fixed_before_the_run_stays_fixed(path, name, value):
    refusal = record(path, changed(**{name: value}))[1]
    assert (
        f"search.{name} was {STUDY[name]:g} when a verdict was given at 60 trials, and is {value:g} now"
        in refusal
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"seeds": {"split_seed": 0, "space_seed": 1, "seed": 0}},
        {"fixed": {"train.epochs": 9}},
        {"data": {"digest": "x"}},
    ],
)
def test_another_pool_starts_anew(path, keys):
    looks, refusal = record(path, changed(trials=120, **keys))
    assert refusal is None
    assert len(looks) == 2


def test_another_cell_at_the_same_size_is_no_other_look(path):
    assert record(path, changed(cells=["rnn", "gru", "lstm"]))[1] is None


def test_more_separate_studies_are_another_look(tmp_path):
    path = tmp_path / "looks.csv"
    record(path, changed(design="repeated", repeats=5, trials=10))[0].to_csv(path, index=False)
    refusal = record(path, changed(design="repeated", repeats=15, trials=10))[1]
    assert "given at 5 studies of 10 trials" in refusal
