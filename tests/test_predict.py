"""Texts to labels: what a study's models say from the command line, in a pipe, on a terminal and
behind a web server.
"""

import contextlib
import csv
import fcntl
import io
import json
import os
import pty
import select
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline import verify
from pipeline.config.cli import hydra_arguments, hydra_source
from pipeline.config.compose import compose, quoted, to_object
from pipeline.config.schema import Cell, Config, Model, Task, Train
from pipeline.data.arrays import Data
from pipeline.data.imdb import reviews
from pipeline.data.spec import TaskSpec
from pipeline.data.text import pad_tokens, tokenize
from pipeline.errors import FairsweepError
from pipeline.predict import (
    Request,
    as_csv,
    as_table,
    champion_arm,
    chosen,
    formatted,
    lines,
    model_file,
    texts,
)
from pipeline.serving import carried, reader
from pipeline.serving.keras_archive import reproducible
from pipeline.serving.occlusion import occlusion
from pipeline.serving.reader import Prediction, TextModel
from pipeline.training import worker
from study_copy import ROOT, StudyCopy

# Keras's own way of storing a variable does not know numpy 2's `copy` keyword yet.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

# A text of one line, and how many words of it the smoke study's models read and know.
AWKWARD = {
    "": (0, 0),
    " ": (0, 0),
    "\t \t": (0, 0),
    '!!! ... ??? ("-")': (0, 0),
    "zyzzyva qwxz": (2, 0),
    "🎬🔥 great": (2, 1),
    "שלום עולם": (2, 0),
    "‮great": (1, 0),
    "東京の映画は最高": (1, 0),
    "GREAT Film": (2, 2),
    "great<br /><br />film": (4, 4),
    "great,film=~{a}; 'b' \"c\"": (5, 3),
    "don't": (1, 0),
    "it's": (1, 0),
    "3.5 10/10": (4, 0),
    "great\x0bfilm great\x85film great film": (4, 2),
    "great" * 200_000: (1, 0),
    "great " * 200_000: (40, 40),
    "\x1b[31mgreat\x1b[0m": (3, 0),
    "=HYPERLINK(1)": (2, 0),
    "ＧＲＥＡＴ ﬁlm": (2, 0),
    "null": (1, 0),
    "???": (0, 0),
    "${oc.env:HOME}": (3, 0),
}


@pytest.mark.parametrize(
    "text",
    [
        *(text for text in AWKWARD if len(text) < 1000),
        *(
            "It's (5/5)",
            "a\nb\r\nc",
            "'quoted'",
            "\"both\" 'kinds'",
            "end'",
            "\\'",
            "back\\slash\\",
            "\\${x}",
            "a\\\\${b} ${c",
            "$HOME",
        ),
        *(
            "[1,2]",
            "{a: b}",
            "true",
            "1e5",
            "-m",
            "--help",
            "choice(a,b)",
            "@x",
            "%d {0}",
            "\udcff",
        ),
    ],
)
def test_a_text_comes_through_the_door_character_by_character(text: str) -> None:
    import hydra

    arguments = hydra_arguments("predict", [f"text={text}"], Request)
    hydra_source(Request, "predict", "")
    with hydra.initialize(version_base="1.3", config_path=None):
        request = to_object(hydra.compose("predict", arguments), Request)
    # The one text that OmegaConf cannot hold, with a blank before it.
    assert request.text == (" ???" if text == "???" else text)


def test_a_key_that_is_not_literal_is_still_empty_or_null() -> None:
    assert quoted("file=null", Request) == "file=null"
    assert quoted("data.text=null") == "data.text=null"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo", ["one", "two"]),
        (b"one\rtwo\r", ["one", "two"]),
        (b"\xef\xbb\xbfone", ["one"]),
        (b"one\n\n \ntwo\n", ["one", "", " ", "two"]),
        ("one\x85\u2028\x0b\x0c\x1ctwo".encode(), ["one\x85\u2028\x0b\x0c\x1ctwo"]),
        ("\ufeff\n東京\n".encode(), ["", "東京"]),
    ],
)
def test_a_text_is_a_line_and_only_a_line(content: bytes, expected: list[str]) -> None:
    assert lines(content, "x") == expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "x: is empty"),
        (b"\xef\xbb\xbf \r\n\t\n", "x: is empty"),
        (b"one\r\ntwo\r\n\xff\xfe\n", "x, line 3: not UTF-8"),
        ("one".encode("utf-16"), "x, line 1: not UTF-8"),
        (b"\xed\xa0\x80", "x, line 1: not UTF-8"),
        (b"one\ntw\0o\n", "x, line 2: a NUL byte"),
    ],
)
def test_a_line_that_is_not_text_raises_with_its_number(content: bytes, told: str) -> None:
    with pytest.raises(FairsweepError) as refused:
        lines(content, "x")
    assert str(refused.value).startswith(told)


