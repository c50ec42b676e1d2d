"""Archives that tests read: the real one where it lies beside the checkout, and the generated one everywhere."""

import functools
import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from pipeline.data.generated import generate
from pipeline.training.backend import THREADS
from shown import EVIL, EVIL_FORM, Shown, shown
from study_copy import StudyCopy

ROOT = Path(__file__).resolve().parents[1]
# As in every process that trains: a test that imports Keras first would else leave this one with several.
os.environ.update(THREADS)

# Files whose long tests do not fit into CI's ninety minutes beside the others.
NIGHT = {"test_docs.py", "test_packaging.py"}


class Groups(LoadScopeScheduling):
    """`make test` runs tests in two processes: each file in one of them, and all files that read the whole study in the same."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "whole study" if reads_study(file) else file


@functools.cache
def reads_study(file: str) -> bool:
    """Whether a test in `file` uses the fixture `smoke`, which takes a minute."""
    return "smoke: StudyCopy" in (ROOT / file).read_text("utf-8")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    return Groups(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: the whole study, then trainings."""
    for item in items:
        if item.path.name in NIGHT and item.get_closest_marker("long"):
            item.add_marker(pytest.mark.night)
    items.sort(key=lambda item: (not reads_study(item.nodeid.split("::")[0]), "tests/training/" not in item.nodeid))


@pytest.fixture
def bare_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with conf/ and nothing else."""
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def imdb_archive() -> Path:
    """The real reviews; tests that need them are skipped where they are not at hand."""
    archive = ROOT.parent / "shared" / "imdb" / "aclImdb_v1.tar.gz"
    if not archive.is_file():
        pytest.skip(f"the real reviews are not at {archive}")
    return archive


@pytest.fixture(scope="session")
def generated_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The invented reviews of the task `generated`."""
    archive = tmp_path_factory.mktemp("generated") / "reviews.tar.gz"
    generate(archive)
    return archive


@pytest.fixture(scope="session")
def inverted_archive(generated_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same reviews, but each test label is the opposite: test/pos and test/neg have changed names, with their movies."""
    archive = tmp_path_factory.mktemp("inverted") / "reviews.tar.gz"
    swap = {"pos": "neg", "neg": "pos"}
    packed = io.BytesIO()
    with tarfile.open(generated_archive) as source, tarfile.open(fileobj=packed, mode="w") as target:
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
def smoke(tmp_path_factory: pytest.TempPathFactory) -> StudyCopy:
    """The smoke study after a whole `dvc repro`."""
    copy = StudyCopy(tmp_path_factory.mktemp("smoke") / "study", "smoke")
    output = copy.repro()
    assert "distributed" not in output, output
    return copy


@pytest.fixture(scope="session")
def inverted_smoke(inverted_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyCopy:
    """The smoke study again, from a source whose test labels are inverted before `pad`, on one worker in place of two."""
    copy = StudyCopy(tmp_path_factory.mktemp("inverted_smoke") / "study", "smoke")
    copy.edit("conf/task/generated.yaml", "archive: null", f"archive: {inverted_archive}")
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
    made.metrics["study"] = "</title></style><script>alert(2)</script>"
    made.metrics["curve_notes"] = ["<b onclick=alert(3)>a note</b>"]
    return made
