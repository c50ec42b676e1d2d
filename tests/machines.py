"""A Dask scheduler and workers in processes of their own on the loopback address, as on machines that share no disk."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Machines:
    """`dask scheduler` and `dask worker`, started in `folder`, which holds none of a study's files; `tls`: options of both."""

    def __init__(self, folder: Path, tls: Sequence[str] = ()) -> None:
        folder.mkdir()
        self.folder, self.tls = folder, tls
        self.env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            # As docs/cluster.md says.
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
        }
        self.output = (folder / "log").open("w")
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"
        )
        self.address = self._address()

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *words, *self.tls]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdout=self.output, stderr=self.output
        )

    def _address(self) -> str:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if found := re.search(
                r"Scheduler at:\s+(t(?:cp|ls)://\S+)", (self.folder / "log").read_text()
            ):
                return found[1]
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def join(self, count: int = 1, *words: str) -> None:
        """Start `count` workers more, of one thread unless `words` say otherwise."""
        for _ in range(count):
            own = self.folder / f"worker{len(self.workers)}"
            options = [
                *(words or ("--nthreads", "1")),
                "--host",
                "127.0.0.1",
                "--no-nanny",
                "--no-dashboard",
            ]
            self.workers.append(
                self._start("worker", self.address, *options, "--local-directory", str(own))
            )

    def close(self) -> None:
        """End all of them."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
        self.output.close()
