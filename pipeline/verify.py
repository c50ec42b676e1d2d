"""Trains a recorded run again and says whether it comes out the same, to the bit.

  python -m pipeline.verify study=imdb run=lstm/trial/17
  python -m pipeline.verify study=imdb run=lstm/tuned/3 out=model.keras

study   a study of conf/study/
run     ARM/KIND/NUMBER, where KIND is trial, tuned or a recipe's name; in separate studies ARM/STUDY/KIND/NUMBER
out     where the model trained again goes, a .keras file

Exit status 0: the same. 1: not the same, or an error."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import MISSING

from pipeline.config import Config, check_group, command, compose
from pipeline.errors import FairsweepError
from pipeline.files import replace_file
from pipeline.limits import limited

if TYPE_CHECKING:
    from pipeline.data.form import Form
    from pipeline.training.fit import Epoch
    from pipeline.verifying.recorded import Recorded

NO_CAUSE = "no version, setting or code is known to differ; another kind of processor, or an edited table"


@dataclass
class Verify:
    """The keys of this command."""

    study: str = limited(MISSING, example="study=imdb")
    run: str | None = None
    out: str | None = None


def verify(study: Config, run: str, out: Path | None = None) -> bool:
    """Trains `run` again, prints what comes of it, and whether it is the same; `out` gets the model.

    Raises:
        FairsweepError: before anything is trained, if there is no such run, its data are others, or `out` is no name for a model.
    """
    from pipeline.search.champion import reproducible
    from pipeline.search.state import Record, now
    from pipeline.serving import carried
    from pipeline.training.work import load_data
    from pipeline.verifying import names, replay
    from pipeline.verifying.recorded import Recorded, differences, read

    if out is not None and (out.suffix != ".keras" or out.is_dir()):
        raise FairsweepError(f"out={out}: expected the name of a file that ends in .keras, such as out=model.keras.")
    name = names.parse(run, study)
    was = read(study, name)
    folder, digest = replay.arrays_of(study)
    job = replay.job_of(name, was)
    print(f"{name} of {study.name}, recorded in {was.where}: {was.told}", flush=True)
    again = replay.retrain(job, was, folder, show(job.config, load_data(job.config, folder).form))
    fresh = Recorded.of(was.where, Record(job, again, 1, "", now()))
    found = differences(was, fresh)
    print("\n".join(told(was, found, replay.causes(study, job, digest, was, fresh) if found else [])))
    if out is not None:
        if again.model is None:
            raise FairsweepError(f"out={out}: the run failed ({again.reason}), so there is no model to keep.")
        with replace_file(out) as part:
            reader = carried.reader(job.config, load_data(job.config, folder), folder, job.name)
            part.write_bytes(reproducible(again.model, carried.members(reader)))
        print(f"{out}: the model{', which is not the recorded one' if found else ''}")
    return not found


def show(config: Config, form: "Form") -> "Callable[[int, Epoch], None]":
    """What prints an epoch, as `train` does."""

    def line(number: int, epoch: "Epoch") -> None:
        scored = f"validation {form.told(epoch.validation)}"
        print(f"epoch {number}/{config.train.epochs}: loss {epoch.loss:.4f}, {scored}", flush=True)

    return line


def told(was: "Recorded", found: Sequence[str], causes: Sequence[str]) -> list[str]:
    """The answer, a line each."""
    if not found:
        return [f"bit-identical: {was.covers}"]
    logits = [one for one in found if "logits" in one]
    numbers = len(found) - len(logits)
    lines = [f"different, first in {found[0]}"]
    lines += [f"in all {numbers} numbers of its tables differ"] if numbers > 1 else []
    lines += [one for one in logits if one != found[0]]
    return [*lines, f"likely cause: {'; '.join(causes or [NO_CAUSE])}"]


@command(schema=Verify)
def main(options: Verify) -> None:
    """The command `verify`."""
    check_group("study", options.study)
    if options.run is None:
        raise FairsweepError("run is missing; give run=ARM/KIND/NUMBER, such as run=lstm/trial/17.")
    same = verify(compose([f"study={options.study}"]), options.run, Path(options.out).expanduser() if options.out else None)
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
