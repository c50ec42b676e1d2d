"""Whole studies of real data: `dvc repro` measures the committed gaps again."""

import json
from pathlib import Path

import pytest

from study_copy import ROOT, StudyCopy

pytestmark = pytest.mark.night


def gaps(root: Path, study: str) -> dict[tuple[str, str], dict]:
    """{(a, b): the pair's figures} of a study's report."""
    metrics = json.loads((root / "results" / study / "report/metrics.json").read_text())
    return {(pair["a"], pair["b"]): pair for pair in metrics["pairs"]}


@pytest.mark.parametrize("study", ["co2", "digits", "imdb"])
def test_a_whole_study_gives_the_committed_gaps(
    study: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Another processor rounds differently, so each gap is only expected within its committed interval."""
    copy = StudyCopy(tmp_path / "study", study)
    if study == "imdb":
        copy.edit(
            "conf/task/imdb.yaml",
            "${oc.env:IMDB_ARCHIVE,null}",
            str(request.getfixturevalue("imdb_archive")),
        )
    copy.repro()
    found, committed = gaps(copy.root, study), gaps(ROOT, study)
    assert found.keys() == committed.keys()
    for pair, expected in committed.items():
        assert expected["low"] <= found[pair]["gap"] <= expected["high"], pair
