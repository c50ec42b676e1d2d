"""Importance names what a study's scores were made of and nothing in noise; edges are found where they were planted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.analysis import importance
from pipeline.errors import FairsweepError
from pipeline.scoring import results as tables

ROOT = Path(__file__).resolve().parents[2]
SPACE = [
    {"key": "model.units", "low": 8, "high": 48, "step": 8, "log": False},
    {"key": "model.masking", "log": False, "choices": [True, False]},
    {"key": "train.learning_rate", "low": 1e-5, "high": 1e-2, "log": True},
    {"key": "train.clipnorm", "log": False, "choices": [None, 1.0]},
    {"key": "model.dropout", "low": 0.0, "high": 0.5, "log": False},
]
OPTUNAS_TREE = "optuna.importance._fanova._fanova._FanovaTree"
TEXTS = {"True": "true", "False": "false", "None": "null"}


@pytest.fixture(scope="module")
def real() -> tables.Results:
    return tables.load(ROOT / "results/imdb/scores")


@pytest.fixture
def few_trees(monkeypatch) -> None:
    """Forests of a quarter, for what does not hang on how steady their shares are."""
    monkeypatch.setattr(importance, "TREES", 16)


def drawn(rng: np.random.Generator, trials: int, score, **study) -> tables.Results:
    """One arm's trials, drawn from SPACE and scored by a function of the values."""
    rows = []
    for trial in range(trials):
        values = {
            "model.units": 8 * int(rng.integers(1, 7)),
            "model.masking": bool(rng.integers(2)),
            "train.learning_rate": float(f"{10 ** rng.uniform(-5, -2):.6g}"),
            "train.clipnorm": (None, 1.0)[rng.integers(2)],
            "model.dropout": float(f"{rng.uniform(0, 0.5):.6g}"),
        }
        texts = [f"{key}={TEXTS.get(str(value), value)}" for key, value in values.items()]
        overrides = json.dumps(["study=s", "cell=a", *texts, f"seed={trial}"])
        rows.append(
            {"repeat": 0, "arm": "a", "trial": trial, "state": "complete", "overrides": overrides}
        )
        rows[-1] |= {"validation": round(score(values), 4), "validation_loss": 0.3}
    empty = pd.DataFrame({"arm": []})
    described = {"cells": ["a"], "space": SPACE, "sampler": "random", **study}
    tables_of = dict.fromkeys(
        ("scores", "epochs", "replicates", "replicate_epochs", "timings", "baseline", "grid"), empty
    )
    return result(described, trials=pd.DataFrame(rows), **tables_of)


def result(study: dict, **frames: pd.DataFrame) -> tables.Results:
    """Results with these tables; what else a study has is left out."""
    import dataclasses

    others = {field.name: None for field in dataclasses.fields(tables.Results)}
    return tables.Results(**{**others, "study": study, **frames})


def slope(values: dict) -> float:
    """Learning rate first, units second; the rest does nothing."""
    return (
        0.6 + 0.08 * (np.log10(values["train.learning_rate"]) + 5) + 0.001 * values["model.units"]
    )


def no_cache(results: tables.Results) -> dict:
    return importance.importance(results, cache=None)["a"]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_true_first_is_named_first(few_trees, seed):
    rng = np.random.default_rng(seed)
    found = no_cache(drawn(rng, 60, lambda values: slope(values) + rng.normal(0, 0.01)))
    assert found["named"][0] == "train.learning_rate"
    assert set(found["named"]) <= {"train.learning_rate", "model.units"}
    assert next(iter(found["shares"])) == "train.learning_rate"
    assert 0.5 < sum(found["shares"].values()) < 1
    assert found["trials"] == 60
    assert found["note"] is None


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_named_in_noise(few_trees, seed):
    rng = np.random.default_rng(seed)
    found = no_cache(drawn(rng, 60, lambda _: rng.normal(0.8, 0.02)))
    assert found["named"] == []
    assert found["note"] == "no share is larger than in shuffled scores"
    assert max(found["shares"].values()) < found["baseline"] < 1


