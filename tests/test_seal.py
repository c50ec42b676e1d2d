"""The sealed test set: nothing before `evaluate` depends on a test label, or opens one."""

import ast
import json
import mmap
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config.schema import Config, Task
from pipeline.data import arrays, registry
from pipeline.data.spec import Sequences
from pipeline.errors import FairsweepError
from pipeline.metrics import NO_LABEL, auc
from pipeline.seal import closed
from pipeline.search.run_stage import refuse_test_labels
from study_copy import ROOT, StudyCopy, files

# Wall times differ between equal runs; the archive and the sealed labels are what was inverted.
SPARED = ("timings.csv", "test_labels.npy", "reviews.tar.gz")


def labels(copy: StudyCopy) -> np.ndarray:
    return np.load(copy.root / "data/smoke/sealed/test_labels.npy")


def test_inverted_test_labels_leave_every_file_before_evaluate_as_it_was(
    smoke: StudyCopy, inverted_smoke: StudyCopy
) -> None:
    np.testing.assert_array_equal(labels(inverted_smoke), 1 - labels(smoke))
    for folder in ("data/smoke", "runs/smoke"):
        expected, seen = (
            files(smoke.root / folder, *SPARED),
            files(inverted_smoke.root / folder, *SPARED),
        )
        assert expected.keys() == seen.keys()
        assert [path for path in expected if expected[path] != seen[path]] == []
    assert sum(path.endswith("test_logits.npy") for path in files(smoke.root / "runs/smoke")) == 5


def test_inverted_test_labels_mirror_every_score(
    smoke: StudyCopy, inverted_smoke: StudyCopy
) -> None:
    scores, mirrored = (
        pd.read_csv(copy.root / "results/smoke/scores/scores.csv")
        for copy in (smoke, inverted_smoke)
    )
    assert len(scores) == 2 * 8 + 2 * 2 * 2 + 2
    np.testing.assert_allclose(mirrored["test"], 1 - scores["test"], atol=1e-6)
    np.testing.assert_allclose(mirrored["test_auc"], 1 - scores["test_auc"], atol=2e-6)
    assert scores["test"].max() > 0.7
    pd.testing.assert_series_equal(scores["validation"], mirrored["validation"])


def test_the_champion_does_not_depend_on_test_labels(
    smoke: StudyCopy, inverted_smoke: StudyCopy
) -> None:
    chosen = [
        json.loads((copy.root / "results/smoke/report/metrics.json").read_text())["champion"]
        for copy in (smoke, inverted_smoke)
    ]
    assert chosen[0] == chosen[1]


def test_only_pad_and_evaluate_open_the_sealed_labels_and_no_stage_before_report_opens_results(
    smoke: StudyCopy,
) -> None:
    sealed = {(stage, mode) for stage, mode, path in smoke.opened() if "sealed" in path}
    assert {stage for stage, _ in sealed} == {"pad", "evaluate"}
    assert {stage for stage, mode in sealed if mode == "r"} == {"evaluate"}
    assert {stage for stage, _, path in smoke.opened() if path.startswith("results/")} == {
        "evaluate",
        "report",
    }


