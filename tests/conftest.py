"""What all tests share: archives, finished studies, caches of compiled programs, and the order of the files."""

import contextlib
import gzip
import io
import os
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.data.synthetic import generate
from pipeline.training import backend
from shown import EVIL, EVIL_FORM, Shown, shown
from study_copy import StudyCopy

ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = ["running"]
# As in every process that trains: a test that imports Keras first would else leave this one with several.
os.environ.update(backend.THREADS)

# Programs compiled by XLA are reused by later tests and later runs.
with contextlib.chdir(ROOT):
    backend._keep_programs()
COMPILED = Path(os.environ["JAX_COMPILATION_CACHE_DIR"], f"tensorflow-{version('tensorflow')}")
COMPILED.mkdir(parents=True, exist_ok=True)
os.environ["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={COMPILED}"

# These files run first: the one that makes the smoke study, then the slowest ones.
FIRST = ("test_seal.py", "test_fit.py", "test_population.py")
# Of the files that read the smoke study, these run first.
FIRST_READERS = ("test_watching.py", "test_plan.py", "test_predict.py", "test_verify.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files so that no process of pytest waits for the smoke study while there is something else to do."""
    for item in items:
        levels = {mark.name for mark in item.iter_markers()} & {"long", "simulation", "night"}
        assert len(levels) < 2, f"{item.nodeid} is of several levels: {levels}"
    readers = {item.path for item in items if "smoke" in getattr(item, "fixturenames", ())}

    def place(item: pytest.Item) -> tuple[int, bool, int]:
        first, then = (
            (*names, item.path.name).index(item.path.name) for names in (FIRST, FIRST_READERS)
        )
        return first, item.path in readers, then

    items.sort(key=place)


@pytest.fixture
def bare_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with conf/ and nothing else."""
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def imdb_archive() -> Path:
    """The real reviews; tests that need them are skipped where they are not at hand."""
    archive = Path(
        os.environ.get("IMDB_ARCHIVE") or ROOT.parent / "shared" / "imdb" / "aclImdb_v1.tar.gz"
    ).absolute()
    if not archive.is_file():
        pytest.skip(f"the real reviews are not at {archive}")
    return archive


@pytest.fixture(scope="session")
def generated_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The invented reviews of the task `generated`."""
    archive = tmp_path_factory.mktemp("synthetic") / "reviews.tar.gz"
    generate(archive)
    return archive


@pytest.fixture(scope="session")
def inverted_archive(generated_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same reviews, but each test label is the opposite: test/pos and test/neg have changed names, with their movies."""
    archive = tmp_path_factory.mktemp("inverted") / "reviews.tar.gz"
    swap = {"pos": "neg", "neg": "pos"}
    packed = io.BytesIO()
    with (
        tarfile.open(generated_archive) as source,
        tarfile.open(fileobj=packed, mode="w") as target,
    ):
        for member in source:
            content = source.extractfile(member)
            parts = member.name.split("/")
            if parts[1] == "test" and parts[2] in swap:
                parts[2] = swap[parts[2]]
            elif parts[1] == "test":
                parts[2] = f"urls_{swap[parts[2][5:8]]}.txt"
            member.name = "/".join(parts)
            target.addfile(member, content)
    archive.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return archive


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> StudyCopy:
    """The smoke study after a whole `dvc repro`. It is made once for all processes of pytest, so no test may change it."""
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if hasattr(request.config, "workerinput") else own
    root, done = folder / "smoke", folder / "smoke.done"
    with FileLock(folder / "smoke.lock", timeout=1800):
        if done.exists():
            return StudyCopy.existing(root, "smoke")
        assert not root.exists(), f"the smoke study failed in another process of pytest, see {root}"
        copy = StudyCopy(root, "smoke")
        output = copy.repro()
        assert "distributed" not in output, output
        done.touch()
    return copy


@pytest.fixture
def finished(smoke: StudyCopy, tmp_path: Path) -> StudyCopy:
    """The smoke study's data, runs, results and state, in a copy that a test may change."""
    return StudyCopy(tmp_path / "study", "smoke", dvc=False).take(
        smoke, "data", "runs", "results", ".fairsweep"
    )


@pytest.fixture(scope="session")
def inverted_smoke(inverted_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyCopy:
    """The smoke study again, from a source whose test labels are inverted before `pad`, on one worker in place of two."""
    copy = StudyCopy(tmp_path_factory.mktemp("inverted_smoke") / "study", "smoke")
    copy.edit("conf/task/synthetic.yaml", "archive: null", f"archive: {inverted_archive}")
    copy.edit("conf/cluster/local.yaml", "workers: 2", "workers: 1")
    copy.repro()
    return copy


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """All that a report is made from, with everything it may show; a test that changes it must copy it first."""
    return shown(tmp_path_factory.mktemp("report"), ("rnn", "gru", "lstm"))


@pytest.fixture(scope="session")
def evil_report(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The same where every name would act if it were taken for markup."""
    made = shown(tmp_path_factory.mktemp("evil"), EVIL, EVIL_FORM)
    made.summary["study"] = "</title></style><script>alert(2)</script>"
    made.summary["curve_notes"] = ["<b onclick=alert(3)>a note</b>"]
    return made
