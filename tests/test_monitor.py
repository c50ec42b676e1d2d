"""The progress of a study, read from real state folders that a process locks, and its table."""

import io
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.config.compose import with_overrides
from pipeline.config.schema import Cell, Cluster, Config, Parameter, Search, Task
from pipeline.data.spec import TaskSpec
from pipeline.monitor import Activity, Monitor, ProgressTable, Running, StudyProgress, duration
from pipeline.search import tables
from pipeline.search.run_store import Job, Record, State, settings
from pipeline.training.fit import Epoch, Run

CONFIG = Config(
    name="tiny",
    cells=["rnn", "gru"],
    recipes=["article"],
    task=Task(name="tiny", source="synthetic", length=20, vocabulary=50),
    cell=Cell("rnn", "rnn"),
    search=Search(trials=4, budget=1, replicates=2),
    space={"model": {"units": Parameter(choices=[8, 16])}},
    cluster=Cluster(workers=2),
)


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def document(stage: str, arm: str, config: Config = CONFIG) -> dict:
    """The settings of a stage's state folder; those of `tune` have no searched values."""
    content = settings(replace(config, cell=Cell("rnn", arm)), stage, "data")
    if stage == "tune":
        content["model"].pop("units")
    return content


@contextmanager
def working(stage: str, arm: str, config: Config = CONFIG) -> Iterator[State]:
    with State.open(document(stage, arm, config)) as state:
        yield state


def record(
    number: int,
    kind: str = "trial",
    validation: float | None = 0.75,
    started: float = 0.0,
    **job: str,
) -> Record:
    """A run of two epochs and 10 s; without `validation` a failed one."""
    config = with_overrides(
        CONFIG,
        [f"seed={number}", *(f"{key.replace('__', '.')}={value}" for key, value in job.items())],
    )
    epochs = [Epoch(0.7, 0.5, 0.6, 0.5), Epoch(0.6, 0.6, 0.5, validation or 0.0)]
    failed = (
        {"state": "failed", "reason": "loss is nan in epoch 3"}
        if validation is None
        else {"best_epoch": 2}
    )
    return Record(
        Job(kind, number, config, []), Run(epochs=epochs, seconds=10.0, **failed), 1, "w", started
    )


def arms(progress: StudyProgress) -> dict[str, tuple]:
    return {
        arm.name: (len(arm.tuned), len(arm.replicated), arm.best, arm.missing)
        for arm in progress.arms
    }


def test_a_study_without_runs() -> None:
    progress = Monitor(CONFIG).read()
    assert arms(progress) == {"rnn": (0, 0, None, 8), "gru": (0, 0, None, 8)}
    assert (progress.activity, progress.seconds_left, progress.report, progress.workers) == (
        None,
        None,
        None,
        2,
    )


def test_finished_runs_of_both_stages_are_counted() -> None:
    with working("tune", "rnn") as state:
        for number, validation in enumerate([0.5, 0.875, None]):
            state.save(record(number, validation=validation, started=100.0 * number))
        # Beyond the study's trials, from a larger version.
        state.save(record(7, validation=0.99))
    with working("replicate", "rnn") as state:
        state.save(record(0, "tuned", started=1000.0, model__units="8"))
        # The same replicate of a later winner.
        state.save(record(0, "tuned", started=2000.0, model__units="16"))
        state.save(record(1, "article", started=3000.0))
        state.save(record(0, "recipe_of_old"))
    progress = Monitor(CONFIG).read()
    assert arms(progress) == {"rnn": (3, 2, 0.875, 1 + 2), "gru": (0, 0, None, 8)}
    rnn = progress.arms[0]
    assert [run.reason for run in rnn.failed] == ["loss is nan in epoch 3"]
    # Five runs of 10 s, one after another; pauses do not count.
    assert rnn.seconds == 50.0
    assert rnn.pace == 10 * 3600 / 50


def test_the_time_of_concurrent_runs_counts_once() -> None:
    with working("tune", "rnn") as state:
        for number, started in enumerate([0.0, 4.0, 40.0]):
            state.save(record(number, started=started))
    assert Monitor(CONFIG).read().arms[0].seconds == 14.0 + 10.0


def test_only_a_running_coordinator_has_an_activity() -> None:
    with working("tune", "gru") as state:
        monitor = Monitor(CONFIG)
        assert monitor.read().activity == Activity("tune", "gru")
        state.show(3, [("trial 0", 12.5)], "http://127.0.0.1:8787/status")
        progress = monitor.read()
        assert progress.activity == Activity(
            "tune", "gru", 3, [Running("trial 0", 12.5)], "http://127.0.0.1:8787/status"
        )
        assert progress.workers == 3
        # Reading does not lock the file.
        assert monitor.read().activity == progress.activity
    assert monitor.read().activity is None
    with working("tune", "gru"):
        # The activity of the earlier coordinator is ignored.
        assert monitor.read().activity == Activity("tune", "gru")


