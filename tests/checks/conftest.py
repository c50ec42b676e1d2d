"""Arrays of the tasks that are made in a second or two, as `pad` leaves them."""

from pathlib import Path

import pytest

from pipeline.config.compose import compose
from pipeline.config.schema import Columns, Task
from pipeline.data import arrays, registry
from study_copy import ROOT


def made(
    task: Task, folder: Path, archive: Path | None = None, columns: Columns | None = None
) -> Path:
    """The arrays of `task` below `folder`."""
    source = registry.read(task, archive or folder, columns)
    arrays.write(source, task, folder / "arrays", folder / "sealed")
    return folder / "arrays"


@pytest.fixture(scope="package")
def shipped(tmp_path_factory: pytest.TempPathFactory, generated_archive: Path) -> dict[str, Path]:
    """{task: its arrays}."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for study, archive in (
            ("smoke", generated_archive),
            ("digits", None),
            ("tagging", None),
            ("co2", None),
        ):
            task = compose([f"study={study}"]).task
            found[task.name] = made(task, tmp_path_factory.mktemp(task.name), archive)
    return found