class LeafTree:
    """Replaces Optuna's `_FanovaTree`: the same variances, computed for all leaves at once instead of node by node."""

    def __init__(self, tree: Any, spaces: np.ndarray) -> None:
        low, high = np.tile(spaces.T[:, None], (1, tree.node_count, 1))
        nodes = zip(
            tree.children_left, tree.children_right, tree.feature, tree.threshold, strict=True
        )
        for node, (left, right, feature, threshold) in enumerate(nodes):
            if left >= 0:
                low[[left, right]], high[[left, right]] = low[node], high[node]
                high[left, feature] = low[right, feature] = threshold
        leaves = tree.children_left < 0
        self.low, self.high, self.values = low[leaves], high[leaves], tree.value[leaves, 0, 0]
        used = [
            np.unique(tree.threshold[tree.feature == feature]) for feature in range(len(spaces))
        ]
        self.edges = [
            np.concatenate([[space[0]], inner, [space[1]]])
            for space, inner in zip(spaces, used, strict=True)
        ]

    @property
    def variance(self) -> float:
        return weighted_variance(self.values, (self.high - self.low).prod(axis=1))

    def get_marginal_variance(self, features: np.ndarray) -> float:
        """Variance of the mean of the tree over the other features, over the grid of the splits of `features`."""
        volume = np.delete(self.high - self.low, features, axis=1).prod(axis=1)
        inside, sizes = np.ones((1, len(volume)), bool), np.ones(1)
        for feature in features:
            edges = self.edges[feature]
            middle = ((edges[1:] + edges[:-1]) / 2)[:, None]
            cells = (self.low[:, feature] < middle) & (middle < self.high[:, feature])
            inside = (inside[:, None] & cells).reshape(-1, len(volume))
            sizes = np.outer(sizes, np.diff(edges)).ravel()
        weights = inside @ volume
        return weighted_variance(inside @ (volume * self.values) / weights, weights * sizes)


def weighted_variance(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.average((values - np.average(values, weights=weights)) ** 2, weights=weights))


def with_few_shuffles(spread: importance.Spread, space: list[dict]) -> importance.Found:
    """Like `importance._computed`, but stop as soon as a shuffled share reaches the largest one, since then nothing can be named."""
    shares = importance._shares(spread.values, spread.scores, space)
    rng, baseline = np.random.default_rng(importance.SEED), 0.0
    for _ in range(importance.SHUFFLES):
        shuffled = importance._shares(spread.values, rng.permutation(spread.scores), space)
        baseline = max(baseline, *shuffled.values())
        if baseline >= max(shares.values()):
            break
    return importance.Found(shares, baseline)


@pytest.fixture
def fast_forests(few_trees, monkeypatch) -> None:
    monkeypatch.setattr(OPTUNAS_TREE, LeafTree)


def noisy(seed: int) -> tables.Results:
    rng = np.random.default_rng([1, seed])
    return drawn(rng, 60, lambda _: rng.normal(0.8, 0.02))


def plainly_caused(seed: int) -> tables.Results:
    rng = np.random.default_rng([2, seed])
    return drawn(rng, 60, lambda values: slope(values) + rng.normal(0, 0.05))


@pytest.mark.simulation
@pytest.mark.parametrize("study", [noisy, plainly_caused])
def test_fast_forests_explain_as_much_as_optunas(few_trees, monkeypatch, study):
    monkeypatch.setattr(importance, "DIGITS", 15)
    space = [importance._even(row) for row in SPACE]
    some = importance._spread(study(0), "a")
    original = importance._shares(*some, space)
    monkeypatch.setattr(OPTUNAS_TREE, LeafTree)
    assert importance._shares(*some, space) == pytest.approx(original, abs=1e-12)


@pytest.mark.simulation
def test_fewer_shuffles_name_the_same(fast_forests, monkeypatch):
    monkeypatch.setattr(importance, "SHUFFLES", 4)
    some = [*map(noisy, range(6)), plainly_caused(0)]
    whole = [no_cache(study)["named"] for study in some]
    monkeypatch.setattr(importance, "_computed", with_few_shuffles)
    assert [no_cache(study)["named"] for study in some] == whole
    assert 1 <= sum(map(bool, whole)) <= 4


