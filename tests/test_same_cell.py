"""One cell under two names, with real trainings: only the seeds differ, so neither may win."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study_copy import StudyCopy

pytestmark = pytest.mark.night


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> StudyCopy:
    """The smoke study of gru and gru_again, 24 trials each; all seeds fixed."""
    copy = StudyCopy(tmp_path_factory.mktemp("twice") / "study", "smoke")
    (copy.root / "conf/cell/gru_again.yaml").write_text("type: gru\n")
    copy.edit("conf/study/smoke.yaml", "cells: [rnn, gru]", "cells: [gru, gru_again]")
    copy.edit("conf/study/smoke.yaml", "trials: 8, budget: 2", "trials: 24, budget: 4")
    copy.repro()
    return copy


def scores(copy: StudyCopy, arm: str) -> pd.DataFrame:
    table = pd.read_csv(copy.root / "results/smoke/scores/scores.csv")
    return table[(table["arm"] == arm) & (table["kind"] == "trial")].sort_values("trial")


def test_the_two_were_trained_apart(twice: StudyCopy) -> None:
    first, second = scores(twice, "gru"), scores(twice, "gru_again")
    assert not np.allclose(first["test"], second["test"])
    assert abs(first["test"].mean() - second["test"].mean()) < 0.05


def test_a_cell_is_not_better_than_itself(twice: StudyCopy) -> None:
    metrics = json.loads(Path(twice.root, "results/smoke/report/metrics.json").read_text())
    (pair,) = metrics["pairs"]
    assert pair["verdict"] in ("equivalent", "undecided")
    assert metrics["winner"] is None
    assert pair["low"] < 0 < pair["high"]
