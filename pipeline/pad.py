"""Stage `pad`: writes data/STUDY/arrays/, and the test labels to data/STUDY/sealed/."""

import time
from pathlib import Path

from .config.cli import command
from .config.schema import Config
from .data import arrays, registry


@command
def main(config: Config) -> None:
    """Read the archive, write both folders and print their sizes."""
    started = time.perf_counter()
    task, folder = config.task, Path("data") / config.name
    source = registry.read(task, registry.archive_in(task, folder / "archive"), config.data)
    meta = arrays.write(source, task, folder / "arrays", folder / "sealed")
    spec = meta["spec"]
    for part in ("train", "test"):
        rows = f"{meta[part]['rows']:,} {spec['example']}s"
        if meta["by_group"]:
            rows += f" of {meta[part]['groups']:,} {spec['group'] or 'group'}s"
        print(f"{part}: {rows}")
    unit = "tokens" if spec["features"] is None else f"steps of {spec['features']} numbers"
    seconds = time.perf_counter() - started
    print(f"{folder / 'arrays'}: {task.length} {unit} per row, {seconds:.1f} s")


if __name__ == "__main__":
    main()
