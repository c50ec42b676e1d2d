"""Labels texts with a trained model of a study: which label, how probable, and on request by which words.

  python -m pipeline.predict text="A great film, really."
  python -m pipeline.predict file=reviews.txt explain=true
  zcat reviews.gz | python -m pipeline.predict study=imdb run=lstm > labels.csv

text       one text
file       a file of texts in UTF-8, one a line; without text and file they are read from standard input
study      a file of conf/study/ that has been run; null: the one in conf/config.yaml
run        which model: ARM is the cell's champion, ARM/tuned/NUMBER another replicate (in separate studies
           ARM/STUDY/tuned/NUMBER); null: the study's champion, of the cell whose replicates are best on validation
model      a .keras file of such a model that lies elsewhere, such as one that `verify` wrote (out=), in place of study and run
explain    true: each word is hidden in turn, and those that change the label's probability most are told

On a terminal a table, otherwise CSV, a row a text: the label and its probability, how many words were read (a model sees the last
ones of a long text), how many of those it knows, and the text."""

import codecs
import csv
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config, check_group, command, compose
from pipeline.errors import FairsweepError
from pipeline.limits import limited

if TYPE_CHECKING:
    from pipeline.serving.occlusion import Moved
    from pipeline.serving.reader import Prediction, Reader
    from pipeline.verifying.names import RunName

# Words told of each text.
MOST_WORDS = 8
# A change that shows as zero is none.
LEAST_CHANGE = 0.0005


@dataclass
class Request:
    """The keys of this command."""

    text: str | None = limited(None, literal=True)
    file: str | None = None
    study: str | None = None
    run: str | None = None
    model: str | None = None
    explain: bool = False


def texts(request: Request) -> list[str]:
    """What is to be labelled, read whole before a model is loaded.

    Raises:
        FairsweepError: nothing given, or both; no such file; what is no text in UTF-8.
    """
    if request.text is not None and request.file is not None:
        raise FairsweepError("text and file: give one of them.")
    if request.text is not None:
        return [_one(request.text)]
    if request.file is not None:
        path = Path(request.file).expanduser()
        try:
            return lines(path.read_bytes(), f"file={request.file}")
        except OSError as error:
            raise FairsweepError(
                f"file={request.file}: cannot be read ({error.strerror}). Give a text file, a text a line."
            ) from error
    if sys.stdin is None or sys.stdin.isatty():
        raise FairsweepError('nothing to label: give text="…" or file=reviews.txt, or pipe texts in, one a line.')
    return lines(sys.stdin.buffer.read(), "standard input")


