"""README.md, docs/claims.md and the committed reports are recomputed from the tables."""

import csv
import json
import re
import sys

import pandas as pd
import pytest

from pipeline.analysis.summary import summarize
from pipeline.analysis.tuning_curves import curves
from pipeline.config.compose import compose, printed_numbers
from pipeline.rendering import html, markdown, model_cards
from pipeline.rendering.tables import Table
from pipeline.scoring import join, validate
from pipeline.scoring import results as tables
from pipeline.training.protocol import PROTOCOL
from study_copy import ROOT

sys.path.append(str(ROOT / "docs"))
import blocks

README = (ROOT / "README.md").read_text(encoding="utf-8")
CLAIMS = (ROOT / "docs/claims.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results() -> tables.Results:
    """The committed scores of the default study."""
    return tables.load(ROOT / "results/imdb/scores")


@pytest.fixture(scope="module")
def metrics(results: tables.Results) -> dict:
    """The metrics, recomputed from the committed scores."""
    return summarize(results)


@pytest.fixture(scope="module")
def committed() -> dict:
    """The committed metrics.json."""
    return json.loads((ROOT / "results/imdb/report/metrics.json").read_text())


def test_each_block_is_recomputed_from_the_committed_tables(metrics: dict) -> None:
    contents = blocks.blocks({**blocks.committed(), "imdb": metrics})
    assert blocks.names(README) == ["answer", "results", "recipe", "single_run"]
    assert blocks.names(CLAIMS)[:2] == ["printed", "claims"]
    assert set(contents) == {*blocks.names(README), "printed", "claims"}
    assert blocks.rewrite(README, contents) == README
    assert blocks.rewrite(CLAIMS, contents) == CLAIMS


@pytest.mark.parametrize("name", ["answer", "results", "printed", "claims"])
def test_an_edited_number_of_a_block_is_restored(name: str) -> None:
    page = CLAIMS if name in ("printed", "claims") else README
    begin = page.index(f"<!-- {name}:begin -->")
    edited = page[:begin] + re.sub(r"\d\.\d\d+", "9.99", page[begin:], count=1)
    assert edited != page
    assert blocks.rewrite(edited, blocks.blocks(blocks.committed())) == page


def test_a_page_without_blocks_is_unchanged() -> None:
    assert blocks.rewrite("# My project\n\n0.123\n", {"answer": "0.5"}) == "# My project\n\n0.123\n"


def committed_metrics(study: str) -> dict:
    return json.loads((ROOT / f"results/{study}/report/metrics.json").read_text())


STUDIES = sorted(path.parents[1].name for path in (ROOT / "results").glob("*/scores/study.json"))


@pytest.mark.parametrize("study", [study for study in STUDIES if study != "imdb"])
def test_every_committed_study_is_that_of_its_scores_and_of_conf(
    study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, committed = tables.load(ROOT / f"results/{study}/scores"), committed_metrics(study)
    again = json.loads(json.dumps(summarize(results)))
    assert {key: committed[key] for key in again} == again
    folder = ROOT / f"results/{study}/report"
    figures = {path.stem: path.read_text() for path in (folder / "plots").iterdir()}
    assert (folder / "report.md").read_text() == markdown.report(
        committed, results.study, list(figures)
    )
    monkeypatch.chdir(ROOT)
    overrides = [f"study={study}"]
    validate.check(
        results,
        join.describe(
            compose(overrides),
            results.study["data"],
            PROTOCOL,
            printed_numbers(compose(overrides), overrides),
        ),
    )


@pytest.mark.parametrize("study", STUDIES)
def test_the_committed_cards_are_those_of_the_committed_scores(study: str) -> None:
    results, committed = tables.load(ROOT / f"results/{study}/scores"), committed_metrics(study)
    expected = {"README.md": model_cards.index(committed, results)}
    expected |= {f"{arm}.md": card for arm, card in model_cards.cards(committed, results).items()}
    folder = ROOT / f"results/{study}/report/cards"
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == expected


def test_the_committed_metrics_are_those_of_the_committed_scores(
    metrics: dict, committed: dict
) -> None:
    again = json.loads(json.dumps(metrics))
    assert {key: committed[key] for key in again} == again


def test_the_committed_curves_are_those_of_the_committed_scores(
    results: tables.Results, committed: dict
) -> None:
    drawn = curves(results)
    expected = pd.read_csv(ROOT / "results/imdb/report/curves.csv")
    pd.testing.assert_frame_equal(
        drawn.table.reset_index(drop=True), expected, check_dtype=False, rtol=1e-6
    )
    assert committed["order_changes"] == drawn.order_changes


def test_the_committed_report_is_that_of_the_committed_metrics(
    results: tables.Results, committed: dict
) -> None:
    folder = ROOT / "results/imdb/report"
    figures = {path.stem: path.read_text() for path in (folder / "plots").iterdir()}
    page = markdown.report(committed, results.study, list(figures))
    assert (folder / "report.md").read_text() == page
    assert (folder / "report.html").read_text() == html.report(page, figures)


def test_the_committed_study_is_the_one_that_is_configured(
    monkeypatch: pytest.MonkeyPatch, results: tables.Results, metrics: dict
) -> None:
    monkeypatch.chdir(ROOT)
    config = compose(["study=imdb"])
    printed = printed_numbers(config, ["study=imdb"])
    validate.check(
        results, join.describe(config, results.study["data"], results.study["protocol"], printed)
    )
    assert printed["article"]["lstm"] == {"loss": 0.4337, "accuracy": 0.839}
    assert list(metrics["arms"]) == config.cells
    assert {arm["trials"] for arm in metrics["arms"].values()} == {config.search.trials}
    assert {arm["replicates"]["n"] for arm in metrics["arms"].values()} == {
        config.search.replicates
    }
    assert metrics["backend"] == config.train.backend


def test_the_error_rates_in_the_docs_are_those_of_their_table() -> None:
    with (ROOT / "docs/error_rates.csv").open(encoding="utf-8") as file:
        rows = [
            [row["what"], f"{float(row['rate']):.3f}", row["bar"]] for row in csv.DictReader(file)
        ]
    table = markdown.rows(Table("", ["what", "rate", "bar"], rows))
    assert f"<!-- rates:begin -->\n{table}\n<!-- rates:end -->" in (
        ROOT / "docs/evidence.md"
    ).read_text(encoding="utf-8")


def test_what_is_in_print_is_of_its_own_task_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert printed_numbers(compose(["study=smoke"]), ["study=smoke"]) == {}