def test_a_request_names_its_texts_once(tmp_path: Path) -> None:
    file = tmp_path / "a, b.txt"
    file.write_text("one\ntwo\n")
    assert texts(Request(file=str(file))) == ["one", "two"]
    assert texts(Request(text="one\ntwo")) == ["one\ntwo"]
    for request, told in (
        (Request(text="one", file=str(file)), "text and file: give one of them."),
        (Request(text=" \n"), "text: is empty."),
        (Request(text=""), "text: is empty."),
        (Request(text="\udcff"), "text: holds bytes that are not UTF-8."),
        (
            Request(file=str(tmp_path / "no.txt")),
            f"file={tmp_path / 'no.txt'}: cannot be read (No such file or directory).",
        ),
        (Request(file=str(tmp_path)), f"file={tmp_path}: cannot be read (Is a directory)."),
    ):
        with pytest.raises(FairsweepError) as refused:
            texts(request)
        assert str(refused.value).startswith(told)


TOLD = [
    Prediction("positive", 0.98765, 12, 9),
    Prediction("négatif", 0.5, 0, 0),
    Prediction("日本", 1.0, 100, 7),
]
ASKED = ['A "great", film\nindeed', "\x1b[2J\x07 ‮evil‬ " + "東京 " * 60, "word " * 100_000]
MOVED = [
    [("great", 0.4321), ("film", -0.01234), ("a", 0.0001)],
    [],
    [(f"w{i}", 0.1) for i in range(20)],
]


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of a CSV file, also with a field longer than the module's limit."""
    limit = csv.field_size_limit(10_000_000)
    try:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    finally:
        csv.field_size_limit(limit)


def test_csv_gives_each_text_back() -> None:
    rows = rows_of(as_csv(ASKED, TOLD, MOVED))
    assert [row["text"] for row in rows] == ASKED
    assert [row["label"] for row in rows] == [one.label for one in TOLD]
    assert [(float(row["probability"]), int(row["read"]), int(row["known"])) for row in rows] == [
        (one.probability, one.read, one.known) for one in TOLD
    ]
    assert [row["words"] for row in rows][:2] == ["great +0.4321; film -0.0123", ""]
    assert formatted(MOVED[2]) == [f"w{i} +0.1000" for i in range(8)]
    assert (
        as_csv(["a"], TOLD[:1], [])
        == "label,probability,read,known,text\npositive,0.987650,12,9,a\n"
    )


def test_a_table_is_aligned_and_nothing_in_a_text_moves_the_cursor() -> None:
    from rich.cells import cell_len

    table = as_table(ASKED, TOLD, MOVED, 72)
    assert all(one.isprintable() for line in table.splitlines() for one in line)
    header, *rows = table.splitlines()
    assert header.split() == ["label", "probability", "read", "known", "text"]
    assert rows[0].split() == ["positive", "0.9877", "12", "9", "A", '"great",', "film", "indeed"]
    assert rows[1].split() == ["great", "+0.4321", "film", "-0.0123"]
    assert rows[3].strip() == "no word changes it by itself"
    texts_of = [header, *rows[::2]]
    assert all(cell_len(row) <= 72 for row in texts_of)
    begins = [
        row.index(word) for row, word in zip(texts_of, ("text", "A ", "[2J", "word"), strict=True)
    ]
    assert len({cell_len(row[:place]) for row, place in zip(texts_of, begins, strict=True)}) == 1
    assert [row.endswith("…") for row in texts_of] == [False, False, True, True]


