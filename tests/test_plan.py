"""The command `plan`: on a finished study, on a larger one, before the data exist; its output."""

import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask.system import CPU_COUNT

from pipeline.config.compose import compose
from pipeline.config.schema import Cluster, Config, Search
from pipeline.errors import FairsweepError
from pipeline.plan import assumptions, detected_gaps, heading, times
from pipeline.planning.cost import list_runs, load, load_rows, order, probe
from planning.test_cost import CONFIG, DATA
from study_copy import StudyCopy, files

STUDY = replace(CONFIG, cells=["rnn", "gru"])
ROW = {"budget": 2, "search_sd": 0.005, "row_sd": 0.15, "share": 0.5}


def plan(copy: StudyCopy, *overrides: str) -> subprocess.CompletedProcess[str]:
    """`plan` in the copy, without the record of opened files: it is no stage."""
    env = {key: value for key, value in copy.env.items() if not key.startswith("FAIRSWEEP_")}
    command = ["python", "-m", "pipeline.plan", "study=smoke", *overrides]
    return subprocess.run(command, cwd=copy.root, env=env, capture_output=True, text=True)


def row(output: str, name: str) -> list[str]:
    """The cells of a row of a table."""
    line = next(line for line in output.splitlines() if line.startswith(f"{name}  "))
    return re.split(r" {2,}", line)


def test_a_finished_study_has_nothing_left_and_its_own_power(finished: StudyCopy) -> None:
    before = files(finished.root)
    done = plan(finished)
    assert done.returncode == 0, done.stderr
    assert "Nothing is left to train" in done.stdout
    assert "N = 8" in done.stdout
    assert "results/smoke (same task)" in done.stdout
    assert files(finished.root) == before


@pytest.mark.long
def test_a_larger_study_has_its_new_trials_left(finished: StudyCopy) -> None:
    before = files(finished.root)
    done = plan(finished, "search.trials=11", "cells=[gru]")
    assert done.returncode == 0, done.stderr
    # The best configuration may change and is trained again; the recipe's two seeds are finished.
    assert row(done.stdout, "gru")[1:3] == ["3", "2"]
    expected, most = map(float, row(done.stdout, "total")[3:5])
    assert 0 < expected <= most
    assert files(finished.root) == before


def test_an_invalid_study_is_refused_before_anything_is_measured(smoke: StudyCopy) -> None:
    for overrides, expected in (
        (
            ["search.sampler=tpe"],
            "error: search.sampler=tpe: a shared search needs independent random trials",
        ),
        (
            ["search.trials=0", "recipes=[]"],
            "error: search.trials=0: study smoke has no search and no recipes",
        ),
        (["search.trials=8,12", "-m"], "error: -m: plan has no multirun"),
    ):
        done = plan(smoke, *overrides)
        assert done.returncode == 1
        assert done.stderr.startswith(expected)
        assert done.stdout == ""


@pytest.mark.long
def test_every_arm_is_measured_whatever_the_time(bare_project: Path) -> None:
    given = ["study=imdb", "cells=[rnn,gru]", "train.backend=jax"]
    config = compose(given)
    data = load_rows(config)
    probed = probe(list_runs(config, given, data), data, Cluster(workers=1), until=time.time())
    assert [timing.arm for timing in probed.timings] == ["rnn", "gru"]
    for timing in probed.timings:
        assert 0 < timing.fixed < 120
        assert 0 < timing.row < 1
    assert probed.start > 0
    assert probed.workers == 1
    assert not list(bare_project.rglob("*.npy"))


def test_the_most_informative_configurations_are_measured_first(bare_project: Path) -> None:
    given = ["study=imdb", "cells=[rnn,lstm]"]
    config = compose(given)
    data = load_rows(config)
    runs = list_runs(config, given, data)
    assert [(run.kind, run.left) for run in runs[:3]] == [
        ("trial", 60),
        ("tuned", 5),
        ("article", 5),
    ]
    queue = list(order(runs, data))
    assert [each.cell.arm for each in queue[:6]] == ["rnn", "lstm"] * 3
    # The median configuration, the recipe, and then a small and a large configuration.
    assert queue[2].train.patience is None
    small, median, large = (load(queue[i], data) for i in (4, 0, 6))
    assert small < median < large


