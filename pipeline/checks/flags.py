"""Flags: what a check found, how it is printed, and the table that stores it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config.schema import Config
from ..errors import FairsweepError
from ..search.tables import write_csv

TABLE = "flags.csv"
COLUMNS = ("arm", "check", "message", "remedy")


@dataclass(frozen=True)
class Flag:
    """A fault.

    Attributes:
        check: name of the check, as in docs/checks.md.
        message: the fault, as a sentence without its full stop.
        remedy: what to do, likewise.
        stops: whether a study with this fault cannot answer its question.
    """

    check: str
    message: str
    remedy: str
    stops: bool = False

    @property
    def text(self) -> str:
        """Message and remedy."""
        return f"{self.message}. {self.remedy}."


def warn(config: Config, stage: str, flags: Iterable[Flag]) -> None:
    """Print one line per flag."""
    for flag in flags:
        print(f"{stage} {config.cell.arm}: warning, {flag.check}: {flag.text}", flush=True)


def report(config: Config, stage: str, flags: Sequence[Flag]) -> None:
    """Print each flag that does not stop the study.

    Raises:
        FairsweepError: a flag stops the study, and `search.checks` is not `warn`.
    """
    stopping = [flag for flag in flags if flag.stops and config.search.checks == "stop"]
    warn(config, stage, (flag for flag in flags if flag not in stopping))
    if stopping:
        faults = "\n".join(f"{flag.check}: {flag.text}" for flag in stopping)
        raise FairsweepError(
            f"{faults}\nNothing was trained. To train all the same, set search.checks=warn; the "
            "report then states the fault."
        )


def write(folder: Path, config: Config, flags: Iterable[Flag]) -> None:
    """Write the table of an arm's flags into `folder`; without flags only its header."""
    ordered = sorted(flags, key=lambda flag: (flag.check, flag.message))
    rows = ([config.cell.arm, flag.check, flag.message, flag.remedy] for flag in ordered)
    write_csv(folder / TABLE, COLUMNS, rows)
