"""What `pipeline.plan` says of the default study, before its data are there, against what its stages then take: one after the other.

Both speak of the same trials, of which there are few, so that it takes minutes; what a plan adds per trial it would add to many.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

from project import CELLS, Project, report

SECONDS = {"s": 1, "min": 60, "h": 3600}


def planned(output: str) -> float:
    """Seconds of `tune` and `replicate` together, as the plan prints them."""
    found = re.search(r"\(tune ([\d.]+) (s|min|h), replicate ([\d.]+) (s|min|h)\)", output)
    assert found, output
    return sum(float(value) * SECONDS[unit] for value, unit in zip(found.groups()[::2], found.groups()[1::2], strict=True))


def measure(short: bool) -> dict[str, Any]:
    trials = 4 if short else 8
    told = [f"search.trials={trials}", f"search.headline={trials // 4}", "search.replicates=1"]
    cells = ("rnn", "gru") if short else CELLS
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name), short)
        seconds, output = project.ran("-m", "pipeline.plan", f"study={project.study}", *told)
        project.data()
        project.stage("draw", *told)
        took = {stage: sum(project.stage(stage, f"cell={cell}", *told) for cell in cells) for stage in ("tune", "replicate")}
    real = sum(took.values())
    return {
        "trials": trials * len(cells),
        "plan_seconds": round(seconds, 1),
        "planned_seconds": round(planned(output), 1),
        "real_seconds": round(real, 1),
        "ratio": round(planned(output) / real, 3),
    }


if __name__ == "__main__":
    report(measure)
