"""The expected_checks where they stand: in the stages of a study, healthy and not."""

import csv
import gzip
import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from study_copy import StudyCopy


def flagged(copy: StudyCopy, stage: str, arm: str = "rnn") -> list[str]:
    """The expected_checks in an arm's table."""
    with (copy.root / f"runs/smoke/{stage}/{arm}/flags.csv").open(newline="") as file:
        return [row["check"] for row in csv.DictReader(file)]


def test_a_healthy_study_is_checked_and_not_flagged(smoke: StudyCopy) -> None:
    for arm in ("rnn", "gru"):
        assert flagged(smoke, "tune", arm) == flagged(smoke, "replicate", arm) == []
    assert json.loads((smoke.root / "results/smoke/report/metrics.json").read_text())["flags"] == []
    # The worker that looked for dead hyperparameters found none, once an arm.
    notes = [
        path.read_text().strip() for path in smoke.root.glob(".fairsweep/state/*/checks.jsonl")
    ]
    assert notes == ['["dead", "[]"]'] * 2


def test_a_fault_stops_a_study_before_anything_is_trained(smoke: StudyCopy, tmp_path: Path) -> None:
    copy = StudyCopy(tmp_path / "study", "smoke", dvc=False).take(smoke, "data")
    behind = ["task.padding=post", "space.model.masking.choices=[false]"]
    copy.run("python", "-m", "pipeline.sample", "study=smoke", *behind)
    done = copy.run(
        "python", "-m", "pipeline.tune", "study=smoke", "cell=rnn", *behind, check=False
    )
    assert done.returncode == 1
    assert "error: padding without a mask: " in done.stderr
    assert "task.padding=pre" in done.stderr
    assert "search.checks=warn" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(copy.root.glob(".fairsweep/state/*/trial-*"))


@pytest.mark.long
def test_a_single_run_prints_a_warning_and_continues(smoke: StudyCopy, tmp_path: Path) -> None:
    # In a copy: MLflow records the run, and the runs of the study are counted elsewhere.
    copy = StudyCopy(tmp_path / "study", "smoke", dvc=False).take(smoke, "data")
    printed = copy.run(
        "python",
        "-m",
        "pipeline.train",
        "study=smoke",
        "cell=lstm",
        "task.padding=post",
        "train.epochs=1",
    ).stdout
    assert re.search(
        r"train lstm: warning, padding without a mask: 6\d% of the reviews end in padding, 1\d "
        r"steps of it, and every trial reads",
        printed,
    )
    assert "lstm: validation " in printed


@pytest.fixture(scope="module")
def shuffled_archive(generated_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The invented reviews, those of training in each other's files: labels and movies are no
    longer theirs.
    """
    archive, packed = tmp_path_factory.mktemp("shuffled") / "reviews.tar.gz", io.BytesIO()
    with (
        tarfile.open(generated_archive) as source,
        tarfile.open(fileobj=packed, mode="w") as target,
    ):
        members = source.getmembers()
        own = [
            place
            for place, member in enumerate(members)
            if member.name.split("/")[1:2] == ["train"] and "/urls" not in member.name
        ]
        texts = [source.extractfile(member) for member in members]
        contents = [text.read() if text else b"" for text in texts]
        mixed = dict(zip(own, np.random.default_rng(0).permutation(own), strict=True))
        for place, member in enumerate(members):
            content = contents[mixed.get(place, place)]
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    archive.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return archive


def faulty(root: Path, archive: Path, workers: int) -> StudyCopy:
    """Four trials of a study with shuffled labels, rates drawn evenly, a key of another cell, and
    padding behind half of its reviews.
    """
    copy = StudyCopy(root, "smoke")
    copy.edit("conf/task/synthetic.yaml", "archive: null", f"archive: {archive}")
    copy.edit("conf/task/synthetic.yaml", "padding: pre", "padding: post")
    copy.edit("conf/cluster/local.yaml", "workers: 2", f"workers: {workers}")
    copy.edit("conf/study/smoke.yaml", "trials: 8, budget: 2", "trials: 4, budget: 1")
    copy.edit(
        "conf/space/smoke.yaml",
        "high: 1.0e-2, log: true}",
        "high: 1.0e-2}\ncell:\n  reset_after: {choices: [true, false]}",
    )
    return copy


@pytest.mark.long
def test_planted_faults_are_flagged_alike_whoever_trains(
    shuffled_archive: Path, tmp_path: Path
) -> None:
    two, one = (faulty(tmp_path / f"of{workers}", shuffled_archive, workers) for workers in (2, 1))
    printed = two.repro("tune@rnn")
    one.repro("tune@rnn")
    expected = [
        "dead hyperparameter",
        "linear learning rate",
        "padding without a mask",
        "shuffled labels",
    ]
    assert flagged(two, "tune") == expected
    for check in expected:
        assert printed.count(f"tune rnn: warning, {check}: ") == 1
    tables = [(copy.root / "runs/smoke/tune/rnn/flags.csv").read_bytes() for copy in (two, one)]
    assert tables[0] == tables[1]
    # Taken up again with nothing left to train, and no worker to ask.
    again = one.run("python", "-m", "pipeline.tune", "study=smoke", "cell=rnn").stdout
    assert again.count("tune rnn: warning, ") == len(expected)
    assert (one.root / "runs/smoke/tune/rnn/flags.csv").read_bytes() == tables[0]
    told = [
        printed.index(text)
        for text in ("dead hyperparameter", "tune rnn 1/4", "shuffled labels", "tune rnn 4/4")
    ]
    assert told == sorted(told)


@pytest.mark.long
def test_an_arm_that_diverges_is_flagged_while_it_does(tmp_path: Path) -> None:
    copy = StudyCopy(tmp_path / "study", "smoke")
    copy.edit("conf/study/smoke.yaml", "trials: 8, budget: 2", "trials: 4, budget: 1")
    copy.edit(
        "conf/space/smoke.yaml",
        "{low: 1.0e-3, high: 1.0e-2, log: true}",
        "{choices: [1.0e-3, 1.0e+8, 1.0e+9]}",
    )
    printed = copy.repro("tune@rnn")
    assert (
        "tune rnn: warning, diverged: 2 of the first 3 trials failed: logits are not finite after "
        "epoch 1" in printed
    )
    assert "diverged" in flagged(copy, "tune")