@pytest.mark.simulation
def test_noise_is_named_once_in_twenty_one_studies_and_a_plain_cause_nearly_always(
    fast_forests, monkeypatch
):
    monkeypatch.setattr(importance, "_computed", with_few_shuffles)
    noise = sum(bool(no_cache(noisy(seed))["named"]) for seed in range(60))
    plain = sum(
        no_cache(plainly_caused(seed))["named"][:1] == ["train.learning_rate"] for seed in range(20)
    )
    print(f"named in noise {noise} of 60, the true first {plain} of 20")
    # More than 7 of 60 at 1/21: chance .01.
    assert noise <= 7
    assert plain >= 16


def test_sixty_trials_name_two_in_order_thirty_name_one_and_twenty_nine_none(monkeypatch):
    monkeypatch.setattr(
        importance,
        "_computed",
        lambda *_: importance.Found(
            {"model.units": 0.5, "model.dropout": 0.4, "model.masking": 0.3}, 0.3
        ),
    )
    some = drawn(np.random.default_rng(3), 60, slope)
    assert no_cache(some)["named"] == ["model.units", "model.dropout"]
    some.trials.loc[:29, "state"] = "failed"
    found = no_cache(some)
    assert found["named"] == ["model.units"]
    assert found["note"] == "an order needs 60 complete trials"
    some.trials.loc[59, "state"] = "failed"
    fewer = no_cache(some)
    assert fewer["note"] == "not computed: 29 complete trials, at least 30 are needed"
    assert (fewer["shares"], fewer["baseline"], fewer["named"]) == ({}, None, [])


def test_more_than_sixty_trials_count_as_the_first_sixty(few_trees):
    many = drawn(np.random.default_rng(4), 80, slope)
    found, first = no_cache(many), no_cache(replace(many, trials=many.trials[:60]))
    assert found["note"] == "the first 60 of 80 complete trials"
    assert (found["shares"], found["baseline"]) == (first["shares"], first["baseline"])


def test_a_sampler_that_learns_is_left_alone():
    some = drawn(np.random.default_rng(5), 60, slope, sampler="tpe")
    assert no_cache(some)["note"] == "not computed: trials of the sampler tpe crowd the good region"
    studies = replace(some, study={**some.study, "design": "repeated"})
    assert no_cache(studies)["shares"] == {}


def test_equal_scores_have_nothing_to_explain():
    assert no_cache(drawn(np.random.default_rng(6), 40, lambda _: 0.8))["note"].endswith(
        "score the same"
    )


def test_a_trial_without_a_searched_key_is_refused():
    some = drawn(
        np.random.default_rng(7),
        40,
        slope,
        space=[*SPACE, {"key": "train.momentum", "log": False, "choices": [0.1, 0.2]}],
    )
    with pytest.raises(FairsweepError, match=r"lacks train\.momentum"):
        no_cache(some)


def test_the_cache_gives_the_same_and_may_be_damaged(tmp_path, monkeypatch):
    some = drawn(np.random.default_rng(8), 30, slope)
    calls = []

    def computed(spread: importance.Spread, space: list[dict]) -> importance.Found:
        calls.append(spread)
        return importance.Found(
            {row["key"]: 0.2 for row in space} | {"train.learning_rate": spread.scores[0]}, 0.25
        )

    monkeypatch.setattr(importance, "_computed", computed)
    first = importance.importance(some, tmp_path)
    assert importance.importance(some, tmp_path) == first
    assert len(calls) == 1
    (file,) = tmp_path.iterdir()
    for damage in (
        "",
        "[]",
        '{"shares": {}, "baseline": 0.1}',
        '{"shares": {"model.units": 1}}',
        file.read_text()[:-20],
    ):
        calls.clear()
        file.write_text(damage)
        assert (
            importance.importance(some, tmp_path) == importance.importance(some, tmp_path) == first
        )
        assert len(calls) == 1
    changed = replace(
        some, trials=some.trials.assign(validation=some.trials["validation"][::-1].to_numpy())
    )
    assert importance.importance(changed, tmp_path) != first
    assert importance.importance(some, None) == first
    assert len(list(tmp_path.iterdir())) == 2


