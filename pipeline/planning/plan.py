"""A plan: the study's ledger, the probe, what both come to, and what earlier studies say of the gaps it will see."""

import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import psutil
from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT
from distributed.worker_memory import parse_memory_limit

from pipeline import tracking
from pipeline.config import Config
from pipeline.planning import cost, earlier, inputs, ledger
from pipeline.planning.cost import Amount, ArmCost, Terms
from pipeline.planning.earlier import Basis
from pipeline.planning.inputs import Inputs
from pipeline.planning.power import Power, power
from pipeline.planning.probe import Probe, probe

# Seconds since the command began: a configuration that would likely end later is not measured any more.
PROBE_UNTIL = 48.0


@dataclass(frozen=True)
class Machine:
    """This one, as far as its container lets it be used.

    Attributes:
        cores: of its processors.
        available: bytes of memory that are free.
        limit: bytes that a worker may hold.
        disk: bytes that are free.
        load: processes that wanted a core in the last minute, in the mean.
    """

    cores: int
    available: int
    limit: float
    disk: int
    load: float

    @classmethod
    def here(cls, memory: str) -> "Machine":
        """As it is now; workers may hold `memory`, in Dask's words."""
        available = min(MEMORY_LIMIT, psutil.virtual_memory().available)
        limit = parse_memory_limit(memory, 1, logger=logging.getLogger(__name__)) or math.inf
        return cls(CPU_COUNT, available, limit, shutil.disk_usage(".").free, psutil.getloadavg()[0])


@dataclass(frozen=True)
class Plan:
    """All that is known before the run.

    Attributes:
        config: the study.
        inputs: what was trained on.
        machine: this one.
        arms: what each will take.
        rest: seconds of the stages that train no cell.
        arrays: bytes of data that are still to come.
        basis: what earlier studies tell; None where there is none.
        power: None where there is no search or no basis.
        probe: what was measured; None where nothing is left to train.
        share: of their epochs that runs which may stop early use.
        stopping: where that is from.
        lanes: runs side by side.
        own: bytes that the command beside the workers holds.
        seconds: that planning took.
    """

    config: Config
    inputs: Inputs
    machine: Machine
    arms: Sequence[ArmCost]
    rest: float
    arrays: float
    basis: Basis | None
    power: Power | None
    probe: Probe | None
    share: float
    stopping: str
    lanes: int
    own: float
    seconds: float

    @property
    def wall(self) -> Amount:
        """Seconds of the whole."""
        return sum((one.tune + one.replicate for one in self.arms), Amount(self.rest, self.rest))

    @property
    def bytes(self) -> float:
        """Of disk, of the whole."""
        return sum(one.disk for one in self.arms) + self.arrays


def made(config: Config, given: Sequence[str]) -> Plan:
    """The plan of `config`, which the overrides `given` gave.

    Raises:
        FairsweepError: the study could not be run, or its data have no known shape yet.
    """
    process, machine = psutil.Process(), Machine.here(config.cluster.memory)
    begun = time.time() - process.create_time()
    found = inputs.find(config)
    arms = ledger.arms(config, given, found)
    basis = earlier.basis(config, found.form.metric)
    share = basis.share if basis else earlier.shares()
    able = power(config.search, basis, found.test) if basis and config.search.trials and len(arms) > 1 else None
    local, lanes = config.cluster.kind == "local", config.cluster.workers
    probed, costs = None, []
    if any(arm.left for arm in arms):
        here = replace(
            config.cluster, kind="local", workers=min(lanes, machine.cores), memory=config.cluster.memory if local else "auto"
        )
        left = [arm for arm in arms if arm.left]
        probed = probe(left, found, here, process.create_time() + PROBE_UNTIL)
        lanes = probed.workers if local else lanes
        terms = Terms(config, found, probed, share, lanes, begun + tracking.import_seconds() + probed.begins)
        costs = [cost.of_arm(arm, terms) for arm in left]
    return Plan(
        config=config,
        inputs=found,
        machine=machine,
        arms=costs,
        rest=cost.rest(found),
        arrays=cost.arrays(config, found),
        basis=basis,
        power=able,
        probe=probed,
        share=share,
        stopping=basis.source if basis else "the middle of the committed studies",
        lanes=lanes,
        own=process.memory_info().rss,
        seconds=time.time() - process.create_time(),
    )
