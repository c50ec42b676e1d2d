"""What the benchmarks share: a project in a folder of its own, commands that are timed, and the answer as one line of JSON."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
ARCHIVE = Path(os.environ.get("IMDB_ARCHIVE", ROOT.parent / "shared/imdb/aclImdb_v1.tar.gz"))
CELLS = ("rnn", "gru", "lstm")


class Project:
    """conf/ of this checkout in `folder`, and commands in it."""

    def __init__(self, folder: Path, short: bool) -> None:
        self.folder, self.short = folder, short
        self.study = "smoke" if short else "imdb"
        shutil.copytree(ROOT / "conf", folder / "conf")

    def time(self, *words: str | Path) -> float:
        """Seconds that a command took, which must succeed; its words begin behind `python`."""
        return self.ran(*words)[0]

    def ran(self, *words: str | Path) -> tuple[float, str]:
        """The same, and what it printed."""
        archive = {} if self.short else {"IMDB_ARCHIVE": str(ARCHIVE.resolve())}
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **archive}
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            sys.exit(
                f"{' '.join(map(str, words))} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        return seconds, done.stdout

    def stage(self, name: str, *overrides: str) -> float:
        """Seconds of a stage of the study."""
        return self.time("-m", f"pipeline.{name}", f"study={self.study}", *overrides)

    def data(self) -> dict[str, float]:
        """Seconds of `download` from a local file and of `pad`."""
        return {name: round(self.stage(name), 2) for name in ("download", "pad")}


def report(measure: Callable[[bool], dict[str, Any]]) -> None:
    """Print what `measure(short)` found as one line of JSON; `--short` is a small form that shows that it runs."""
    print(json.dumps(measure("--short" in sys.argv[1:])))
