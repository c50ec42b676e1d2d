"""`verify`: recorded runs are found by name, trained again, and compared to the bit."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config.compose import compose
from pipeline.config.schema import Cell, Config, Search
from pipeline.errors import FairsweepError
from pipeline.search import run_store
from pipeline.search.run_store import Job
from pipeline.search.tables import EPOCH, RUN
from pipeline.verify import Recorded, RunName, differences, known_changes, parse, read
from study_copy import ROOT, StudyCopy, files

EVERYTHING = ("data", "runs", "results", ".fairsweep")
IDENTICAL = "bit-identical: {} epochs, its row, its logits"
SHARED = Config(
    name="tiny",
    cells=["rnn", "gru"],
    recipes=["article"],
    search=Search(trials=8, budget=2),
)
REPEATED = Config(
    name="tiny",
    cells=["rnn", "gru"],
    search=Search(design="repeated", trials=4, budget=4, repeats=3),
)


def verify(copy: StudyCopy, *overrides: str) -> tuple[int, list[str]]:
    """The exit status and the lines of `verify`."""
    done = copy.run("python", "-m", "pipeline.verify", "study=smoke", *overrides, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.fixture(scope="module")
def copy(smoke: StudyCopy, tmp_path_factory: pytest.TempPathFactory) -> StudyCopy:
    """The finished study with its state, for commands that are not stages of it."""
    copy = StudyCopy(tmp_path_factory.mktemp("verified") / "study", "smoke")
    return copy.take(smoke, *EVERYTHING)


def test_a_recorded_trial_is_bit_identical(copy: StudyCopy) -> None:
    before = files(copy.root / "runs/smoke"), files(copy.root / "results")
    epochs = pd.read_csv(copy.root / "runs/smoke/tune/gru/trials.csv")["epochs"][3]
    status, lines = verify(copy, "run=gru/trial/3")
    assert status == 0
    assert lines[0].startswith("gru/trial/3 of smoke, recorded in runs/smoke/tune/gru: complete, ")
    numbers = [line.split(":")[0] for line in lines[1:-1]]
    assert numbers == [f"epoch {number}/4" for number in range(1, epochs + 1)]
    assert lines[-1] == IDENTICAL.format(epochs)
    assert (files(copy.root / "runs/smoke"), files(copy.root / "results")) == before


def test_the_model_of_a_recorded_replicate_is_that_of_the_champion(copy: StudyCopy) -> None:
    table = pd.read_csv(copy.root / "runs/smoke/replicate/rnn/replicates.csv")
    order = ["validation", "validation_loss"]
    best = table[table["kind"] == "tuned"].sort_values(order, ascending=[False, True]).iloc[0]
    status, lines = verify(copy, f"run=rnn/tuned/{best['replicate']}", "out=kept/best model.keras")
    assert status == 0
    assert lines[-2:] == [IDENTICAL.format(best["epochs"]), "kept/best model.keras: the model"]
    champion = copy.root / "runs/smoke/replicate/rnn/champion.keras"
    assert (copy.root / "kept/best model.keras").read_bytes() == champion.read_bytes()


@pytest.mark.long
def test_an_edited_number_is_named(copy: StudyCopy) -> None:
    path = copy.root / "runs/smoke/tune/rnn/epochs.csv"
    original = path.read_text()
    lines = original.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("0,rnn,2,2,"))
    cells = lines[place].split(",")
    lines[place] = ",".join([*cells[:6], "0.123456", *cells[7:]])
    path.write_text("\n".join(lines) + "\n")
    try:
        status, output = verify(copy, "run=rnn/trial/2")
    finally:
        path.write_text(original)
    assert status == 1
    difference = f"epoch 2, validation_loss: 0.123456 recorded, {cells[6]} now"
    assert f"different, first in {difference}" in output
    assert output[-1] == "differences in all: 1; known changes since: none"


@pytest.mark.long
def test_a_clone_without_runs_is_compared_with_the_scores(copy: StudyCopy, tmp_path: Path) -> None:
    clone = StudyCopy(tmp_path / "clone", "smoke").take(copy, "results")
    status, lines = verify(clone, "run=gru/trial/3")
    assert status == 0
    assert "recorded in results/smoke/scores" in "\n".join(lines)
    assert lines[-1].startswith("bit-identical: ")
    assert lines[-1].endswith("its row, no logits are recorded")
    assert not (clone.root / "data").exists()
    clone.edit("conf/study/smoke.yaml", "batch_size: 64", "batch_size: 32")
    status, lines = verify(clone, "run=gru/article/0")
    assert status == 0, "a recipe sets its own batch size"
    status, lines = verify(clone, "run=gru/trial/3", "out=other.keras")
    assert status == 1
    assert "different, first in epoch 1, loss: " in "\n".join(lines)
    assert lines[-1] == "other.keras: the model, which is not the recorded one"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["study=smoke"], "run=lstm/trial/17"),
        (["study=smok", "run=a/b/1"], "study=smok: no such study; the nearest is 'smoke'"),
        (
            ["study=smoke", "run=gru/trial/8"],
            "runs/smoke/tune/gru/trials.csv has no such run. Its numbers of gru/trial: 0 to 7.",
        ),
        (["study=smoke", "run=gru/trial/1", "out=model.h5"], "must be a file that ends in .keras"),
    ],
)
def test_bad_input_ends_before_any_training(
    copy: StudyCopy, overrides: list[str], message: str
) -> None:
    done = copy.run("python", "-m", "pipeline.verify", *overrides, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            "gru/trial",
            "run=gru/trial: expected ARM/KIND/NUMBER, such as run=rnn/trial/3",
        ),
        (
            "gro/trial/1",
            "study smoke has no cell 'gro'; the nearest is 'gru'. There are: rnn, gru",
        ),
        (
            "gru/tunned/1",
            "no kind of run 'tunned'; the nearest is 'tuned'. There are: trial, tuned, article",
        ),
        ("gru/trial/-1", "run=gru/trial/-1: '-1' is not a number"),
        ("gru/trial/²", "run=gru/trial/²: '²' is not a number"),
    ],
)
def test_an_impossible_name_is_refused(
    run: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(FairsweepError) as refusal:
        parse(run, compose(["study=smoke"]))
    assert message in str(refusal.value)


def test_a_run_of_repeated_searches_has_the_number_of_its_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    repeated = compose(["study=smoke_tpe"])
    assert parse("gru/2/trial/1", repeated) == RunName("gru", "trial", 1, 2)
    assert str(RunName("gru", "trial", 1, 2)) == "gru/2/trial/1"
    with pytest.raises(
        FairsweepError, match="expected ARM/REPEAT/KIND/NUMBER, such as run=rnn/0/trial/3"
    ):
        parse("gru/trial/1", repeated)


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of three searches: eight trials of gru, and two replicates of each kind."""
    monkeypatch.chdir(tmp_path)
    trials = [[repeat, trial] for repeat in range(3) for trial in range(8)]
    write("tune/gru", "trials.csv", ["trial"], trials)
    rows = [
        [repeat, kind, number]
        for repeat in range(3)
        for kind in ("tuned", "article")
        for number in range(2)
    ]
    write("replicate/gru", "replicates.csv", ["kind", "replicate"], rows)


