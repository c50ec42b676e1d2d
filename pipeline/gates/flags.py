"""What a gate saw, how it is told, and the table it is kept in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import FairsweepError
from pipeline.search.tables import write_csv

TABLE = "flags.csv"
COLUMNS = ("arm", "gate", "told", "remedy")


@dataclass(frozen=True)
class Flag:
    """One fault.

    Attributes:
        gate: its name, as in docs/gates.md.
        told: what was seen, a sentence without its full stop.
        remedy: what to do, another.
        stops: whether no study with it can answer its question, so that nothing should be trained.
    """

    gate: str
    told: str
    remedy: str
    stops: bool = False

    @property
    def text(self) -> str:
        """Both sentences."""
        return f"{self.told}. {self.remedy}."


def warn(config: Config, stage: str, flags: Iterable[Flag]) -> None:
    """Print each flag, a line."""
    for flag in flags:
        print(f"{stage} {config.cell.arm}: warning, {flag.gate}: {flag.text}", flush=True)


def tell(config: Config, stage: str, flags: Sequence[Flag]) -> None:
    """Print each flag but those that stop a study.

    Raises:
        FairsweepError: of these, unless `search.gates` says to go on.
    """
    grave = [flag for flag in flags if flag.stops and config.search.gates == "stop"]
    warn(config, stage, (flag for flag in flags if flag not in grave))
    if grave:
        told = "\n".join(f"{flag.gate}: {flag.text}" for flag in grave)
        raise FairsweepError(f"{told}\nNothing was trained. search.gates=warn goes on all the same, and the report says so.")


def write(folder: Path, config: Config, flags: Iterable[Flag]) -> None:
    """The table of an arm's flags, into `folder`: a header alone where there is none."""
    ordered = sorted(flags, key=lambda flag: (flag.gate, flag.told))
    write_csv(folder / TABLE, COLUMNS, ([config.cell.arm, flag.gate, flag.told, flag.remedy] for flag in ordered))
