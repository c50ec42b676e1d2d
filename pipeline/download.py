"""Stage `download`: obtains and checks the task's archive in data/STUDY/archive/."""

import time
from pathlib import Path

from .config.cli import command
from .config.schema import Config
from .data import registry


@command
def main(config: Config) -> None:
    """Obtain the archive and print its path."""
    started = time.perf_counter()
    archive = registry.fetch(config.task, Path("data") / config.name / "archive", config.data)
    size, seconds = archive.stat().st_size, time.perf_counter() - started
    verified = "content verified, " if config.task.digest else ""
    print(f"{archive}: {size / 1e6:.1f} MB, {verified}{seconds:.1f} s")


if __name__ == "__main__":
    main()