def write(folder: str, name: str, identity: list[str], rows: list[list]) -> None:
    """Write a table whose `seed` is the place of the row, with one epoch per run and logits."""
    path = Path("runs/tiny") / folder
    path.mkdir(parents=True)
    for file, columns in ((name, RUN), ("epochs.csv", EPOCH)):
        with (path / file).open("w", newline="") as target:
            table = csv.writer(target)
            table.writerow(["repeat", "arm", *identity, *columns])
            for place, (repeat, *which) in enumerate(rows):
                values = [place if column == "seed" else "1" for column in columns]
                table.writerow([repeat, "gru", *which, *values])
    for logits in ("validation_logits", "test_logits"):
        np.save(path / f"{logits}.npy", np.arange(len(rows), dtype=np.float32)[:, None])


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("config", "name", "place"),
    [
        (SHARED, "gru/trial/7", 7),
        (SHARED, "gru/tuned/1", 1),
        (SHARED, "gru/article/0", 2),
        (SHARED, "gru/tuned/01", 1),
        (REPEATED, "gru/2/trial/7", 23),
        (REPEATED, "gru/1/tuned/1", 5),
    ],
)
def test_a_run_is_found_by_its_name(config: Config, name: str, place: int) -> None:
    recorded = read(config, parse(name, config))
    assert recorded.values["seed"] == str(place)
    assert [key for key in recorded.values if key.startswith("epoch ")] == [
        f"epoch 1, {column}" for column in EPOCH[1:]
    ]
    assert [logits is not None and logits[0] for logits in recorded.logits.values()] == [
        place,
        place,
    ]
    assert str(parse(name, config)) == name.replace("01", "1")


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("config", "name", "message"),
    [
        (SHARED, "gru/tuned", "expected ARM/KIND/NUMBER, such as run=rnn/trial/3."),
        (SHARED, "gru/0/tuned/1", "expected ARM/KIND/NUMBER"),
        (REPEATED, "gru/tuned/1", "expected ARM/REPEAT/KIND/NUMBER, such as run=rnn/0/trial/3."),
        (SHARED, "gru/tuned/one", "'one' is not a number"),
        (SHARED, "gru/tuned/2", "replicates.csv has no such run. Its numbers of gru/tuned: 0 to 1"),
        (REPEATED, "gru/3/tuned/0", "Its numbers of gru/tuned: 0 to 1 in searches 0 to 2."),
        (SHARED, "rnn/trial/0", "runs/tiny/tune/rnn/trials.csv and results/tiny/scores/trials.csv"),
        (SHARED, "rnn/trial/0", "make run STUDY=tiny, or dvc repro tune@rnn"),
    ],
)
def test_a_run_that_is_not_recorded_is_refused(config: Config, name: str, message: str) -> None:
    with pytest.raises(FairsweepError) as refusal:
        read(config, parse(name, config))
    assert message in str(refusal.value)


