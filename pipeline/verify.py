"""Trains a recorded run again and reports whether the result is bit-identical.

  python -m pipeline.verify study=imdb run=lstm/trial/17
  python -m pipeline.verify study=imdb run=lstm/tuned/3 out=model.keras

study   a study of conf/study/
run     ARM/KIND/NUMBER, where KIND is trial, tuned or the name of a recipe; for repeated searches
        ARM/REPEAT/KIND/NUMBER
out     the .keras file that receives the retrained model

Exit status 0: bit-identical. 1: different, or an error."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from omegaconf import MISSING

from .config.cli import command
from .config.compose import check_group, compose, with_overrides
from .config.schema import Config, limited
from .data.registry import prepared
from .errors import FairsweepError, nearest
from .files import reading, replace_file
from .search.run_store import STATE, Job, Record, State, now, settings
from .search.tables import EPOCH, RUN, number, run_row
from .serving import carried
from .serving.keras_archive import reproducible
from .training import backend
from .training.fit import Epoch
from .training.worker import load_data, train

TRIAL = "trial"
LOGITS = ("validation_logits", "test_logits")
RESTORE = "Restore it: dvc checkout."


@dataclass
class Verify:
    """The keys of this command."""

    study: str = limited(MISSING, example="study=imdb")
    run: str = limited(MISSING, example="run=lstm/trial/17")
    out: str | None = None


class RunName(NamedTuple):
    """One run of a study. `repeat` is the number of its search among repeated ones, else None."""

    arm: str
    kind: str
    number: int
    repeat: int | None = None

    def __str__(self) -> str:
        repeat = () if self.repeat is None else (self.repeat,)
        return "/".join(map(str, (self.arm, *repeat, self.kind, self.number)))


def parse(text: str, config: Config) -> RunName:
    """The run that `text` names.

    Raises:
        FairsweepError: if the study has no such arm or kind, or if a number is not an integer.
    """
    repeated = config.search.design == "repeated"
    syntax = "ARM/REPEAT/KIND/NUMBER" if repeated else "ARM/KIND/NUMBER"
    example = f"{config.cells[0]}/0/trial/3" if repeated else f"{config.cells[0]}/trial/3"
    expected = f"expected {syntax}, such as run={example}."
    parts = text.split("/")
    if len(parts) != (4 if repeated else 3):
        raise FairsweepError(f"run={text}: {expected}")
    arm, *repeat, kind, number = parts
    known(text, "cell", arm, config.cells, config)
    known(text, "kind of run", kind, [TRIAL, "tuned", *config.recipes], config)
    for word in (*repeat, number):
        if not (word.isascii() and word.isdigit()):
            raise FairsweepError(f"run={text}: {word!r} is not a number; {expected}")
    return RunName(arm, kind, int(number), int(repeat[0]) if repeated else None)


def known(text: str, what: str, word: str, words: Sequence[str], config: Config) -> None:
    """Raise FairsweepError, with the nearest name, unless `word` of the run name is in `words`."""
    if word not in words:
        problem = f"study {config.name} has no {what} {word!r}{nearest(word, words)}"
        raise FairsweepError(f"run={text}: {problem}. There are: {', '.join(words)}.")


@dataclass(frozen=True)
class Recorded:
    """The numbers of one run, as the tables write them.

    Attributes:
        where: the folder of the tables.
        values: {"epoch 2, loss": number, ...} in the order of the training, then the columns RUN.
        logits: {name: <float16 or float32>[rows, ...]} for each of LOGITS that the folder has;
            None for a failed run.
    """

    where: Path
    values: dict[str, str]
    logits: dict[str, NDArray[Any] | None]


def recorded(record: Record, where: Path) -> Recorded:
    """A finished run as the tables record it."""
    values = {
        f"epoch {place}, {column}": number(getattr(epoch, column))
        for place, epoch in enumerate(record.run.epochs, 1)
        for column in EPOCH[1:]
    }
    values |= zip(RUN, map(str, run_row(record)), strict=True)
    return Recorded(where, values, {name: getattr(record.run, name) for name in LOGITS})


def table(config: Config, arm: str, kind: str) -> Path:
    """The CSV table of the runs of one kind of an arm: in runs/STUDY, else results/STUDY/scores.

    Raises:
        FairsweepError: if neither folder has it.
    """
    stage, name = ("tune", "trials.csv") if kind == TRIAL else ("replicate", "replicates.csv")
    runs = Path("runs") / config.name / stage / arm / name
    scores = Path("results") / config.name / "scores" / name
    for path in filter(Path.is_file, (runs, scores)):
        return path
    if (copy := Path("build") / config.name).joinpath(runs).is_file():
        raise FairsweepError(f"{runs} is missing: the study ran in {copy}. Change to it: cd {copy}")
    raise FairsweepError(
        f"{runs} and {scores} are missing, so no run of {arm} is on record. Run the study "
        f"(make run STUDY={config.name}, or dvc repro {stage}@{arm}), or restore it: dvc checkout."
    )


def read(config: Config, name: RunName) -> Recorded:
    """The recorded run; results/STUDY/scores has no logits.

    Raises:
        FairsweepError: if the tables do not hold this run, or if a file is missing or damaged.
    """
    path = table(config, name.arm, name.kind)
    folder, column = path.parent, "trial" if name.kind == TRIAL else "replicate"
    joined = path.parts[0] == "results"
    runs = _rows(path, name)
    rows = runs[(runs["repeat"] == str(name.repeat or 0)) & (runs[column] == str(name.number))]
    if rows.empty:
        numbers, repeats = (runs[key].astype(int) for key in (column, "repeat"))
        there = "none" if runs.empty else f"{numbers.min()} to {numbers.max()}"
        there += f" in searches 0 to {repeats.max()}" if name.repeat is not None else ""
        kind = f"{name.arm}/{name.kind}"
        raise FairsweepError(f"run={name}: {path} has no such run. Its numbers of {kind}: {there}.")
    place, row = rows.index[0], rows.iloc[0]
    epochs = _rows(
        folder / f"{'replicate_' if joined and name.kind != TRIAL else ''}epochs.csv", name
    )
    epochs = epochs[(epochs["repeat"] == row["repeat"]) & (epochs[column] == row[column])]
    columns = {f"epoch {epoch['epoch']}, ": epoch for epoch in epochs.to_dict("records")}
    values = {f"{start}{key}": epoch[key] for start, epoch in columns.items() for key in EPOCH[1:]}
    logits = {}
    for which in () if joined else LOGITS:
        with reading(folder / f"{which}.npy", RESTORE) as file:
            array = np.load(file, allow_pickle=False)[place]
        logits[which] = None if row["state"] == "failed" else array
    return Recorded(folder, values | {key: row[key] for key in RUN}, logits)


def _rows(path: Path, name: RunName) -> pd.DataFrame:
    """The rows of an arm and kind as text, with their places in the table as index."""
    with reading(path, RESTORE):
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    return rows[(rows["arm"] == name.arm) & (rows.get("kind", name.kind) == name.kind)]


def differences(before: Recorded, after: Recorded) -> list[str]:
    """One sentence per difference, in the order of a training: epochs, row of the run, logits."""
    keys = [key for key in before.values | after.values if key != "overrides"]
    pairs = [(key, *(run.values.get(key) or "nothing" for run in (before, after))) for key in keys]
    sentences = [f"{key}: {old} recorded, {new} now" for key, old, new in pairs if old != new]
    for which, logits in before.logits.items():
        if difference := _difference(logits, after.logits[which]):
            sentences.append(f"{which.replace('_', ' ')}: {difference}")
    return sentences


def _difference(old: NDArray[Any] | None, new: NDArray[Any] | None) -> str:
    """The difference of two arrays in words, empty if all bits are equal."""
    # Validation splits differ in length by a few rows. The table pads the shorter ones with NaN.
    if old is not None and new is not None and np.isnan(old[len(new) :]).all():
        old = old[: len(new)]
    forms = [f"{a.dtype}{list(a.shape)}" if a is not None else "none" for a in (old, new)]
    if old is None or new is None or forms[0] != forms[1]:
        return "" if old is new else f"{forms[0]} recorded, {forms[1]} now"
    bits = np.dtype(f"u{new.dtype.itemsize}")
    rows = (old.view(bits) != new.view(bits)).reshape(len(new), -1).any(axis=1)
    gap = np.abs(old[rows].astype(np.float64) - new[rows].astype(np.float64)).max(initial=0)
    return f"{rows.sum():,} of {len(new):,} differ, by up to {gap:.3g}" if rows.any() else ""


def job_of(name: RunName, before: Recorded) -> Job:
    """The job that trains the recorded run again, on the backend of the record."""
    overrides = json.loads(before.values["overrides"])
    config = with_overrides(compose(overrides), [f"train.backend={before.values['backend']}"])
    return Job(name.kind, name.number, config, overrides, True, name.repeat or 0)


def states(job: Job) -> Iterator[tuple[State, dict[str, Any]]]:
    """Each state in .fairsweep/state that has finished `job`, latest first, with its settings."""
    for path in sorted(STATE.glob(f"*/{job.key}.npz"), key=lambda path: -path.stat().st_mtime):
        document = json.loads(path.with_name("settings.json").read_text("utf-8"))
        if (document["name"], document["cell"]["arm"]) == (job.config.name, job.config.cell.arm):
            yield State(path.parent), document


def kept_model(job: Job, before: Recorded, digest: str) -> bytes | None:
    """The .keras file of a run in .fairsweep/state, trained on arrays with `digest`; or None."""
    for state, document in states(job):
        record = state.read(job) if document["data"] == digest else None
        if record and not differences(before, recorded(record, state.folder)):
            return record.run.model
    return None


def known_changes(job: Job, where: Path, digest: str) -> list[str]:
    """The protocol, data, code and library versions that are known to differ from the record's."""
    after = settings(job.config, "tune" if job.kind == TRIAL else "replicate", digest)
    before = next((document for _, document in states(job)), after)
    if before is after and (path := where / "study.json").is_file():
        study = json.loads(path.read_text("utf-8"))
        before = after | {"protocol": study["protocol"], "data": study["data"]["digest"]}
    keys = ("protocol", "data", "code")
    old, new = ({key: state[key] for key in keys} | state["backend"] for state in (before, after))
    changed = [key for key in old if old[key] != new.get(key)]
    return [f"{key} ({old[key]!s:.12} recorded, {new.get(key)!s:.12} now)" for key in changed]