def test_an_arm_outside_the_study_is_listed_while_it_runs() -> None:
    with working("tune", "lstm") as state:
        state.save(record(0))
        assert arms(Monitor(CONFIG).read())["lstm"] == (1, 0, 0.75, 7)
    assert list(arms(Monitor(CONFIG).read())) == CONFIG.cells


def test_only_one_version_of_a_study_is_read() -> None:
    changed = with_overrides(CONFIG, ["space_seed=1"])
    with working("tune", "rnn") as old, working("tune", "gru"):
        old.save(record(0))
    with working("tune", "rnn", changed) as new:
        for number in range(2):
            new.save(record(number))
    assert arms(Monitor(CONFIG).read()) == {"rnn": (2, 0, 0.75, 6), "gru": (0, 0, None, 8)}
    assert arms(Monitor(CONFIG, like=old.folder).read())["rnn"] == (1, 0, 0.75, 7)
    other = with_overrides(CONFIG, ["name=other"])
    assert arms(Monitor(other).read())["rnn"] == (0, 0, None, 8)


def test_a_new_run_is_read_next_time() -> None:
    monitor = Monitor(CONFIG)
    with working("tune", "rnn") as state:
        for number in range(3):
            state.save(record(number))
            assert len(monitor.read().arms[0].tuned) == number + 1


def test_damaged_and_unknown_files_are_ignored() -> None:
    with working("tune", "rnn") as state:
        state.save(record(0))
        whole = state.path(record(0).job).read_bytes()
        (state.folder / "trial-00001-0123abcd.npz").write_bytes(whole[:100])
        (state.folder / "notes.npz").write_bytes(b"")
        (state.folder / "at_work.json").write_text("{")
        (state.folder.parent / "strange").mkdir()
        (state.folder.parent / "strange" / "settings.json").write_text("{")
        progress = Monitor(CONFIG).read()
    assert arms(progress)["rnn"] == (1, 0, 0.75, 7)
    assert progress.activity == Activity("tune", "rnn")


def test_repeated_searches_count_all_their_trials() -> None:
    several = replace(
        CONFIG, search=Search(design="repeated", trials=4, budget=4, replicates=2, repeats=3)
    )
    with working("tune", "rnn", several) as state:
        for repeat in range(4):
            run = record(0)
            state.save(replace(run, job=replace(run.job, config=several, repeat=repeat)))
    # The fourth search is from a version with four repeats.
    assert arms(Monitor(several).read())["rnn"] == (3, 0, 0.75, 3 * 4 - 3 + 3 * 2 * 2)


def test_without_state_folders_the_tables_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "runs/tiny/tune/rnn"
    folder.mkdir(parents=True)
    tables.write_runs(
        folder, "trials", ["trial"], CONFIG, [record(0), record(1, validation=None, started=5.0)]
    )
    again = tmp_path / "runs/tiny/replicate/rnn"
    again.mkdir(parents=True)
    tables.write_runs(
        again,
        "replicates",
        ["kind", "replicate"],
        CONFIG,
        [record(0, "tuned", 0.875, started=50.0)],
    )
    rnn = Monitor(CONFIG).read().arms[0]
    assert (len(rnn.tuned), len(rnn.replicated), rnn.best, rnn.seconds, len(rnn.failed)) == (
        2,
        1,
        0.75,
        25.0,
        1,
    )
    # Once there is a state folder, the tables are ignored: they may be from another version.
    with working("tune", "gru") as state:
        assert arms(Monitor(CONFIG).read())["rnn"] == (0, 0, None, 8)
        assert arms(Monitor(CONFIG, like=state.folder).read())["rnn"] == (0, 0, None, 8)


def complete_study() -> None:
    for arm in CONFIG.cells:
        with working("tune", arm) as state:
            for number in range(4):
                state.save(record(number, started=100.0 + number))
        with working("replicate", arm) as state:
            for number in range(2):
                for kind in ("tuned", "article"):
                    state.save(record(number, kind, started=200.0 + number))


def test_the_report_is_named_if_it_is_newer_than_every_run(tmp_path: Path) -> None:
    complete_study()
    report = tmp_path / "results/tiny/report/report.html"
    report.parent.mkdir(parents=True)
    report.touch()
    progress = Monitor(CONFIG, root=tmp_path).read()
    assert (progress.seconds_left, progress.report) == (0.0, report)
    os.utime(report, (150, 150))
    assert Monitor(CONFIG, root=tmp_path).read().report is None
    os.utime(report)
    larger = replace(CONFIG, search=replace(CONFIG.search, trials=5))
    assert Monitor(larger, root=tmp_path).read().report is None