@pytest.fixture
def at_smoke(smoke: StudyCopy, monkeypatch: pytest.MonkeyPatch) -> Iterator[StudyCopy]:
    """The working directory at the root of the whole study; arrays of other folders are forgotten."""
    monkeypatch.chdir(smoke.root)
    worker._load.cache_clear()
    yield smoke
    worker._load.cache_clear()


@pytest.fixture(scope="module")
def models(smoke: StudyCopy) -> dict[str, TextModel]:
    """Each cell's champion."""
    return {
        arm: TextModel(smoke.root / f"runs/smoke/replicate/{arm}/champion.keras")
        for arm in ("rnn", "gru")
    }


def stored(smoke: StudyCopy, run: str) -> np.ndarray:
    """The probability of the second class that the replicate `run` gave each test row in training."""
    arm, _, number = run.split("/")
    folder = smoke.root / "runs/smoke/replicate" / arm
    table = pd.read_csv(folder / "replicates.csv")
    (row,) = np.flatnonzero((table["kind"] == "tuned") & (table["replicate"] == int(number)))
    return 1 / (1 + np.exp(-np.load(folder / "test_logits.npy")[row].astype(float)))


def by_row(smoke: StudyCopy, model: TextModel) -> tuple[list[str], np.ndarray]:
    """Texts of the test part as they stand in the archive, and which row of the arrays each became."""
    rows = {
        row.tobytes(): place
        for place, row in enumerate(np.load(smoke.root / "data/smoke/arrays/test_tokens.npy"))
    }
    raw = [
        one.text
        for one in reviews(smoke.root / "data/smoke/archive/reviews.tar.gz")
        if one.part == "test"
    ]
    encoded = pad_tokens([model.encode(text) for text in raw], 40, "pre")
    return raw, np.array([rows[row.tobytes()] for row in encoded])


@pytest.mark.parametrize("arm", ["rnn", "gru"])
def test_raw_texts_get_the_predictions_of_their_rows(
    arm: str, smoke: StudyCopy, models: dict[str, TextModel]
) -> None:
    model = models[arm]
    raw, places = by_row(smoke, model)
    assert len(set(places)) > 900
    expected = stored(smoke, model.reader.run)[places]
    told = model.predict(raw)
    assert [one.label for one in told] == [
        "positive" if one > 0.5 else "negative" for one in expected
    ]
    np.testing.assert_allclose(
        [one.probability for one in told], np.maximum(expected, 1 - expected), atol=1e-3
    )
    assert [one.read for one in told] == [min(len(tokenize(text)), 40) for text in raw]


def test_awkward_texts_are_labelled_in_a_pipe(
    smoke: StudyCopy, models: dict[str, TextModel]
) -> None:
    done = predict(smoke, "study=smoke", given="\r\n".join(AWKWARD).encode("utf-8-sig"))
    rows = rows_of(done.stdout.decode())
    assert [row["text"] for row in rows] == list(AWKWARD)
    assert {row["text"][:30]: (int(row["read"]), int(row["known"])) for row in rows} == {
        text[:30]: counts for text, counts in AWKWARD.items()
    }
    # Texts without a known word, of equally many words, are one to the model.
    for count in (0, 1, 2):
        blind = {
            row["probability"]
            for row in rows
            if (int(row["read"]), int(row["known"])) == (count, 0)
        }
        assert len(blind) == 1
    expected = models["gru" if b"gru/" in done.stderr else "rnn"].predict(list(AWKWARD))
    assert [row["label"] for row in rows] == [one.label for one in expected]
    assert [float(row["probability"]) for row in rows] == pytest.approx(
        [one.probability for one in expected], abs=1e-4
    )
    blind_ones = sum(known == 0 for _, known in AWKWARD.values())
    assert (
        f"{blind_ones} of {len(AWKWARD)} texts hold no word that it knows" in done.stderr.decode()
    )


