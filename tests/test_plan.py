"""The command `plan`: on a finished study, on a larger one, on reviews that are not here yet; and it leaves nothing behind."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.config import Cluster, compose
from pipeline.errors import FairsweepError
from pipeline.planning import inputs, ledger
from pipeline.planning.probe import order, probe
from study_copy import StudyCopy, files


def plan(copy: StudyCopy, *overrides: str) -> subprocess.CompletedProcess[str]:
    """`plan` in the copy, unwatched: it is no stage."""
    env = {key: value for key, value in copy.env.items() if not key.startswith("FAIRSWEEP_")}
    words = ["python", "-m", "pipeline.plan", "study=smoke", *overrides]
    return subprocess.run(words, cwd=copy.root, env=env, capture_output=True, text=True)


def row(output: str, name: str) -> list[str]:
    """The cells of a row of the table."""
    line = next(line for line in output.splitlines() if line.startswith(f"{name} "))
    return re.split(r" {2,}", line)


def test_a_finished_study_has_nothing_left_and_knows_its_own_power(finished: StudyCopy) -> None:
    before = files(finished.root)
    done = plan(finished)
    assert done.returncode == 0, done.stderr
    assert "Nothing is left to train: every run is finished already." in done.stdout
    assert "Power: with N = 8 and n = 2 you will most likely" in done.stdout
    assert "rests on results/smoke, of the same task" in done.stdout
    assert files(finished.root) == before


@pytest.mark.long
def test_a_larger_study_has_its_new_trials_left(finished: StudyCopy) -> None:
    before = files(finished.root)
    done = plan(finished, "search.trials=11", "cells=[gru]")
    assert done.returncode == 0, done.stderr
    # The best configuration may change, and is trained anew; the recipe's two seeds are there.
    assert row(done.stdout, "gru")[1:3] == ["3", "2"]
    assert "10 runs of these arms finished earlier and are not counted." in done.stdout
    assert "on rows of the study" in done.stdout
    likely, most = (float(hours) for hours in row(done.stdout, "together")[5:7])
    assert 0 < likely <= most
    assert files(finished.root) == before


def test_what_cannot_be_run_is_refused_before_anything_is_measured(smoke: StudyCopy) -> None:
    for overrides, expected in (
        (["search.sampler=tpe"], "error: search.sampler=tpe: the pooled analysis needs independent random trials"),
        (["search.trials=0", "recipes=[]"], "error: search.trials=0: study smoke has no search and no recipes"),
        (["search.trials=8,12", "-m"], "error: -m: plan makes no multirun"),
    ):
        done = plan(smoke, *overrides)
        assert done.returncode == 1
        assert done.stderr.startswith(expected)
        assert done.stdout == ""


@pytest.mark.long
def test_every_arm_is_measured_on_invented_reviews_whatever_the_time(bare_project: Path) -> None:
    given = ["study=imdb", "cells=[rnn,gru]", "train.backend=jax"]
    config = compose(given)
    rows = inputs.find(config)
    arms = ledger.arms(config, given, rows)
    found = probe(arms, rows, Cluster(workers=1), until=time.time())
    assert [one.arm for one in found.taken] == ["rnn", "gru"]
    for one in found.taken:
        assert min(one.once, one.epoch, one.test) > 0
        assert one.ended - one.ready < 120
        assert one.memory > 2**28
    assert found.begins > 0
    assert not list(bare_project.rglob("*.npy"))


def test_what_is_measured_first_tells_most(bare_project: Path) -> None:
    given = ["study=imdb", "cells=[rnn,lstm]"]
    config = compose(given)
    rows = inputs.find(config)
    arms = ledger.arms(config, given, rows)
    assert [kind.runs for kind in arms[0].kinds] == [60, 5, 5]
    assert [kind.left for kind in arms[0].kinds] == [60, 5, 5]
    queue = list(order(arms, rows))
    assert [one.cell.arm for one in queue[:4]] == ["rnn", "lstm"] * 2
    # A small and a large configuration, then the recipe.
    assert queue[0].model.units * queue[0].train.batch_size != queue[2].model.units * queue[2].train.batch_size
    assert queue[4].train.patience is None


def test_recipes_alone_are_measured_themselves(bare_project: Path) -> None:
    given = ["study=lengths", "cells=[rnn]"]
    config = compose(given)
    rows = inputs.find(config)
    queue = list(order(ledger.arms(config, given, rows), rows))
    assert [one.task.length for one in queue] == [50, 100, 250, 500]


def test_a_cell_that_cannot_be_trained_is_named(bare_project: Path) -> None:
    given = ["study=smoke", "cells=[rnn]", "train.backend=jax", "recipes=[]"]
    config = compose(given)
    rows = inputs.find(config)
    broken = ledger.arms(config, given, rows)
    for one in broken[0].kinds[0].configs:
        one.train.optimizer = "none"
    with pytest.raises(FairsweepError, match="rnn could not be trained: KeyError: 'none'"):
        probe(broken, rows, Cluster(workers=1), until=time.time())
