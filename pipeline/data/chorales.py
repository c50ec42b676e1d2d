"""Bach's four-part chorales, as music21 ships them, an eighth note a step: which pitches sound next?

They are the 371 of Riemenschneider's edition that music21's own iterator goes through, in 350 files, of which the 331 with
exactly four parts are taken; of two with the same notes throughout the first stays, which leaves 329.

Bach set many tunes several times, under several titles too. Two chorales are of one tune where Riemenschneider's titles agree, or
where their sopranos, heard at each quarter note and repeated notes counted once, have twelve intervals in a row in common. (At
eleven, tunes that merely begin with the same scale join; at twelve, those that hymnals print under other words do, such as "Nun
ruhen alle Wälder" and "O Welt, sieh' hier dein Leben".) No tune stands on both sides of the split.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Columns, Task
from pipeline.data.form import PAD, Dataset, Examples, Form, Sequences
from pipeline.data.splits import validation_rows
from pipeline.errors import FairsweepError
from pipeline.evidence.scores import NO_LABEL
from pipeline.files import reading, replace_file

_VOICES = 4
_STEP = 0.5  # quarter notes
_SHARED_INTERVALS = 12
_PITCHES = 128
_TEST_SEED = 1750
_PROCESSES = 2


@dataclass(frozen=True)
class _Chorale:
    """One file, read: `steps`, the MIDI pitches that sound at each eighth note, and the soprano's `intervals`, in semitones."""

    name: str
    steps: tuple[tuple[int, ...], ...]
    intervals: tuple[int, ...]


def extract(path: Path) -> None:
    """Writes all chorales into an npz, whole or not at all, with equal bytes on every run; half a minute.

    Its arrays: `pitches` <uint8>[notes], MIDI numbers in the order of steps; `steps` <int64>[steps + 1], where each step's pitches
    begin; `chorales` <int64>[chorales + 1], where each chorale's steps begin; `tunes` <int32>[chorales]; `names` <str>[chorales].
    A pitch sounds at a step when it does so at the step's beginning: what is shorter and falls between is not heard. Held and
    repeated notes are alike, and repeats are not played.

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
    # An open file: to a name without its ending numpy would add one.
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
    """The chorales of a file that `extract` has written, a row each; whole tunes, a fifth of the chorales, are the test.

    The pitches that the training part has are the features and the outputs; others of the test are left out. Groups are tunes.

    Returns:
        Inputs <float32>[rows, task.length, pitches] of 0 and 1, the first step silent and step t what sounds at t - 1; labels
        <uint8>[rows, task.length, pitches], what sounds at t. Longer chorales are cut; after shorter ones inputs are PAD, labels
        NO_LABEL.
    """
    with reading(path, "Get it again: dvc repro download."), np.load(path) as arrays:
        rolls = _rolls(arrays["pitches"], arrays["steps"], arrays["chorales"], task.length)
        tunes = arrays["tunes"]
    test = validation_rows(np.zeros(len(tunes), np.uint8), tunes, _TEST_SEED)
    heard = np.any([roll.any(axis=0) for roll, held_out in zip(rolls, test, strict=True) if not held_out], axis=0)
    pitches = np.flatnonzero(heard)
    form = Form(
        kind="steps",
        metric="nll",
        outputs=len(pitches),
        features=len(pitches),
        length=task.length,
        padded=True,
        causal=True,
        unit="nats a step",
        example="chorale",
        group="tune",
        classes=[_pitch_name(int(pitch)) for pitch in pitches],
        baselines=["trivial", "linear"],
    )
    train, held = (_part(rolls, tunes, part, pitches, task.length) for part in (~test, test))
    return Sequences(form, train, held)


def _titles() -> dict[str, str]:
    """The title of each file of music21's list, reduced to its letters: editions differ in commas and apostrophes."""
    from music21.corpus.chorales import ChoraleListRKBWV

    listed = ChoraleListRKBWV().byRiemenschneider
    # Backwards, so that a file listed twice has its first title.
    entries = [listed[number] for number in sorted(listed, reverse=True)]
    return {f"bach/bwv{entry['bwv']}": "".join(filter(str.isalpha, entry["title"].lower())) for entry in entries}


