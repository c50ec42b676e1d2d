"""The real chorales need music21, and half a minute; what is done with them is tested on invented ones."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.schema import Task
from pipeline.data import chorales
from pipeline.data.spec import PAD
from pipeline.errors import FairsweepError
from pipeline.metrics import NO_LABEL, rate


def task(length: int = 12) -> Task:
    return Task(name="chorales", source="chorales", length=length)


def write(path: Path, rows: list[list[tuple[int, ...]]], tunes: list[int]) -> Path:
    steps = [step for row in rows for step in row]
    np.savez(
        path,
        pitches=np.array([pitch for step in steps for pitch in step], np.uint8),
        steps=np.cumsum([0, *map(len, steps)]),
        chorales=np.cumsum([0, *map(len, rows)]),
        tunes=np.array(tunes, np.int32),
        names=np.array([f"row{row}" for row in range(len(rows))]),
    )
    return path


# MIDI pitches 80 to 89.
TUNES = ["G#5", "A5", "A#5", "B5", "C6", "C#6", "D6", "D#6", "E6", "F6"]


@pytest.fixture
def invented(tmp_path: Path) -> Path:
    """Twenty chorales of 5 to 16 steps over ten tunes; each has its tune's pitch, 80 to 89, in every step but one."""
    generator = np.random.default_rng(0)
    rows = [
        [
            (*sorted(generator.choice(np.arange(50, 60), 3, replace=False)), 80 + row % 10)
            for _ in range(generator.integers(5, 17))
        ]
        for row in range(20)
    ]
    rows[0][2] = ()
    return write(tmp_path / "chorales.npz", rows, [row % 10 for row in range(20)])


def test_labels_are_what_comes_next(invented: Path) -> None:
    read = chorales.read(task(), invented)
    assert (len(read.train.inputs), len(read.test.inputs)) == (16, 4)
    for part in (read.train, read.test):
        assert part.inputs.dtype == np.float32
        assert part.labels.dtype == np.uint8
        assert part.inputs.shape == part.labels.shape == (len(part.inputs), 12, read.spec.outputs)
        assert not part.inputs[:, 0].any()
        real = (part.labels != NO_LABEL).all(axis=2)
        assert np.array_equal(real, (part.inputs != PAD).all(axis=2))
        assert np.array_equal(real, ~(part.labels == NO_LABEL).any(axis=2))
        assert (np.diff(real.astype(int), axis=1) <= 0).all()
        assert np.array_equal(part.inputs[:, 1:][real[:, 1:]], part.labels[:, :-1][real[:, 1:]])
    # Padding counts for nothing: an even guess costs log 2 for each label of a real step.
    guess = rate("nll", np.zeros(read.test.labels.shape), read.test.labels)
    assert guess.value == pytest.approx(-read.spec.outputs * np.log(2))


def test_no_tune_is_on_both_sides_and_outputs_come_from_training(invented: Path) -> None:
    read = chorales.read(task(), invented)
    # Of the ten tunes the two of the test are told by pitches that training never has.
    assert len(set(TUNES) & set(read.spec.classes)) == 8
    assert (read.train.labels == 1).any(axis=(0, 1)).all()
    assert np.where(read.test.labels == 1, 1, 0).sum(axis=2).max() == 3


def test_steps_are_what_sounds_at_each_eighth() -> None:
    # A quarter, a dotted eighth with a sixteenth that no step hears, a triplet; another voice rests at first.
    upper = [
        (0.0, 1.0, 72),
        (1.0, 1.75, 74),
        (1.75, 2.0, 76),
        (2.0, 2 + 1 / 3, 77),
        (2 + 1 / 3, 2 + 2 / 3, 79),
        (2 + 2 / 3, 3.0, 81),
    ]
    lower = [(1.0, 3.0, 60)]
    expected = [(72,), (72,), (60, 74), (60, 74), (60, 77), (60, 79)]
    assert chorales._sounding([upper, lower], 0.5) == expected


def test_tunes_are_told_by_title_or_melody() -> None:
    generator = np.random.default_rng(2)
    melody = tuple(int(move) for move in generator.integers(1, 9, size=40))
    others = [tuple(int(move) for move in generator.integers(1, 9, size=40)) for _ in range(3)]
    moves = {
        "a": melody,
        "b": others[0],
        "c": others[1][:20] + melody[5:17],
        "d": melody[:11] + others[2],
        "e": others[2][20:31],
    }
    made = [chorales._Chorale(name, (), intervals) for name, intervals in moves.items()]
    titles = {"a": "one", "b": "two", "c": "three", "d": "four", "e": "two"}
    assert chorales._tunes(made, titles).tolist() == [0, 1, 0, 2, 1]


def test_without_music21_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(FairsweepError, match=r"pip install 'fairsweep\[music\]'"):
        chorales.extract(tmp_path / "chorales.npz")
    assert not list(tmp_path.iterdir())


# Of one tune under two titles; twice the same notes; five parts.
FEW = {
    "bach/bwv244.44": "befiehl",
    "bach/bwv153.5": "herzlich",
    "bach/bwv274": "christe",
    "bach/bwv62.6": "nunkomm",
    "bach/bwv27.6": "welt",
}


def test_a_few_real_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("music21")
    monkeypatch.setattr(chorales, "_titles", lambda: FEW)
    for name in ("first.npz", "again.npz"):
        chorales.extract(tmp_path / name)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.npz", "first.npz"]
    with np.load(tmp_path / "first.npz") as arrays:
        assert arrays["names"].tolist() == ["bach/bwv153.5", "bach/bwv244.44", "bach/bwv274"]
        assert arrays["tunes"].tolist() == [0, 0, 1]
        assert arrays["steps"][-1] == len(arrays["pitches"])
        assert arrays["chorales"][-1] == len(arrays["steps"]) - 1


@pytest.mark.long
def test_all_of_them(tmp_path: Path) -> None:
    pytest.importorskip("music21")
    chorales.extract(tmp_path / "chorales.npz")
    read = chorales.read(task(length=256), tmp_path / "chorales.npz")
    assert (len(read.train.inputs), len(read.test.inputs)) == (263, 66)
    assert (read.spec.classes[0], read.spec.classes[-1]) == ("C2", "A5")
