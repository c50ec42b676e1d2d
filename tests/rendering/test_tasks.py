"""Evaluated and reported studies of every kind of task, with a search and without one."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.analysis import arrays, interim
from pipeline.analysis.summary import summarize
from pipeline.analysis.tuning_curves import curves
from pipeline.errors import FairsweepError
from pipeline.evaluate import evaluate
from pipeline.metrics import measure_of
from pipeline.report import report as make
from pipeline.scoring import forecast, validate
from pipeline.scoring import results as tables
from pipeline.scoring.join import describe
from pipeline.statistics.estimate import group_variance
from pipeline.training.protocol import PROTOCOL
from synthetic import FORMS, Study

KINDS = sorted(FORMS)
# Words that belong to reviews of films alone.
FOREIGN = re.compile(
    r"\b(accurac\w+|films?|reviews?|movies?|tokens?|text|language|point|points)\b", re.IGNORECASE
)


def evaluated(root, name, monkeypatch, **options):
    """A study of one of the forms, scored, with the working directory at its root."""
    monkeypatch.chdir(root)
    study = Study(root, spec=FORMS[name], **options).write()
    evaluate(study.config)
    return study, tables.load(root / "results/tiny/scores")


@pytest.mark.parametrize("name", KINDS)
def test_scores_are_those_of_rate_and_examples_have_them_as_their_mean(tmp_path, monkeypatch, name):
    study, results = evaluated(tmp_path, name, monkeypatch)
    expected = [one for arm in study.cells for one in study.rated("tune", arm)]
    trials = results.scores[results.scores["kind"] == "trial"]
    assert trials["test"].tolist() == pytest.approx([one.value for one in expected], abs=1e-6)
    assert trials["test_loss"].tolist() == pytest.approx([one.loss for one in expected], abs=1e-6)
    assert results.scores["test_auc"].isna().all()
    every = arrays.examples(results, np.arange(len(results.scores)))
    assert every.mean(axis=1) == pytest.approx(results.scores["test"].to_numpy(), abs=2e-6)
    assert every[3] == pytest.approx(expected[3].examples, abs=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_a_failed_run_scores_the_trivial_baseline_row_by_row(tmp_path, monkeypatch, name):
    _, results = evaluated(tmp_path, name, monkeypatch, failed=(("rnn", 1), ("rnn", 3)))
    scores = results.scores
    failed, trivial = (
        scores.index[scores[key] == value][0]
        for key, value in (("state", "failed"), ("kind", "trivial"))
    )
    same = ["test", "test_loss"]
    assert scores.loc[failed, same].tolist() == scores.loc[trivial, same].tolist()
    both = arrays.examples(results, np.array([failed, trivial]))
    assert (both[0] == both[1]).all()
    assert results.guessed == results.baseline["validation"].iloc[0]
    # Of two failed runs one may be picked. The weighted mean over rows is the estimator's own, failed run and all.
    pooled = summarize(results)["arms"]["rnn"]["tuned"]["mean"]
    assert arrays.right(results, "rnn").mean() == pytest.approx(pooled, abs=2e-6)


def test_rows_without_groups_are_each_a_cluster(tmp_path, monkeypatch):
    _, results = evaluated(tmp_path, "f1", monkeypatch)
    assert results.groups.tolist() == list(range(64))
    found = summarize(results)["pairs"][0]
    difference = arrays.right(results, "rnn") - arrays.right(results, "gru")
    assert found["group_se"] == pytest.approx(float(np.sqrt(difference.var(ddof=1) / 64)), rel=1e-6)
    assert group_variance(difference, results.groups)[1] == 63


def test_a_task_without_a_trivial_baseline_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(tmp_path, spec=replace(FORMS["classes"], baselines=["linear"])).write()
    with pytest.raises(FairsweepError, match="kind classes needs the baseline `trivial`"):
        evaluate(study.config)


@pytest.mark.parametrize("name", KINDS)
def test_the_report_speaks_the_language_of_its_task(tmp_path, monkeypatch, name):
    study, _ = evaluated(tmp_path, name, monkeypatch, trials=12, failed=(("rnn", 1),))
    found = make(study.config)
    text = (tmp_path / "results/tiny/report/report.md").read_text()
    spared = (
        {"accuracy", "accuracies", "point", "points"}
        if name == "classes"
        else {"point", "points"}
        if name == "f1"
        else set()
    )
    assert {word.lower() for word in FOREIGN.findall(text)} <= spared
    assert "nan" not in re.findall(r"\w+", text.lower())
    assert "None" not in text
    assert FORMS[name].example in text
    assert found["winner"] == "gru"
    better = measure_of(found).leads
    assert (
        f"gru is better than rnn: the model that a search of 2 trials selects {better}, by " in text
    )
    assert "The best of these is " in text
    (pair,) = found["pairs"]
    assert pair["gap"] < 0, "gru is the better one, whatever the metric"


def test_a_study_of_another_form_is_stale(tmp_path, monkeypatch):
    study, results = evaluated(tmp_path, "nll", monkeypatch)
    expected = describe(study.config, results.study["data"], PROTOCOL)
    validate.check(results, expected)
    with pytest.raises(FairsweepError, match="data was"):
        validate.check(results, {**expected, "data": {**expected["data"], "spec": {}}})


def test_curves_of_errors_have_no_least_value(tmp_path, monkeypatch):
    _, results = evaluated(tmp_path, "mae", monkeypatch, trials=12)
    table = curves(results).table
    drawn = table[(table["curve"] == "validation_median") & (table["arm"] == "gru")].set_index(
        "budget"
    )
    scores = results.of("trials", "gru")["validation"]
    assert drawn["value"].between(scores.min(), scores.max()).all()
    assert drawn.loc[2, "low"] < drawn.loc[2, "value"]
    assert (drawn["high"].isna() | (drawn["high"] <= 0)).all()


def test_forecasts_are_told_in_the_unit_of_the_series(tmp_path, monkeypatch):
    study, results = evaluated(tmp_path, "mae", monkeypatch)
    path = study.folder("replicate", "gru", "replicates.csv")
    table = pd.read_csv(path)
    # A recipe's run is told of no cell that was tuned, however good it looks.
    table.assign(validation=table["validation"].where(table["kind"] == "tuned", -0.001)).to_csv(
        path, index=False
    )
    evaluate(study.config)
    told = tables.load(tmp_path / "results/tiny/scores").forecast
    assert list(told.columns) == [
        "date",
        "horizon",
        "truth",
        "rnn",
        "gru",
        "trivial",
        "seasonal",
        "linear",
    ]
    last = told.iloc[-1]
    assert (last["date"], last["horizon"]) == ("2001-03-17", 3)
    assert last["truth"] == pytest.approx(363 + 1.6 * study.labels[-1, -1], abs=1e-4)
    tuned = results.of("replicates", "gru", "tuned")
    logits = np.load(study.folder("replicate", "gru", "test_logits.npy"))
    assert last["gru"] == pytest.approx(
        363 + 1.6 * logits[tuned["validation"].to_numpy().argmax(), -1, -1], abs=1e-4
    )
    errors = forecast.errors(told)
    trivial = results.of("scores", "baseline", "trivial")["test"].iloc[0]
    assert np.mean(errors["trivial"]) == pytest.approx(-trivial, abs=1e-5)
    by_hand = (told["gru"] - told["truth"]).abs()[told["horizon"] == 2].mean()
    assert errors["gru"][1] == pytest.approx(by_hand)


def test_a_forecast_needs_its_days(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(tmp_path, spec=FORMS["mae"]).write()
    (tmp_path / "data/tiny/arrays/test_times.npy").unlink()
    with pytest.raises(
        FairsweepError, match=r"test_times\.npy is missing\. A forecasting task needs it"
    ):
        evaluate(study.config)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", KINDS)
def test_a_study_without_a_search_has_recipes_and_no_verdict(tmp_path, monkeypatch, name):
    study, results = evaluated(
        tmp_path, name, monkeypatch, trials=0, replicates=3, recipes=("article", "other")
    )
    assert results.trials.empty
    found = make(study.config)
    assert (found["pairs"], found["winner"], found["champion"], list(found["arms"])) == (
        [],
        None,
        None,
        ["rnn", "gru"],
    )
    runs = results.of("scores", "gru", "other")
    told = found["arms"]["gru"]["recipes"]["other"]
    assert told["mean"] == pytest.approx(runs["test"].mean(), abs=1e-6)
    assert told["loss_sd"] == pytest.approx(runs["test_loss"].std(ddof=1), abs=1e-6)
    folder = tmp_path / "results/tiny/report"
    text = (folder / "report.md").read_text()
    assert "The article recipe scores on test" in text
    assert "not about the cell" in text
    assert not re.search(r"searched hyperparameter|budget|champion|Holm|importance|tuning", text)
    assert {path.stem for path in (folder / "plots").iterdir()} == {"curves"} | (
        {"forecast"} if name == "mae" else set()
    )
    assert pd.read_csv(folder / "looks.csv").empty
    assert json.loads((folder / "metrics.json").read_text()) == found


def test_a_look_is_not_spent_without_a_search(tmp_path, monkeypatch):
    _, results = evaluated(tmp_path, "f1", monkeypatch, trials=0)
    seen, refusal = interim.record(tmp_path / "looks.csv", results.study)
    assert seen.empty
    assert refusal is None


def test_the_gap_of_two_cells_within_a_recipe_is_welchs(tmp_path, monkeypatch):
    _, results = evaluated(tmp_path, "mae", monkeypatch, replicates=5, recipes=("article", "other"))
    found = {one["recipe"]: one for one in summarize(results)["recipe_gaps"]}
    a, b = (results.of("scores", arm, "other")["test"].to_numpy() for arm in ("rnn", "gru"))
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert found["other"]["gap"] == pytest.approx(a.mean() - b.mean(), abs=1e-8)
    assert (found["other"]["low"], found["other"]["high"]) == pytest.approx(
        (expected.low, expected.high), abs=1e-8
    )


@pytest.mark.parametrize("name", ["f1", "mae"])
def test_the_seeds_below_a_printed_number_are_counted_as_printed(tmp_path, monkeypatch, name):
    study, results = evaluated(
        tmp_path, name, monkeypatch, replicates=5, recipes=("article", "other")
    )
    runs = results.of("scores", "rnn", "article")
    shown = sorted(runs["test"].abs())
    printed = {
        "article": {
            "rnn": {FORMS[name].metric: (shown[1] + shown[2]) / 2},
            "gru": {"loss": 9.0},
            "lstm": {"loss": 1.0},
        }
    }
    evaluate(study.config, printed)
    rnn, gru = make(study.config, printed)["printed"]
    assert (rnn["arm"], rnn["n"], rnn["below"], rnn["loss_below"]) == ("rnn", 5, 2, None)
    assert (gru["arm"], gru["below"], gru["loss_below"]) == ("gru", None, 5)
    text = (tmp_path / "results/tiny/report/report.md").read_text()
    ours = FORMS[name].measure.mean_sd(rnn["ours"])
    assert f"| article | rnn | {rnn['score']:.4f} | {ours} | 2 of 5 below | – |" in text
