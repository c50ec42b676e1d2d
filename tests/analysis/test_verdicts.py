"""Verdicts on the recorded IMDB study: what the tables say, and gaps planted in them."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.analysis import arrays, single_run, verdicts
from pipeline.metrics import pack, unpack
from pipeline.scoring import results as tables
from pipeline.statistics import shared_search
from study_copy import ROOT

BETTER = ("better", "better_within_margin")


@pytest.fixture(scope="module")
def imdb() -> tables.Results:
    return tables.load(ROOT / "results/imdb/scores")


def judged(results) -> dict:
    return {
        (pair["a"], pair["b"]): pair for pair in verdicts.pairs(results, arrays.groups(results))
    }


def with_bits(results, arm, change):
    """The study with every run of one arm's search predicting anew: `change` takes and gives bool [runs, reviews]."""
    scores, correct = results.scores.copy(), results.correct.copy()
    rows = scores.index[(scores["arm"] == arm) & (scores["kind"] == "trial")]
    bits = change(unpack(correct[rows], len(results.groups)))
    correct[rows] = pack(bits)
    scores.loc[rows, "test"] = bits.mean(axis=1)
    return replace(results, scores=scores, correct=correct)


def copied(results, source, target):
    """The study with the search of `target` replaced by that of `source`."""
    scores, correct = results.scores.copy(), results.correct.copy()
    into, out_of = (
        scores.index[(scores["arm"] == arm) & (scores["kind"] == "trial")]
        for arm in (target, source)
    )
    scores.loc[into, ["validation", "test"]] = scores.loc[out_of, ["validation", "test"]].to_numpy()
    correct[into] = correct[out_of]
    return replace(results, scores=scores, correct=correct)


def test_bits_and_scores_give_the_same_mean(imdb):
    pools, groups = arrays.pools(imdb), arrays.groups(imdb)
    for arm in imdb.cells:
        assert groups.right[arm].mean() == pytest.approx(
            shared_search.picked(pools[arm], imdb.study["budget"]), abs=1e-6
        )


def test_a_failed_trial_guesses_on_every_review(imdb):
    scores = imdb.scores.copy()
    best = scores.index[(scores["arm"] == "gru") & (scores["kind"] == "trial")][0]
    scores.loc[best, ["state", "validation", "test"]] = ["failed", np.nan, 0.5]
    failed = replace(imdb, scores=scores)
    mean = shared_search.picked(arrays.pools(failed)["gru"], imdb.study["budget"])
    assert arrays.groups(failed).right["gru"].mean() == pytest.approx(mean, abs=1e-6)
    assert arrays.pools(failed)["gru"].validation[0] == -np.inf


def test_a_planted_gap_is_found_whichever_cell_it_is_planted_in(imdb):
    generator = np.random.default_rng(0)

    def damaged(bits):
        return bits ^ (generator.random(bits.shape) < 0.1)

    for arm, other in (("gru", "lstm"), ("lstm", "gru")):
        pair = judged(with_bits(imdb, arm, damaged))["gru", "lstm"]
        assert pair["verdict"] in BETTER
        assert verdicts.ahead(pair) == other
        assert abs(pair["gap"]) > 0.05


def test_a_cell_is_not_better_than_its_copy(imdb):
    pair = judged(copied(imdb, "gru", "lstm"))["gru", "lstm"]
    assert pair["gap"] == 0
    assert pair["verdict"] == "equivalent"


def test_shuffled_reviews_leave_no_winner(imdb):
    """As with shuffled test labels: every trial is right on a random half of the reviews."""
    generator = np.random.default_rng(0)
    shuffled = imdb
    for arm in imdb.cells:
        shuffled = with_bits(shuffled, arm, lambda bits: generator.random(bits.shape) < 0.5)
    found = judged(shuffled)
    assert verdicts.winner(list(found.values()), imdb.cells) is None
    assert not any(pair["verdict"] in BETTER for pair in found.values())
    assert all(abs(pair["gap"]) < 0.01 for pair in found.values())


def test_cells_in_another_order_flip_the_sign_alone(imdb):
    turned = replace(imdb, study={**imdb.study, "cells": imdb.cells[::-1]})
    found, again = judged(imdb), judged(turned)
    for (a, b), pair in found.items():
        other = again[b, a]
        assert other["gap"] == pytest.approx(-pair["gap"], abs=1e-12)
        assert (other["low"], other["high"]) == pytest.approx(
            (-pair["high"], -pair["low"]), abs=1e-12
        )
        assert other["verdict"] == pair["verdict"]


def test_films_widen_every_interval(imdb):
    for pair in judged(imdb).values():
        assert pair["low"] < pair["search_low"] < pair["gap"] < pair["search_high"] < pair["high"]


def test_the_winner_beats_every_other_cell():
    def pair(a, b, gap, verdict):
        return {"a": a, "b": b, "gap": gap, "verdict": verdict}

    undecided = [
        pair("x", "y", 0.1, "better"),
        pair("x", "z", 0.1, "undecided"),
        pair("y", "z", -0.1, "better_within_margin"),
    ]
    assert verdicts.winner(undecided, ["x", "y", "z"]) is None
    assert verdicts.leaders(undecided, ["x", "y", "z"]) == ["x", "z"]
    decided = [undecided[0], pair("x", "z", -0.1, "better"), undecided[2]]
    assert verdicts.winner(decided, ["x", "y", "z"]) == "z"
    assert verdicts.leaders(decided, ["x", "y", "z"]) == ["z"]
    assert verdicts.winner([pair("x", "y", 0.1, "refused")], ["x", "y"]) is None


def test_a_refused_study_says_why_in_every_pair(imdb):
    found = verdicts.pairs(imdb, arrays.groups(imdb), "looks are spent")
    assert {pair["verdict"] for pair in found} == {"refused"}
    assert {pair["refusal"] for pair in found} == {"looks are spent"}
    assert verdicts.leaders(found, imdb.cells) == imdb.cells


def test_the_anecdote_agrees_with_the_pairs(imdb):
    pairs = verdicts.pairs(imdb, arrays.groups(imdb))
    told = single_run.versions(imdb, pairs)
    assert told["winner"] == "gru"
    for name in ("recipe", "random", "tuned"):
        assert sum(told[name]["ranks_first"].values()) == pytest.approx(1)
        assert told[name]["value"] == pytest.approx(1 - told[name]["ranks_first"]["gru"])
        assert told[name]["low"] <= told[name]["value"] <= told[name]["high"]
    # The same event from two modules: one tuned run of the gru stays below one of the lstm.
    two = replace(imdb, study={**imdb.study, "cells": ["gru", "lstm"]})
    pair = verdicts.pairs(two, arrays.groups(two))[0]
    both = single_run.versions(two, [pair])["tuned"]
    assert both["value"] == pytest.approx(1 - pair["probability_a_beats_b"], abs=1e-12)
    assert (both["low"], both["high"]) == pytest.approx(
        (1 - pair["probability_high"], 1 - pair["probability_low"]), abs=1e-9
    )


def test_without_a_winner_the_anecdote_asks_for_a_clear_lead(imdb):
    same = copied(imdb, "gru", "lstm")
    told = single_run.versions(same, verdicts.pairs(same, arrays.groups(same)))
    assert (told["winner"], told["question"]) == (None, "clear_lead")
    tests = [arrays.pools(same)[arm].test for arm in same.cells]
    leads = [
        np.sort(scores)[-1] - np.sort(scores)[-2] > 0.01 + 1e-12 for scores in np.transpose(tests)
    ]
    assert told["random"]["same_configuration"]["count"] == sum(leads)
    assert 0 < told["random"]["value"] < 1
