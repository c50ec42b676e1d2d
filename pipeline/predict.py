"""Labels texts with a trained model of a study: the label, its probability, and the words that
decide.

  python -m pipeline.predict text="A great film, really."
  python -m pipeline.predict file=reviews.txt explain=true
  zcat reviews.gz | python -m pipeline.predict study=imdb run=lstm > labels.csv

text       one text
file       a file of texts in UTF-8, one per line; without text and file, standard input is read
study      a file of conf/study/ that has been run; null: the study in conf/config.yaml
run        the model: ARM is the cell's champion, ARM/tuned/NUMBER another replicate (in repeated
           searches ARM/REPEAT/tuned/NUMBER); null: the champion of the cell whose replicates are
           best on validation
model      a .keras file of such a model elsewhere, such as one that `verify` wrote (out=), in place
           of study and run
explain    true: hide each word in turn, and print those that change the probability most

Prints a table on a terminal, otherwise CSV, with one row per text: the label and its probability,
    the
number of words read (the last ones of a long text), the number of those in the vocabulary, the
text.
"""

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

from .config.cli import command
from .config.compose import check_group, compose
from .config.schema import Config, limited
from .errors import FairsweepError

if TYPE_CHECKING:
    from .serving.occlusion import Effects
    from .serving.reader import Prediction, Reader
    from .verify import RunName

# Words printed per text.
MOST_WORDS = 8
# A smaller change is printed as zero.
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
    """The texts to label, all read before a model is loaded.

    Raises:
        FairsweepError: there are no texts or two sources of them, the file cannot be read, or it is
            not text in UTF-8.
    """
    if request.text is not None and request.file is not None:
        raise FairsweepError("text and file: give one of them.")
    if request.text is not None:
        try:
            request.text.encode()
        except UnicodeEncodeError as error:
            raise FairsweepError(
                "text: holds bytes that are not UTF-8. Write it to a file in UTF-8, and set "
                "file=FILE."
            ) from error
        if not request.text.strip():
            raise FairsweepError('text: is empty. Give words, such as text="A great film."')
        return [request.text]
    if request.file is not None:
        path = Path(request.file).expanduser()
        try:
            return lines(path.read_bytes(), f"file={request.file}")
        except OSError as error:
            raise FairsweepError(
                f"file={request.file}: cannot be read ({error.strerror}). Give a file with one "
                "text per line."
            ) from error
    if sys.stdin is None or sys.stdin.isatty():
        raise FairsweepError(
            'nothing to label: give text="…" or file=reviews.txt, or pipe texts in, one per line.'
        )
    return lines(sys.stdin.buffer.read(), "standard input")