def predict(
    smoke: StudyCopy, *words: str, given: bytes = b"", check: bool = True, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """The command in the whole study, unwatched as it is no stage of it."""
    env = {
        key: value
        for key, value in smoke.env.items()
        if not key.startswith(("FAIRSWEEP", "PYTHONPATH"))
    } | variables
    command = [sys.executable, "-m", "pipeline.predict", *words]
    done = subprocess.run(command, cwd=smoke.root, env=env, input=given, capture_output=True)
    assert not check or done.returncode == 0, done.stderr.decode()
    return done


def test_the_champion_is_the_reports(at_smoke: StudyCopy, tmp_path: Path) -> None:
    config = compose(["study=smoke"])
    metrics = json.loads((at_smoke.root / "results/smoke/report/metrics.json").read_text())
    arm = champion_arm(config)
    assert arm == metrics["champion"]["arm"]
    path = model_file(config, None, tmp_path)
    assert path == Path(f"runs/smoke/replicate/{arm}/champion.keras")
    run = f"{arm}/tuned/{metrics['champion']['replicate']}"
    assert reader.read(path).run == run
    assert model_file(config, run, tmp_path) == model_file(config, arm, tmp_path) == path


def test_another_replicate_is_taken_from_the_state(
    at_smoke: StudyCopy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    models: dict[str, TextModel],
) -> None:
    config, champion = compose(["study=smoke"]), models["gru"]
    other = f"gru/tuned/{1 - int(champion.reader.run[-1])}"
    path = model_file(config, other, tmp_path)
    assert path.parent == tmp_path
    model = TextModel(path)
    assert model.reader == replace(champion.reader, run=other)
    raw, places = by_row(at_smoke, model)
    made = model.probabilities([model.encode(text) for text in raw])[:, 1]
    np.testing.assert_allclose(made, stored(at_smoke, other)[places], atol=1e-3)
    assert np.abs(stored(at_smoke, other) - stored(at_smoke, champion.reader.run)).max() > 0.01
    # A state of other arrays is not this one's, and one that has been removed is missed.
    name = verify.parse(other, config)
    was = verify.read(config, name)
    assert verify.kept_model(verify.job_of(name, was), was, "another digest") is None
    monkeypatch.setattr(verify, "STATE", tmp_path / "gone")
    with pytest.raises(FairsweepError, match=r"no longer in \.fairsweep/state") as refused:
        model_file(config, other, tmp_path)
    assert f"python -m pipeline.verify study=smoke run={other} out=model.keras\n" in str(
        refused.value
    )


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (
            "gru/trial/3",
            "run=gru/trial/3: a trial keeps no model. To train it again: python -m pipeline.verify "
            "study=smoke run=gru/trial/3",
        ),
        (
            "rnn/article/1",
            "run=rnn/article/1: a recipe's run keeps no model. To train it again: python -m "
            "pipeline.verify",
        ),
        (
            "gru/trial/8",
            "run=gru/trial/8: runs/smoke/tune/gru/trials.csv has no such run. Its numbers "
            "of gru/trial: 0 to 7.",
        ),
        ("lstm", "run=lstm: study smoke has no cell 'lstm'"),
        ("gru/3", "run=gru/3: expected ARM/KIND/NUMBER, such as run=rnn/trial/3."),
    ],
)
def test_a_run_without_a_model_names_the_command(
    run: str, told: str, at_smoke: StudyCopy, tmp_path: Path
) -> None:
    with pytest.raises(FairsweepError) as refused:
        model_file(compose(["study=smoke"]), run, tmp_path)
    assert str(refused.value).startswith(told)


