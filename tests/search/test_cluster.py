"""Workers of a Dask cluster, joined by its address, and the job script of SLURM."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_coordinator import CONFIG, assert_same, by_number, job, study  # noqa: F401 (a fixture)

from machines import ROOT, Machines
from pipeline.config.compose import with_overrides
from pipeline.config.schema import Cluster
from pipeline.errors import FairsweepError
from pipeline.search.coordinator import run_jobs
from pipeline.search.run_store import Job
from pipeline.search.workers import open_workers, slurm


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    machines = Machines(tmp_path / "machines")
    yield machines
    machines.close()


def at(machines: Machines) -> Cluster:
    return Cluster(kind="address", address=machines.address)


def test_ctrl_c_ends_the_wait_for_the_first_worker(machines: Machines) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    pressed = threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT))
    # pytest ignores Ctrl-C if its parent process does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pressed.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run_jobs([job(0)], at(machines)))
    finally:
        pressed.join()
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.long
@pytest.mark.usefixtures("study")
def test_workers_without_the_disk_train_as_this_process_does(machines: Machines) -> None:
    machines.join()
    records = by_number(run_jobs([job(0), job(1)], at(machines)))
    assert sorted(records) == [0, 1]
    for number, record in records.items():
        assert record.attempt == 1
        assert_same(record.run, number)
    assert len(list(machines.folder.rglob("tiny/arrays/meta.json"))) == 1


def test_a_cluster_that_cannot_be_used_is_an_error(machines: Machines) -> None:
    with (
        pytest.raises(
            FairsweepError, match=r"cluster\.address is missing: .* set DASK_SCHEDULER_ADDRESS"
        ),
        open_workers(Cluster(kind="address")),
    ):
        pass
    unreachable = Cluster(kind="address", address="tcp://127.0.0.1:9")
    with (
        pytest.raises(
            FairsweepError,
            match=r"cluster\.address=tcp://127\.0\.0\.1:9: no Dask scheduler answers",
        ),
        open_workers(unreachable),
    ):
        pass
    for open_address in (
        "tcp://10.255.0.1:8786",
        "tcp://scheduler.example:8786",
        "10.255.0.1:8786",
        "ws://10.255.0.1:8786",
    ):
        with (
            pytest.raises(FairsweepError, match=r"no TLS.*cluster\.insecure=true"),
            open_workers(Cluster(kind="address", address=open_address)),
        ):
            pass
    machines.join(1, "--nthreads", "2")
    with (
        pytest.raises(FairsweepError, match=r"has 2 threads, .* --nthreads 1"),
        open_workers(at(machines)),
    ):
        pass


@pytest.mark.usefixtures("study")
def test_a_worker_of_another_version_is_refused(machines: Machines, tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "pipeline", tmp_path / "other/pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    with (tmp_path / "other/pipeline/training/fit.py").open("a") as file:
        file.write("VERSION = 'another'\n")
    machines.env["PYTHONPATH"] = str(tmp_path / "other")
    machines.join()
    with pytest.raises(
        FairsweepError, match=r"worker tcp://127\.0\.0\.1.* runs other code than this checkout"
    ):
        list(run_jobs([job(0)], at(machines)))


@pytest.mark.long
@pytest.mark.usefixtures("study")
def test_a_cluster_with_its_own_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask
    from distributed.security import Security

    security = Security.temporary()
    paths = {}
    for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key"):
        paths[name] = tmp_path / f"{name}.pem"
        paths[name].write_text(getattr(security, name))
    options = {
        "ca-file": paths["tls_ca_file"],
        "cert": paths["tls_worker_cert"],
        "key": paths["tls_worker_key"],
    }
    machines = Machines(
        tmp_path / "machines",
        [word for name, path in options.items() for word in (f"--tls-{name}", str(path))],
    )
    try:
        assert machines.address.startswith("tls://")
        machines.join()
        at_home = {
            f"distributed.comm.tls.client.{name}": str(options[name]) for name in ("cert", "key")
        }
        with dask.config.set({"distributed.comm.tls.ca-file": str(options["ca-file"]), **at_home}):
            (record,) = run_jobs([job(0)], at(machines))
        assert_same(record.run, 0)
    finally:
        machines.close()


@pytest.mark.skipif(
    importlib.util.find_spec("dask_jobqueue") is None, reason="the extra `cluster` is not installed"
)
def test_the_slurm_script_has_the_settings_and_starts_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    requested = Cluster(
        kind="slurm",
        memory="3GB",
        queue="long",
        account="lab7",
        walltime="01:30:00",
        prologue=["echo ready"],
        directives=["--nice=5"],
    )
    with slurm(requested) as cluster:
        script = cluster.job_script()
        lines = script.splitlines()
        for line in (
            "-p long",
            "-A lab7",
            "-t 01:30:00",
            "--cpus-per-task=1",
            "--mem=3G",
            "--nice=5",
        ):
            assert f"#SBATCH {line}" in lines, script
        assert "echo ready" in lines
        assert {
            'export OMP_NUM_THREADS="1"',
            'export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED="False"',
        } <= set(lines)
        assert "--nthreads 1" in script
        # Traffic is encrypted by default, and only the user can read the certificates.
        assert cluster.scheduler_address.startswith("tls://")
        keys = re.findall(r"--tls-\S+ (\S+)", script)
        assert len(keys) == 3
        assert {Path(key).parent.name for key in keys} == {"tls"}
        assert {Path(key).stat().st_mode & 0o077 for key in keys} == {0}
        (tmp_path / "job.sh").write_text(script)
        # SLURM would run it on a node.
        process = subprocess.Popen(
            ["bash", "job.sh"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            from distributed import Client

            with Client(cluster, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=60)
                assert set(client.nthreads().values()) == {1}
                assert client.submit(sum, [1, 2]).result(timeout=30) == 3
        finally:
            process.kill()
            process.wait()
            subprocess.run(["pkill", "-f", cluster.scheduler_address], check=False)
    # dask-jobqueue does not close these, and the warning would be an error.
    for name, value in vars(cluster).items():
        if hasattr(value, "close") and name.startswith("_job_"):
            value.close()


@pytest.mark.parametrize(
    ("trials", "count", "kills"),
    [
        pytest.param(60, 3, 4, marks=pytest.mark.long),
        pytest.param(500, 8, 12, marks=pytest.mark.night),
    ],
)
@pytest.mark.usefixtures("study")
def test_workers_are_killed_and_join(
    trials: int, count: int, kills: int, machines: Machines
) -> None:
    """Replace the oldest of `count` workers `kills` times, evenly spread over the trials."""
    short = ["train.backend=jax", "task.train_fraction=0.1", "model.units=4", "model.embedding=4"]
    jobs = [
        Job("trial", n, with_overrides(CONFIG, [f"seed={n}", *short]), []) for n in range(trials)
    ]
    machines.join(count)
    records, killed = {}, 0
    for record in run_jobs(jobs, at(machines)):
        assert record.job.number not in records
        records[record.job.number] = record
        if len(records) % (trials // (kills + 1)) == 0 and killed < kills:
            machines.workers[killed].kill()
            machines.join()
            killed += 1
    assert sorted(records) == list(range(trials))
    assert {record.run.state for record in records.values()} == {"complete"}
    assert killed == kills
    assert len({record.worker for record in records.values()}) > count
    assert sum(record.attempt > 1 for record in records.values()) <= killed
    # A trial gives the same numbers on each worker.
    again = by_number(run_jobs([jobs[0], jobs[-1]], at(machines)))
    for number, record in again.items():
        assert record.run.epochs == records[number].run.epochs
