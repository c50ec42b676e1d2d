"""Results record their commit, uncommitted changes, environment and data."""

import json
import sqlite3
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.errors import FairsweepError, masked
from pipeline.provenance import check_origin, environment, locked, write_origin
from pipeline.rendering.limitations import limitations
from pipeline.training.protocol import PROTOCOL
from shown import Shown
from study_copy import ROOT, StudyCopy

SAY = "from pipeline.provenance import commit; print(commit())"


def git(folder: Path, *words: str) -> str:
    named = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", *named, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def said(folder: Path) -> str:
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-c", SAY], cwd=folder, check=True, capture_output=True, text=True, env=env
    ).stdout.strip()


def test_a_commit_its_changes_and_no_repository(tmp_path: Path) -> None:
    assert said(tmp_path) == "unknown"
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "one")
    whole = git(tmp_path, "rev-parse", "HEAD")
    assert said(tmp_path) == whole
    (tmp_path / "file").write_text("2")
    assert said(tmp_path) == f"{whole}-dirty"


def test_what_a_study_writes_is_no_change_and_code_that_is_not_tracked_is_one(
    tmp_path: Path,
) -> None:
    git(tmp_path, "init", "-q")
    for name in ("dvc.lock", "results/imdb/scores.csv", "conf/config.yaml", ".gitignore"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("build/\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    whole = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "dvc.lock").write_text("2")
    (tmp_path / "results/imdb/scores.csv").write_text("2")
    (tmp_path / "trials.csv").write_text("2")
    # The copy that `make run STUDY=…` makes lies in an ignored folder of the checkout.
    copy = tmp_path / "build/smoke"
    copy.mkdir(parents=True)
    assert said(tmp_path) == said(copy) == whole
    (tmp_path / "conf/mine.yaml").write_text("2")
    assert said(tmp_path) == said(copy) == f"{whole}-dirty"


def test_a_report_tells_of_runs_that_no_commit_holds(report: Shown) -> None:
    study, metrics = (
        report.results.study,
        {**report.summary, "commits": {"a" * 40: 30, f"{'b' * 40}-dirty": 2, "unknown": 1}},
    )
    added = [
        line
        for line in limitations(metrics, study)
        if line not in limitations(report.summary, study)
    ]
    assert added == [
        "2 of 33 runs were trained from a checkout with uncommitted changes (`bbbbbbbbb-dirty`), so their code is not on record.",
        "1 of 33 runs were trained outside a git repository, so their code is not on record.",
    ]
    assert limitations({**report.summary, "commits": {"a" * 40: 33}}, study) == limitations(
        report.summary, study
    )


def test_every_run_records_commit_environment_and_data(smoke: StudyCopy) -> None:
    with sqlite3.connect(smoke.root / "mlflow.db") as store:
        added = store.execute("select run_uuid, key, value from tags").fetchall()
    runs = {run: {key: value for own, key, value in added if own == run} for run, _, _ in added}
    runs = {run: tags for run, tags in runs.items() if tags["stage"] != "report"}
    assert len(runs) > 16
    for tags in runs.values():
        assert tags["git"] == "unknown"
        assert {
            name.removeprefix("environment."): tags[name]
            for name in tags
            if name.startswith("environment.")
        } == environment()
        assert tags["data"]
    for table in ("tune/rnn", "replicate/rnn", "baseline"):
        lines = (smoke.root / f"runs/smoke/{table}/timings.csv").read_text().splitlines()
        assert lines[0].endswith(",git")
        assert all(line.endswith(",unknown") for line in lines[1:])
    assert "outside a git repository" in (smoke.root / "results/smoke/report/report.md").read_text()


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (
            {"protocol": 0},
            r"runs/tune/rnn was made under protocol 0, this .* 1.*Train again: `dvc repro tune@rnn`",
        ),
        (
            {"protocol": 2},
            r"made under protocol 2, this version is protocol 1.*Update this older version",
        ),
        (
            {"protocol": 1, "data": "other"},
            r"trained on other data than data/ has now.*dvc repro tune@rnn",
        ),
    ],
)
def test_tables_of_another_protocol_or_other_data_are_refused(
    origin: dict, words: str, tmp_path: Path
) -> None:
    folder = Path("runs/tune/rnn")
    (tmp_path / folder).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        check_origin(folder, 1, {"digest": "own"}, "dvc repro tune@rnn")
        write_origin(folder, 1, "own")
        check_origin(folder, 1, {"digest": "own"}, "dvc repro tune@rnn")
        (folder / "origin.json").write_text(json.dumps(origin))
        with pytest.raises(FairsweepError, match=words):
            check_origin(folder, 1, {"digest": "own"}, "dvc repro tune@rnn")


def test_every_stage_says_what_its_tables_were_made_from(smoke: StudyCopy) -> None:
    digest = json.loads((smoke.root / "data/smoke/arrays/meta.json").read_text())["digest"]
    for stage in ("tune/rnn", "tune/gru", "replicate/rnn", "replicate/gru", "baseline"):
        assert json.loads((smoke.root / "runs/smoke" / stage / "origin.json").read_text()) == {
            "protocol": PROTOCOL,
            "data": digest,
        }


def test_the_lock_tells_the_version_for_this_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locked() == {}
    (tmp_path / "requirements.lock").write_text(
        "keras==3.12.0 \\\n    --hash=sha256:00\nnumpy==1.9 ; python_full_version < '3.0' \\\n    --hash=sha256:00\n"
        "numpy==2.5 ; python_full_version >= '3.0' \\\n    --hash=sha256:00\njax==0.9\n"
    )
    assert locked() == {"keras": "3.12.0", "numpy": "2.5", "jax": "0.9"}
    monkeypatch.chdir(ROOT)
    assert locked()["numpy"] == version("numpy")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "postgresql+psycopg://ann:s3cret@db/x is shut",
            "postgresql+psycopg://ann:***@db/x is shut",
        ),
        ("http://ann:p:w@h and mysql://b:c@d", "http://ann:***@h and mysql://b:***@d"),
        ("tcp://10.0.0.5:8786", "tcp://10.0.0.5:8786"),
        ("https://host:80/a@b", "https://host:80/a@b"),
    ],
)
def test_a_password_in_a_url_is_not_shown(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_password_is_refused_on_a_command_line_and_a_text_may_hold_what_it_likes() -> None:
    from pipeline.config.compose import check_overrides
    from pipeline.predict import Request

    with pytest.raises(
        FairsweepError,
        match=r"search\.storage=postgresql://ann:\*\*\*@db/x: .*a password.*OPTUNA_STORAGE",
    ):
        check_overrides(["search.storage=postgresql://ann:s3cret@db/x"], multirun=False)
    check_overrides(["text='see http://ann:s3cret@db/x'"], multirun=False, schema=Request)
