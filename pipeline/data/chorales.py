"""Bach's four-part chorales from music21, in steps of an eighth note: which pitches sound next?

music21's iterator over Riemenschneider's edition has 371 chorales in 350 files. 331 have exactly
four parts. Of two with equal notes the first is used, which leaves 329.

Bach set many tunes several times, also under other titles. Two chorales have the same tune if
their titles in Riemenschneider's edition agree, or if their sopranos, sampled at each quarter note
and without repeated notes, share twelve successive intervals. (With eleven, tunes that begin with
the same scale are joined. With twelve, tunes of different words are joined, such as "Nun ruhen alle
Wälder" and "O Welt, sieh' hier dein Leben".) No tune is in both training and test.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config.schema import Columns, Task
from ..errors import FairsweepError
from ..files import reading, replace_file
from ..metrics import NO_LABEL
from .spec import PAD, Dataset, Examples, Sequences, TaskSpec
from .splits import validation_rows

_VOICES = 4
_STEP = 0.5  # quarter notes
_SHARED_INTERVALS = 12
_PITCHES = 128
_TEST_SEED = 1750
_PROCESSES = 2


@dataclass(frozen=True)
class _Chorale:
    """A chorale: the MIDI pitches of each eighth note, and the soprano's intervals in semitones."""

    name: str
    steps: tuple[tuple[int, ...], ...]
    intervals: tuple[int, ...]


def extract(path: Path) -> None:
    """Write all chorales to an npz, with equal bytes on every run. This takes half a minute.

    The arrays are `pitches` <uint8>[notes], MIDI numbers in the order of steps; `steps`
    <int64>[steps + 1], the first note of each step; `chorales` <int64>[chorales + 1], the first
    step of each chorale; `tunes` <int32>[chorales]; `names` <str>[chorales]. A step has the pitches that sound
    at its beginning, so shorter notes may be lost. Held and repeated notes are equal, and repeat
    signs are ignored.

    Raises:
        FairsweepError: music21 is not installed.
    """
    if importlib.util.find_spec("music21") is None:
        raise FairsweepError("task chorales needs the extra music: pip install 'fairsweep[music]'")
    from joblib import Parallel, delayed

    titles = _titles()
    read_all = Parallel(n_jobs=_PROCESSES)(delayed(_parse)(name) for name in sorted(titles))
    first: dict[tuple[tuple[int, ...], ...], _Chorale] = {}
    for chorale in read_all:
        if chorale is not None:
            first.setdefault(chorale.steps, chorale)
    chorales = list(first.values())
    steps = [step for chorale in chorales for step in chorale.steps]
    # numpy would append .npz to a path, but not to an open file.
    with replace_file(path) as part, part.open("wb") as file:
        np.savez(
            file,
            pitches=np.array([pitch for step in steps for pitch in step], np.uint8),
            steps=np.cumsum([0, *map(len, steps)]),
            chorales=np.cumsum([0, *(len(chorale.steps) for chorale in chorales)]),
            tunes=_tunes(chorales, titles),
            names=np.array([chorale.name for chorale in chorales]),
        )


def read(task: Task, path: Path, columns: Columns | None = None) -> Sequences:
    """Read the chorales that `extract` has written, one row per chorale. Groups are tunes.

    The test has whole tunes, a fifth of the chorales. The features and outputs are the pitches that
    occur in the training part. Other pitches of the test are left out.

    Returns:
        Inputs <float32>[rows, task.length, pitches] of 0 and 1: step 0 is silent, and step t has
        what sounds at t - 1. Labels <uint8>[rows, task.length, pitches]: what sounds at t. Longer
        chorales are cut. Shorter ones are padded by PAD and NO_LABEL.
    """
    with reading(path, "Write it again: dvc repro -f download."), np.load(path) as arrays:
        steps, starts, tunes = arrays["steps"], arrays["chorales"], arrays["tunes"]
        roll = np.zeros((len(steps) - 1, _PITCHES), bool)
        roll[np.repeat(np.arange(len(roll)), np.diff(steps)), arrays["pitches"]] = True
    labels = np.full((len(tunes), task.length, _PITCHES), NO_LABEL, np.uint8)
    inputs = np.full(labels.shape, PAD, np.float32)
    for row, (start, end) in enumerate(pairwise(starts)):
        sounding = roll[start:end][: task.length]
        labels[row, : len(sounding)] = sounding
        inputs[row, 0] = 0
        inputs[row, 1 : len(sounding)] = sounding[:-1]
    test = validation_rows(np.zeros(len(tunes), np.uint8), tunes, _TEST_SEED)
    pitches = np.flatnonzero((labels[~test] == 1).any(axis=(0, 1)))
    inputs, labels = inputs.take(pitches, axis=2), labels.take(pitches, axis=2)
    groups = tunes.astype(str)
    train, held_out = (
        Examples(inputs[part], labels[part], groups[part].tolist()) for part in (~test, test)
    )
    spec = TaskSpec(
        kind="steps",
        metric="nll",
        outputs=len(pitches),
        features=len(pitches),
        length=task.length,
        padded=True,
        causal=True,
        example="chorale",
        group="tune",
        classes=[_pitch_name(int(pitch)) for pitch in pitches],
        baselines=["trivial", "linear"],
    )
    return Sequences(spec, train, held_out)