def _one(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FairsweepError("text: holds bytes that are not UTF-8. Put it into a file in UTF-8, and give file=FILE.") from error
    if not text.strip():
        raise FairsweepError('text: is empty. Give words, such as text="A great film."')
    return text


def lines(content: bytes, origin: str) -> list[str]:
    """The lines of `content`, each a text, an empty line an empty one; `origin` is what an error calls it.

    Raises:
        FairsweepError: it is empty, not UTF-8, or holds a NUL byte, which no text has; with the line.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", content[: error.start])) + 1
        raise FairsweepError(f"{origin}, line {line}: not UTF-8 ({error.reason}). Save it as text in UTF-8.") from error
    if not text.strip():
        raise FairsweepError(f"{origin}: is empty. Expected texts, one a line.")
    # Not splitlines, for which rare characters inside a text end a line.
    found = re.split(r"\r\n|\r|\n", text)
    if (number := next((number for number, line in enumerate(found, 1) if "\0" in line), None)) is not None:
        raise FairsweepError(f"{origin}, line {number}: a NUL byte, which no text has. Is it a text file, and in UTF-8?")
    return found if found[-1] else found[:-1]


def champion_arm(config: Config) -> str:
    """The arm of the study's champion: the best mean validation of its replicates; tests decide nothing."""
    import pandas as pd

    from pipeline.reporting.tables import GUESSED_VALIDATION, TRIVIAL, champion
    from pipeline.verifying.recorded import table

    # One table may tell of all arms, another of one.
    tables = {arm: pd.read_csv(table(config, arm, "tuned")) for arm in config.cells}
    replicates = pd.concat([found[found["arm"] == arm] for arm, found in tables.items()], ignore_index=True)
    guessed = GUESSED_VALIDATION
    linear = Path("runs") / config.name / "baseline" / "baseline.csv"
    if linear.is_file():
        baseline = pd.read_csv(linear)
        guessed = next(iter(baseline.loc[baseline["kind"] == TRIVIAL, "validation"]), guessed)
    return str(champion(replicates, config.cells, guessed)["arm"])


def chosen(request: Request, scratch: Path) -> Path:
    """The .keras file that is asked for, which reads texts; raises FairsweepError as `model_file`."""
    from pipeline.serving import reader

    if request.model is None:
        return model_file(compose([] if request.study is None else [f"study={request.study}"]), request.run, scratch)
    if request.study is not None or request.run is not None:
        raise FairsweepError("model: the file says itself which study and run it is of; leave study and run out.")
    path = Path(request.model).expanduser()
    check_reads(reader.read(path))
    return path


def model_file(config: Config, run: str | None, scratch: Path) -> Path:
    """The .keras file of the model `run` (see the command's help); one from the state is put into `scratch`.

    Raises:
        FairsweepError: the study has no model that reads texts, or not that one; with the command that makes it.
    """
    from pipeline.serving import reader
    from pipeline.verifying.names import known, parse
    from pipeline.verifying.recorded import table

    if not config.search.trials:
        raise FairsweepError(
            f"study {config.name} searches nothing, so it has no champion and keeps no model. Choose another study."
        )
    arm = run.split("/")[0] if run else champion_arm(config)
    asked = parse(run, config) if run and "/" in run else None
    known(arm, "cell", arm, config.cells, config)
    champion = Path("runs") / config.name / "replicate" / arm / "champion.keras"
    if not champion.is_file():
        table(config, arm, "tuned")
        raise FairsweepError(f"{champion} is missing. Write it again: dvc checkout, or dvc repro -f -s replicate@{arm}")
    own = reader.read(champion)
    check_reads(own)
    if asked is None or str(asked) == own.run:
        return champion
    return replicate_file(config, asked, scratch)


def check_reads(reader: "Reader") -> None:
    """Raise FairsweepError unless the model reads texts."""
    if reader.words is None:
        raise FairsweepError(
            f"study {reader.study} learns from numbers, and predict takes texts. Its model is registered with MLflow as one of Keras: "
            f"models:/fairsweep-{reader.study}@champion"
        )
    if not reader.words:
        raise FairsweepError(
            f"study {reader.study}: its source gives numbers in place of words, and which word is which it does not say. "
            "Run a study of the reviews themselves: task=imdb."
        )


def replicate_file(config: Config, asked: "RunName", scratch: Path) -> Path:
    """The model of a replicate that is no champion, from `.fairsweep/state`, which keeps those of the best configuration.

    Raises:
        FairsweepError: it is not kept; with the command that trains it again.
    """
    from pipeline.search.champion import reproducible
    from pipeline.serving.carried import members, reader
    from pipeline.training.work import load_data
    from pipeline.verifying import recorded, replay

    again = (
        f"To train it again: python -m pipeline.verify study={config.name} run={asked} out=model.keras\n"
        "To predict with it then: model=model.keras"
    )
    instead = f"To predict with the champion of its cell: run={asked.arm}"
    was = recorded.read(config, asked)
    if was.row["state"] == "failed":
        raise FairsweepError(f"run={asked}: failed ({was.row['reason']}), so there is no model. {instead}")
    if asked.kind != "tuned":
        what = "a trial" if asked.kind == "trial" else "a recipe's run"
        raise FairsweepError(f"run={asked}: {what} keeps no model. {again}\n{instead}")
    job, arrays = replay.job_of(asked, was), Path("data") / config.name / "arrays"
    data = load_data(job.config)
    model = replay.kept_model(job, was, data.digest)
    if model is None:
        raise FairsweepError(f"run={asked}: its model is no longer in .fairsweep/state. {again}\n{instead}")
    file = scratch / "model.keras"
    file.write_bytes(reproducible(model, members(reader(job.config, data, arrays, str(asked)))))
    return file


def label(path: Path, asked: Sequence[str], explain: bool) -> tuple[list["Prediction"], list["Moved"]]:
    """What the model in `path` says of each text, and, to explain it, what each of the text's words adds."""
    from pipeline.serving.reader import TextModel, read
    from pipeline.training import backend

    backend.use(read(path).backend)
    with backend.quiet():
        model = TextModel(path)
        told = model.predict(asked)
        if not explain:
            return told, []
        from pipeline.serving.occlusion import occlusion

        return told, [occlusion(model, text, one) for text, one in zip(asked, told, strict=True)]


def moved(words: "Moved") -> list[str]:
    """`great +0.2134`: the words that change the probability most."""
    return [f"{word} {change:+.4f}" for word, change in words[:MOST_WORDS] if abs(change) >= LEAST_CHANGE]


def as_csv(asked: Sequence[str], told: Sequence["Prediction"], words: Sequence["Moved"]) -> str:
    """A header, and a row a text."""
    made = io.StringIO()
    rows = csv.writer(made, lineterminator="\n")
    rows.writerow(["label", "probability", "read", "known", *(["words"] if words else []), "text"])
    for number, (text, one) in enumerate(zip(asked, told, strict=True)):
        own = ["; ".join(moved(words[number]))] if words else []
        rows.writerow([one.label, f"{one.probability:.6f}", one.read, one.known, *own, text])
    return made.getvalue()


def as_table(asked: Sequence[str], told: Sequence["Prediction"], words: Sequence["Moved"], width: int) -> str:
    """Aligned columns, as much of each text as `width` has room for, and below it the words that moved it."""
    from rich.cells import cell_len, set_cell_size

    rows = [(one.label, f"{one.probability:.4f}", str(one.read), str(one.known)) for one in told]
    header = ("label", "probability", "read", "known")
    wide = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    left = sum(wide) + 2 * len(wide)
    room = max(width - left, 20)
    made = ["  ".join([*(set_cell_size(cell, size) for cell, size in zip(header, wide, strict=True)), "text"])]
    for number, (text, row) in enumerate(zip(asked, rows, strict=True)):
        cells = [set_cell_size(row[0], wide[0]), *(cell.rjust(size) for cell, size in zip(row[1:], wide[1:], strict=True))]
        # Nothing in a text may move the cursor.
        shown = " ".join("".join(one if one.isprintable() else " " for one in text[: 8 * room]).split())
        made.append(
            "  ".join([*cells, set_cell_size(shown, room - 1).rstrip() + "…" if cell_len(shown) > room else shown]).rstrip()
        )
        if words:
            made.append("  " + ("   ".join(moved(words[number])) or "no word changes it by itself"))
    return "\n".join(made) + "\n"


def note(reader: "Reader", told: Sequence["Prediction"]) -> str:
    """Which model speaks, and what weakens what it says."""
    words = [f"{reader.run} of study {reader.study}, which reads the last {reader.lengths[-1]:,} words of a text"]
    if blind := sum(one.known == 0 for one in told):
        words.append(f"{blind:,} of {len(told):,} texts hold no word that it knows: what it says of them tells nothing")
    return "; ".join(words)


@command(schema=Request)
def main(request: Request) -> None:
    """The command `predict`."""
    from pipeline.serving.reader import read

    if request.study is not None:
        check_group("study", request.study)
    asked = texts(request)
    with tempfile.TemporaryDirectory() as scratch:
        path = chosen(request, Path(scratch))
        told, words = label(path, asked, request.explain)
        print(note(read(path), told), file=sys.stderr)
    write(as_table(asked, told, words, shutil.get_terminal_size().columns) if sys.stdout.isatty() else as_csv(asked, told, words))


def write(text: str) -> None:
    """To standard output, in UTF-8 whatever the terminal's language; a reader that has gone, such as `head`, is no error."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Python flushes once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