def test_recipes_without_a_search_are_measured(bare_project: Path) -> None:
    given = ["study=lengths", "cells=[rnn]"]
    config = compose(given)
    data = load_rows(config)
    queue = order(list_runs(config, given, data), data)
    assert [each.task.length for each in queue] == [50, 100, 250, 500]


def test_an_arm_that_cannot_be_trained_is_named(bare_project: Path) -> None:
    given = ["study=smoke", "cells=[rnn]", "train.backend=jax", "recipes=[]"]
    config = compose(given)
    data = load_rows(config)
    runs = list_runs(config, given, data)
    for broken in runs[0].configs:
        broken.train.optimizer = "none"
    with pytest.raises(FairsweepError, match="rnn cannot be trained: KeyError: 'none'"):
        probe(runs, data, Cluster(workers=1), until=time.time())


def test_the_heading_names_the_design() -> None:
    assert "N = 10 trials per cell, budget n = 2" in heading(STUDY)
    repeated = Search(design="repeated", trials=4, budget=4, repeats=3)
    assert "K = 3 tpe searches, 4 trials" in heading(replace(STUDY, search=repeated))
    assert "recipes" in heading(replace(STUDY, search=Search(trials=0)))


def test_the_table_adds_up() -> None:
    cost = np.array([[6, 3600, 7200], [5, 1800, 1800]])
    output = times({"rnn": cost, "gru": cost}, other=360.0)
    assert row(output, "rnn")[1:] == ["6", "5", "1.50", "2.50"]
    assert row(output, "other stages")[3:] == ["0.10", "0.10"]
    assert row(output, "total")[1:] == ["12", "10", "3.10", "5.10"]
    assert re.findall(r"([\d.]+) min", output) == ["186.0", "306.0", "120.0", "60.0"]


def assumed(busy: float = 0.0, **changes: Any) -> str:
    return "\n".join(assumptions(replace(STUDY, **changes), 0.5, "study x", busy))


def test_the_assumptions_of_the_times_are_printed() -> None:
    assert "50% of their epochs, as in study x" in assumed()
    assert assumed(cluster=Cluster(workers=CPU_COUNT)).count("\n") == 0
    assert "cluster.workers=99" in assumed(cluster=Cluster(workers=99))
    assert "cluster=slurm: 16 workers" in assumed(cluster=Cluster(kind="slurm", workers=16))
    assert "search.pruner=median" in assumed(search=Search(pruner="median"))
    assert f"load {CPU_COUNT:.1f}" in assumed(busy=CPU_COUNT)


def gaps(config: Config, rows: int = 25_000, earlier: Any = (ROW,)) -> str:
    data = replace(DATA, test_inputs=np.zeros(rows))
    return "\n".join(detected_gaps(config, data, earlier, "study x"))


def test_the_power_is_that_of_the_margin_and_half_of_it() -> None:
    search = Search(trials=60, budget=10, margin=0.01)
    output = gaps(replace(STUDY, search=search), earlier=[{**ROW, "budget": 10}])
    probabilities = [float(row(output, gap)[1]) for gap in ("1 point", "0.5 points")]
    assert probabilities[0] > 0.8 > probabilities[1]
    assert int(row(output, "0.5 points")[2]) > 60
    assert "25,000 test reviews" in output
    assert "0.50 points after a search of 10 trials" in output
    assert "study x" in output


@pytest.mark.parametrize(
    ("search", "rows", "probability", "size"),
    [
        (Search(trials=10, budget=2, margin=0.1), 25_000, ">0.99", "8"),
        (Search(trials=10, budget=2, margin=0.005), 25_000, "0.47", "24"),
        (Search(trials=10, budget=2, margin=0.002), 400, None, "none: the test set is too small"),
    ],
)
def test_each_size_has_its_power(
    search: Search, rows: int, probability: str | None, size: str
) -> None:
    margin = f"{100 * search.margin:g} points"
    _, likely, needed = row(gaps(replace(STUDY, search=search), rows), margin)
    assert needed == size
    assert probability is None or likely == probability


def test_without_a_comparison_or_an_earlier_study_there_is_no_power() -> None:
    for output in (
        gaps(replace(STUDY, search=Search(trials=0))),
        gaps(CONFIG),
        gaps(STUDY, earlier=[]),
    ):
        assert output.startswith("Power: unknown")
        assert "\n" not in output
