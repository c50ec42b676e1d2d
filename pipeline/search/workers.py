"""The Dask workers that train: processes of this machine, those of a running cluster, or jobs of SLURM."""

import functools
import importlib.util
import math
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pipeline.config import Cluster
from pipeline.errors import FairsweepError
from pipeline.training.backend import THREADS

MALLOC = {"MALLOC_TRIM_THRESHOLD_": 2**28, "MALLOC_MMAP_THRESHOLD_": 2**28, "MALLOC_TOP_PAD_": 2**26}
WAIT_SECONDS = 60.0
CHECK_SECONDS = 1.0
FROZEN_SECONDS = 600.0
LEAST_MEMORY = 500_000_000
PAGES_PORT = 8787

Check = Callable[[], None]


@dataclass(frozen=True)
class Pool:
    """Workers to be used.

    Attributes:
        client: of their scheduler.
        size: how many there are now; they come and go where the cluster is not this process's own.
        shared_disk: whether they read this machine's files.
        deaths: how often a run's worker has died when Dask gives the run up.
        pages: the address of Dask's pages; None where they are off, or not this process's to tell of.
    """

    client: Any
    size: Callable[[], int]
    shared_disk: bool
    deaths: int = 1
    pages: str | None = None


def check_cluster(cluster: Cluster) -> None:
    """Raise FairsweepError for a cluster that can have no workers as it is configured, before anything is started."""
    if cluster.kind == "local":
        _check_memory(cluster.memory)
    elif cluster.kind == "address" and cluster.address is None:
        raise FairsweepError(
            "cluster.address is missing: give the address that `dask scheduler` prints, such as cluster.address=tcp://10.0.0.5:8786, "
            "or set DASK_SCHEDULER_ADDRESS."
        )
    elif cluster.kind == "address" and cluster.address is not None:
        _refuse_open_traffic(cluster.address, cluster.insecure)
    elif cluster.kind == "slurm" and shutil.which("sbatch") is None:
        raise FairsweepError(
            "cluster=slurm: there is no sbatch on this machine, so no job would ever start. Give the command on a login node of the "
            "cluster, or choose cluster=local."
        )


@contextmanager
def workers(cluster: Cluster, check: Check = lambda: None) -> Iterator[Pool]:
    """The workers of `cluster`, single-threaded processes all; its own ones end with the block.

    `check` is called every second while none has joined, which in SLURM's queue may take hours; what it raises ends that. Raises
    FairsweepError for a cluster that cannot be reached or is lost, has no workers or workers of several threads.
    """
    check_cluster(cluster)
    kinds = {"local": _local, "address": _address, "slurm": _slurm}
    _configure()
    from distributed import CancelledError
    from distributed.comm import CommClosedError

    try:
        with kinds[cluster.kind](cluster, check) as pool:
            yield pool
    except (CancelledError, CommClosedError) as error:
        raise FairsweepError(
            f"cluster={cluster.kind}: the scheduler is gone, or cannot be reached any more ({type(error).__name__}). Expected it until "
            "the last run is done: see what it printed, and start it again. What had finished is kept: the same command does the rest."
        ) from error


def _configure() -> None:
    import dask

    dask.config.set(
        {
            "logging": dict.fromkeys(
                ("distributed", "distributed.client", "distributed.scheduler", "distributed.nanny"), "critical"
            ),
            # Deaths are counted by the coordinator, a run at a time.
            "distributed.scheduler.allowed-failures": 0,
            # A run waits at the scheduler until a worker is free, not behind another run on a worker.
            "distributed.scheduler.worker-saturation": 1.0,
            # Training holds Python for seconds, which is no reason to warn; a worker that is silent for minutes is frozen.
            "distributed.admin.tick.limit": "1h",
            "distributed.scheduler.worker-ttl": FROZEN_SECONDS,
            "distributed.worker.daemon": True,
            # A hundred looks a second at JAX's deep stacks cost a quarter of a short run, and are kept: 0.2 MB a run.
            "distributed.worker.profile.enabled": False,
            # Dask lets workers give back every freed page; a training frees and takes the same megabytes at each step.
            "distributed.nanny.pre-spawn-environ": {**MALLOC, **THREADS},
        }
    )


@contextmanager
def _local(cluster: Cluster, _: Check) -> Iterator[Pool]:
    """`cluster.workers` processes on the loopback address."""
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
            f"cluster.workers={cluster.workers}: the workers did not start ({type(error).__name__}: {error}). Expected them in a minute: "
            "lower cluster.workers, or wait until the machine is less busy. What had finished is kept."
        ) from error
    try:
        with Client(local) as client:
            yield Pool(client, lambda: cluster.workers, shared_disk=True, pages=_pages(cluster, local))
    finally:
        # On a busy machine closing can take long; the work is done by then, and the workers are daemons of this process.
        with suppress(TimeoutError):
            local.close(timeout=60)


def _check_memory(memory: str) -> None:
    """Raise FairsweepError unless `cluster.memory` is a size that a worker can live in: a smaller one would kill each at its start."""
    from dask.utils import parse_bytes

    try:
        # 0 is Dask's word for no limit.
        size = LEAST_MEMORY if memory in ("auto", "0") else parse_bytes(memory)
    except ValueError:
        size = 0
    if size < LEAST_MEMORY:
        raise FairsweepError(
            f"cluster.memory={memory}: expected what one worker may take, with its unit, such as 4GB (at least 500MB, which the "
            "backend takes alone), or auto for an equal share of this machine's."
        )


