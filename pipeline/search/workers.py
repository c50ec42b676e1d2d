"""The Dask workers that train: processes of this machine, those of a running cluster, or jobs of SLURM."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pipeline.config import Cluster
from pipeline.errors import FairsweepError
from pipeline.training.backend import THREADS

MALLOC = {"MALLOC_TRIM_THRESHOLD_": 2**28, "MALLOC_MMAP_THRESHOLD_": 2**28, "MALLOC_TOP_PAD_": 2**26}
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Pool:
    """Workers to be used.

    Attributes:
        client: of their scheduler.
        size: how many there are now; they come and go where the cluster is not this process's own.
        shared_disk: whether they read this machine's files.
        deaths: how often a run's worker has died when Dask gives the run up.
    """

    client: Any
    size: Callable[[], int]
    shared_disk: bool
    deaths: int = 1


@contextmanager
def workers(cluster: Cluster) -> Iterator[Pool]:
    """The workers of `cluster`, single-threaded processes all; its own ones end with the block.

    Raises FairsweepError for a cluster that cannot be reached, has no workers or workers of several threads.
    """
    kinds = {"local": _local, "address": _address, "slurm": _slurm}
    with kinds[cluster.kind](cluster) as pool:
        yield pool


def _configure() -> None:
    import dask

    dask.config.set(
        {
            "logging": {"distributed": "critical", "distributed.scheduler": "critical", "distributed.nanny": "critical"},
            # Deaths are counted by the coordinator, a run at a time.
            "distributed.scheduler.allowed-failures": 0,
            # A run waits at the scheduler until a worker is free, not behind another run on a worker.
            "distributed.scheduler.worker-saturation": 1.0,
            # Training holds Python for seconds: neither a reason to warn nor to give a worker up.
            "distributed.admin.tick.limit": "1h",
            "distributed.scheduler.worker-ttl": None,
            "distributed.worker.daemon": True,
            # Dask lets workers give back every freed page; a training frees and takes the same megabytes at each step.
            "distributed.nanny.pre-spawn-environ": {**MALLOC, **THREADS},
        }
    )


@contextmanager
def _local(cluster: Cluster) -> Iterator[Pool]:
    """`cluster.workers` processes on the loopback address."""
    _configure()
    from distributed import Client, LocalCluster

    local = LocalCluster(
        n_workers=cluster.workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        scheduler_kwargs={"dashboard": False},
        # Its pages stay off, but it opens the port: any free one, so that two studies do not fight over it.
        dashboard_address="127.0.0.1:0",
        memory_limit=cluster.memory,
        silence_logs=50,
    )
    try:
        with Client(local) as client:
            yield Pool(client, lambda: cluster.workers, shared_disk=True)
    finally:
        # On a busy machine closing can take long; the work is done by then, and the workers are daemons of this process.
        with suppress(TimeoutError):
            local.close(timeout=60)


@contextmanager
def _address(cluster: Cluster) -> Iterator[Pool]:
    """The workers of the scheduler at `cluster.address`, whoever started them."""
    _configure()
    from distributed import Client

    if cluster.address is None:
        raise FairsweepError(
            "cluster.address is missing: give the address that `dask scheduler` prints, such as cluster.address=tcp://10.0.0.5:8786, "
            "or set DASK_SCHEDULER_ADDRESS."
        )
    try:
        client = Client(cluster.address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise FairsweepError(
            f"cluster.address={cluster.address}: no Dask scheduler answers there ({error}). Start one (dask scheduler), or correct it."
        ) from error
    with client:
        failures = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures)
        yield _joined(client, f"Start one: dask worker {cluster.address} --nthreads 1", failures + 1)


@contextmanager
def _slurm(cluster: Cluster) -> Iterator[Pool]:
    """`cluster.workers` jobs of SLURM, a worker each, asked for now and ended with the block."""
    _configure()
    from distributed import Client

    with slurm(cluster) as made, Client(made, set_as_default=False) as client:
        made.scale(cluster.workers)
        yield _joined(client, "See the queue: squeue --me. Each job's log says why it ended", wait=None)


def slurm(cluster: Cluster) -> Any:
    """dask-jobqueue's SLURMCluster of `cluster`, without jobs yet; its `job_script()` is what sbatch would get."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise FairsweepError("cluster=slurm: needs the package dask-jobqueue. Install it: pip install dask-jobqueue") from error
    environment = [f'export {name}="{value}"' for name, value in {**MALLOC, **THREADS}.items()]
    return SLURMCluster(
        cores=1,
        processes=1,
        memory="4GB" if cluster.memory == "auto" else cluster.memory,
        queue=cluster.queue,
        account=cluster.account,
        walltime=cluster.walltime,
        job_extra_directives=cluster.directives,
        job_script_prologue=[*environment, *cluster.prologue],
        scheduler_options={"dashboard": False, "dashboard_address": ":0"},
        silence_logs=50,
    )


def _joined(client: Any, remedy: str, deaths: int = 1, wait: float | None = WAIT_SECONDS) -> Pool:
    """The pool of a cluster whose workers come and go, once there is one."""
    try:
        client.wait_for_workers(1, timeout=wait)
    except TimeoutError as error:
        raise FairsweepError(f"cluster: no worker has joined {client.scheduler.address} for {wait:.0f} s. {remedy}.") from error
    several = {address: threads for address, threads in client.nthreads().items() if threads != 1}
    if several:
        address, threads = next(iter(several.items()))
        raise FairsweepError(
            f"cluster: worker {address} has {threads} threads, and Keras trains one model a process. Start workers with --nthreads 1 "
            "(and --nworkers N for several)."
        )
    return Pool(client, lambda: len(client.nthreads()), shared_disk=False, deaths=deaths)
