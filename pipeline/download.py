"""Stage `download`: the task's archive, checked, in data/STUDY/archive/."""

import time
from pathlib import Path

from pipeline.config import Config, command
from pipeline.data import registry


@command
def main(config: Config) -> None:
    """Obtains the archive and says where it lies."""
    started = time.perf_counter()
    archive = registry.fetch(config.task, Path("data") / config.name / "archive", config.data)
    size, seconds = archive.stat().st_size, time.perf_counter() - started
    print(f"{archive}: {size / 1e6:.1f} MB, {'content verified, ' if config.task.digest else ''}{seconds:.1f} s")


if __name__ == "__main__":
    main()
