"""watch: shows the progress of a study as a table, each second until Ctrl-C; in a pipe, once.

From a second terminal, while `dvc repro` or `make run STUDY=NAME` runs:

  python -m pipeline.watch study=NAME
"""

import contextlib
import json
import time
from pathlib import Path

from .config.cli import command
from .config.schema import Config
from .data.spec import TaskSpec
from .files import study_root

# Wide enough for every column.
PIPE_COLUMNS = 200


def spec_of(root: Path, study: str) -> TaskSpec:
    """The spec of a study's arrays, which formats the scores; the default before they exist."""
    try:
        meta = json.loads((root / "data" / study / "arrays" / "meta.json").read_text("utf-8"))
        return TaskSpec(**meta["spec"])
    except (OSError, ValueError, KeyError):
        return TaskSpec()


@command(folder=False)
def main(config: Config) -> None:
    """The command `watch`."""
    from rich.console import Console

    from .monitor import Monitor, ProgressTable, live_table

    root = study_root(config.name)
    monitor, spec = Monitor(config, root), spec_of(root, config.name)
    live = live_table(monitor, spec)
    if live is None:
        console = Console(width=PIPE_COLUMNS, force_terminal=False, no_color=True)
        console.print(ProgressTable(monitor.read(), spec))
        return
    with contextlib.suppress(KeyboardInterrupt), live:
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
