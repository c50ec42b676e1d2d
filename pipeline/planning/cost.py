"""What the study will take, from what the probe took: time, memory, disk."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from pipeline.config import Config
from pipeline.data.registry import dataset
from pipeline.planning.inputs import Inputs
from pipeline.planning.ledger import Arm, Kind
from pipeline.planning.probe import Probe
from pipeline.planning.trial import Taken, load

# A run's logits lie in the state, in runs/ and in DVC's cache.
COPIES = 3
# Bytes by which MLflow's database grows with a run, measured over 1,000 runs.
TRACKED = 8_000
# Bytes of a parameter, and of a token.
NUMBER = 4
# Seconds of draw, evaluate and report, as of three cells; of pad and baseline of 50,000 reviews, and of numbers: measured on the
# committed studies.
REPORT, REVIEWS, NUMBERS = 33.0, 37.0, 8.0


@dataclass(frozen=True)
class Amount:
    """What early stopping makes uncertain: what is likely, and the most it can be."""

    likely: float = 0.0
    most: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.likely + other.likely, self.most + other.most)


@dataclass(frozen=True)
class Rates:
    """What an arm's runs cost: seconds beside their epochs, and seconds of an epoch and of the test rows a unit of load."""

    once: float
    epoch: float
    test: float

    @classmethod
    def of(cls, taken: Sequence[Taken], once: float) -> "Rates":
        """From what some configurations of the arm took."""
        whole = sum(one.load for one in taken)
        return cls(once, sum(one.epoch for one in taken) / whole, sum(one.test for one in taken) / whole)


@dataclass(frozen=True)
class Terms:
    """What all arms have in common.

    Attributes:
        config: the study.
        inputs: its rows.
        probe: what was measured.
        share: of its epochs that a run which may stop early uses.
        lanes: runs that go on side by side at full speed.
        start: seconds from the start of a stage until its workers train.
    """

    config: Config
    inputs: Inputs
    probe: Probe
    share: float
    lanes: int
    start: float


@dataclass(frozen=True)
class ArmCost:
    """What the runs that an arm still lacks will take.

    Attributes:
        arm: with its runs.
        epochs: of all of them.
        tune: seconds of wall time of the search.
        replicate: seconds of wall time of the best configuration's and the recipes' runs.
        memory: bytes that a worker will hold.
        disk: bytes that the runs will leave.
    """

    arm: Arm
    epochs: Amount
    tune: Amount
    replicate: Amount
    memory: float
    disk: float


def of_arm(arm: Arm, terms: Terms) -> ArmCost:
    """The cost of an arm of which the probe has measured something."""
    taken = [one for one in terms.probe.taken if one.arm == arm.name]
    rates, config = Rates.of(taken, terms.probe.once(arm.name)), terms.config
    searched = [kind for kind in arm.kinds if kind.name == "trial"]
    others = [kind for kind in arm.kinds if kind.name != "trial"]
    # The trials of a separate study follow one another.
    lanes = min(terms.lanes, len(config.search.numbers)) if config.search.design == "studies" else terms.lanes
    # The champion is registered by the command itself, which gets the libraries of a worker for it.
    closing = terms.probe.imports if searched else 0.0
    return ArmCost(
        arm=arm,
        epochs=_both(terms, lambda share: sum(kind.left * _epochs(kind, share) for kind in arm.kinds)),
        tune=_both(terms, lambda share: _wall(searched, rates, terms, share, lanes)),
        replicate=_both(terms, lambda share: _wall(others, rates, terms, share, terms.lanes, closing)),
        memory=max(one.memory for one in taken) + terms.probe.growth * max(kind.left for kind in arm.kinds) / terms.lanes,
        disk=_disk(arm, terms.inputs, mean(one.parameters for one in taken)),
    )


def _both(terms: Terms, cost: Callable[[float], float]) -> Amount:
    """`cost` of the likely share of epochs, and of all."""
    return Amount(cost(terms.share), cost(1.0))


def epochs(config: Config, share: float) -> float:
    """Of a run; one that may not stop early uses all."""
    return config.train.epochs * (1.0 if config.train.patience is None else share)


def _epochs(kind: Kind, share: float) -> float:
    """Of a run of a kind, in the mean."""
    return mean(epochs(config, share) for config in kind.configs)


def _seconds(kind: Kind, rates: Rates, inputs: Inputs, share: float) -> float:
    """Of a run of a kind, in the mean."""
    passes = ((rates.epoch * epochs(config, share) + rates.test) * load(config, inputs) for config in kind.configs)
    return rates.once + mean(passes)


def _wall(kinds: Iterable[Kind], rates: Rates, terms: Terms, share: float, lanes: int, closing: float = 0.0) -> float:
    """Wall time of a stage that does what is left of `kinds`: none where nothing is."""
    left = [kind for kind in kinds if kind.left]
    if not left:
        return 0.0
    runs = sum(kind.left for kind in left)
    seconds = sum(kind.left * (_seconds(kind, rates, terms.inputs, share) + terms.probe.between) for kind in left)
    return terms.start + side_by_side(seconds, runs, lanes) + closing


def side_by_side(seconds: float, runs: int, lanes: int) -> float:
    """Wall time of runs that take so many seconds together; during the last one each other worker waits half a run, in the mean."""
    lanes = min(lanes, runs)
    return (seconds + (lanes - 1) / 2 * seconds / runs) / lanes


def _disk(arm: Arm, inputs: Inputs, parameters: float) -> float:
    form = inputs.form
    steps = form.length if form.kind == "steps" else 1
    logits = (inputs.validation + inputs.test) * form.outputs * steps * (4 if form.kind == "regression" else 2)
    tuned = sum(kind.left for kind in arm.kinds if kind.name == "tuned")
    # Each of the best configuration's runs keeps its model in the state; one is the champion, which lies in MLflow too.
    models = (tuned + COPIES) * parameters * NUMBER if tuned else 0.0
    return arm.left * (COPIES * logits + TRACKED) + models


def arrays(config: Config, inputs: Inputs) -> float:
    """Bytes of an archive and its arrays that are still to come, each with its copy in DVC's cache."""
    shape = dataset(config.task.source).shape
    if inputs.folder == Path("data") / config.name / "arrays" or shape is None:
        return 0.0
    tokens = (shape.train + shape.test) * (config.task.length + shape.tokens)
    return 2 * (shape.megabytes * 1e6 + tokens * NUMBER)


def rest(inputs: Inputs) -> float:
    """Seconds of the stages that train no cell."""
    rows = inputs.train + inputs.validation + inputs.test
    return REPORT + (rows / 50_000 * REVIEWS if inputs.form.features is None else NUMBERS)
