"""Stage `pad`: from the archive to arrays of token ids in data/STUDY/arrays/, the test labels apart in data/STUDY/sealed/."""

import time
from pathlib import Path

from pipeline.config import Config, command
from pipeline.data import arrays, registry


@command
def main(config: Config) -> None:
    """Reads the archive and writes both folders."""
    started = time.perf_counter()
    folder = Path("data") / config.name
    corpus = registry.read(config.task, registry.archive_in(config.task, folder / "archive"), config.data)
    meta = arrays.write(corpus, config.task, folder / "arrays", folder / "sealed")
    form = meta["form"]
    for part in ("train", "test"):
        groups = f" of {meta[part]['movies']:,} {form['group'] or 'group'}s" if meta["by_movie"] else ""
        print(f"{part}: {meta[part]['rows']:,} {form['example']}s{groups}")
    what = "tokens" if form["features"] is None else f"steps of {form['features']} numbers"
    print(f"{folder / 'arrays'}: {config.task.length} {what} a row, {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