def _titles() -> dict[str, str]:
    """Return {file: title}, of the title only its letters, as editions differ in punctuation."""
    from music21.corpus.chorales import ChoraleListRKBWV

    listed = ChoraleListRKBWV().byRiemenschneider
    # In reverse order: a file that occurs twice gets its first title.
    entries = [listed[number] for number in sorted(listed, reverse=True)]
    return {
        f"bach/bwv{entry['bwv']}": "".join(filter(str.isalpha, entry["title"].lower()))
        for entry in entries
    }


def _parse(name: str) -> _Chorale | None:
    """Return the chorale of a file of music21's corpus; None unless it has four parts."""
    from music21 import corpus

    # Without forceSource music21 writes a pickle of each file to the temporary folder.
    parts = corpus.parse(name, forceSource=True).parts
    if len(parts) != _VOICES:
        return None
    voices = [
        [
            (float(note.offset), float(note.offset + note.quarterLength), pitch.midi)
            for note in part.flatten().notes
            for pitch in note.pitches
        ]
        for part in parts
    ]
    soprano = [step[-1] for step in _sounding(voices[:1], 1.0) if step]
    moves = np.diff(soprano)
    return _Chorale(
        name, tuple(_sounding(voices, _STEP)), tuple(int(move) for move in moves if move)
    )


def _sounding(voices: list[list[tuple[float, float, int]]], step: float) -> list[tuple[int, ...]]:
    """Return the pitches at each multiple of `step`. Notes are (start, end, pitch)."""
    notes = [note for voice in voices for note in voice]
    # Triplets are not exact in floating point.
    first, last = ([ceil(note[edge] / step - 1e-6) for note in notes] for edge in (0, 1))
    steps: list[set[int]] = [set() for _ in range(max(last))]
    for begins, ends, (_, _, pitch) in zip(first, last, notes, strict=True):
        for index in range(begins, ends):
            steps[index].add(pitch)
    return [tuple(sorted(pitches)) for pitches in steps]


def _tunes(chorales: Sequence[_Chorale], titles: Mapping[str, str]) -> NDArray[np.int32]:
    """Return the number of each chorale's tune, <int32>[chorales]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    shared: dict[object, int] = {}
    links = []
    for index, chorale in enumerate(chorales):
        starts = range(len(chorale.intervals) - _SHARED_INTERVALS + 1)
        runs = {chorale.intervals[start : start + _SHARED_INTERVALS] for start in starts}
        links += [
            (index, len(chorales) + shared.setdefault(key, len(shared)))
            for key in (titles[chorale.name], *sorted(runs))
        ]
    size = len(chorales) + len(shared)
    _, component = connected_components(
        coo_array((np.ones(len(links)), np.transpose(links)), (size, size)), directed=False
    )
    return np.unique(component[: len(chorales)], return_inverse=True)[1].astype(np.int32)


def _pitch_name(pitch: int) -> str:
    """Return the name of a MIDI number, such as C4 for 60. Black keys are sharps."""
    tones = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
    return f"{tones[pitch % 12]}{pitch // 12 - 1}"


DATASET = Dataset(
    read,
    "chorales.npz",
    make=extract,
    slow=True,
    caveat=(
        "These are not the JSB Chorales of Boulanger-Lewandowski et al. (2012), on which Chung et "
        "al. (2014) compared cells, so their nats are not comparable. JSB has 382 chorales in "
        "quarter notes: 229 for training, 76 for validation and 77 for the test. This dataset has "
        "329 chorales of music21 in eighth notes, so that many steps repeat the one before. It is "
        "split by tune, because one tune may occur in several chorales."
    ),
)
