"""watch: how far a study is, as a table that is drawn anew each second until Ctrl-C; in a pipe, once. It only reads.

From a second terminal, while `dvc repro` or `make run STUDY=NAME` runs: python -m pipeline.watch study=NAME
"""

import contextlib
import json
import time
from pathlib import Path

from pipeline.config import Config, command
from pipeline.data.form import Form
from pipeline.files import study_root

# Wide enough for every column; a pipe has no width of its own.
PIPE_COLUMNS = 200


def form_of(root: Path, study: str) -> Form:
    """The form of a study's arrays, by which scores are worded; the plain one before they are made."""
    try:
        return Form(**json.loads((root / "data" / study / "arrays" / "meta.json").read_text("utf-8"))["form"])
    except (OSError, ValueError, KeyError):
        return Form()


@command(folder=False)
def main(config: Config) -> None:
    from rich.console import Console
    from rich.live import Live

    from pipeline.search.board import Board
    from pipeline.search.progress import LOOKS_A_SECOND, animated
    from pipeline.search.survey import Survey

    root = study_root(config.name)
    survey, form = Survey(config, root), form_of(root, config.name)
    if not animated():
        Console(width=PIPE_COLUMNS, force_terminal=False, no_color=True).print(Board(survey.look(), form))
        return
    drawn = Live(get_renderable=lambda: Board(survey.look(), form), refresh_per_second=LOOKS_A_SECOND)
    with contextlib.suppress(KeyboardInterrupt), drawn:
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
