"""Validation rejects incomplete or stale scores and names the remedy."""

from dataclasses import replace

import pytest

from pipeline.errors import FairsweepError
from pipeline.scoring import validate
from pipeline.scoring.join import describe
from pipeline.training.protocol import PROTOCOL


def without(table, **where):
    """A damage: the rows of `table` that match `where` are gone."""

    def damaged(results):
        frame = getattr(results, table)
        hit = (frame[list(where)] == list(where.values())).all(axis=1)
        assert hit.any()
        return replace(results, **{table: frame[~hit]})

    return damaged


@pytest.fixture
def expected(study, results):
    """study.json of the study as it is configured."""
    return describe(study.config, results.study["data"], PROTOCOL)


def test_a_complete_study_passes(results, expected):
    validate.check(results, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margin": 0.02}, "margin was 0.02 when they were made, and is 0.01 now"),
        ({"study": "other"}, 'study was "other" when they were made, and is "tiny" now'),
        ({"trials": 3}, "trials was 3"),
        ({"fixed": {}}, "fixed was {} when"),
        (
            {"seeds": {"split_seed": 0, "space_seed": 1, "seed": 0}},
            "stale or of another study: seeds was .*Run `dvc repro`",
        ),
        ({"sampler": "tpe"}, 'sampler was "tpe"'),
    ],
)
def test_stale_and_foreign_scores_raise(results, expected, change, message):
    with pytest.raises(FairsweepError, match=message):
        validate.check(replace(results, study={**results.study, **change}), expected)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            without("trials", arm="gru", trial=3),
            "searches differ in size. Expected 8 trials of each; found rnn 8, gru 7.*tune@gru",
        ),
        (
            lambda results: replace(results, trials=results.trials.replace({"trial": {2: 1}})),
            "missing: 2; more than once: 1",
        ),
        (
            without("epochs", arm="gru", trial=2),
            "lacks a run. Expected epochs 1 to 3 of trial 2; found none",
        ),
        (without("epochs", arm="gru", trial=2, epoch=2), "found 1, 3"),
        (
            without("replicates", arm="rnn", kind="tuned", replicate=1),
            "The tuned replicates of rnn are incomplete.*missing: 1",
        ),
        (
            without("replicates", arm="rnn", kind="article"),
            "The article replicates of rnn.*missing: 0, 1",
        ),
        (
            without("replicate_epochs", arm="gru", kind="article", replicate=0),
            "of replicate 0.*dvc repro replicate@gru",
        ),
        (
            without("scores", arm="gru", kind="tuned", trial=0),
            "scores of the tuned replicates of gru.*dvc repro evaluate",
        ),
        (without("baseline", kind="whole_text"), "missing: whole_text"),
        (without("trials", arm="rnn", state="complete"), "searches differ in size"),
        (
            lambda results: replace(results, trials=results.trials.assign(state="failed")),
            "trials of rnn all failed.*`reason`",
        ),
        (
            lambda results: replace(
                results, scores=results.scores.replace({"arm": {"gru": "lstm"}})
            ),
            "scores of the trials of gru",
        ),
        (
            lambda results: replace(results, study={**results.study, "protocol": 0}),
            "come from protocol 0.*Run `dvc repro`",
        ),
    ],
)
def test_refusals(results, expected, damage, message):
    with pytest.raises(FairsweepError, match=message):
        validate.check(damage(results), expected)


def test_a_failed_run_needs_no_epochs(results, expected):
    validate.check(
        without("epochs", arm="rnn", trial=0)(replace(results, trials=_failed(results, "rnn", 0))),
        expected,
    )


def test_long_lists_are_shortened():
    with pytest.raises(
        FairsweepError,
        match="each trial of 0 to 59 once; missing: 5, 6, 7, 8, 9, 10, 11, 12 and 47 more",
    ):
        validate.check_numbers(
            "the trials of rnn", "trial", range(5), range(60), "dvc repro tune@rnn"
        )


def _failed(results, arm, trial):
    trials = results.trials.copy()
    trials.loc[(trials["arm"] == arm) & (trials["trial"] == trial), "state"] = "failed"
    return trials
