"""The checks of the stage `tune`, in the order in which it calls them."""

import json
from collections.abc import Sequence
from pathlib import Path

from ..config.schema import Config
from ..search.coordinator import run_on_worker
from ..search.run_store import Record, State
from ..search.workers import Workers
from . import dead, flags, inputs, trials
from .flags import Flag


class SearchChecks:
    """The flags of an arm's search, from before its first trial to its end.

    Each flag depends on the configuration, the arrays and the runs alone, so neither workers nor
    interruptions change the table.
    """

    def __init__(self, config: Config, state: State, folder: Path) -> None:
        self.config, self.state, self.folder = config, state, folder
        self.first = trials.first_trials(config)
        self.records: dict[tuple[int, int], Record] = {}
        self.flags: list[Flag] = []

    def before_training(self) -> None:
        """Check the space and the arrays. Raise FairsweepError for a flag that stops the study."""
        self._add(inputs.check_search(self.config, self.folder))

    def with_workers(self, workers: Workers) -> None:
        """Let a worker check for dead hyperparameters, again after a restart if it is killed."""
        from distributed.scheduler import KilledWorker

        if self.state.notes("checks").get("dead") is None:
            try:
                keys = run_on_worker(workers, dead.on_worker, self.config)
            except KilledWorker:
                return
            self.state.note("checks", "dead", json.dumps(keys))
        self._add(self._dead())

    def finished(self, record: Record) -> None:
        """Register a trial. After the last of the first trials, check these."""
        key = record.job.repeat, record.job.number
        if key in self.first and key not in self.records:
            self.records[key] = record
            if len(self.records) == len(self.first):
                first = [self.records[each] for each in sorted(self.first)]
                self._add(trials.check_first_trials(self.config, self.folder, first))

    def write(self, folder: Path, records: Sequence[Record]) -> None:
        """Write the table of all flags after the search."""
        self._add([*self._dead(), *trials.check_edges(self.config, records)])
        flags.write(folder, self.config, self.flags)

    def _add(self, more: Sequence[Flag]) -> None:
        new = [flag for flag in more if flag not in self.flags]
        flags.report(self.config, "tune", new)
        self.flags += new

    def _dead(self) -> list[Flag]:
        keys = json.loads(self.state.notes("checks").get("dead") or "[]")
        return [dead.flag(self.config, key) for key in keys]
