"""The Dask workers that train: local processes, those of a running cluster, or jobs of SLURM."""

import functools
import importlib.util
import math
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ..config.schema import Cluster
from ..errors import FairsweepError
from ..training.backend import THREADS

MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": 2**28,
    "MALLOC_MMAP_THRESHOLD_": 2**28,
    "MALLOC_TOP_PAD_": 2**26,
}
WAIT_SECONDS = 60.0
CHECK_SECONDS = 1.0
FROZEN_SECONDS = 600.0
MIN_MEMORY = 500_000_000  # bytes
PAGES_PORT = 8787

Check = Callable[[], None]


@dataclass(frozen=True)
class Workers:
    """The workers of one Dask scheduler.

    Attributes:
        client: a client of the scheduler.
        size: returns the current number of workers, which may vary on a cluster.
        shared_disk: whether the workers read the files of this machine.
        deaths: how often a run's worker has died when Dask gives up the run.
        pages: the address of Dask's pages; None if they are off or belong to a running cluster.
    """

    client: Any
    size: Callable[[], int]
    shared_disk: bool
    deaths: int = 1
    pages: str | None = None


def check_cluster(cluster: Cluster) -> None:
    """Raise FairsweepError for a configuration that can start no worker."""
    if cluster.kind == "local":
        _check_memory(cluster.memory)
    elif cluster.kind == "address":
        if cluster.address is None:
            raise FairsweepError(
                "cluster.address is missing: give the address that `dask scheduler` prints, such "
                "as cluster.address=tcp://10.0.0.5:8786, or set DASK_SCHEDULER_ADDRESS."
            )
        _check_encryption(cluster.address, cluster.insecure)
    elif cluster.kind == "slurm" and shutil.which("sbatch") is None:
        raise FairsweepError(
            "cluster=slurm: there is no sbatch on this machine, so no job can start. Run the "
            "command on a login node of the cluster, or choose cluster=local."
        )


def _check_memory(memory: str) -> None:
    """Raise FairsweepError for a limit that would end each worker at its start."""
    from dask.utils import parse_bytes

    try:
        # Dask reads 0 as no limit.
        size = MIN_MEMORY if memory in ("auto", "0") else parse_bytes(memory)
    except ValueError:
        size = 0
    if size < MIN_MEMORY:
        raise FairsweepError(
            f"cluster.memory={memory}: give the memory of one worker with its unit, such as 4GB "
            "(at least 500MB, the size of the backend), or auto for an equal share of this machine."
        )


def _check_encryption(address: str, insecure: bool) -> None:
    """Raise FairsweepError for an address of another machine without TLS.

    Whoever can connect to such a scheduler can run code on its workers.
    """
    protocol, _, rest = address.rpartition("://")
    host = rest.rsplit(":", 1)[0].strip("[]")
    local = host == "localhost"
    with suppress(ValueError):
        local = local or ip_address(host).is_loopback
    if not (local or insecure or protocol in ("tls", "wss")):
        raise FairsweepError(
            f"cluster.address={address}: the connection to another machine has no TLS, so whoever "
            "can connect to the scheduler can run code on its workers. Use tls://HOST:PORT "
            "(docs/cluster.md explains how), or set cluster.insecure=true on a network you trust."
        )


@contextmanager
def open_workers(cluster: Cluster, check: Check = lambda: None) -> Iterator[Workers]:
    """Yield the workers of `cluster`; those that this process started end with the block.

    `check` is called every second until the first worker has joined, which may take hours in a
    queue of SLURM; an exception that it raises ends the wait. Raises FairsweepError for a cluster
    that cannot be reached, is lost, has no workers, or has workers of several threads.
    """
    check_cluster(cluster)
    kinds = {"local": _local, "address": _address, "slurm": _slurm}
    _configure()
    from distributed import CancelledError
    from distributed.comm import CommClosedError

    try:
        with kinds[cluster.kind](cluster, check) as workers:
            yield workers
    except (CancelledError, CommClosedError) as error:
        raise FairsweepError(
            f"cluster={cluster.kind}: the scheduler is gone or cannot be reached "
            f"({type(error).__name__}). Read its output, and start it again. Finished runs are "
            "kept: the same command trains the rest."
        ) from error


def _configure() -> None:
    import dask

    loggers = ("distributed", "distributed.client", "distributed.scheduler", "distributed.nanny")
    dask.config.set(
        {
            "logging": dict.fromkeys(loggers, "critical"),
            # The coordinator counts the deaths per run.
            "distributed.scheduler.allowed-failures": 0,
            # Runs wait at the scheduler until a worker is free, not behind another run on a worker.
            "distributed.scheduler.worker-saturation": 1.0,
            # Training holds Python's lock for seconds; a worker silent for minutes is frozen.
            "distributed.admin.tick.limit": "1h",
            "distributed.scheduler.worker-ttl": FROZEN_SECONDS,
            "distributed.worker.daemon": True,
            # Profiles of JAX's deep stacks took a quarter of a short run, and 0.2 MB per run.
            "distributed.worker.profile.enabled": False,
            # By default workers return each freed page, but each training step needs it again.
            "distributed.nanny.pre-spawn-environ": {**MALLOC, **THREADS},
        }
    )


