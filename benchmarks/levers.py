"""What each way to run an epoch takes: the article's network on the reviews, one thread, seconds an epoch, in turns.

`tensorflow` and `jax` are Keras's own `fit` compiled by XLA, `program` an epoch as one JAX program, `recurrence` that program with the
gradients of pipeline/models/recurrence.py, which is what trials run on.
"""

import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from project import CELLS, Project, report

WAYS = ("tensorflow", "jax", "program", "recurrence")


def epochs(folder: Path, cell: str, way: str, count: int) -> None:
    """In a process of its own: prints the seconds of each epoch but the first, which compiles, and of predicting the test reviews."""
    from pipeline.training import backend

    backend.use("tensorflow" if way == "tensorflow" else "jax")
    from alternatives import arrays

    from pipeline.config.schema import Cell, Config, Model, Task, Train
    from pipeline.models import recurrence
    from pipeline.training import fit as fitting
    from pipeline.training.bucketing import Buckets
    from pipeline.training.loops import Looped, network

    if way != "recurrence":
        recurrence.KINDS.clear()
    data = arrays(folder)
    task = Task(name="imdb", source="imdb", length=data.spec.length)
    train = Train(backend=keras_backend(way), epochs=count + 1, patience=None, learning_rate=3e-3)
    config = Config(
        name="imdb",
        cells=[cell],
        task=task,
        cell=Cell(cell, cell),
        model=Model(dropout=0.2),
        train=train,
    )
    if way == "jax":
        fitting.network = Looped
    marks: list[float] = []
    fitting.fit(config, data, on_epoch=lambda number, epoch: marks.append(time.perf_counter()))
    model = fitting.compiled(config, data.spec)
    net = Looped(model) if way == "jax" else network(model)
    buckets = Buckets.of(config, data.spec, data.train_inputs)
    fitting.predict(net, data.validation_inputs, data.spec, buckets)
    started = time.perf_counter()
    fitting.predict(net, data.test_inputs, data.spec, buckets)
    predicted = time.perf_counter() - started
    print(json.dumps([[after - before for before, after in itertools.pairwise(marks)], predicted]))


def keras_backend(way: str) -> str:
    """The name of the backend that a way runs on."""
    return "tensorflow" if way == "tensorflow" else "jax"


def measure(short: bool) -> dict[str, Any]:
    cells, rounds, count = (
        (CELLS[:1], 1, 1) if short else (CELLS, 1 if "--once" in sys.argv else 3, 3)
    )
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name), short)
        project.data()
        folder = project.folder / f"data/{project.study}/arrays"
        taken: dict[str, dict[str, list[float]]] = {
            cell: {way: [] for way in WAYS} for cell in cells
        }
        predicted: dict[str, dict[str, list[float]]] = {
            cell: {way: [] for way in WAYS} for cell in cells
        }
        for cell in cells * rounds:
            for way in WAYS:
                command = [sys.executable, __file__, "epochs", str(folder), cell, way, str(count)]
                done = subprocess.run(command, cwd=name, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr[-3000:])
                seconds, asked = json.loads(done.stdout.strip().splitlines()[-1])
                taken[cell][way] += seconds
                predicted[cell][way].append(asked)
    return {
        name: {
            cell: {way: round(median(seconds), 3) for way, seconds in ways.items()}
            for cell, ways in table.items()
        }
        for name, table in (("epoch", taken), ("predict", predicted))
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["epochs"]:
        epochs(Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
    else:
        report(measure)