def test_the_time_left_is_that_of_missing_runs_divided_by_the_workers() -> None:
    with working("tune", "rnn") as state:
        state.save(record(0))
        state.show(2, [("trial 1", 996.0), ("trial 2", 900.0)], None)
        progress = replace(Monitor(CONFIG).read(), now=1000.0)
    rnn, gru = progress.arms
    # 7 runs of 10 s are missing; the running ones have used 4 s and, capped at the mean, 10 s.
    assert progress.left(rnn) == (7 * 10 - 4 - 10) / 2
    assert progress.left(gru) == 8 * 10 / 2
    assert progress.seconds_left == 28 + 40
    last = replace(
        progress, arms=[replace(rnn, tuned=rnn.tuned * 4, replicated=rnn.tuned * 3, activity=None)]
    )
    assert last.left(last.arms[0]) == 10.0


def test_durations_have_a_readable_unit() -> None:
    assert [duration(seconds) for seconds in (0, 45.4, 89, 90, 600, 5399, 5400, 36000)] == [
        *("0 s", "45 s", "89 s", "2 min", "10 min", "90 min", "1.5 h", "10.0 h")
    ]


def drawn(
    progress: StudyProgress, width: int, spec: TaskSpec | None = None, **console: bool
) -> str:
    file = io.StringIO()
    Console(file=file, width=width, **console).print(ProgressTable(progress, spec or TaskSpec()))
    return file.getvalue()


@pytest.fixture
def half() -> StudyProgress:
    """A study whose second arm is being tuned."""
    with working("tune", "rnn") as state:
        for number in range(4):
            state.save(record(number, started=100.0 * number, validation=0.5 + number / 8))
    with working("tune", "gru") as state:
        state.save(record(0, started=1000.0, validation=None))
        state.show(2, [("trial 1", 1010.0), ("trial 2", 1012.0)], "http://127.0.0.1:8787/status")
        return replace(Monitor(CONFIG).read(), now=1015.0)


def test_a_wide_table_has_every_column(half: StudyProgress) -> None:
    assert drawn(half, 120).splitlines() == [
        "tiny: tune gru on 2 workers, about 51 s of training left",
        "   arm  trials    best  replicates  epochs/hour  took  left",
        "   rnn  4 of 4  0.8750      0 of 4          720  40 s  20 s",
        ">  gru  1 of 4       -      0 of 4          720  10 s  31 s",
        "gru now: trial 1 (5 s), trial 2 (3 s)",
        "failed: gru trial 0: loss is nan in epoch 3",
        "Dask's pages: http://127.0.0.1:8787/status",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_a_narrow_table_drops_columns_and_cuts_no_word(half: StudyProgress, width: int) -> None:
    lines = drawn(half, width).splitlines()
    assert all(len(line) <= width for line in lines)
    text = " ".join(lines)
    assert "…" not in text
    for word in ("arm", "trials", "4 of 4", "1 of 4", ">  gru", "2 workers"):
        assert word in text


def titles(progress: StudyProgress, width: int) -> list[str]:
    """The titles of the columns that fit into `width`."""
    lines = [line.split() for line in drawn(progress, width).splitlines()]
    return next(line for line in lines if line[:1] == ["arm"])


def test_columns_are_dropped_by_priority(half: StudyProgress) -> None:
    every = ["arm", "trials", "best", "replicates", "epochs/hour", "took", "left"]
    dropped = ["took", "epochs/hour", "replicates", "left", "best"]
    expected = [[title for title in every if title not in dropped[:n]] for n in range(6)]
    shown = [titles(half, width) for width in range(100, 17, -1)]
    assert [columns for columns, _ in itertools.groupby(shown)] == expected
    assert set(every) - set(titles(half, 38)) == {"replicates", "epochs/hour", "took"}


def test_no_color_removes_colours_only(
    half: StudyProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = drawn(half, 120, force_terminal=True, legacy_windows=False)
    assert "\x1b[3" not in terminal.replace("\x1b[0m", "")
    assert ">" in terminal


def test_scores_are_formatted_by_the_task(half: StudyProgress) -> None:
    text = drawn(half, 120, TaskSpec(metric="mae", unit="ppm"))
    assert "−0.875 ppm" in text


def test_a_study_without_a_search_has_no_column_of_trials() -> None:
    config = replace(CONFIG, search=replace(CONFIG.search, trials=0))
    with working("replicate", "rnn", config) as state:
        state.save(record(0, "article", 0.625))
    text = drawn(Monitor(config).read(), 120)
    assert "trials" not in text
    assert "1 of 2" in text
    assert "0.6250" in text
    assert "nothing is being trained now" in text


def test_a_finished_run_is_read_once() -> None:
    with working("tune", "rnn") as state:
        state.save(record(0))
        monitor = Monitor(CONFIG)
        first = monitor.read().arms[0].tuned
        state.path(record(0).job).write_bytes(b"")
        assert monitor.read().arms[0].tuned == first
        assert Monitor(CONFIG).read().arms[0].tuned == []