def test_a_failed_replicate_has_no_model(
    at_smoke: StudyCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose(["study=smoke"])
    found = verify.read(config, verify.parse("gru/tuned/0", config))
    failed = replace(found, values={**found.values, "state": "failed", "reason": "diverged"})
    monkeypatch.setattr(verify, "read", lambda config, name: failed)
    with pytest.raises(
        FairsweepError,
        match=r"^run=gru/tuned/9: failed \(diverged\), so there is no model\. .* run=gru$",
    ):
        model_file(config, "gru/tuned/9", tmp_path)


def test_a_missing_champion_raises_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoke: StudyCopy
) -> None:
    monkeypatch.chdir(ROOT)
    study, recipes, numbers = (
        compose([f"study={name}"]) for name in ("smoke", "article", "digits")
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FairsweepError, match="study article searches nothing"):
        model_file(recipes, None, tmp_path)
    with pytest.raises(
        FairsweepError,
        match=r"^runs/smoke/replicate/rnn/replicates\.csv and results/smoke/scores/replicates\.csv are missing",
    ):
        model_file(study, None, tmp_path)
    folder = tmp_path / "runs/digits/replicate/gru"
    folder.mkdir(parents=True)
    old = smoke.root / "runs/smoke/replicate/gru/champion.keras"
    with pytest.raises(
        FairsweepError, match=r"runs/digits/replicate/gru/replicates\.csv and .* are missing"
    ):
        model_file(numbers, "gru", tmp_path)
    (folder / "replicates.csv").write_text("repeat,arm\n")
    with pytest.raises(
        FairsweepError, match=r"champion\.keras is missing\. Write it again: dvc checkout"
    ):
        model_file(numbers, "gru", tmp_path)
    own = replace(reader.read(old), study="digits", words=None)
    (folder / "champion.keras").write_bytes(reproducible(old.read_bytes(), carried.members(own)))
    with pytest.raises(
        FairsweepError, match="study digits learns from numbers, and predict takes texts"
    ):
        model_file(numbers, "gru", tmp_path)
    (folder / "champion.keras").write_bytes(
        reproducible(old.read_bytes(), carried.members(replace(own, words=[])))
    )
    with pytest.raises(FairsweepError, match="its source gives numbers in place of words"):
        model_file(numbers, "gru", tmp_path)
    (folder / "champion.keras").write_bytes(b"nothing")
    with pytest.raises(FairsweepError, match=r"cannot be read as a \.keras file"):
        model_file(numbers, "gru", tmp_path)


def test_a_model_elsewhere_names_its_study_and_run(smoke: StudyCopy, tmp_path: Path) -> None:
    path = tmp_path / "a model, copied.keras"
    path.write_bytes((smoke.root / "runs/smoke/replicate/gru/champion.keras").read_bytes())
    assert chosen(Request(model=str(path)), tmp_path) == path
    with pytest.raises(FairsweepError, match="Leave out study and run"):
        chosen(Request(model=str(path), run="gru"), tmp_path)
    path.write_bytes(
        reproducible(path.read_bytes(), carried.members(replace(reader.read(path), words=None)))
    )
    with pytest.raises(FairsweepError, match="predict takes texts"):
        chosen(Request(model=str(path)), tmp_path)


