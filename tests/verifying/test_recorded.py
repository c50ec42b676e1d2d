"""Runs by their names: found in the tables, or refused with what there is."""

import csv
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Cell, Config, Search
from pipeline.errors import FairsweepError
from pipeline.search.state import Job
from pipeline.search.tables import EPOCH, RUN
from pipeline.verifying.names import parse
from pipeline.verifying.recorded import Recorded, read

POOL = Config(name="tiny", cells=["rnn", "gru"], recipes=["article"], search=Search(trials=8, headline=2))
SEPARATE = Config(name="tiny", cells=["rnn", "gru"], search=Search(design="studies", trials=4, headline=4, studies=3))


@pytest.fixture(autouse=True)
def _in_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight trials of gru, and two replicates of each kind in three studies, of which a pool has the first."""
    monkeypatch.chdir(tmp_path)
    write("tune/gru", "trials.csv", ["trial"], [[study, trial] for study in range(3) for trial in range(8)])
    rows = [[study, kind, number] for study in range(3) for kind in ("tuned", "article") for number in range(2)]
    write("replicate/gru", "replicates.csv", ["kind", "replicate"], rows)


def write(folder: str, name: str, own: list[str], rows: list[list]) -> None:
    """A table whose rows say in `seed` which of them they are, with an epoch each, and logits that say it too."""
    path = Path("runs/tiny") / folder
    path.mkdir(parents=True)
    for file, columns in ((name, RUN), ("epochs.csv", EPOCH)):
        with (path / file).open("w", newline="") as target:
            table = csv.writer(target)
            table.writerow(["study", "arm", *own, *columns])
            for place, (study, *which) in enumerate(rows):
                table.writerow([study, "gru", *which, *(place if column == "seed" else "" for column in columns)])
    for logits in ("validation_logits", "test_logits"):
        np.save(path / f"{logits}.npy", np.arange(len(rows), dtype=np.float32)[:, None])


def find(config: Config, name: str) -> Recorded:
    return read(config, parse(name, config))


@pytest.mark.parametrize(
    ("config", "name", "row"),
    [
        (POOL, "gru/trial/7", 7),
        (POOL, "gru/tuned/1", 1),
        (POOL, "gru/article/0", 2),
        (POOL, "gru/tuned/01", 1),
        (SEPARATE, "gru/2/trial/7", 23),
        (SEPARATE, "gru/1/tuned/1", 5),
    ],
)
def test_a_run_is_found_by_its_name(config: Config, name: str, row: int) -> None:
    found = find(config, name)
    assert found.row["seed"] == str(row)
    assert len(found.epochs) == 1
    assert [kept is not None and kept[0] for kept in found.logits.values()] == [row, row]
    assert str(parse(name, config)) == name.replace("01", "1")


@pytest.mark.parametrize(
    ("config", "name", "told"),
    [
        (POOL, "gru/tuned", "expected ARM/KIND/NUMBER, such as run=rnn/trial/3."),
        (POOL, "gru/0/tuned/1", "expected ARM/KIND/NUMBER"),
        (SEPARATE, "gru/tuned/1", "expected ARM/STUDY/KIND/NUMBER, such as run=rnn/0/trial/3."),
        (POOL, "gru/tuned/one", "'one' is no number"),
        (POOL, "gru/tuned/2", "replicates.csv has no such run. Of gru/tuned it has numbers 0 to 1."),
        (SEPARATE, "gru/3/tuned/0", "Of gru/tuned it has numbers 0 to 1 in studies 0 to 2."),
        (POOL, "rnn/trial/0", "neither runs/tiny/tune/rnn/trials.csv nor results/tiny/scores/trials.csv is there."),
        (POOL, "rnn/trial/0", "Run it: make run STUDY=tiny, or dvc repro tune@rnn"),
    ],
)
def test_another_name_is_refused_with_what_there_is(config: Config, name: str, told: str) -> None:
    with pytest.raises(FairsweepError) as refused:
        find(config, name)
    assert told in str(refused.value)


def test_a_study_that_make_ran_elsewhere_is_told_where() -> None:
    folder = Path("build/tiny/runs/tiny/tune/rnn")
    folder.mkdir(parents=True)
    (folder / "trials.csv").touch()
    with pytest.raises(FairsweepError, match=r"`make run STUDY=tiny` ran the study in build/tiny\. Go there: cd build/tiny"):
        find(POOL, "rnn/trial/0")


def test_a_job_is_called_what_a_run_is_asked_for_by() -> None:
    pool, separate = (Config(name="tiny", cell=Cell("gru", "gru"), search=one.search) for one in (POOL, SEPARATE))
    assert Job("tuned", 3, pool, []).name == "gru/tuned/3"
    assert Job("tuned", 3, separate, [], study=2).name == "gru/2/tuned/3"
