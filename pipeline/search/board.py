"""A study at one moment as a table for a terminal: as many columns as fit, readable without colour and in a pipe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.data.form import Form
from pipeline.search.progress import duration
from pipeline.search.survey import Arm, View

GAP = 2
BAR = 14
NONE = "-"
# Of the runs that failed, so many are told.
FAILED = 3


@dataclass(frozen=True)
class Column:
    """A column and how it stands: numbers to the right; the one of the lowest `rank` is the last to go where space is short."""

    title: str
    cells: Sequence[str]
    rank: int
    right: bool = True

    @property
    def width(self) -> int:
        return max(len(text) for text in (self.title, *self.cells))


@dataclass(frozen=True)
class Board:
    """A study for a rich console; `form` words the scores."""

    view: View
    form: Form

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(headline(self.view), style="bold")
        yield self.table(options.max_width, live=console.is_terminal)
        for line in notes(self.view):
            yield Text(line)

    def table(self, width: int, live: bool) -> RenderableType:
        """The columns that fit into `width`, with a bar for each arm where it is `live` and there is space."""
        every = columns(self.view, self.form)
        kept = fitting(every, width)
        bars = live and len(kept) == len(every) and taken(kept) + GAP + BAR <= width
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_edge=False)
        for column in kept:
            table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True, header_style="dim")
        if bars:
            table.add_column(width=BAR)
        for row, arm in enumerate(self.view.arms):
            cells: list[RenderableType] = [Text(column.cells[row]) for column in kept]
            if bars:
                total = arm.trials + arm.replicates
                cells.append(ProgressBar(total=max(1, total), completed=total - arm.missing, width=BAR))
            table.add_row(*cells, style="bold" if arm.at_work else "")
        return table


def columns(view: View, form: Form) -> list[Column]:
    """Every column there is to show, from left to right."""
    arms = view.arms
    every = [
        Column("", [">" if arm.at_work else "" for arm in arms], 0, right=False),
        Column("arm", [arm.name for arm in arms], 1, right=False),
        Column("trials", [f"{len(arm.tuned)} of {arm.trials}" for arm in arms], 2),
        Column("best", [NONE if arm.best is None else form.told(arm.best) for arm in arms], 3),
        Column("replicates", [f"{len(arm.replicated)} of {arm.replicates}" for arm in arms], 5),
        Column("epochs/hour", [NONE if arm.pace is None else f"{arm.pace:,.0f}" for arm in arms], 6),
        Column("took", [duration(arm.busy) if arm.busy else NONE for arm in arms], 7),
        Column("left", [left(view, arm) for arm in arms], 4),
    ]
    searched = any(arm.trials for arm in arms)
    return [column for column in every if searched or column.title != "trials"]


def fitting(every: Sequence[Column], width: int) -> list[Column]:
    """As many of the columns as fit into `width`, the most wanted ones; always those that name an arm and its trials."""
    kept = list(every)
    while taken(kept) > width and len(kept) > 3:
        kept.remove(max(kept, key=lambda column: column.rank))
    return kept


def taken(kept: Sequence[Column]) -> int:
    """How wide a table of these columns is."""
    return sum(column.width + GAP for column in kept)


def left(view: View, arm: Arm) -> str:
    """The time an arm still takes."""
    seconds = view.left(arm)
    if seconds is None:
        return NONE
    return duration(seconds) if arm.missing else "done"


def headline(view: View) -> str:
    """What happens now, and how long it all takes still."""
    working, seconds = view.at_work, view.whole
    ending = "" if seconds is None else f", about {duration(seconds)} of training left"
    if working is None:
        if seconds == 0:
            return f"{view.study}: every run is done"
        begun = any(arm.done for arm in view.arms)
        return f"{view.study}: {'nothing is being trained now' if begun else 'nothing has been trained yet'}{ending}"
    doing = f"{view.study}: {working.stage} {working.arm}"
    if working.workers is None:
        return f"{doing}, starting workers"
    return f"{doing} on {working.workers} worker{'' if working.workers == 1 else 's'}{ending}"


def notes(view: View) -> Iterator[str]:
    """What stands below the table: what is being trained, what failed, where more is to be seen."""
    for arm in view.arms:
        if arm.at_work and arm.at_work.running:
            running = [f"{run.name} ({duration(max(0.0, view.now - run.started))})" for run in arm.at_work.running]
            yield f"{arm.name} now: {', '.join(running)}"
    failed = [(arm, run) for arm in view.arms for run in arm.failed]
    for arm, run in failed[:FAILED]:
        yield f"failed: {arm.name} {run.kind} {run.number}: {run.reason}"
    if len(failed) > FAILED:
        yield f"failed: {len(failed) - FAILED} more"
    if view.at_work and view.at_work.pages:
        yield f"Dask's pages: {view.at_work.pages}"
    if view.report:
        yield f"The report is there: {view.report}"