@pytest.mark.usefixtures("tables")
def test_a_study_that_make_ran_in_build_is_pointed_to() -> None:
    folder = Path("build/tiny/runs/tiny/tune/rnn")
    folder.mkdir(parents=True)
    (folder / "trials.csv").touch()
    with pytest.raises(FairsweepError, match=r"cd build/tiny$"):
        read(SHARED, parse("rnn/trial/0", SHARED))


def test_a_job_has_the_name_of_its_run() -> None:
    shared, repeated = (
        Config(name="tiny", cell=Cell("gru", "gru"), search=config.search)
        for config in (SHARED, REPEATED)
    )
    assert Job("tuned", 3, shared, []).name == "gru/tuned/3"
    assert Job("tuned", 3, repeated, [], repeat=2).name == "gru/2/tuned/3"


RECORDED = Recorded(
    Path("runs"),
    {"epoch 1, loss": "0.5", "epoch 2, loss": "0.4", "state": "complete", "overrides": "[]"},
    {"validation_logits": np.ones(4, np.float16), "test_logits": np.ones((3, 2), np.float16)},
)


def test_differences_name_each_value() -> None:
    assert differences(RECORDED, RECORDED) == []
    values = {**RECORDED.values, "epoch 2, loss": "0.3", "epoch 3, loss": "0.2", "overrides": "x"}
    assert differences(RECORDED, replace(RECORDED, values=values)) == [
        "epoch 2, loss: 0.4 recorded, 0.3 now",
        "epoch 3, loss: nothing recorded, 0.2 now",
    ]


def test_different_logits_are_counted_and_padding_is_ignored() -> None:
    test_logits = RECORDED.logits["test_logits"]
    assert test_logits is not None
    logits = {"validation_logits": np.ones(3, np.float16), "test_logits": test_logits}
    now = replace(RECORDED, logits=logits)
    padded = {**RECORDED.logits, "validation_logits": np.array([1, 1, 1, np.nan], np.float16)}
    assert differences(replace(RECORDED, logits=padded), now) == []
    assert differences(RECORDED, now) == ["validation logits: float16[4] recorded, float16[3] now"]
    changed = test_logits.copy()
    changed[1] += np.float16(0.25)
    moved = replace(now, logits={**logits, "test_logits": changed})
    assert differences(replace(RECORDED, logits=padded), moved) == [
        "test logits: 1 of 3 differ, by up to 0.25"
    ]
    failed = replace(RECORDED, logits={"validation_logits": None, "test_logits": None})
    assert differences(failed, failed) == []
    assert differences(RECORDED, failed)[1] == "test logits: float16[3, 2] recorded, none now"
    zero, negative = (
        replace(RECORDED, logits={"test_logits": np.array([sign * 0.0], np.float16)})
        for sign in (1, -1)
    )
    assert differences(zero, negative) == ["test logits: 1 of 1 differ, by up to 0"]


def test_known_changes_are_protocol_data_code_and_versions(
    copy: StudyCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.root)
    config = compose(["study=smoke", "cell=gru"])
    job, scores = Job("trial", 0, config, []), Path("results/smoke/scores")
    digest = pd.read_json(scores / "study.json", typ="series")["data"]["digest"]
    assert known_changes(job, scores, digest) == []
    (changed,) = known_changes(job, scores, "another digest")
    assert changed == f"data ({digest[:12]} recorded, another dige now)"
    settings = run_store.settings(config, "tune", digest)
    libraries = {**settings["backend"], "keras": "0.0.1"}
    before = {**settings, "backend": libraries, "code": "b", "protocol": 0}
    monkeypatch.setattr("pipeline.verify.states", lambda _: iter([(None, before)]))
    changes = known_changes(job, scores, digest)
    assert [change.split()[0] for change in changes] == ["protocol", "code", "keras"]
    assert changes[0] == "protocol (0 recorded, 1 now)"
