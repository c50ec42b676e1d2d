"""The README: its figures come from the committed tables, its commands exist."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from pipeline.config import compose
from pipeline.reporting import page, tables
from study_copy import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


def block(name: str) -> str:
    """What stands between the markers `name`."""
    return README.split(f"<!-- {name}:begin -->\n")[1].split(f"\n<!-- {name}:end -->")[0]


@pytest.fixture(scope="module")
def metrics() -> dict:
    """Computed anew from the committed scores of the default study."""
    return tables.metrics(tables.load(ROOT / "results/imdb/scores"))


def test_the_result_table_is_that_of_the_committed_scores(metrics: dict) -> None:
    assert block("results") == page.readme_table(metrics)


def test_the_recipe_table_is_that_of_the_committed_scores(metrics: dict) -> None:
    assert block("recipe") == page.recipe_table(metrics)


def test_the_printed_numbers_lie_where_the_readme_says(metrics: dict) -> None:
    """As the article prints them, one run each."""
    seen = {arm: values["recipe"] for arm, values in metrics["arms"].items()}
    assert seen["rnn"]["max"] < 0.810
    assert seen["gru"]["min"] <= 0.827 <= seen["gru"]["max"]
    assert seen["lstm"]["min"] <= 0.839 <= seen["lstm"]["max"]
    assert seen["gru"]["min"] < seen["lstm"]["max"]
    assert seen["lstm"]["min"] < seen["gru"]["max"]


def test_the_committed_metrics_are_those_of_the_committed_scores(metrics: dict) -> None:
    assert json.loads((ROOT / "results/imdb/report/metrics.json").read_text()) == json.loads(json.dumps(metrics))


def test_the_committed_study_is_the_one_that_is_configured(monkeypatch: pytest.MonkeyPatch, metrics: dict) -> None:
    monkeypatch.chdir(ROOT)
    config = compose(["study=imdb"])
    assert list(metrics["arms"]) == config.cells
    assert {arm["trials"] for arm in metrics["arms"].values()} == {config.search.trials}
    assert {arm["replicates"]["n"] for arm in metrics["arms"].values()} == {config.search.replicates}
    assert metrics["backend"] == config.train.backend


@pytest.mark.parametrize("line", [line for line in COMMANDS if "make" in line.split()])
def test_each_make_line_is_a_target(line: str) -> None:
    words = line.split()
    planned = subprocess.run(["make", "-n", *words[words.index("make") + 1 :]], cwd=ROOT, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("python -m")])
def test_each_python_line_is_accepted_by_its_command(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.compare import Comparison
    from pipeline.config import Config, hydra_arguments

    monkeypatch.chdir(ROOT)
    _, _, module, *arguments = line.split()
    assert Path(ROOT, *module.split(".")).with_suffix(".py").is_file()
    schema = Comparison if module == "pipeline.compare" else Config
    assert hydra_arguments(module.split(".")[-1], arguments, schema)


def test_each_link_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
