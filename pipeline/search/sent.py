"""The arrays on workers that share no disk: sent to each once, when it joins.

Imports distributed, which writes its log to the terminal unless `workers` has silenced it first: import this late.
"""

import tempfile
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

PLUGIN = "fairsweep-arrays"


class Arrays(WorkerPlugin):  # type: ignore[misc]
    """A folder of arrays, sent to each worker once, when it joins; there it lies in a temporary folder of the worker's own."""

    name = PLUGIN

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        self.study = folder.parent.name

    def setup(self, worker: Any) -> None:
        self.kept = tempfile.TemporaryDirectory(prefix="fairsweep-", dir=worker.local_directory)
        self.folder = Path(self.kept.name) / self.study / "arrays"
        self.folder.mkdir(parents=True)
        for name, content in self.files.items():
            (self.folder / name).write_bytes(content)
        self.files = {}

    def teardown(self, worker: Any) -> None:
        self.kept.cleanup()


def arrays_of(worker: Any) -> Path | None:
    """The folder that `Arrays` left on `worker`, None where workers read the study's own."""
    plugin = worker.plugins.get(PLUGIN)
    return plugin.folder if plugin else None
