"""Stage `pad`: from the archive to arrays of token ids in data/STUDY/arrays/, the test labels apart in data/STUDY/sealed/."""

import time
from pathlib import Path

from pipeline.config import Config, command
from pipeline.data import arrays, sources


@command
def main(config: Config) -> None:
    """Reads the archive and writes both folders."""
    started = time.perf_counter()
    folder = Path("data") / config.name
    corpus = sources.read(config.task, sources.archive_in(config.task, folder / "archive"))
    meta = arrays.write(corpus, config.task, folder / "arrays", folder / "sealed")
    for part in ("train", "test"):
        movies = f" on {meta[part]['movies']:,} movies" if meta["by_movie"] else ""
        print(f"{part}: {meta[part]['rows']:,} reviews{movies}")
    print(f"{folder / 'arrays'}: {config.task.length} tokens a row, {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
