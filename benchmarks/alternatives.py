"""What a user of Keras does without Fairsweep, on the same configurations, rows and epochs: plain `fit`, all defaults.

  python benchmarks/alternatives.py keras_tuner ARRAYS TABLE EPOCHS CELL …   one process, KerasTuner's search for each cell
  python benchmarks/alternatives.py hydra row=0 cell=gru arrays=… table=… epochs=4    one job of a Hydra sweep: a process of its own

TABLE is a CSV of `pipeline.sample`; ARRAYS the folder of `pipeline.pad`.
"""

import csv
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


# What a table does not search, as in conf/config.yaml.
FIXED = {
    "units": 32,
    "embedding": 32,
    "dropout": 0.0,
    "masking": False,
    "optimizer": "adam",
    "batch_size": 128,
    "clipnorm": None,
}


def configurations(table: Path) -> list[dict[str, Any]]:
    """The rows of a table of sampled configurations as {`units`: 32, …}."""
    import yaml

    with table.open(newline="") as file:
        rows = [json.loads(row["overrides"]) for row in csv.DictReader(file)]
    return [
        FIXED
        | {
            key.split(".")[1]: yaml.safe_load(value)
            for key, _, value in (one.partition("=") for one in row)
        }
        for row in rows
    ]


def arrays(folder: Path) -> Any:
    """The rows of the default study, as every trial gets them."""
    from pipeline.config.schema import Task
    from pipeline.data.arrays import load

    meta = json.loads((folder / "meta.json").read_text())
    told = {key: meta[key] for key in ("name", "source", "length", "vocabulary", "padding")}
    return load(folder, Task(**told), 0)


def model(cell: str, chosen: dict[str, Any], length: int) -> Any:
    """The article's network, compiled as its text does."""
    import keras

    kinds = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
    optimizers = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}
    built = keras.Sequential(
        [
            keras.Input((length,)),
            keras.layers.Embedding(10_000, chosen["embedding"], mask_zero=chosen["masking"]),
            kinds[cell](chosen["units"]),
            keras.layers.Dropout(chosen["dropout"]),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    optimizer = optimizers[chosen["optimizer"]](
        float(chosen["learning_rate"]), clipnorm=chosen["clipnorm"]
    )
    built.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    return built


def keras_tuner(folder: Path, table: Path, epochs: int, cells: list[str]) -> None:
    """Every configuration once for each cell, by the tuner that comes with Keras."""
    import keras_tuner

    data, rows = arrays(folder), configurations(table)

    class Search(keras_tuner.HyperModel):
        def __init__(self, cell: str) -> None:
            super().__init__()
            self.cell = cell

        def build(self, hp: Any) -> Any:
            return model(
                self.cell, rows[hp.Choice("row", list(range(len(rows))))], data.spec.length
            )

        def fit(self, hp: Any, built: Any, *args: Any, **kwargs: Any) -> Any:
            return built.fit(*args, batch_size=rows[hp.get("row")]["batch_size"], **kwargs)

    with tempfile.TemporaryDirectory() as kept:
        for cell in cells:
            tuner = keras_tuner.GridSearch(
                Search(cell),
                objective="val_accuracy",
                max_trials=len(rows),
                directory=kept,
                project_name=cell,
            )
            tuner.search(
                data.train_inputs,
                data.train_labels,
                epochs=epochs,
                validation_data=(data.validation_inputs, data.validation_labels),
                verbose=0,
            )
            done = [trial.score for trial in tuner.oracle.trials.values()]
            print(cell, len(done), "trials, best", max(done), flush=True)


def hydra() -> None:
    """One job: a row, a cell."""
    from dataclasses import dataclass

    import hydra
    from hydra.core.config_store import ConfigStore

    @dataclass
    class Job:
        row: int = 0
        cell: str = "lstm"
        arrays: str = ""
        table: str = ""
        epochs: int = 4

    ConfigStore.instance().store("job", node=Job)

    @hydra.main(version_base="1.3", config_path=None, config_name="job")
    def train(job: Any) -> None:
        data, chosen = arrays(Path(job.arrays)), configurations(Path(job.table))[job.row]
        told = model(job.cell, chosen, data.spec.length).fit(
            data.train_inputs,
            data.train_labels,
            batch_size=chosen["batch_size"],
            epochs=job.epochs,
            validation_data=(data.validation_inputs, data.validation_labels),
            verbose=0,
        )
        print(job.cell, job.row, max(told.history["val_accuracy"]), flush=True)

    train()


if __name__ == "__main__":
    chosen = sys.argv.pop(1)
    if chosen == "hydra":
        hydra()
    else:
        keras_tuner(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