def _parse(name: str) -> _Chorale | None:
    """The chorale in a file of music21's corpus; None unless it has four parts."""
    from music21 import corpus

    # From the source, since music21 would else leave a pickle of each file in the temporary folder.
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
    return _Chorale(name, tuple(_sounding(voices, _STEP)), tuple(int(move) for move in moves if move))


def _sounding(voices: list[list[tuple[float, float, int]]], step: float) -> list[tuple[int, ...]]:
    """The pitches that sound at each multiple of `step`, of notes (beginning, end, pitch) in quarter notes."""
    notes = [note for voice in voices for note in voice]
    # Triplets are not exact in floating point.
    first, last = ([ceil(note[edge] / step - 1e-6) for note in notes] for edge in (0, 1))
    steps: list[set[int]] = [set() for _ in range(max(last))]
    for begins, ends, (_, _, pitch) in zip(first, last, notes, strict=True):
        for index in range(begins, ends):
            steps[index].add(pitch)
    return [tuple(sorted(pitches)) for pitches in steps]


def _tunes(chorales: Sequence[_Chorale], titles: Mapping[str, str]) -> NDArray[np.int32]:
    """The number of each chorale's tune, <int32>[chorales]: chorales are joined that share a title or a run of the soprano."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    shared: dict[object, int] = {}
    links = []
    for index, chorale in enumerate(chorales):
        starts = range(len(chorale.intervals) - _SHARED_INTERVALS + 1)
        runs = {chorale.intervals[start : start + _SHARED_INTERVALS] for start in starts}
        links += [(index, len(chorales) + shared.setdefault(key, len(shared))) for key in (titles[chorale.name], *sorted(runs))]
    size = len(chorales) + len(shared)
    _, component = connected_components(coo_array((np.ones(len(links)), np.transpose(links)), (size, size)), directed=False)
    return np.unique(component[: len(chorales)], return_inverse=True)[1].astype(np.int32)


def _rolls(
    pitches: NDArray[np.uint8], steps: NDArray[np.int64], chorales: NDArray[np.int64], length: int
) -> list[NDArray[np.bool_]]:
    """What sounds in the first `length` steps of each chorale, <bool>[steps, 128]."""
    roll = np.zeros((len(steps) - 1, _PITCHES), bool)
    roll[np.repeat(np.arange(len(roll)), np.diff(steps)), pitches] = True
    return [roll[start : min(end, start + length)] for start, end in pairwise(chorales)]


def _part(
    rolls: Sequence[NDArray[np.bool_]],
    tunes: NDArray[np.integer],
    part: NDArray[np.bool_],
    pitches: NDArray[np.integer],
    length: int,
) -> Examples:
    """The chorales of one part, grouped by tune: those of one tune are alike."""
    rows = np.flatnonzero(part)
    shape = (len(rows), length, len(pitches))
    inputs, labels = np.full(shape, PAD, np.float32), np.full(shape, NO_LABEL, np.uint8)
    for row, roll in enumerate(rolls[int(chorale)][:, pitches] for chorale in rows):
        labels[row, : len(roll)] = roll
        inputs[row, 0] = 0
        inputs[row, 1 : len(roll)] = roll[:-1]
    return Examples(inputs, labels, [str(tune) for tune in tunes[rows]])


def _pitch_name(pitch: int) -> str:
    """The name of a MIDI number, such as C4 for 60; black keys by their sharps."""
    tones = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
    return f"{tones[pitch % 12]}{pitch // 12 - 1}"


DATASET = Dataset(
    read,
    "chorales.npz",
    make=extract,
    slow=True,
    caveat=(
        "These are not the JSB Chorales of Boulanger-Lewandowski et al. (2012), on which Chung et al. (2014) compared cells, so the "
        "nats are not to be compared: theirs are 382 chorales in quarter notes, 229 for training, 76 for validation and 77 for the "
        "test; ours 329 of music21's in eighth notes, of which many repeat the step before, split by tune, as one tune is set "
        "several times."
    ),
)