@pytest.mark.parametrize(
    "place", ["data/smoke/arrays/test_labels.npy", "runs/smoke/sample/of/sealed_test_labels.csv"]
)
def test_a_search_refuses_test_labels_among_its_inputs(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "data/smoke/arrays/train_labels.npy",
        "data/smoke/arrays/test_tokens.npy",
        "data/smoke/sealed/test_labels.npy",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    config = Config(name="smoke", cells=["rnn"])
    refuse_test_labels(config)
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    with pytest.raises(
        FairsweepError, match=r"test labels among the inputs of training.*dvc repro pad sample"
    ):
        refuse_test_labels(config)


def test_the_place_of_a_test_row_tells_nothing(smoke: StudyCopy) -> None:
    held = labels(smoke)
    # Six standard errors of an AUC at chance.
    assert abs(auc(np.arange(len(held), dtype=float), held) - 0.5) < 6 * np.sqrt(
        (len(held) + 1) / (3 * len(held) ** 2)
    )


def other_labels(source: Sequences) -> Sequences:
    """The same source with its test labels replaced by others of the same kind."""
    labels = source.test.labels
    changed = (
        labels + 1
        if labels.dtype == np.float32
        else np.where(labels == NO_LABEL, NO_LABEL, (labels + 1) % 2)
    )
    return replace(source, test=replace(source.test, labels=changed.astype(labels.dtype)))


@pytest.mark.parametrize("name", ["digits", "co2", "tagging"])
def test_the_arrays_of_every_task_hold_no_test_label(name: str, tmp_path: Path) -> None:
    task = {
        "digits": Task(name="digits", source="digits", length=8),
        "co2": Task(name="co2", source="co2", length=52, horizon=4),
        "tagging": Task(name="tagging", source="tagging", length=70, features=12),
    }[name]
    source = registry.read(task, tmp_path)
    assert isinstance(source, Sequences)
    for folder, given in (("plain", source), ("other", other_labels(source))):
        arrays.write(given, task, tmp_path / folder / "arrays", tmp_path / folder / "sealed")
    plain, other = (files(tmp_path / folder) for folder in ("plain", "other"))
    assert [path for path in plain if plain[path] != other[path]] == ["sealed/test_labels.npy"]
    assert plain.keys() == other.keys()


def test_the_place_of_a_digit_tells_nothing(tmp_path: Path) -> None:
    task = Task(name="digits", source="digits", length=8)
    arrays.write(registry.read(task, tmp_path), task, tmp_path / "arrays", tmp_path / "sealed")
    sealed = np.load(tmp_path / "sealed" / "test_labels.npy")
    assert auc(np.arange(len(sealed)), (sealed > 4).astype(np.uint8)) == pytest.approx(0.5, abs=0.1)
    # Neighbours are equal as often as chance has it.
    assert np.mean(sealed[1:] == sealed[:-1]) == pytest.approx(0.1, abs=0.05)


@dataclass(frozen=True)
class Leak:
    """A planted leak of the test set: `old`, which is once in the file `path`, becomes `new`."""

    path: str
    old: str
    new: str


def planted(copy: StudyCopy, leak: Leak) -> StudyCopy:
    copy.edit(leak.path, leak.old, leak.new)
    return copy


PADDED = """
import sys
from pathlib import Path
from pipeline.config.compose import compose
from pipeline.data import arrays, registry
task = compose(["study=smoke"]).task
for name, archive in zip(("plain", "inverted"), sys.argv[1:]):
    source = registry.read(task, Path(archive))
    arrays.write(source, task, Path(name, "arrays"), Path(name, "sealed"))
"""
LEAKS_OF_PAD = {
    "validation is taken from the test": Leak(
        "pipeline/data/imdb.py",
        'if review.part == part]) for part in ("train", "test")',
        'if review.part in parts]) for parts in (("train", "test"), ("test",))',
    ),
    "labels are written beside the inputs": Leak(
        "pipeline/data/arrays.py",
        'np.save(labels / f"{name}_labels.npy", texts.labels[order])',
        'np.save(labels / f"{name}_labels.npy", texts.labels[order])\n'
        '        np.save(part / f"{name}_order.npy", texts.labels[order])',
    ),
    "rows are in the order of their labels": Leak(
        "pipeline/data/arrays.py",
        "sorted(range(len(keys)), key=keys.__getitem__)",
        "sorted(range(len(keys)), key=lambda row: (part.labels[row], keys[row]))",
    ),
}


@pytest.mark.parametrize("name", [None, *LEAKS_OF_PAD])
def test_inverted_labels_find_what_pad_leaks(
    name: str | None, generated_archive: Path, inverted_archive: Path, tmp_path: Path
) -> None:
    copy = StudyCopy(tmp_path / "study", "smoke", dvc=False)
    if name:
        planted(copy, LEAKS_OF_PAD[name])
    copy.run("python", "-c", PADDED, str(generated_archive), str(inverted_archive))
    plain, inverted = (files(copy.root / folder / "arrays") for folder in ("plain", "inverted"))
    differing = [path for path in plain.keys() | inverted if plain.get(path) != inverted.get(path)]
    assert (differing == []) == (name is None)


CROWNED = f"""
import os, sys
sys.path.append({str(ROOT / "tests")!r})
from pathlib import Path
from synthetic import Study
from pipeline.evaluate import evaluate
from pipeline.scoring import results as tables
from pipeline.analysis.summary import summarize
for name in ("plain", "mirrored"):
    root = Path(name).absolute()
    root.mkdir()
    study = Study(root, mirrored=name == "mirrored").write()
    os.chdir(root)
    evaluate(study.config)
    print(summarize(tables.load(root / "results/tiny/scores"))["champion"])
    os.chdir("..")
"""
CHAMPION_BY_TEST = Leak(
    "pipeline/analysis/summary.py",
    '"champion": champion(results.replicates, results.cells, results.guessed),',
    '"champion": champion(\n'
    '        results.scores[results.scores["kind"] == "tuned"].assign(\n'
    '            validation=lambda table: table["test"], replicate=lambda table: table["trial"]),\n'
    "        results.cells, results.guessed),",
)


@pytest.mark.parametrize("leak", [None, CHAMPION_BY_TEST], ids=["none", "champion by test"])
def test_mirrored_labels_find_a_champion_picked_by_them(leak: Leak | None, tmp_path: Path) -> None:
    copy = StudyCopy(tmp_path / "study", "smoke", dvc=False)
    if leak:
        planted(copy, leak)
    plain, mirrored = copy.run("python", "-c", CROWNED).stdout.splitlines()
    assert (plain == mirrored) == (leak is None)


LABELS = 'np.load(next(Path("data").glob("*/sealed/test_labels.npy")))'
AT_THE_DOOR = "check_design(config)\n    search = config.search\n"
DRAW = ("sample", "study=smoke")


def at_the_door(statement: str) -> Leak:
    """`draw` does something more before it draws."""
    return Leak("pipeline/sample.py", AT_THE_DOOR, f"{statement}\n    {AT_THE_DOOR}")


# Commands and leaks; each command has run without the leak in the study `smoke`.
LEAKS = {
    "draw opens the labels": (
        DRAW,
        at_the_door('next(Path("data").glob("*/sealed/*")).read_bytes()'),
    ),
    "draw opens the archive": (
        DRAW,
        at_the_door('next(Path("data").glob("*/archive/*")).open("rb")'),
    ),
    "draw opens the scores": (
        DRAW,
        at_the_door('Path("results", config.name, "scores", "scores.csv").read_text()'),
    ),
    "a process of baseline opens the labels": (
        ("baseline", "study=smoke"),
        Leak(
            "pipeline/models/baselines.py",
            "def fit_texts(",
            f"def fit_texts(*arguments):\n    from pathlib import Path\n    {LABELS}\n"
            "    return _fit_texts(*arguments)\n\n\ndef _fit_texts(",
        ),
    ),
    "the champion is picked by test": (
        ("replicate", "study=smoke", "cell=rnn"),
        Leak(
            "pipeline/search/tables.py",
            "score, loss = record.run.best.validation, record.run.best.validation_loss",
            f"score, loss = float(np.mean((record.run.test_logits > 0) == {LABELS})), 0.0",
        ),
    ),
    "a run stops early on test": (
        ("train", "study=smoke", "cell=rnn"),
        Leak(
            "pipeline/training/fit.py",
            "if take(run, config, data, epoch, logits):",
            "if take(run, config, data, epoch, rate(spec.metric, "
            f"predict(net, data.test_inputs, spec, buckets), {LABELS}).examples):",
        ),
    ),
}
LEAKS_OF_WORKERS = {
    "a worker stops early on test": (
        ("tune", "study=smoke", "cell=rnn"),
        LEAKS["a run stops early on test"][1],
    ),
    "tune picks the best by test": (
        ("tune", "study=smoke", "cell=rnn"),
        LEAKS["the champion is picked by test"][1],
    ),
}


def refused(copy: StudyCopy, command: tuple[str, ...], leak: Leak) -> None:
    """`command` ends in one line about the seal, and writes nothing."""
    before = files(copy.root / "runs")
    done = planted(copy, leak).run(
        "python", "-m", f"pipeline.{command[0]}", *command[1:], check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.fullmatch(
        r"error: (data/smoke/|results/smoke/)\S+ reveals test labels, and this command tries to open it.*",
        told,
    )
    assert "Traceback" not in done.stderr
    after = files(copy.root / "runs")
    assert [
        path for path in before if after.get(path) != before[path] and not path.startswith("hydra/")
    ] == []


@pytest.mark.parametrize("name", LEAKS)
def test_a_stage_that_opens_what_tells_labels_is_stopped(name: str, finished: StudyCopy) -> None:
    refused(finished, *LEAKS[name])


@pytest.mark.long
@pytest.mark.parametrize("name", LEAKS_OF_WORKERS)
def test_a_worker_that_opens_what_tells_labels_is_stopped(name: str, finished: StudyCopy) -> None:
    refused(finished, *LEAKS_OF_WORKERS[name])


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sealed file of the study `tiny`, in the current folder's data/."""
    path = tmp_path / "data/tiny/sealed/test_labels.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.arange(8))
    (tmp_path / "plain.npy").write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    return path


def by_link(make: Callable[[Path, str], None]) -> Callable[[Path], object]:
    def opened(path: Path) -> bytes:
        make(path, "link")
        return Path("link").read_bytes()

    return opened


def mapped(path: Path) -> object:
    descriptor = int(Path("descriptor").read_text())
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


WAYS: dict[str, Callable[[Path], object]] = {
    "open": open,
    "os.open": lambda path: os.open(path, os.O_RDONLY),
    "os.open from its folder": lambda path: os.open(path.parent, os.O_RDONLY),
    "to write": lambda path: path.open("r+b"),
    "np.load": np.load,
    "np.fromfile": lambda path: np.fromfile(path, np.uint8),
    "np.memmap": lambda path: np.load(path, mmap_mode="r"),
    "pandas": pd.read_csv,
    "a symbolic link": by_link(os.symlink),
    "a hard link": by_link(os.link),
    "another name": by_link(os.rename),
    "a descriptor of an earlier time": mapped,
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_the_sealed_file_is_open(way: str, sealed: Path) -> None:
    with sealed.open("rb") as early:
        Path("descriptor").write_text(str(early.fileno()))
        with (
            closed("tune", "tiny"),
            pytest.raises(FairsweepError, match=r"(test_labels\.npy|sealed) reveals test labels"),
        ):
            WAYS[way](sealed)


def test_the_seal_opens_for_evaluate_and_after_the_command(sealed: Path) -> None:
    with closed("evaluate", "tiny"):
        np.load(sealed)
    with closed("tune", "other"):
        np.load(sealed)
    with closed("tune", "tiny"):
        assert len(np.load("plain.npy")) == 8
        mmap.mmap(-1, 4096).close()
        with closed("train", "tiny"), pytest.raises(FairsweepError):
            np.load(sealed)
        with pytest.raises(FairsweepError):
            np.load(sealed)
    np.load(sealed)


@pytest.mark.parametrize("cache", [".dvc/cache", "../everyones"])
def test_the_copy_in_dvcs_cache_is_shut_and_what_links_there_is_not(
    sealed: Path, cache: str
) -> None:
    kept = Path(cache) / "files/md5/ab/cdef"
    kept.parent.mkdir(parents=True)
    shutil.copy(sealed, kept)
    Path("sub").mkdir()
    Path("linked.npy").symlink_to(kept)
    with closed("tune", "tiny"):
        for name in (kept, kept.absolute(), Path("sub/..") / kept):
            with pytest.raises(FairsweepError, match=r"files/md5/.* reveals test labels"):
                np.load(name)
        np.load("linked.npy")
    with closed("evaluate", "tiny"):
        np.load(kept)
    np.load(kept)


STRACE = shutil.which("strace")


def opened_by_the_system(copy: StudyCopy, *words: str) -> set[str]:
    """Files below the copy that a command or its child processes opened, links resolved."""
    log = copy.root.with_suffix(".strace")
    copy.run(
        str(STRACE),
        "-f",
        "-y",
        "--seccomp-bpf",
        "-e",
        "trace=open,openat,openat2",
        "-o",
        str(log),
        *words,
    )
    # A folder is opened to list its names, which tell nothing.
    paths = map(Path, re.findall(r"= \d+<(.*?)>", log.read_text(errors="replace")))
    return {
        str(path.relative_to(copy.root))
        for path in paths
        if path.is_relative_to(copy.root) and not path.is_dir()
    }


def telling(paths: set[str]) -> set[str]:
    """Those that tell test labels."""
    return {
        path
        for path in paths
        if re.match(r"data/smoke/(sealed|archive)|results/smoke|\.fairsweep/data/.*/sealed", path)
    }


@pytest.mark.skipif(not STRACE, reason="no strace on the PATH: `apt-get install strace`")
def test_the_system_sees_what_python_does_not(finished: StudyCopy) -> None:
    seen = opened_by_the_system(finished, "python", "-m", "pipeline.baseline", "study=smoke")
    assert "data/smoke/arrays/train_tokens.npy" in seen
    assert telling(seen) == set()
    native = "import ctypes, subprocess; path = b'data/smoke/sealed/test_labels.npy'; "
    native += "ctypes.CDLL(None).open(path, 0)"
    planted(
        finished,
        at_the_door(
            f"{native}; subprocess.run(['cat', 'data/smoke/archive/reviews.tar.gz'], stdout=-3)"
        ),
    )
    seen = opened_by_the_system(finished, "python", "-m", "pipeline.sample", "study=smoke")
    assert telling(seen) == {
        "data/smoke/sealed/test_labels.npy",
        "data/smoke/archive/reviews.tar.gz",
    }


@pytest.mark.skipif(not STRACE, reason="no strace on the PATH: `apt-get install strace`")
@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("tune", marks=pytest.mark.long),
        pytest.param("replicate", marks=pytest.mark.night),
    ],
)
def test_no_process_of_a_training_opens_what_tells_labels(stage: str, finished: StudyCopy) -> None:
    shutil.rmtree(finished.root / ".fairsweep/state")
    seen = opened_by_the_system(
        finished, "python", "-m", f"pipeline.{stage}", "study=smoke", "cell=rnn"
    )
    assert "data/smoke/arrays/train_tokens.npy" in seen
    assert telling(seen) == set()


BEFORE = [
    ROOT / f"pipeline/{name}.py"
    for name in ("download", "pad", "sample", "tune", "replicate", "baseline", "train", "tracking")
]
BEFORE += [
    path
    for name in ("data", "models", "training", "search")
    for path in sorted((ROOT / "pipeline" / name).glob("*.py"))
]
# Readers of TensorFlow's, Keras's and pandas's own, and ways to another program.
UNSEEN = {
    "io",
    "data",
    "image",
    "audio",
    "strings",
    "get_file",
    "text_dataset_from_directory",
    "read_parquet",
    "read_feather",
}
UNSEEN_OF_OS = {
    "system",
    "popen",
    "posix_spawn",
    "posix_spawnp",
    "spawnl",
    "spawnv",
    "execv",
    "execvp",
    "fork",
    "forkpty",
}


def unseen(path: Path) -> list[str]:
    """`tf.io`, `os.system` and the like, which no import tells."""
    named = [
        (one.value.id, one.attr)
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name)
    ]
    bad = {"tf": UNSEEN, "tensorflow": UNSEEN, "keras": UNSEEN, "pd": UNSEEN, "os": UNSEEN_OF_OS}
    return [
        f"{path.name}: {module}.{name}" for module, name in named if name in bad.get(module, ())
    ]


def test_nothing_before_evaluate_calls_what_opens_files_unseen(tmp_path: Path) -> None:
    assert [fault for path in BEFORE for fault in unseen(path)] == []
    (tmp_path / "leak.py").write_text(
        "import os\nos.system('cat data/smoke/sealed/*')\ntf.io.read_file(path)\n"
    )
    assert unseen(tmp_path / "leak.py") == ["leak.py: os.system", "leak.py: tf.io"]


@pytest.mark.long
@pytest.mark.parametrize("module", ["subprocess", "pyarrow"])
def test_the_rule_on_imports_finds_a_way_around(module: str, tmp_path: Path) -> None:
    copy = StudyCopy(tmp_path / "study", "smoke", dvc=False)
    shutil.copy(ROOT / "pyproject.toml", copy.root)
    assert copy.run("lint-imports").stdout.count("BROKEN") == 0
    planted(copy, at_the_door(f"import {module}"))
    done = copy.run("lint-imports", check=False)
    assert done.returncode == 1
    assert f"pipeline.sample is not allowed to import {module}" in done.stdout
