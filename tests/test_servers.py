"""Stores on servers: PostgreSQL for Optuna and `mlflow server`, both on the loopback address."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from pipeline.config.schema import Cell, Config, Search
from pipeline.errors import FairsweepError
from pipeline.search.optuna import storage
from pipeline.search.run_store import State
from study_copy import StudyCopy, files

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Yield the URL of a new database.

    PostgreSQL refuses to run as root, so root uses the user that Debian's package creates.
    """
    port, programs = free_port(), POSTGRES[-1]
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if user:
        for path in (folder, *folder.parents[:3]):
            path.chmod(path.stat().st_mode | 0o055)
        shutil.chown(folder, "postgres")
    data = folder / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([*user, programs / "initdb", "-D", data, "-U", "tester", "-A", "trust"], **quiet)
    options = f"-p {port} -h 127.0.0.1 -k {folder}"
    control = [*user, programs / "pg_ctl", "-D", data]
    subprocess.run([*control, "-w", "-l", folder / "log", "-o", options, "start"], **quiet)
    try:
        yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)


@contextmanager
def mlflow_server(folder: Path, log_file: Path) -> Iterator[str]:
    """Yield the URL of a server of the store in `folder`, which is created if it is missing."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    folder.mkdir(exist_ok=True)
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", *words]
    with log_file.open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            until = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=1)
                    break
                except OSError:
                    assert time.monotonic() < until, log_file.read_text()
                    time.sleep(0.2)
            yield address
        finally:
            os.killpg(process.pid, 9)
            process.wait()


@pytest.mark.long
@pytest.mark.skipif(not POSTGRES, reason="PostgreSQL is not installed (apt-get install postgresql)")
def test_studies_on_servers_give_the_tables_of_files(
    smoke: StudyCopy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    copy = StudyCopy(tmp_path / "study", "smoke")
    for part in ("data", "runs/smoke/sample"):
        shutil.copytree(smoke.root / part, copy.root / part)
    with (
        postgres(tmp_path_factory.mktemp("postgres")) as url,
        mlflow_server(tmp_path / "mlflow", tmp_path / "log") as address,
    ):
        servers = {"OPTUNA_STORAGE": url, "MLFLOW_TRACKING_URI": address}
        monkeypatch.setattr(
            StudyCopy,
            "env",
            property(lambda copy, plain=StudyCopy.env.fget: {**plain(copy), **servers}),
        )
        # The second command has nothing to train.
        for _ in range(2):
            copy.run("python", "-m", "pipeline.tune", "study=smoke", "cell=rnn")
        database = optuna.storages.RDBStorage(url)
        states = {
            trial.user_attrs["trial"]: trial.state.name
            for trial in optuna.load_study(study_name=None, storage=database).get_trials()
        }
        database.remove_session()
        database.engine.dispose()
        from mlflow import MlflowClient

        client = MlflowClient(address)
        runs = client.search_runs([client.get_experiment_by_name("smoke").experiment_id])
    assert states == dict.fromkeys(range(8), "COMPLETE")
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 9
    assert not (copy.root / "mlflow.db").exists()
    assert not list((copy.root / ".fairsweep").rglob("study.db"))
    ours, plain = (
        files(study.root / "runs/smoke/tune/rnn", "timings.csv") for study in (copy, smoke)
    )
    assert ours == plain


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "postgresql+psycopg://me:secret@127.0.0.1:9/db",
            r"postgresql\+psycopg://me:\*\*\*@127.0.0.1:9/db: cannot be opened",
        ),
        ("nothing", "search.storage=nothing: not a database"),
        ("oracel://x", "search.storage=oracel://x: not a database"),
    ],
)
def test_the_error_of_a_closed_database_hides_its_password(
    tmp_path: Path, url: str, message: str
) -> None:
    config = Config(name="tiny", cells=["rnn"], cell=Cell("rnn", "rnn"), search=Search(storage=url))
    with pytest.raises(FairsweepError, match=message) as refused:
        storage(config, State(tmp_path))
    assert "secret" not in str(refused.value)