def _pages_address(cluster: Cluster) -> str:
    """Where the scheduler serves its pages, on the loopback address alone. Off or on it opens the port.

    Raises FairsweepError when they are wanted and the package that draws them is missing.
    """
    if not cluster.dashboard:
        # Any free port, so that two studies do not fight over one.
        return "127.0.0.1:0"
    if importlib.util.find_spec("bokeh") is None:
        raise FairsweepError(
            "cluster.dashboard=true: needs the package bokeh, which is not installed. Install it: pip install bokeh (it is in the extra "
            "`dashboards`)."
        )
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", PAGES_PORT))
        except OSError:
            return "127.0.0.1:0"
    return f"127.0.0.1:{PAGES_PORT}"


def _pages(cluster: Cluster, made: Any) -> str | None:
    """The address of the pages of a cluster of dask's that is `made`."""
    return made.dashboard_link if cluster.dashboard else None


@contextmanager
def _address(cluster: Cluster, check: Check) -> Iterator[Pool]:
    """The workers of the scheduler at `cluster.address`, whoever started them."""
    from distributed import Client

    assert cluster.address is not None
    try:
        client = Client(cluster.address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise FairsweepError(
            f"cluster.address={cluster.address}: no Dask scheduler answers there ({error}). Start one (dask scheduler), or correct it."
        ) from error
    with client:
        failures = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures)
        yield _joined(client, check, f"Start one: dask worker {cluster.address} --nthreads 1", failures + 1)


def _refuse_open_traffic(address: str, insecure: bool) -> None:
    """Raise FairsweepError for an address of another machine without TLS: whoever reaches such a scheduler runs code on its workers."""
    protocol, _, rest = address.rpartition("://")
    host = rest.rsplit(":", 1)[0].strip("[]")
    if protocol in ("tls", "wss") or insecure or host == "localhost" or _loopback(host):
        return
    raise FairsweepError(
        f"cluster.address={address}: traffic with another machine without TLS, and whoever reaches such a scheduler can run code on its "
        "workers. Expected tls://HOST:PORT (docs/cluster.md says how), or cluster.insecure=true on a network you trust."
    )


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _slurm(cluster: Cluster, check: Check) -> Iterator[Pool]:
    """`cluster.workers` jobs of SLURM, a worker each, asked for now and ended with the block."""
    from distributed import Client

    with slurm(cluster) as made, Client(made, set_as_default=False) as client:
        made.scale(cluster.workers)
        joined = _joined(client, check, "See the queue: squeue --me. Each job's log says why it ended", wait=math.inf)
        yield replace(joined, pages=_pages(cluster, made))


def slurm(cluster: Cluster) -> Any:
    """dask-jobqueue's SLURMCluster of `cluster`, without jobs yet; its `job_script()` is what sbatch would get."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise FairsweepError(
            "cluster=slurm: needs the package dask-jobqueue. Install it: pip install dask-jobqueue (the extra `cluster`)"
        ) from error
    _mend_tls()
    # Certificates of this study's own, which its jobs read from the shared disk; files of the user's alone.
    tls = Path(".fairsweep/tls").resolve()
    tls.mkdir(parents=True, exist_ok=True)
    secure: dict[str, Any] = {} if cluster.insecure else {"security": True, "shared_temp_directory": str(tls)}
    settings = {**MALLOC, **THREADS, "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": False}
    environment = [f'export {name}="{value}"' for name, value in settings.items()]
    return SLURMCluster(
        cores=1,
        processes=1,
        memory="4GB" if cluster.memory == "auto" else cluster.memory,
        queue=cluster.queue,
        account=cluster.account,
        walltime=cluster.walltime,
        job_extra_directives=cluster.directives,
        job_script_prologue=[*environment, *cluster.prologue],
        scheduler_options={"dashboard": cluster.dashboard, "dashboard_address": _pages_address(cluster)},
        silence_logs=50,
        **secure,
    )


@functools.cache
def _mend_tls() -> None:
    """Take a failed read's error out of OpenSSL's queue, where Python leaves it: every connection of this process would fail with it.

    A worker that joins closes its first connection. OpenSSL 3.4 and later, all Pythons so far: python/cpython issue 148594.
    """
    import ssl

    from tornado.iostream import SSLIOStream

    if ssl.OPENSSL_VERSION_INFO < (3, 4):
        return
    read, spare = SSLIOStream.read_from_fd, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def read_from_fd(self: Any, buf: Any) -> int | None:
        try:
            given: int | None = read(self, buf)
        except OSError:
            # Refusing these clears the queue; no function of the module does it by name.
            with suppress(ssl.SSLError):
                spare.set_ciphers("none")
            raise
        return given

    SSLIOStream.read_from_fd = read_from_fd  # type: ignore[method-assign, assignment]


def _joined(client: Any, check: Check, remedy: str, deaths: int = 1, wait: float = WAIT_SECONDS) -> Pool:
    """The pool of a cluster whose workers come and go, once there is one."""
    until = time.monotonic() + wait
    while not client.nthreads():
        check()
        if time.monotonic() > until:
            raise FairsweepError(f"cluster: no worker has joined {client.scheduler.address} for {wait:.0f} s. {remedy}.")
        time.sleep(CHECK_SECONDS)
    several = {address: threads for address, threads in client.nthreads().items() if threads != 1}
    if several:
        address, threads = next(iter(several.items()))
        raise FairsweepError(
            f"cluster: worker {address} has {threads} threads, and Keras trains one model a process. Start workers with --nthreads 1 "
            "(and --nworkers N for several)."
        )
    return Pool(client, lambda: len(client.nthreads()), shared_disk=False, deaths=deaths)
