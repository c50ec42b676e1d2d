"""curves.csv of the recorded study and of studies with pruned trials."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from opda.nonparametric import EmpiricalDistribution

from pipeline.analysis import arrays, tuning_curves
from pipeline.errors import FairsweepError
from pipeline.scoring import results as tables
from pipeline.statistics import shared_search

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def real() -> tables.Results:
    """The study of the repository: three cells, sixty trials each."""
    return tables.load(ROOT / "results/imdb/scores")


@pytest.fixture(scope="module")
def drawn(real) -> tuning_curves.Curves:
    return tuning_curves.curves(real)


def one(drawn: tuning_curves.Curves, arm: str, name: str) -> pd.DataFrame:
    table = drawn.table
    return table[(table["arm"] == arm) & (table["curve"] == name)].reset_index(drop=True)


def pruned(
    results: tables.Results, arm: str, trials: list[int], by: float = 0.0, **study
) -> tables.Results:
    """The study with some trials of an arm stopped after two epochs, and what it was set to; `by` lowers what they had."""
    changed, scores, epochs = results.trials.copy(), results.scores.copy(), results.epochs.copy()
    for trial in trials:
        chosen = (epochs["arm"] == arm) & (epochs["trial"] == trial)
        epochs = epochs[~chosen | (epochs["epoch"] <= 2)].copy()
        chosen = (epochs["arm"] == arm) & (epochs["trial"] == trial)
        epochs.loc[chosen, "validation"] -= by
        best = epochs.loc[chosen, "validation"].max()
        changed.loc[
            (changed["arm"] == arm) & (changed["trial"] == trial), ["state", "validation"]
        ] = ["pruned", best]
        row = (scores["arm"] == arm) & (scores["trial"] == trial) & (scores["kind"] == "trial")
        scores.loc[row, ["state", "validation"]] = ["pruned", best]
    return replace(
        results, study={**results.study, **study}, trials=changed, scores=scores, epochs=epochs
    )


def separated(results: tables.Results, studies: int, **study) -> tables.Results:
    """The same trials as so many repeated searches."""
    each = results.study["trials"] // studies

    def split(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(repeat=table["trial"] // each, trial=table["trial"] % each)

    changed = {
        name: split(getattr(results, name)) for name in ("trials", "scores", "epochs", "timings")
    }
    return replace(
        results,
        study={**results.study, "design": "repeated", "trials": each, "repeats": studies, **study},
        **changed,
    )


def test_the_real_study_has_every_curve_of_every_arm(real, drawn):
    assert list(drawn.table.columns) == ["arm", "curve", "budget", "value", "low", "high"]
    names = {"validation_mean", "validation_median", "test", "test_epochs", "test_seconds"}
    assert set(map(tuple, drawn.table[["arm", "curve"]].drop_duplicates().to_numpy())) == {
        (arm, name) for arm in real.cells for name in names
    }
    assert drawn.band == "ld_equal_tailed"
    assert drawn.pruned == []


def test_the_real_curves_rise_and_lie_within_their_limits(real, drawn):
    for (_, name), curve in drawn.table.groupby(["arm", "curve"]):
        assert (curve["budget"].diff().dropna() > 0).all()
        assert curve["value"].between(0.5, 0.95).all()
        assert not (curve["low"] > curve["value"]).any()
        assert not (curve["high"] < curve["value"]).any()
        if name.startswith("validation"):
            assert (curve["value"].diff().dropna() >= 0).all()
            assert curve["budget"].tolist() == list(range(1, 61))
    for arm in real.cells:
        trials = real.of("trials", arm)["validation"].fillna(0.5)
        assert one(drawn, arm, "validation_mean")["value"].iloc[[0, -1]].tolist() == pytest.approx(
            [trials.mean(), trials.max()], abs=1e-6
        )
        assert one(drawn, arm, "validation_median")["high"].isna().tolist() == [
            n >= 7 for n in range(1, 61)
        ]


def test_the_test_curve_holds_the_headline_of_the_verdict(real, drawn):
    for arm, trials in arrays.pools(real).items():
        expected = shared_search.estimate(trials, 10)
        row = one(drawn, arm, "test").iloc[-1]
        assert row["budget"] == 10
        assert (row["value"], row["low"], row["high"]) == pytest.approx(
            (expected.value, *expected.interval(0.05)), abs=1e-6
        )


def test_cost_curves_span_one_trial_to_a_sixth_and_share_budgets(real, drawn):
    for unit in ("epochs", "seconds"):
        budgets = {}
        for arm in real.cells:
            total = tables.compute_used(real, arm)["tune"][unit]
            budgets[arm] = one(drawn, arm, f"test_{unit}")["budget"]
            assert total / 60 <= budgets[arm].min() < 1.3 * total / 60
            assert total / 6 / 1.3 < budgets[arm].max() <= total / 6
        assert len(set.intersection(*map(set, budgets.values()))) > 5


def test_equal_results_give_equal_tables(real, drawn):
    shuffled = replace(
        real,
        **{
            name: getattr(real, name).sample(frac=1, random_state=1)
            for name in ("trials", "timings", "epochs")
        },
    )
    pd.testing.assert_frame_equal(tuning_curves.curves(shuffled).table, drawn.table)


def test_every_attempt_of_a_trial_is_paid_for(real, drawn):
    again = pd.concat([real.timings, real.timings.assign(attempt=2)])
    twice = tuning_curves.curves(replace(real, timings=again))
    ours, theirs = one(twice, "gru", "test_seconds"), one(drawn, "gru", "test_seconds")
    assert ours["budget"].tolist() == pytest.approx((2 * theirs["budget"]).tolist(), rel=0.006)
    pd.testing.assert_frame_equal(
        one(twice, "gru", "test_epochs"), one(drawn, "gru", "test_epochs")
    )


def test_a_trial_without_seconds_is_named(real):
    timings = real.timings[~((real.timings["arm"] == "gru") & (real.timings["trial"] == 7))]
    with pytest.raises(FairsweepError, match=r"lacks trial 7 of gru.*dvc repro tune@gru"):
        tuning_curves.curves(replace(real, timings=timings))


@pytest.mark.parametrize(("key", "value"), [("sampler", "tpe"), ("pruner", "median")])
def test_a_pool_of_dependent_trials_is_refused(real, key, value):
    with pytest.raises(ValueError, match=f"{key} must be"):
        tuning_curves.curves(replace(real, study={**real.study, key: value}))


def test_an_overtaking_is_found_between_the_arms_it_concerns(real):
    scores = real.scores.copy()
    for arm, trial in scores.loc[
        (scores["kind"] == "trial") & (scores["arm"] != "rnn"), ["arm", "trial"]
    ].itertuples(index=False):
        lucky = 0.86 if trial % 3 == 0 else 0.6
        row = (scores["kind"] == "trial") & (scores["arm"] == arm) & (scores["trial"] == trial)
        scores.loc[row, ["validation", "test"]] = (0.8 if arm == "gru" else lucky) + trial / 1e5
    (change,) = [
        one
        for one in tuning_curves.curves(replace(real, scores=scores)).order_changes
        if "rnn" not in (one["a"], one["b"])
    ]
    assert (change["a"], change["b"]) == ("gru", "lstm")
    # The truth: gru leads while .26 (2/3)^n > .06, up to n = 3.
    assert 1 <= change["n1"] <= 3 < change["n2"] <= 10
    assert change["note"] == f"order may change between {change['n1']} and {change['n2']}"


def test_separate_studies_have_one_curve_and_no_band(real):
    drawn = tuning_curves.curves(separated(real, 5, sampler="tpe", pruner="median"))
    assert set(drawn.table["curve"]) == {"validation_best"}
    assert (drawn.band, drawn.order_changes, drawn.pruned) == ("", [], [])
    best = [
        real.of("trials", "gru")["validation"].iloc[12 * k : 12 * k + 12].max() for k in range(5)
    ]
    row = one(drawn, "gru", "validation_best").iloc[-1]
    half = 2.776445 * np.std(best, ddof=1) / math.sqrt(5)
    assert row[["budget", "value", "low", "high"]].tolist() == pytest.approx(
        [12, np.mean(best), np.mean(best) - half, np.mean(best) + half], abs=1e-6
    )


def test_pruned_trials_are_a_lower_bound_and_their_second_reading_lies_above(real):
    drawn = tuning_curves.curves(
        pruned(real, "gru", list(range(1, 60, 2)), by=0.01, pruner="threshold")
    )
    (note,) = drawn.pruned
    assert (note["arm"], note["pruned"], note["of"]) == ("gru", 30, 60)
    assert note["note"].startswith(
        "30 of 60 trials were pruned and count with their best so far, so its curve is a lower bound"
    )
    assert ("points more" in note["note"]) == note["warning"]
    assert note["warning"]
    assert (
        note["if_completed"] > note["kept"] + tuning_curves.PRUNING_MATTERS * real.study["margin"]
    )
    kept, completed = (
        one(drawn, "gru", "validation_mean"),
        one(drawn, "gru", "validation_mean_if_completed"),
    )
    assert (
        kept["budget"].min()
        == completed["budget"].min()
        == one(drawn, "gru", "test")["budget"].min()
        == 5
    )
    assert (completed["value"] >= kept["value"]).all()
    assert note["kept"] == kept.loc[kept["budget"] == 10, "value"].item()
    assert one(drawn, "lstm", "validation_mean")["budget"].min() == 1
    assert one(drawn, "lstm", "validation_mean_if_completed").empty


def test_the_second_reading_by_hand(real):
    changed = pruned(real, "gru", list(range(1, 60, 2)), by=0.01, pruner="threshold")
    scores = changed.of("scores", "gru", "trial").set_index("trial")["validation"].copy()
    early = changed.of("epochs", "gru").query("epoch <= 2").groupby("trial")["validation"].max()
    for trial in range(1, 60, 2):
        alike = [scores[other] for other in range(0, 60, 2) if early[other] <= scores[trial]]
        scores[trial] = max([scores[trial], *alike])
    expected = EmpiricalDistribution(scores.to_numpy()).u_tuning_curve(10)
    shuffled = replace(changed, epochs=changed.epochs.sample(frac=1, random_state=2))
    assert tuning_curves.curves(shuffled).pruned[0]["if_completed"] == pytest.approx(
        expected, abs=1e-6
    )


def test_one_pruned_trial_is_no_reason_to_warn(real):
    worst = int(real.of("trials", "gru").set_index("trial")["validation"].idxmin())
    (note,) = tuning_curves.curves(pruned(real, "gru", [worst], pruner="threshold")).pruned
    assert (note["pruned"], note["warning"]) == (1, False)


def test_pruned_trials_of_separate_studies(real):
    many = separated(pruned(real, "gru", list(range(1, 60, 2)), by=0.02), 5, pruner="asha")
    drawn = tuning_curves.curves(many)
    assert set(one(drawn, "gru", "validation_best")["budget"]) == set(range(5, 13))
    (note,) = drawn.pruned
    best = (
        many.of("scores", "gru", "trial")
        .query("trial < 10")
        .groupby("repeat")["validation"]
        .max()
        .mean()
    )
    assert note["kept"] == pytest.approx(best, abs=1e-6)
    ninth = one(drawn, "gru", "validation_best").query("budget == 10")["value"].item()
    assert ninth == pytest.approx(best, abs=1e-6)


def test_a_small_study_with_a_failed_trial_has_what_eight_trials_allow(results):
    drawn = tuning_curves.curves(results)
    assert set(drawn.table["curve"]) == {
        "validation_mean",
        "validation_median",
        "test",
        "test_epochs",
        "test_seconds",
    }
    least = one(drawn, "rnn", "validation_mean").loc[0, "value"]
    scores = results.of("trials", "rnn")["validation"].fillna(0.5)
    assert least == pytest.approx(scores.mean(), abs=1e-6)


def test_two_looks_widen_every_interval(real):
    once, twice = (
        tuning_curves.curves(replace(real, study={**real.study, "looks": looks})).table
        for looks in (1, 2)
    )
    test = once["curve"] == "test"
    assert (twice["value"] == once["value"])[test].all()
    assert (twice["low"] < once["low"])[test].all()
    assert (twice["high"] > once["high"])[test].all()
