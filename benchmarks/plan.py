"""The wall time that `pipeline.plan` predicts for the default study, compared with its stages.

The prediction is made before the data are there. Both are of a few trials, so that this takes
minutes: an error per trial would be the same for many.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

from project import CELLS, Project, report


def predicted(output: str) -> float:
    """Seconds of `tune` and `replicate` together, as the plan prints them."""
    match = re.search(r"\(tune ([\d.]+) min, replicate ([\d.]+) min\)", output)
    assert match, output
    return 60 * sum(map(float, match.groups()))


def measure(short: bool) -> dict[str, Any]:
    trials = 4 if short else 8
    overrides = [f"search.trials={trials}", f"search.budget={trials // 4}", "search.replicates=1"]
    cells = ("rnn", "gru") if short else CELLS
    real = 0.0
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name), short)
        seconds, output = project.ran("-m", "pipeline.plan", f"study={project.study}", *overrides)
        project.data()
        project.stage("sample", *overrides)
        for stage in ("tune", "replicate"):
            real += sum(project.stage(stage, f"cell={cell}", *overrides) for cell in cells)
    return {
        "trials": trials * len(cells),
        "plan_seconds": round(seconds, 1),
        "planned_seconds": round(predicted(output), 1),
        "real_seconds": round(real, 1),
        "ratio": round(predicted(output) / real, 3),
    }


if __name__ == "__main__":
    report(measure)