@contextmanager
def _local(cluster: Cluster, _: Check) -> Iterator[Workers]:
    """Start `cluster.workers` processes on the loopback address."""
    from distributed import Client, LocalCluster

    try:
        local = LocalCluster(
            n_workers=cluster.workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            scheduler_kwargs={"dashboard": cluster.dashboard},
            dashboard_address=_pages_address(cluster),
            memory_limit=cluster.memory,
            silence_logs=50,
        )
    except (RuntimeError, TimeoutError) as error:
        raise FairsweepError(
            f"cluster.workers={cluster.workers}: the workers did not start "
            f"({type(error).__name__}: {error}). Lower cluster.workers, or wait until the machine "
            "is less busy. Finished runs are kept."
        ) from error
    try:
        with Client(local) as client:
            pages = local.dashboard_link if cluster.dashboard else None
            yield Workers(client, lambda: cluster.workers, shared_disk=True, pages=pages)
    finally:
        # Closing can be slow on a busy machine. No run is left by then, and workers are daemons.
        with suppress(TimeoutError):
            local.close(timeout=60)


@contextmanager
def _address(cluster: Cluster, check: Check) -> Iterator[Workers]:
    """Connect to the workers of the scheduler at `cluster.address`."""
    from distributed import Client

    try:
        client = Client(cluster.address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise FairsweepError(
            f"cluster.address={cluster.address}: no Dask scheduler answers there ({error}). Start "
            "one (dask scheduler), or correct the address."
        ) from error
    with client:
        failures = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures)
        _wait(client, check, WAIT_SECONDS, f"Start one: dask worker {cluster.address} --nthreads 1")
        yield Workers(client, lambda: len(client.nthreads()), False, failures + 1)


@contextmanager
def _slurm(cluster: Cluster, check: Check) -> Iterator[Workers]:
    """Submit `cluster.workers` jobs of one worker each; they end with the block."""
    from distributed import Client

    with slurm(cluster) as jobs, Client(jobs, set_as_default=False) as client:
        jobs.scale(cluster.workers)
        _wait(client, check, math.inf, "See the queue: squeue --me. Each job's log has its error")
        pages = jobs.dashboard_link if cluster.dashboard else None
        yield Workers(client, lambda: len(client.nthreads()), False, pages=pages)


def _wait(client: Any, check: Check, seconds: float, remedy: str) -> None:
    """Wait for the first worker, and raise FairsweepError for workers of several threads."""
    end = time.monotonic() + seconds
    while not client.nthreads():
        check()
        if time.monotonic() > end:
            raise FairsweepError(
                f"cluster: no worker has joined {client.scheduler.address} for {seconds:.0f} s. "
                f"{remedy}."
            )
        time.sleep(CHECK_SECONDS)
    for address, threads in client.nthreads().items():
        if threads != 1:
            raise FairsweepError(
                f"cluster: worker {address} has {threads} threads, but Keras trains one model per "
                "process. Start workers with --nthreads 1 (and --nworkers N for several)."
            )


def _pages_address(cluster: Cluster) -> str:
    """Return the loopback address of the scheduler's pages, whose port is open even without pages.

    Raises FairsweepError if pages are requested and bokeh is missing.
    """
    if cluster.dashboard:
        if importlib.util.find_spec("bokeh") is None:
            raise FairsweepError(
                "cluster.dashboard=true: the package bokeh is not installed. Install it: "
                "pip install bokeh (it is in the extra `dashboards`)."
            )
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", PAGES_PORT))
            return f"127.0.0.1:{PAGES_PORT}"
    # Any free port, so that two studies can run at once.
    return "127.0.0.1:0"


def slurm(cluster: Cluster) -> Any:
    """Return dask-jobqueue's SLURMCluster, without jobs; `job_script()` is what sbatch gets."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise FairsweepError(
            "cluster=slurm: the package dask-jobqueue is not installed. Install it: "
            "pip install dask-jobqueue (it is in the extra `cluster`)."
        ) from error
    _repair_tls()
    # The study's own certificates, which its jobs read from the shared disk.
    tls = Path(".fairsweep/tls").resolve()
    tls.mkdir(parents=True, exist_ok=True)
    secure: dict[str, Any] = {}
    if not cluster.insecure:
        secure = {"security": True, "shared_temp_directory": str(tls)}
    settings = {**MALLOC, **THREADS, "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": False}
    environment = [f'export {name}="{value}"' for name, value in settings.items()]
    pages = {"dashboard": cluster.dashboard, "dashboard_address": _pages_address(cluster)}
    return SLURMCluster(
        cores=1,
        processes=1,
        memory="4GB" if cluster.memory == "auto" else cluster.memory,
        queue=cluster.queue,
        account=cluster.account,
        walltime=cluster.walltime,
        job_extra_directives=cluster.directives,
        job_script_prologue=[*environment, *cluster.prologue],
        scheduler_options=pages,
        silence_logs=50,
        **secure,
    )


@functools.cache
def _repair_tls() -> None:
    """Clear OpenSSL's error queue after a failed read.

    Python leaves the error there, and each later connection of the process fails with it. A worker
    that joins closes its first connection. This concerns OpenSSL 3.4 and later with all Pythons so
    far: python/cpython issue 148594.
    """
    import ssl

    from tornado.iostream import SSLIOStream

    if ssl.OPENSSL_VERSION_INFO < (3, 4):
        return
    read, spare = SSLIOStream.read_from_fd, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def read_from_fd(self: Any, buf: Any) -> int | None:
        try:
            return read(self, buf)  # type: ignore[no-any-return]
        except OSError:
            # The module has no function for this, but a failed call clears the queue.
            with suppress(ssl.SSLError):
                spare.set_ciphers("none")
            raise

    SSLIOStream.read_from_fd = read_from_fd  # type: ignore[method-assign, assignment]
