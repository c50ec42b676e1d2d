"""The same study and seeds give equal tables, to the byte, with any number of workers."""

from pathlib import Path

import pytest

from faults import fast_study
from study_copy import StudyCopy, files


def tables(copy: StudyCopy, backend: str, workers: int) -> dict[str, bytes]:
    words = ("study=smoke", "cell=gru", f"train.backend={backend}", f"cluster.workers={workers}")
    copy.run("python", "-m", "pipeline.tune", *words)
    return files(copy.root / "runs/smoke/tune/gru", "timings.csv")


# In the default level, tests/test_seal.py compares one worker with two in the smoke study.
@pytest.mark.night
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_one_and_three_workers_write_equal_tables(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each copy compiles its programs itself.
    for name in ("JAX_COMPILATION_CACHE_DIR", "TF_XLA_FLAGS"):
        monkeypatch.delenv(name)
    alone, three = fast_study(tmp_path / "alone", 8), fast_study(tmp_path / "three", 8)
    alone.repro("pad", "sample")
    three.take(alone, "data", "runs")
    expected = tables(alone, backend, 1)
    assert tables(three, backend, 3) == expected
    names = {"trials.csv", "epochs.csv", "validation_logits.npy", "test_logits.npy", "best.yaml"}
    assert names <= expected.keys()