def test_logarithmic_ranges_are_looked_at_evenly(few_trees):
    """A cause below a rate of 1e-4 is one in three trials, and one hundredth of the range of the rate itself."""
    some = drawn(
        np.random.default_rng(12),
        60,
        lambda values: 0.6 + 0.2 * (values["train.learning_rate"] < 1e-4),
    )
    found = no_cache(some)
    assert found["named"] == ["train.learning_rate"]
    assert found["shares"]["train.learning_rate"] > 0.99
    spread = importance._spread(some, "a")
    rates = [values["train.learning_rate"] for values in spread.values]
    assert np.log(1e-5) <= min(rates) < max(rates) <= np.log(1e-2)
    (row,) = [importance._even(row) for row in SPACE if row["key"] == "train.learning_rate"]
    assert (row["low"], row["high"]) == pytest.approx((np.log(1e-5), np.log(1e-2)))


def rising(noise: float = 0.005, **study) -> tables.Results:
    """Trials of which the best have the largest dropout."""
    rng = np.random.default_rng(9)
    return drawn(
        rng, 60, lambda values: 0.6 + 0.4 * values["model.dropout"] + rng.normal(0, noise), **study
    )


def test_a_best_trial_at_an_end_is_a_warning_where_scores_rise_and_else_a_note():
    (edge,) = importance.edges(rising())["a"]
    best = tables.best_row(rising().trials)
    assert (edge["key"], edge["side"], edge["warning"]) == ("model.dropout", "high", True)
    assert f"model.dropout={edge['value']}" in best["overrides"]
    assert edge["position"] == pytest.approx(edge["value"] / 0.5, abs=1e-6)
    # Three ranges, two ends each; choices of two have no ends.
    assert edge["chance_any"] == pytest.approx(6 * edge["chance"], abs=6e-6)
    assert (
        edge["remedy"]
        == "search model.dropout above 0.5 too (conf/space), if such values make sense"
    )
    rng = np.random.default_rng(9)
    level = drawn(rng, 60, lambda _: rng.normal(0.7, 0.01))
    trial = best["trial"]
    level.trials.loc[trial, ["overrides", "validation"]] = [
        best["overrides"],
        level.trials["validation"].max() + 0.001,
    ]
    notes = importance.edges(level)["a"]
    assert ("model.dropout", False) in [(note["key"], note["warning"]) for note in notes]
    json.dumps(notes, allow_nan=False)


def test_every_arm_looks_at_as_many_ends():
    alone, three = rising(), rising(cells=["a", "b", "c"])
    three = replace(
        three, trials=pd.concat([three.trials.assign(arm=arm) for arm in "abc"], ignore_index=True)
    )
    (one,), (same,) = importance.edges(alone)["a"], importance.edges(three)["b"]
    assert same["chance_any"] == pytest.approx(3 * one["chance_any"], abs=6e-6)


def test_separate_studies_are_taken_together():
    some = rising(design="repeated")
    some.trials["repeat"] = some.trials["trial"] % 5
    assert [edge["warning"] for edge in importance.edges(some)["a"]] == [True]


def test_choices_are_known_by_how_they_are_written():
    space = [{"key": "train.learning_rate", "log": False, "choices": [1e-5, 1e-4, 1e-3]}]
    rng = np.random.default_rng(10)
    some = drawn(rng, 30, lambda _: 0.7, space=space)
    for trial, choice in enumerate(rng.choice([1e-5, 1e-4, 1e-3], 30)):
        some.trials.loc[trial, "overrides"] = json.dumps([f"train.learning_rate={choice}"])
        some.trials.loc[trial, "validation"] = (
            0.7 + 0.05 * (5 + np.log10(choice)) + rng.normal(0, 0.005)
        )
    (edge,) = importance.edges(some)["a"]
    assert (edge["value"], edge["warning"]) == (1e-3, True)


def test_the_real_study_is_repeatable(few_trees, real):
    one_arm = replace(real, study={**real.study, "cells": ["gru"]})
    found = importance.importance(one_arm, cache=None)["gru"]
    assert found == importance.importance(one_arm, cache=None)["gru"]
    assert set(found["shares"]) == {row["key"] for row in real.study["space"]}
    assert 0 < found["baseline"] < 1
    for edge in importance.edges(real)["gru"]:
        assert edge["position"] <= 0.1 or edge["position"] >= 0.9
