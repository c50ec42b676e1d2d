"""kill -9 of a worker, the coordinator and dvc: no run is lost, and none is trained twice."""

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from faults import coordinator, fast_study, finished, processes, stores, wait_until, worker
from study_copy import StudyCopy, files

pytestmark = pytest.mark.long
TRIALS = 30


def test_three_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    calm, hit = fast_study(tmp_path / "calm", TRIALS), fast_study(tmp_path / "hit", TRIALS)
    calm.repro("tune@rnn")

    dvc = hit.start("dvc", "repro", "tune@rnn")
    wait_until(lambda: finished(hit) >= 4, hit, dvc)
    worker(hit).kill()
    wait_until(lambda: finished(hit) >= 12, hit, dvc)
    coordinator(hit).kill()
    assert dvc.wait(60) != 0
    wait_until(lambda: not list(processes(hit)), hit)

    dvc = hit.start("dvc", "repro", "tune@rnn")
    wait_until(lambda: finished(hit) >= 20, hit, dvc)
    os.kill(dvc.pid, signal.SIGKILL)
    dvc.wait()
    # The processes that dvc started end by themselves.
    wait_until(lambda: not list(processes(hit)), hit)
    assert finished(hit) < TRIALS

    hit.repro("tune@rnn")
    assert list(processes(hit)) == []
    expected, tables = (
        files(copy.root / "runs/smoke/tune/rnn", "timings.csv") for copy in (calm, hit)
    )
    assert expected == tables
    assert finished(hit) == TRIALS
    # A run that was being written to MLflow when its coordinator died also ends as killed.
    assert stores(hit).items() >= {"trials COMPLETE": TRIALS, "recorded": TRIALS}.items()
    assert "runs RUNNING" not in stores(hit)


def test_killed_repeated_searches_equal_undisturbed_ones(tmp_path: Path) -> None:
    calm, hit = StudyCopy(tmp_path / "calm", "smoke_tpe"), StudyCopy(tmp_path / "hit", "smoke_tpe")
    calm.edit("conf/cluster/local.yaml", "workers: 2", "workers: 1")
    calm.repro("tune@rnn")
    dvc = hit.start("dvc", "repro", "tune@rnn")
    wait_until(lambda: finished(hit) >= 2, hit, dvc)
    worker(hit).kill()
    wait_until(lambda: finished(hit) >= 5, hit, dvc)
    coordinator(hit).kill()
    assert dvc.wait(60) != 0
    wait_until(lambda: not list(processes(hit)), hit)
    hit.repro("tune@rnn")
    expected, tables = (
        files(copy.root / "runs/smoke_tpe/tune/rnn", "timings.csv") for copy in (calm, hit)
    )
    assert expected == tables
    trials = []
    for copy in (calm, hit):
        (study,) = copy.root.glob(".fairsweep/state/*/study.db")
        with sqlite3.connect(study) as store:
            rows = store.execute(
                "select study_name, number, state, param_name, param_value from trials "
                "join studies using (study_id) join trial_params using (trial_id)"
            )
            trials.append(sorted(rows.fetchall()))
    assert trials[0] == trials[1]
    assert {row[2] for row in trials[0]} == {"COMPLETE", "PRUNED"}


def test_a_second_coordinator_names_the_first(tmp_path: Path) -> None:
    copy = fast_study(tmp_path / "study", TRIALS)
    dvc = copy.start("dvc", "repro", "tune@rnn")
    wait_until(lambda: finished(copy) >= 1, copy, dvc)
    first = coordinator(copy)
    # Suspend it, so that the study does not end before the second coordinator has started.
    first.suspend()
    second = copy.run("python", "-m", "pipeline.tune", "study=smoke", "cell=rnn", check=False)
    first.resume()
    assert second.returncode == 1
    assert f"process {first.pid} is already running" in second.stderr
    # Ctrl-C reaches the whole group of a terminal.
    os.killpg(dvc.pid, signal.SIGINT)
    assert dvc.wait(60) != 0
    wait_until(lambda: not list(processes(copy)), copy)
    assert 1 <= finished(copy) < TRIALS
    with sqlite3.connect(copy.root / "mlflow.db") as store:
        assert "RUNNING" not in dict(
            store.execute("select status, count(*) from runs group by status").fetchall()
        )
