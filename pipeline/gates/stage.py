"""The gates of one arm's stages, in the order in which these come by them."""

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import Config
from pipeline.gates import dead, flags, inputs, trials
from pipeline.gates.flags import Flag
from pipeline.search.coordinator import asked
from pipeline.search.state import Record, State
from pipeline.search.workers import Pool


class Gates:
    """What is flagged in an arm's search: before its first trial, on a worker, after its first trials, and at its end.

    Each flag follows from the config, the arrays and the runs alone, so that neither workers nor interruptions change the table.
    """

    def __init__(self, config: Config, state: State, folder: Path) -> None:
        self.config, self.state, self.folder = config, state, folder
        self.first = trials.first(config)
        self.begun: dict[tuple[int, int], Record] = {}
        self.found: list[Flag] = []

    def before(self) -> None:
        """Look at the space and the arrays; raises FairsweepError for what stops a study."""
        self._add(inputs.of_search(self.config, self.folder))

    def on_workers(self, pool: Pool) -> None:
        """One of them looks for dead hyperparameters, where none did before; when it dies of that, the next start tries again."""
        from distributed.scheduler import KilledWorker

        if self._noted() is None:
            try:
                keys = asked(pool, dead.on_worker, self.config)
            except KilledWorker:
                return
            self.state.note("gates", "dead", json.dumps(keys))
        self._add(self._dead())

    def hear(self, record: Record) -> None:
        """A trial is done: with the last of the first ones, these are looked at."""
        key = record.job.study, record.job.number
        if key in self.first and key not in self.begun:
            self.begun[key] = record
            if len(self.begun) == len(self.first):
                self._add(trials.begun(self.config, self.folder, [self.begun[one] for one in sorted(self.first)]))

    def write(self, folder: Path, records: Sequence[Record]) -> None:
        """The table of all flags, now that the search is over."""
        self._add([*self._dead(), *trials.edges(self.config, records)])
        flags.write(folder, self.config, self.found)

    def _add(self, more: Sequence[Flag]) -> None:
        new = [flag for flag in more if flag not in self.found]
        flags.tell(self.config, "tune", new)
        self.found += new

    def _noted(self) -> list[str] | None:
        noted = self.state.notes("gates").get("dead")
        return None if noted is None else list(json.loads(noted))

    def _dead(self) -> list[Flag]:
        return [dead.flag(self.config, key) for key in self._noted() or []]
