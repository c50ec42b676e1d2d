"""Makes every number of a study's report and of the README again from the raw tables; names each that is written otherwise.

  python -m pipeline.audit study=imdb

study   a study of conf/study/ whose results/STUDY/scores and results/STUDY/report are here

Where runs/STUDY and the sealed labels are here too, the scores themselves are made again. Nothing is written.
Exit status 0: every number is what its tables give. 1: the list of those that are not, or an error."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from pipeline.config import Config, Printed, check_group, command, compose, printed_numbers
from pipeline.errors import FairsweepError
from pipeline.limits import limited
from pipeline.provenance import locked

if TYPE_CHECKING:
    from pipeline.auditing.edits import Edit
    from pipeline.reporting.tables import Results

# What is shown of one file; a table that was changed moves hundreds of numbers.
SHOWN = 12
PACKAGES = ("matplotlib", "numpy", "optuna", "pandas", "scikit-learn", "scipy")


@dataclass
class Audit:
    """The keys of this command."""

    study: str = limited(MISSING, example="study=imdb")


def audit(config: Config, printed: Printed | None = None) -> tuple[list["Edit | str"], list[str]]:
    """What is written in results/STUDY and README.md otherwise than its tables give it; and what was compared, a line each.

    `printed` is what `config.printed_numbers` says of the study's recipes.

    Raises:
        FairsweepError: if the scores or the report are not there.
    """
    from pipeline.auditing import folders
    from pipeline.reporting.tables import load
    from pipeline.reporting.whole import make

    scores = Path("results") / config.name / "scores"
    report, results = scores.with_name("report"), load(scores)
    if not report.is_dir():
        raise FairsweepError(f"{report} is missing. Expected the report to compare. Run `dvc repro report`.")
    with TemporaryDirectory(prefix="fairsweep-audit-") as temporary:
        found, of_scores = _scores(config, results, Path(temporary, "scores"), printed)
        again = Path(temporary, "report")
        again.mkdir()
        metrics = make(results, report / "looks.csv", again)
        found += folders.compare(report, again)
    in_readme, of_readme = _readme(config.name, metrics, results)
    return found + in_readme, [f"{scores}: {of_scores}", f"{report}: made again from {scores}", *of_readme]


def _scores(config: Config, results: "Results", again: Path, printed: Printed | None) -> tuple[list["Edit | str"], str]:
    """What is wrong with results/STUDY/scores, and what it was held against: the runs where they are here, conf/, itself."""
    from pipeline.auditing import folders, tables
    from pipeline.reporting import gate, join
    from pipeline.reporting.copies import copies
    from pipeline.reporting.scoring import score
    from pipeline.training.protocol import PROTOCOL

    folder, runs = Path("results") / config.name / "scores", Path("runs") / config.name
    found: list[Edit | str] = []
    try:
        gate.check(results, join.describe(config, results.study["data"], PROTOCOL, printed))
    except FairsweepError as error:
        found.append(f"{folder}: {error}")
    held = "its tables with one another and with conf/"
    try:
        again.mkdir()
        copied = copies if "copies" in results.study else None
        join.write(again, *score(config, printed, copied))
        found += folders.compare(folder, again)
        held += f", and made again from {runs} and the sealed labels"
    except FairsweepError as error:
        held += f"; not made again from the runs: {error}"
    named = {(one.file, one.line) for one in found if not isinstance(one, str)}
    return found + [one for one in tables.check(folder, results) if (one.file, one.line) not in named], held


def _readme(study: str, metrics: dict[str, Any], results: "Results") -> tuple[list["Edit"], list[str]]:
    from pipeline.auditing import readme

    texts = {page: page.read_text("utf-8") for page in readme.PAGES if page.is_file()}
    marked = {page: text for page, text in texts.items() if "<!-- " in text}
    made = readme.blocks(study, metrics, results.study, Path("results")) if marked else {}
    found: list[Edit] = []
    held = []
    for page, text in marked.items():
        found += readme.check(text, made, page)
        if there := [name for name in made if readme.block(text, name)]:
            held.append(f"{page}: {', '.join(there)}")
    return found, held


def told(found: Sequence["Edit | str"]) -> list[str]:
    """The findings, a line each: of each file the first ones, and how many more there are."""
    lines, counts = [], Counter(one if isinstance(one, str) else one.file for one in found)
    shown: Counter[str] = Counter()
    for one in found:
        file = one if isinstance(one, str) else one.file
        shown[file] += 1
        if shown[file] <= SHOWN:
            lines.append(str(one))
        if shown[file] == counts[file] > SHOWN:
            lines.append(f"{file}: and {counts[file] - SHOWN} more")
    several = f"{len(found)} places are" if len(found) > 1 else "1 place is"
    return [*lines, f"{several} not what the tables give", *_versions()]


def _versions() -> list[str]:
    """A word on packages of other versions than those that the committed numbers were made with: their last digits may differ."""
    pinned = locked()
    odd = [
        f"{name} {version(name)} (locked: {pinned[name]})"
        for name in PACKAGES
        if name in pinned and version(name) != pinned[name]
    ]
    return [f"versions differ from requirements.lock, which may move last digits and figures: {', '.join(odd)}"] if odd else []


@command(schema=Audit)
def main(options: Audit) -> None:
    """The command `audit`."""
    check_group("study", options.study)
    overrides = [f"study={options.study}"]
    config = compose(overrides)
    found, done = audit(config, printed_numbers(config, overrides))
    print("\n".join(done))
    if found:
        print("\n".join(told(found)))
        sys.exit(1)
    print("every number is what the tables give")


if __name__ == "__main__":
    main()