def test_occlusion_is_the_effect_of_an_unknown_word_in_its_place(
    models: dict[str, TextModel],
) -> None:
    model, text = models["gru"], "Great film, great cast: not boring, zyzzyva! " + "x " * 10
    (told,) = model.predict([text])
    found = dict(occlusion(model, text, told))
    assert set(found) == {
        word for word in tokenize(text) if word in model.ranks and model.ranks[word] <= 156
    }
    for word, change in found.items():
        hidden = " ".join("qwxz" if one == word else one for one in tokenize(text))
        (other,) = model.predict([hidden])
        kept = other.probability if other.label == told.label else 1 - other.probability
        assert change == pytest.approx(told.probability - kept, abs=1e-5)
    sizes = [abs(change) for change in found.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0.01
    assert occlusion(model, "qwxz", model.predict(["qwxz"])[0]) == []
    # A word beyond the last 40 moves nothing.
    assert "great" not in dict(occlusion(model, text + "x " * 40, told))


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_several_classes_and_rows_cut_to_lengths_of_their_own(padding: str, tmp_path: Path) -> None:
    import keras

    from pipeline.models.build import build_model
    from pipeline.training.fit import model_bytes

    spec = TaskSpec("classes", outputs=3, length=8, classes=["land", "sea", "sky"])
    config = Config(
        name="tiny",
        task=Task(name="tiny", source="csv", length=8, vocabulary=9, padding=padding),
        cell=Cell("gru", "gru"),
        model=Model(units=4, embedding=3),
        train=Train(backend=keras.backend.backend(), buckets=2),
        seed=3,
    )
    model = build_model(config, spec)
    rows = pad_tokens([[1, 4], [1, 5, 6], [1, 4], [1, 2, 3, 4, 5, 6, 7, 8]], 8, padding)
    none = np.zeros(0)
    data = Data(spec, rows, none, none, none, none, "digest", False)
    (tmp_path / "vocabulary.json").write_text(
        json.dumps(["wave", "cloud", "stone", "tide", "moon"])
    )
    own = carried.reader(config, data, tmp_path, "gru/tuned/0")
    assert own.lengths == [3, 8]
    path = tmp_path / "model.keras"
    path.write_bytes(reproducible(model_bytes(model), carried.members(own)))
    read = TextModel(path)
    asked = ["wave cloud", "Wave!", "stone tide moon wave", "wave " * 9]
    ids = [[1, 4, 5], [1, 4], [1, 6, 7, 8, 4], [4] * 8]
    assert [read.encode(text) for text in asked] == ids
    made = read.probabilities(ids)
    for row, (sequence, length) in enumerate(zip(ids, (3, 3, 8, 8), strict=True)):
        (logits,) = model.predict(pad_tokens([sequence], length, padding), verbose=0)
        powers = np.exp(logits.astype(float))
        np.testing.assert_allclose(made[row], powers / powers.sum(), atol=1e-6)
    told = read.predict(asked)
    assert [one.label for one in told] == [spec.classes[best] for best in made.argmax(axis=1)]
    assert [(one.read, one.known) for one in told] == [(2, 2), (1, 1), (4, 4), (8, 8)]
    # Keras itself still reads the file.
    np.testing.assert_array_equal(
        keras.models.load_model(path).get_weights()[0], model.get_weights()[0]
    )


def test_a_terminal_shows_a_table_that_fits(smoke: StudyCopy) -> None:
    """A real terminal, 60 columns wide."""
    words = [
        "study=smoke",
        "run=gru",
        "explain=true",
        "text=Great, really great: " + "not a film of words " * 10,
    ]
    status, shown = on_terminal(smoke, words)
    assert status == 0, shown
    told, header, row, moved = shown.splitlines()
    assert told.startswith("gru/tuned/")
    assert told.endswith(" of study smoke, which reads the last 40 words of a text")
    assert header.split() == ["label", "probability", "read", "known", "text"]
    assert row.split()[0] in ("positive", "negative")
    assert row.split()[2] == "40"
    assert row.endswith("…")
    assert len(row) <= 60
    assert " +0." in moved or " -0." in moved


def test_a_terminal_without_a_text_prints_how_to_give_one(smoke: StudyCopy) -> None:
    status, shown = on_terminal(smoke, ["study=smoke"])
    assert status == 1
    assert (
        shown
        == 'error: nothing to label: give text="…" or file=reviews.txt, or pipe texts in, one per line.'
    )


def on_terminal(smoke: StudyCopy, words: list[str]) -> tuple[int, str]:
    """Exit status and output of the command on a terminal of 24 lines of 60 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    env = {
        key: value
        for key, value in smoke.env.items()
        if not key.startswith(("FAIRSWEEP", "PYTHONPATH", "COLUMNS"))
    }
    command = [sys.executable, "-m", "pipeline.predict", *words]
    process = subprocess.Popen(
        command,
        cwd=smoke.root,
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    # Linux ends a terminal whose last program has gone with an error.
    with contextlib.suppress(OSError):
        while select.select([ours], [], [], 300)[0] and (part := os.read(ours, 1 << 16)):
            shown += part
    os.close(ours)
    return process.wait(), shown.decode().replace("\r\n", "\n").strip()


@pytest.fixture(scope="module")
def registered(smoke: StudyCopy) -> dict[str, dict[str, Any]]:
    """Each arm's registered version: its folder, its tags and its description; and which of them is
    the champion's.
    """
    with contextlib.closing(sqlite3.connect(smoke.root / "mlflow.db")) as store:
        aliases = dict(
            store.execute("select alias, version from registered_model_aliases").fetchall()
        )
        found = {}
        for alias, version in aliases.items():
            (row,) = store.execute(
                "select storage_location, description from model_versions where version = ?",
                [version],
            ).fetchall()
            tags = dict(
                store.execute(
                    "select key, value from model_version_tags where version = ?", [version]
                ).fetchall()
            )
            found[alias] = {
                "folder": Path(row[0].removeprefix("file://")),
                "description": row[1],
                "tags": tags,
                "version": version,
            }
    return found


def test_a_registered_model_has_its_card_and_its_run(
    smoke: StudyCopy, registered: dict[str, dict[str, Any]]
) -> None:
    assert registered.keys() == {"rnn", "gru", "champion"}
    for arm in ("rnn", "gru"):
        card = (smoke.root / f"results/smoke/report/cards/{arm}.md").read_text("utf-8")
        assert registered[arm]["description"] == card
        run = registered[arm]["tags"]["run"]
        assert reader.read(smoke.root / f"runs/smoke/replicate/{arm}/champion.keras").run == run
        assert card.startswith(f"# Model card: {run} of study smoke\n")
    champion = next(
        arm
        for arm in ("rnn", "gru")
        if registered[arm]["version"] == registered["champion"]["version"]
    )
    assert "It is the champion of the study" in registered[champion]["description"]


ALONE = """
import json, sys
sys.path.insert(0, "code")
from pipeline.serving.reader import _load_pyfunc
import pandas as pd, pipeline
assert pipeline.__file__.endswith("code/pipeline/__init__.py"), pipeline.__file__
model = _load_pyfunc("data/champion.keras")
print(model.predict(pd.DataFrame({"text": json.loads(sys.argv[1])})).to_json(orient="records"))
"""


def test_a_registered_model_reads_raw_texts_without_the_project(
    registered: dict[str, dict[str, Any]], models: dict[str, TextModel], smoke: StudyCopy
) -> None:
    folder, asked = registered["gru"]["folder"], ["Great film", "", "boring <br /> zyzzyva"]
    needed = (folder / "requirements.txt").read_text().split()
    assert [one.split("==")[0] for one in needed] == [
        "mlflow",
        "keras",
        "jax",
        "numpy",
        "omegaconf",
        "pandas",
    ]
    env = {
        key: value
        for key, value in smoke.env.items()
        if not key.startswith(("FAIRSWEEP", "PYTHONPATH"))
    }
    done = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps(asked)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    for row, one in zip(rows, models["gru"].predict(asked), strict=True):
        assert row == {**vars(one), "probability": pytest.approx(one.probability, abs=1e-4)}


@contextlib.contextmanager
def served(smoke: StudyCopy, model: str, folder: Path) -> Iterator[str]:
    """The address of `mlflow models serve`, started in another folder than the project's."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    env = {
        key: value
        for key, value in smoke.env.items()
        if not key.startswith(("FAIRSWEEP", "PYTHONPATH"))
    }
    env |= {
        "MLFLOW_TRACKING_URI": f"sqlite:///{smoke.root}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [
        "mlflow",
        "models",
        "serve",
        "-m",
        model,
        "--env-manager",
        "local",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
        )
        try:
            address, until = f"http://127.0.0.1:{port}", time.monotonic() + 300
            while True:
                try:
                    urllib.request.urlopen(f"{address}/ping", timeout=1)
                    break
                except OSError:
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < until, (folder / "log").read_text()
                    time.sleep(0.2)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(address: str, body: Any) -> tuple[int, Any]:
    """Status and answer of one request."""
    content = json.dumps(body).encode()
    request = urllib.request.Request(
        f"{address}/invocations", content, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.long
def test_mlflow_serves_the_champion_on_raw_texts(
    smoke: StudyCopy, models: dict[str, TextModel], tmp_path: Path
) -> None:
    arm = json.loads((smoke.root / "results/smoke/report/metrics.json").read_text())["champion"][
        "arm"
    ]
    asked = [text[:1000] for text in AWKWARD]
    expected = [
        {**vars(one), "probability": pytest.approx(one.probability, abs=1e-4)}
        for one in models[arm].predict(asked)
    ]
    with served(smoke, "models:/fairsweep-smoke@champion", tmp_path) as address:
        assert ask(address, {"inputs": asked}) == (200, {"predictions": expected})
        assert ask(address, {"dataframe_records": [{"text": text} for text in asked]}) == (
            200,
            {"predictions": expected},
        )
        split = {"columns": ["text"], "data": [[text] for text in asked]}
        assert ask(address, {"dataframe_split": split}) == (200, {"predictions": expected})
        for wrong in (
            {"dataframe_records": [{"text": None}]},
            {"dataframe_records": [{"text": 3}]},
            {"inputs": ["\ud800"]},
            {"inputs": "great"},
            {"dataframe_records": [{"review": "great"}]},
            {},
        ):
            status, told = ask(address, wrong)
            assert 400 <= status < 600, (wrong, told)
        # It goes on, also with several questions at once.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda text: ask(address, {"inputs": [text]}), asked))
        assert answers == [(200, {"predictions": [one]}) for one in expected]
