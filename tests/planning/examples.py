"""A study, and what a probe of it found, in round numbers."""

from dataclasses import replace

from pipeline.config import Cell, Config, Search, Task, Train
from pipeline.data.form import Form
from pipeline.planning.cost import Terms
from pipeline.planning.inputs import Inputs
from pipeline.planning.ledger import Arm, Kind
from pipeline.planning.probe import Probe
from pipeline.planning.trial import Taken, load

INPUTS = Inputs(None, Form(length=20), train=1000, validation=250, test=1250, digest="")
CONFIG = Config(
    name="tiny",
    cells=["rnn"],
    task=Task(name="tiny", source="aclimdb", length=20, vocabulary=50),
    cell=Cell("rnn", "rnn"),
    train=Train(epochs=8, patience=2, batch_size=100),
    search=Search(trials=10, headline=2, replicates=3),
)
RECIPE = replace(CONFIG, train=Train(epochs=10, patience=None, batch_size=100))
ARM = Arm("rnn", [Kind("trial", 10, 4, [CONFIG]), Kind("tuned", 3, 0, [CONFIG]), Kind("article", 3, 1, [RECIPE])])


def taken(worker: str = "a", started: float = 0.0, memory: int = 10**9) -> Taken:
    """A configuration: 2 s to build, 3 s an epoch, 1 s for the test rows, 4 s of libraries, 10 s in all."""
    return Taken("rnn", load(CONFIG, INPUTS), 2.0, 3.0, 1.0, memory, 5000, started, started + 4, started + 10, worker)


def terms(lanes: int, config: Config = CONFIG) -> Terms:
    """Half of the epochs are used; a stage takes 7 s to start; a second passes between two runs of a worker."""
    runs = [taken(), replace(taken(started=11.0, memory=10**9 + 10**7), ready=11.0), taken("b")]
    return Terms(config, INPUTS, Probe(runs, 6.0, lanes), share=0.5, lanes=lanes, start=7.0)
