"""A short probe: some configurations of every arm, partly trained by as many workers side by side as the study will have."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, zip_longest
from statistics import mean, median

from pipeline.config import Cluster, Config
from pipeline.errors import FairsweepError
from pipeline.planning.inputs import Inputs
from pipeline.planning.ledger import Arm
from pipeline.planning.trial import Taken, load, measure

# Where those that are measured lie among an arm's configurations, sorted by load; its recipes follow the first two.
PLACES = (0.25, 0.75, 0.5, 0.125, 0.875, 0.375, 0.625)
RECIPES_AFTER = 2


@dataclass(frozen=True)
class Probe:
    """What was measured: `taken` a configuration each, `begins` seconds from asking for workers until the first of them could train.

    `workers` is how many worked side by side.
    """

    taken: Sequence[Taken]
    begins: float
    workers: int

    @property
    def growth(self) -> float:
        """Bytes that a worker grows by with each run. Its second one tells only where there is no third: much is had for good by then."""
        grown = [[after.memory - before.memory for before, after in pairwise(runs)] for runs in self._by_worker()]
        later = [more for first, *rest in filter(None, grown) for more in rest]
        return max(0.0, median(later or [more for some in grown for more in some] or [0]))

    @property
    def between(self) -> float:
        """Seconds between two runs on a worker, which the runs do not count."""
        return _mean(after.ready - before.ended for runs in self._by_worker() for before, after in pairwise(runs))

    @property
    def imports(self) -> float:
        """Seconds in which a new worker gets its libraries."""
        return _mean(runs[0].ready - runs[0].started for runs in self._by_worker())

    def once(self, arm: str) -> float:
        """Seconds of an arm's runs beside their epochs. A worker's first run compiles much that the next ones find."""
        first = {runs[0] for runs in self._by_worker()}
        later = [one.once for one in self.taken if one.arm == arm and one not in first]
        return mean(later or [one.once for one in self.taken if one.arm == arm])

    def _by_worker(self) -> list[list[Taken]]:
        names = dict.fromkeys(one.worker for one in self.taken)
        return [sorted((one for one in self.taken if one.worker == name), key=lambda one: one.started) for name in names]


def probe(arms: Sequence[Arm], inputs: Inputs, cluster: Cluster, until: float) -> Probe:
    """Measures one configuration of each arm, and more as long as they are likely done before `until`, seconds since 1970.

    Raises:
        FairsweepError: none of an arm's configurations could be trained.
    """
    # It is silenced before it is imported.
    from pipeline.search.workers import workers

    waiting, least = order(arms, inputs), len(arms)
    asked, taken, reasons, handed = time.time(), list[Taken](), dict[str, str](), dict[str, str]()
    with workers(cluster) as pool:
        from distributed import as_completed

        running = as_completed()

        def hand_out(count: int) -> None:
            for config in islice(waiting, count):
                future = pool.client.submit(measure, config, inputs, pure=False)
                handed[future.key] = config.cell.arm
                running.add(future)

        hand_out(cluster.workers)
        for future in running:
            if error := future.exception():
                reasons[handed[future.key]] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            else:
                taken.append(future.result())
            longest = max((one.ended - one.ready for one in taken), default=0.0)
            if len(handed) < least or time.time() + longest < until:
                hand_out(1)
    for arm in arms:
        if all(one.arm != arm.name for one in taken):
            raise FairsweepError(f"{arm.name} could not be trained: {reasons.get(arm.name)}")
    return Probe(taken, min(one.ready for one in taken) - asked, cluster.workers)


def order(arms: Sequence[Arm], inputs: Inputs) -> Iterator[Config]:
    """What to measure, the most telling first: a configuration of each arm, a second one of each, and so on."""
    for turn in zip_longest(*(_of_arm(arm, inputs) for arm in arms)):
        yield from (config for config in turn if config is not None)


def _of_arm(arm: Arm, inputs: Inputs) -> list[Config]:
    """The configurations of an arm that are measured, in their order."""
    searched = [kind for kind in arm.kinds if kind.name == "trial"]
    recipes = [config for kind in arm.kinds if kind.name not in ("trial", "tuned") for config in kind.configs]
    if not searched:
        return recipes
    configs = sorted(searched[0].configs, key=lambda config: load(config, inputs))
    places = list(dict.fromkeys(int(place * len(configs)) for place in PLACES))
    picked = [configs[place] for place in places]
    return [*picked[:RECIPES_AFTER], *recipes, *picked[RECIPES_AFTER:]]


def _mean(values: Iterator[float]) -> float:
    """Their mean, 0 of none."""
    found = list(values)
    return mean(found) if found else 0.0
