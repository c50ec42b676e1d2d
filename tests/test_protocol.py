"""Numbers move only with a new PROTOCOL: three small trainings, held against golden.json."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.schema import Cell, Config, Model, Task, Train
from pipeline.data import arrays, registry
from pipeline.training.fit import fit
from pipeline.training.protocol import PROTOCOL

GOLDEN = Path(__file__).with_name("golden.json")
TASK = Task(name="synthetic", source="synthetic", length=40, vocabulary=160)
# Between two processors losses differ in the fifth digit.
TOLERANCE = 2e-3
ADVICE = (
    "numbers moved. If that is meant, raise PROTOCOL in pipeline/training/protocol.py, add a "
    "[Protocol] line to CHANGELOG.md, "
    "and let golden.json be:"
)


def losses(cell: str, data: arrays.Data) -> list[float]:
    """The validation loss after each epoch of one small training."""
    config = Config(
        name="golden",
        cells=[cell],
        task=TASK,
        cell=Cell(cell, cell),
        model=Model(units=8, embedding=8, dropout=0.2),
        train=Train(epochs=3, batch_size=32, learning_rate=0.01, clipnorm=1.0, patience=None),
        seed=1,
    )
    return [round(epoch.validation_loss, 5) for epoch in fit(config, data).epochs]


@pytest.fixture(scope="module")
def found(generated_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What golden.json would be if it were written now."""
    folder = tmp_path_factory.mktemp("golden")
    arrays.write(registry.read(TASK, generated_archive), TASK, folder / "arrays", folder / "sealed")
    data = arrays.load(folder / "arrays", TASK, 0)
    return {
        "protocol": PROTOCOL,
        "validation_loss": {cell: losses(cell, data) for cell in ("rnn", "gru", "lstm")},
    }


def test_three_golden_trainings_give_the_numbers_of_this_protocol(found: dict) -> None:
    golden = json.loads(GOLDEN.read_text())
    document = f"{ADVICE}\n{json.dumps(found)}"
    for cell, was in golden["validation_loss"].items():
        assert np.abs(np.subtract(found["validation_loss"][cell], was)).max() < TOLERANCE, (
            f"{cell}: {document}"
        )
    assert set(golden["validation_loss"]) == set(found["validation_loss"])
    assert golden["protocol"] == PROTOCOL, (
        f"PROTOCOL is {PROTOCOL} and golden.json of {golden['protocol']}: {document}"
    )


def test_the_golden_trainings_learn_so_that_a_change_would_show() -> None:
    for cell, was in json.loads(GOLDEN.read_text())["validation_loss"].items():
        assert max(was) - min(was) > 10 * TOLERANCE, cell


def test_the_changelog_tells_of_this_protocol() -> None:
    changelog = (GOLDEN.parents[1] / "CHANGELOG.md").read_text()
    assert f"[Protocol] {PROTOCOL}:" in changelog
