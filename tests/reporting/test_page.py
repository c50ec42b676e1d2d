"""The report on a synthetic study: its words follow its numbers."""

import copy
import json
import shutil

import pytest

from pipeline.errors import FairsweepError
from pipeline.report import report
from pipeline.reporting import page, tables


@pytest.fixture
def metrics(results):
    return tables.metrics(results)


def with_means(metrics, **means):
    changed = copy.deepcopy(metrics)
    for arm, mean in means.items():
        changed["arms"][arm]["replicates"]["mean"] = mean
    changed["baseline"]["same_tokens"]["test"] = 0.86
    changed["baseline"]["whole_text"]["test"] = 0.90
    return changed


def test_the_report_needs_the_scores_alone(study):
    for name in ("data", "runs"):
        shutil.rmtree(study.root / name)
    metrics = report(study.config)
    folder = study.root / "results/tiny/report"
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert {path.name for path in (folder / "plots").iterdir()} == {"curves.svg", "search.svg", "validation_test.svg"}
    text = (folder / "report.md").read_text()
    for name in page.PLOTS:
        assert f"plots/{name}.svg" in text


def test_two_reports_are_equal_to_the_byte(study):
    folder = study.root / "results/tiny/report"
    contents = []
    for _ in range(2):
        report(study.config)
        contents.append({path: path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 5


def test_a_refused_report_leaves_the_old_one(study, scores):
    report(study.config)
    before = (study.root / "results/tiny/report/report.md").read_bytes()
    told = json.loads((scores / "study.json").read_text())
    (scores / "study.json").write_text(json.dumps({**told, "protocol": -1}))
    with pytest.raises(FairsweepError, match="protocol -1"):
        report(study.config)
    assert (study.root / "results/tiny/report/report.md").read_bytes() == before


def test_the_report_gives_no_verdict_and_names_the_champion(results, metrics):
    text = page.report(metrics, results.study)
    assert "must not be read as" in text
    assert f"replicate {metrics['champion']['replicate']} of {metrics['champion']['arm']}" in text
    assert page.mean_sd(metrics["arms"]["gru"]["replicates"]) in text
    assert f"python -m pipeline.train {' '.join(metrics['arms']['gru']['best']['overrides'])}\n" in text
    assert "nan" not in text.lower()
    assert "None" not in text


@pytest.mark.parametrize(
    ("means", "tokens", "whole"),
    [
        (
            {"rnn": 0.80, "gru": 0.85},
            "beats the mean of every tuned cell (rnn and gru)",
            "beats the mean of every tuned cell (rnn and gru)",
        ),
        (
            {"rnn": 0.80, "gru": 0.87},
            "beats the mean of rnn, but not that of gru",
            "beats the mean of every tuned cell (rnn and gru)",
        ),
        ({"rnn": 0.95, "gru": 0.86}, "does not beat rnn and gru", "beats the mean of gru, but not that of rnn"),
    ],
)
def test_the_baseline_sentence_follows_the_numbers(metrics, means, tokens, whole):
    told = page.baseline_sentence(with_means(metrics, **means))
    first, second = told.split(" On the whole review")
    assert "0.8600 on test" in first
    assert tokens in first
    assert whole in second


def test_the_readme_table(metrics):
    changed = with_means(metrics, rnn=0.8, gru=0.85123)
    changed["arms"]["gru"]["replicates"]["sd"] = 0.00214
    lines = page.readme_table(changed).splitlines()
    assert len(lines) == 6
    assert lines[0].count("|") == 8
    assert "0.8512 ± 0.0021" in lines[3]
    assert lines[4] == "| linear, same tokens | 1 | 0.8000 | 0.8600 | – | – | 0.0 |"
    assert page.readme_table(json.loads(json.dumps(changed))) == page.readme_table(changed)


def test_without_recipes_the_columns_stay(results):
    results.study["recipes"] = []
    metrics = tables.metrics(results)
    assert "recipe (none)" in page.readme_table(metrics)
    assert "as published" not in page.report(metrics, results.study)


@pytest.mark.parametrize(
    ("source", "by_movie", "told"),
    [
        ("aclimdb", True, "which* 80 reviews train differs"),
        ("imdb_npz", False, "random, not by movie"),
        ("generated", True, "do not apply"),
    ],
)
def test_the_report_says_how_the_split_was_made(results, metrics, source, by_movie, told):
    results.study["task"]["source"] = source
    results.study["data"]["by_movie"] = by_movie
    assert told in page.report(metrics, results.study)


def test_tables_escape_bars():
    assert page.markdown_table(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"
