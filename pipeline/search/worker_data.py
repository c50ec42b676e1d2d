"""Sends the arrays to workers without a shared disk, once per worker.

Importing distributed starts its log on the terminal unless `open_workers` has silenced it, so
import this module late.
"""

import tempfile
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

PLUGIN = "fairsweep-arrays"


class Arrays(WorkerPlugin):  # type: ignore[misc]
    """A folder of arrays, written to a temporary folder of each worker that joins."""

    name = PLUGIN

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        self.study = folder.parent.name

    def setup(self, worker: Any) -> None:
        self.copy = tempfile.TemporaryDirectory(prefix="fairsweep-", dir=worker.local_directory)
        self.folder = Path(self.copy.name) / self.study / "arrays"
        self.folder.mkdir(parents=True)
        for name, content in self.files.items():
            (self.folder / name).write_bytes(content)
        self.files = {}

    def teardown(self, worker: Any) -> None:
        self.copy.cleanup()


def arrays_of(worker: Any) -> Path | None:
    """Return the folder that `Arrays` wrote on `worker`, None if workers share the disk."""
    plugin = worker.plugins.get(PLUGIN)
    return plugin.folder if plugin else None
