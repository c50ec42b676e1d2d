"""The README and docs/claims.md: their figures come from the committed tables."""

import csv
import json

import pandas as pd
import pytest

from pipeline.auditing import readme
from pipeline.config import compose, printed_numbers
from pipeline.reporting import cards, gate, html, join, page, tables
from pipeline.reporting.curves import curves
from pipeline.reporting.metrics import metrics as compute
from pipeline.reporting.sheets import Table
from pipeline.training.protocol import PROTOCOL
from study_copy import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CLAIMS = (ROOT / "docs/claims.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results() -> tables.Results:
    """The committed scores of the default study."""
    return tables.load(ROOT / "results/imdb/scores")


@pytest.fixture(scope="module")
def metrics(results: tables.Results) -> dict:
    """Computed anew from the committed scores."""
    return compute(results)


@pytest.fixture(scope="module")
def committed() -> dict:
    """metrics.json as it is committed."""
    return json.loads((ROOT / "results/imdb/report/metrics.json").read_text())


def test_each_block_is_that_of_the_committed_scores(metrics: dict, results: tables.Results) -> None:
    made = readme.blocks("imdb", metrics, results.study, ROOT / "results")
    assert list(made) == ["answer", "results", "recipe", "anecdote", "claims"]
    assert [name for name in made if readme.block(README, name)] == ["answer", "results", "recipe", "anecdote"]
    assert readme.block(CLAIMS, "claims")
    assert readme.check(README, made) == readme.check(CLAIMS, made) == []


def committed_metrics(study: str) -> dict:
    return json.loads((ROOT / f"results/{study}/report/metrics.json").read_text())


def test_the_printed_numbers_stand_beside_those_of_the_committed_study() -> None:
    study = json.loads((ROOT / "results/article/scores/study.json").read_text())
    made = readme.blocks("article", committed_metrics("article"), study, ROOT / "results")
    assert readme.block(CLAIMS, "printed")
    assert readme.check(CLAIMS, made) == []


STUDIES = sorted(path.parents[1].name for path in (ROOT / "results").glob("*/scores/study.json"))


@pytest.mark.parametrize("study", [study for study in STUDIES if study != "imdb"])
def test_every_committed_study_is_that_of_its_scores_and_of_conf(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own, committed = tables.load(ROOT / f"results/{study}/scores"), committed_metrics(study)
    again = json.loads(json.dumps(compute(own)))
    assert {key: committed[key] for key in again} == again
    folder = ROOT / f"results/{study}/report"
    figures = {path.stem: path.read_text() for path in (folder / "plots").iterdir()}
    assert (folder / "report.md").read_text() == page.report(committed, own.study, list(figures))
    monkeypatch.chdir(ROOT)
    overrides = [f"study={study}"]
    gate.check(
        own, join.describe(compose(overrides), own.study["data"], PROTOCOL, printed_numbers(compose(overrides), overrides))
    )


@pytest.mark.parametrize("study", STUDIES)
def test_the_committed_cards_are_those_of_the_committed_scores(study: str) -> None:
    own, committed = tables.load(ROOT / f"results/{study}/scores"), committed_metrics(study)
    expected = {"README.md": cards.index(committed, own)}
    expected |= {f"{arm}.md": card for arm, card in cards.cards(committed, own).items()}
    folder = ROOT / f"results/{study}/report/cards"
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == expected


def test_the_committed_metrics_are_those_of_the_committed_scores(metrics: dict, committed: dict) -> None:
    again = json.loads(json.dumps(metrics))
    assert {key: committed[key] for key in again} == again


def test_the_committed_curves_are_those_of_the_committed_scores(results: tables.Results, committed: dict) -> None:
    drawn = curves(results)
    expected = pd.read_csv(ROOT / "results/imdb/report/curves.csv")
    pd.testing.assert_frame_equal(drawn.table.reset_index(drop=True), expected, check_dtype=False, rtol=1e-6)
    assert committed["order_changes"] == drawn.order_changes


def test_the_committed_report_is_that_of_the_committed_metrics(results: tables.Results, committed: dict) -> None:
    folder = ROOT / "results/imdb/report"
    figures = {path.stem: path.read_text() for path in (folder / "plots").iterdir()}
    assert (folder / "report.md").read_text() == page.report(committed, results.study, list(figures))
    assert (folder / "report.html").read_text() == html.report(committed, results.study, figures)


def test_the_committed_study_is_the_one_that_is_configured(
    monkeypatch: pytest.MonkeyPatch, results: tables.Results, metrics: dict
) -> None:
    monkeypatch.chdir(ROOT)
    config = compose(["study=imdb"])
    printed = printed_numbers(config, ["study=imdb"])
    gate.check(results, join.describe(config, results.study["data"], results.study["protocol"], printed))
    assert printed["article"]["lstm"] == {"loss": 0.4337, "accuracy": 0.839}
    assert list(metrics["arms"]) == config.cells
    assert {arm["trials"] for arm in metrics["arms"].values()} == {config.search.trials}
    assert {arm["replicates"]["n"] for arm in metrics["arms"].values()} == {config.search.replicates}
    assert metrics["backend"] == config.train.backend


def test_the_error_rates_in_the_docs_are_those_of_their_table() -> None:
    with (ROOT / "docs/error_rates.csv").open(encoding="utf-8") as file:
        rows = [[row["what"], f"{float(row['rate']):.3f}", row["bar"]] for row in csv.DictReader(file)]
    table = page.markdown_table(Table("", ["what", "rate", "bar"], rows))
    assert f"<!-- rates:begin -->\n{table}\n<!-- rates:end -->" in (ROOT / "docs/evidence.md").read_text(encoding="utf-8")


def test_what_is_in_print_is_of_its_own_task_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert printed_numbers(compose(["study=smoke"]), ["study=smoke"]) == {}
