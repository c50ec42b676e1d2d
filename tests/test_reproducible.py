"""The same study and seeds: the same tables to the byte, whoever trains, in whatever order."""

from pathlib import Path

import pytest

from faults import fast_study
from study_copy import StudyCopy, files

pytestmark = pytest.mark.long


def tables(copy: StudyCopy, backend: str, workers: int) -> dict[str, bytes]:
    words = ("study=smoke", "cell=gru", f"train.backend={backend}", f"cluster.workers={workers}")
    copy.run("python", "-m", "pipeline.tune", *words)
    return files(copy.root / "runs/smoke/tune/gru", "timings.csv")


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_one_two_and_four_workers_write_equal_tables(backend: str, tmp_path: Path) -> None:
    found = []
    for workers in (1, 2, 4):
        copy = fast_study(tmp_path / f"of{workers}")
        copy.edit("conf/study/smoke.yaml", "trials: 60", "trials: 8")
        copy.repro("pad", "draw")
        found.append(tables(copy, backend, workers))
    assert found[0] == found[1] == found[2]
    assert {"trials.csv", "epochs.csv", "validation_logits.npy", "test_logits.npy", "best.yaml"} <= found[0].keys()
