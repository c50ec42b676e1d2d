"""Recomputes every figure of a study's report from the raw tables and lists each that differs.

  python -m pipeline.audit study=imdb

study   a study of conf/study/ with results/STUDY/scores and results/STUDY/report

If runs/STUDY and the sealed labels are present, the scores are recomputed too. The command writes
to a temporary folder only. Numbers with a decimal point may differ by one part in a million.
Exit status 0: all numbers are equal. 1: the list of those that differ, or an error."""

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from omegaconf import MISSING

from .config.cli import command
from .config.compose import arm_spaces, check_group, compose, printed_numbers
from .config.schema import Config, Printed, limited
from .errors import FairsweepError

NUMBER = re.compile(r"([-−+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)")
TOLERANCE = 1e-6
SHOWN, WIDTH = 12, 60  # differences printed per file, characters printed per text


@dataclass
class Audit:
    """The keys of this command."""

    study: str = limited(MISSING, example="study=imdb")


class Difference(NamedTuple):
    """A place in a file such as `line 5, "mean":`, the text there, and the recomputed text."""

    file: Path
    place: str
    written: str
    recomputed: str

    def __str__(self) -> str:
        old, new = (text[:WIDTH] or "nothing" for text in (self.written, self.recomputed))
        return f"  {self.place}: {old} written, {new} recomputed"


def audit(config: Config, printed: Printed | None = None) -> tuple[list[Difference], list[str]]:
    """The differences between results/STUDY and its recomputation, and what was compared.

    `printed` is from `printed_numbers`. Raises FairsweepError if scores or report are missing.
    """
    from .rendering.build import make
    from .scoring import duplicates, join, results, score, validate
    from .training.protocol import PROTOCOL

    folder, report = (Path("results") / config.name / part for part in ("scores", "report"))
    tables = results.load(folder)
    if not report.is_dir():
        raise FairsweepError(f"{report} is missing. Run `dvc repro report`.")
    found = []
    try:
        validate.check(tables, join.describe(config, tables.study["data"], PROTOCOL, printed))
    except FairsweepError as error:
        found.append(Difference(folder, str(error), "these scores", "none"))
    with TemporaryDirectory(prefix="fairsweep-audit-") as temporary:
        scores_again, report_again = Path(temporary, "scores"), Path(temporary, "report")
        try:
            copies = duplicates.count_duplicates if "copies" in tables.study else None
            scores_again.mkdir()
            join.write(scores_again, *score.score(config, printed, copies))
            found += compare_folders(folder, scores_again)
            compared = f"recomputed from runs/{config.name} and the sealed labels"
        except FairsweepError as error:
            compared = f"not recomputed: {error}"
        report_again.mkdir()
        make(tables, report / "looks.csv", report_again)
        found += compare_folders(report, report_again)
    return found, [f"{folder}: {compared}", f"{report}: recomputed from {folder}"]


def compare_folders(folder: Path, again: Path) -> Iterator[Difference]:
    """The differences between the files of two folders, named as files of the first."""
    roots = (folder, again)
    paths = [(root, path) for root in roots for path in root.rglob("*") if path.is_file()]
    for name in sorted({path.relative_to(root) for root, path in paths}):
        if missing := [root for root in roots if not (root / name).is_file()]:
            states = ("no file" if root in missing else "a file" for root in roots)
            yield Difference(folder / name, "the file", *states)
        else:
            yield from compare_texts(folder / name, *(text_of(root / name) for root in roots))


def text_of(path: Path) -> str:
    """The text of a file; one line per row of the arrays of an .npz file."""
    if path.suffix != ".npz":
        return path.read_text("utf-8")
    with np.load(path, allow_pickle=False) as arrays:
        tables = {name: np.atleast_1d(arrays[name]) for name in arrays.files}
    rows = ((name, place, row) for name in tables for place, row in enumerate(tables[name]))
    return "\n".join(f"{name}[{place}]: {row.tolist()}" for name, place, row in rows)


def compare_texts(file: Path, written: str, again: str) -> Iterator[Difference]:
    """The differences between two texts: each number and, in each line, the first other text."""
    lines = zip_longest(written.splitlines(), again.splitlines(), fillvalue="")
    for line, (old_line, new_line) in enumerate(lines, 1):
        if old_line == new_line:
            continue
        before, parts = "", (NUMBER.split(old_line), NUMBER.split(new_line))
        for place, (old, new) in enumerate(zip_longest(*parts, fillvalue="")):
            if not same(old, new):
                name = " ".join(re.sub(r"<[^>]*>", " ", before)[-WIDTH:].split())
                yield Difference(file, f"line {line}, {name}", old, new)
                # Numbers are the odd parts. After other text they no longer correspond.
                if place % 2 == 0:
                    break
            before += old


def same(old: str, new: str) -> bool:
    """Whether two texts are equal, or numbers with a decimal point that differ by rounding."""
    if old == new or "." not in old + new or not (NUMBER.fullmatch(old) and NUMBER.fullmatch(new)):
        return old == new
    return math.isclose(*(float(x.replace("−", "-")) for x in (old, new)), rel_tol=TOLERANCE)


@command(schema=Audit)
def main(options: Audit) -> None:
    """The command `audit`."""
    check_group("study", options.study)
    overrides = [f"study={options.study}"]
    config = compose(overrides)
    config.arm_spaces = arm_spaces(config.cells)
    found, compared = audit(config, printed_numbers(config, overrides))
    print(*compared, sep="\n")
    for file, group in groupby(found, key=lambda difference: difference.file):
        differences = list(group)
        print(f"{file} ({len(differences)}):", *differences[:SHOWN], sep="\n")
    print("all numbers are equal" if not found else f"{len(found)} differences in all")
    if found:
        sys.exit(1)


if __name__ == "__main__":
    main()