def lines(content: bytes, origin: str) -> list[str]:
    """The lines of `content`, one text each. Errors call it `origin`.

    Raises:
        FairsweepError: it is empty, not UTF-8, or holds a NUL byte; with the line number.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", content[: error.start])) + 1
        raise FairsweepError(
            f"{origin}, line {line}: not UTF-8 ({error.reason}). Save it as text in UTF-8."
        ) from error
    if not text.strip():
        raise FairsweepError(f"{origin}: is empty. Expected texts, one per line.")
    # `splitlines` would also split at rare characters inside a text.
    texts = re.split(r"\r\n|\r|\n", text)
    for number, each in enumerate(texts, 1):
        if "\0" in each:
            raise FairsweepError(
                f"{origin}, line {number}: a NUL byte, which no text has. Is it a text file, and "
                "in UTF-8?"
            )
    return texts if texts[-1] else texts[:-1]


def champion_arm(config: Config) -> str:
    """The arm of the study's champion: the best mean validation of its replicates, without the
    test.
    """
    import pandas as pd

    from .scoring.results import GUESSED_VALIDATION, TRIVIAL, champion
    from .verify import table

    # A table may hold the runs of one arm or of all.
    tables = {arm: pd.read_csv(table(config, arm, "tuned")) for arm in config.cells}
    parts = [rows[rows["arm"] == arm] for arm, rows in tables.items()]
    replicates = pd.concat(parts, ignore_index=True)
    guessed = GUESSED_VALIDATION
    path = Path("runs") / config.name / "baseline" / "baseline.csv"
    if path.is_file():
        baseline = pd.read_csv(path)
        guessed = next(iter(baseline.loc[baseline["kind"] == TRIVIAL, "validation"]), guessed)
    return str(champion(replicates, config.cells, guessed)["arm"])


def chosen(request: Request, scratch: Path) -> Path:
    """The .keras file of the request, which reads texts. Raises FairsweepError as `model_file`."""
    from .serving import reader

    if request.model is None:
        config = compose([] if request.study is None else [f"study={request.study}"])
        return model_file(config, request.run, scratch)
    if request.study is not None or request.run is not None:
        raise FairsweepError(
            "model: the file names its study and run itself. Leave out study and run."
        )
    path = Path(request.model).expanduser()
    check_reads(reader.read(path))
    return path


def model_file(config: Config, run: str | None, scratch: Path) -> Path:
    """The .keras file of the model `run` (see the help). A model of the state is written to
    `scratch`.

    Raises:
        FairsweepError: the study has no such model, or it reads no texts; with the command to run.
    """
    from .serving import reader
    from .verify import known, parse, table

    if not config.search.trials:
        raise FairsweepError(
            f"study {config.name} searches nothing, so it has no champion and keeps no model. "
            "Choose another study."
        )
    arm = run.split("/")[0] if run else champion_arm(config)
    name = parse(run, config) if run and "/" in run else None
    known(arm, "cell", arm, config.cells, config)
    champion = Path("runs") / config.name / "replicate" / arm / "champion.keras"
    if not champion.is_file():
        table(config, arm, "tuned")
        raise FairsweepError(
            f"{champion} is missing. Write it again: dvc checkout, or dvc repro -f -s "
            f"replicate@{arm}"
        )
    stored = reader.read(champion)
    check_reads(stored)
    if name is None or str(name) == stored.run:
        return champion
    return replicate_file(config, name, scratch)


def check_reads(reader: "Reader") -> None:
    """Raise FairsweepError unless the model reads texts."""
    if reader.words is None:
        raise FairsweepError(
            f"study {reader.study} learns from numbers, and predict takes texts. Its model is "
            "registered with MLflow as one of Keras: "
            f"models:/fairsweep-{reader.study}@champion"
        )
    if not reader.words:
        raise FairsweepError(
            f"study {reader.study}: its source gives numbers in place of words, and which word is "
            "which it does not say. "
            "Run a study of the reviews themselves: task=imdb."
        )


def replicate_file(config: Config, name: "RunName", scratch: Path) -> Path:
    """Write the model of a replicate that is not the champion from `.fairsweep/state` to `scratch`.

    Raises:
        FairsweepError: the model is not stored; with the command that trains it again.
    """
    from . import verify
    from .serving.carried import members, reader
    from .serving.keras_archive import reproducible
    from .training.worker import load_data

    again = (
        f"To train it again: python -m pipeline.verify study={config.name} run={name} "
        "out=model.keras\n"
        "To predict with it then: model=model.keras"
    )
    instead = f"To predict with the champion of its cell: run={name.arm}"
    was = verify.read(config, name)
    if was.values["state"] == "failed":
        raise FairsweepError(
            f"run={name}: failed ({was.values['reason']}), so there is no model. {instead}"
        )
    if name.kind != "tuned":
        what = "a trial" if name.kind == "trial" else "a recipe's run"
        raise FairsweepError(f"run={name}: {what} keeps no model. {again}\n{instead}")
    job, arrays = verify.job_of(name, was), Path("data") / config.name / "arrays"
    data = load_data(job.config)
    model = verify.kept_model(job, was, data.digest)
    if model is None:
        raise FairsweepError(
            f"run={name}: its model is no longer in .fairsweep/state. {again}\n{instead}"
        )
    file = scratch / "model.keras"
    file.write_bytes(reproducible(model, members(reader(job.config, data, arrays, str(name)))))
    return file


def label(
    path: Path, texts: Sequence[str], explain: bool
) -> tuple[list["Prediction"], list["Effects"]]:
    """The predictions of the model in `path`, and the effects of words if `explain`."""
    from .serving.reader import TextModel, read
    from .training import backend

    backend.use(read(path).backend)
    with backend.quiet():
        model = TextModel(path)
        predictions = model.predict(texts)
        if not explain:
            return predictions, []
        from .serving.occlusion import occlusion

        pairs = zip(texts, predictions, strict=True)
        return predictions, [occlusion(model, text, prediction) for text, prediction in pairs]


def formatted(words: "Effects") -> list[str]:
    """The words that change the probability most, as `great +0.2134`."""
    return [
        f"{word} {change:+.4f}"
        for word, change in words[:MOST_WORDS]
        if abs(change) >= LEAST_CHANGE
    ]


def as_csv(
    texts: Sequence[str], predictions: Sequence["Prediction"], words: Sequence["Effects"]
) -> str:
    """A header and one row per text."""
    output = io.StringIO()
    rows = csv.writer(output, lineterminator="\n")
    rows.writerow(["label", "probability", "read", "known", *(["words"] if words else []), "text"])
    for number, (text, item) in enumerate(zip(texts, predictions, strict=True)):
        column = ["; ".join(formatted(words[number]))] if words else []
        rows.writerow([item.label, f"{item.probability:.6f}", item.read, item.known, *column, text])
    return output.getvalue()


def as_table(
    texts: Sequence[str],
    predictions: Sequence["Prediction"],
    words: Sequence["Effects"],
    width: int,
) -> str:
    """Aligned columns, the start of each text in the rest of `width`, and below it the words with
    an effect.
    """
    from rich.cells import cell_len, set_cell_size

    table = [("label", "probability", "read", "known")]
    table += [
        (each.label, f"{each.probability:.4f}", str(each.read), str(each.known))
        for each in predictions
    ]
    sizes = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    room = max(width - sum(sizes) - 2 * len(sizes), 20)
    header = [set_cell_size(cell, size) for cell, size in zip(table[0], sizes, strict=True)]
    output = ["  ".join([*header, "text"])]
    for number, (text, row) in enumerate(zip(texts, table[1:], strict=True)):
        numbers = (cell.rjust(size) for cell, size in zip(row[1:], sizes[1:], strict=True))
        # A text must not move the cursor.
        printable = "".join(each if each.isprintable() else " " for each in text[: 8 * room])
        start = " ".join(printable.split())
        if cell_len(start) > room:
            start = set_cell_size(start, room - 1).rstrip() + "…"
        output.append("  ".join([set_cell_size(row[0], sizes[0]), *numbers, start]).rstrip())
        if words:
            output.append(
                "  " + ("   ".join(formatted(words[number])) or "no word changes it by itself")
            )
    return "\n".join(output) + "\n"


def note(reader: "Reader", predictions: Sequence["Prediction"]) -> str:
    """The name of the model, and a warning about texts without a known word."""
    length = reader.lengths[-1]
    words = f"{reader.run} of study {reader.study}, which reads the last {length:,} words of a text"
    if blind := sum(each.known == 0 for each in predictions):
        words += f"; {blind:,} of {len(predictions):,} texts hold no word that it knows, "
        words += "so their labels mean nothing"
    return words


@command(schema=Request)
def main(request: Request) -> None:
    """The command `predict`."""
    from .serving.reader import read

    if request.study is not None:
        check_group("study", request.study)
    inputs = texts(request)
    with tempfile.TemporaryDirectory() as scratch:
        path = chosen(request, Path(scratch))
        predictions, words = label(path, inputs, request.explain)
        print(note(read(path), predictions), file=sys.stderr)
    if sys.stdout.isatty():
        output = as_table(inputs, predictions, words, shutil.get_terminal_size().columns)
    else:
        output = as_csv(inputs, predictions, words)
    try:
        # UTF-8 whatever the locale.
        sys.stdout.flush()
        sys.stdout.buffer.write(output.encode())
        sys.stdout.buffer.flush()
    # A reader that has ended, such as `head`, is no error. Python flushes again at exit.
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