def verify(study: Config, run: str, out: Path | None = None) -> bool:
    """Train `run` again, print what differs, and return whether nothing does.

    The retrained model is written to `out`, if that is given.

    Raises:
        FairsweepError: before any training, if there is no such run or `out` is not a name for a
            model; after it, if the run failed and so has no model.
    """
    if out is not None and (out.suffix != ".keras" or out.is_dir()):
        raise FairsweepError(f"out={out}: must be a file that ends in .keras, such as model.keras.")
    name = parse(run, study)
    before = read(study, name)
    job, row, folder = job_of(name, before), before.values, prepared(study)
    data = load_data(job.config, folder)
    state = f"{row['state']} {row['reason']}".strip()
    print(f"{name} of {study.name}, recorded in {before.where}: {state}, ", end="")
    print(f"{row['epochs']} epochs on {row['backend']}", flush=True)

    def show(number: int, epoch: Epoch) -> bool:
        scores = f"loss {epoch.loss:.4f}, validation {data.spec.format(epoch.validation)}"
        print(f"epoch {number}/{job.config.train.epochs}: {scores}", flush=True)
        # A run that was pruned stops after the same epoch again.
        return row["state"] == "pruned" and str(number) == row["epochs"]

    # TensorFlow's messages about missing GPUs do not concern the user. Errors are still raised.
    with backend.quiet():
        trained = train(job.config, True, show, folder)
    different = differences(before, recorded(Record(job, trained, 1, "", now()), before.where))
    if different:
        rest = [sentence for sentence in different[1:] if "logits: " in sentence]
        print(f"different, first in {different[0]}", *rest, sep="\n")
        changes = ", ".join(known_changes(job, before.where, data.digest)) or "none"
        print(f"differences in all: {len(different)}; known changes since: {changes}")
    else:
        logits = "its logits" if before.logits else "no logits are recorded"
        print(f"bit-identical: {row['epochs']} epochs, its row, {logits}")
    if out is not None:
        if trained.model is None:
            raise FairsweepError(f"out={out}: the run failed ({trained.reason}) and has no model.")
        members = carried.members(carried.reader(job.config, data, folder, job.name))
        with replace_file(out) as part:
            part.write_bytes(reproducible(trained.model, members))
        print(f"{out}: the model{', which is not the recorded one' if different else ''}")
    return not different


@command(schema=Verify)
def main(options: Verify) -> None:
    """The command `verify`."""
    check_group("study", options.study)
    out = Path(options.out).expanduser() if options.out else None
    if not verify(compose([f"study={options.study}"]), options.run, out):
        sys.exit(1)


if __name__ == "__main__":
    main()
