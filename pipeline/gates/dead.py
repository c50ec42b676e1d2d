"""A dead hyperparameter: searched, and connected to nothing in this arm. Found out on a worker, where Keras is at hand.

Two values of it are followed through all that decides a training: the arrays, the network with its optimizer, the batches. Where
none differs, both train a small network on a few rows, and when even the weights are equal, bit for bit, the key is dead.
"""

import hashlib
import io
import re
import warnings
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config, Parameter, parameters, with_overrides
from pipeline.data.arrays import Data
from pipeline.data.text import PADDING
from pipeline.gates.flags import Flag
from pipeline.search.space import overrides
from pipeline.training import backend
from pipeline.training.batches import Buckets
from pipeline.training.fit import compiled, fit, train_epoch
from pipeline.training.network import Told
from pipeline.training.work import load_data

# They act on a run's own history, which a few rows need not bring about.
STOPPING = ("train.epochs", "train.keep", "train.patience", "train.floor")
ROWS = 64


def on_worker(config: Config) -> list[str]:
    """`dead` on a Dask worker, wherever its arrays lie."""
    from distributed import get_worker

    from pipeline.search.sent import arrays_of

    return dead(config, arrays_of(get_worker()))


def dead(config: Config, folder: Path | None) -> list[str]:
    """The searched keys that decide nothing in this arm, on the arrays in `folder` (by default the study's own)."""
    backend.use(config.train.backend)
    return [key for key, parameter in parameters(config).items() if key not in STOPPING and _dead(config, key, parameter, folder)]


def flag(config: Config, key: str) -> Flag:
    """The flag of a dead key."""
    values = " and ".join(overrides({"": value})[0][1:] for value in ends(parameters(config)[key]))
    return Flag(
        "dead hyperparameter",
        f"{key} is searched and changes nothing here: {values} train the same network on the same batches, to the same weights",
        f"Take {key} out of conf/space; with this cell and task nothing can be learned about it",
    )


def ends(parameter: Parameter) -> list[Any]:
    """Values of a searched key that differ the most: its choices, or both ends of its range."""
    if parameter.choices is not None:
        return list(parameter.choices)
    assert parameter.low is not None
    assert parameter.high is not None
    whole = all(float(one).is_integer() for one in (parameter.low, parameter.high, parameter.step or 1))
    return [int(one) if whole else one for one in (parameter.low, parameter.high)]


def _dead(config: Config, key: str, parameter: Parameter, folder: Path | None) -> bool:
    configs = [with_overrides(config, overrides({key: value})) for value in ends(parameter)]
    (one, data), *others = ((each, load_data(each, folder)) for each in configs)
    if key == "model.masking" and data.form.features is None and not _padded(data):
        return True
    return bool(others) and all(
        _same(data, more) and _made(one, data) == _made(other, more) and _learned(one, data) == _learned(other, more)
        for other, more in others
    )


def _padded(data: Data) -> bool:
    return any((part == PADDING).any() for part in (data.train_inputs, data.validation_inputs, data.test_inputs))


def _same(data: Data, other: Data) -> bool:
    """Whether two values gave the same arrays."""
    names = [field.name for field in fields(Data) if field.name.endswith(("inputs", "labels"))]
    return data is other or all(np.array_equal(getattr(data, name), getattr(other, name)) for name in names)


def _made(config: Config, data: Data) -> list[Any]:
    """What is trained and with what batches: the compiled network as JSON, None where it cannot be written so; and what it is fed."""
    import keras

    # Names and numbers of layers else tell what was built before.
    keras.backend.clear_session(free_memory=False)
    model = compiled(config, data.form)
    try:
        # Keras reads an optimizer's rate in a way that numpy 2 warns of.
        with warnings.catch_warnings(action="ignore"):
            network = re.sub(r'"shared_object_id": \d+', "", model.to_json())
    except (NotImplementedError, TypeError, ValueError):
        network = None
    fed = Fed()
    buckets = Buckets.of(config, data.form, data.train_inputs)
    shuffle = np.random.default_rng(config.seed)
    train_epoch(fed, config, data.form, data.train_inputs, data.train_labels, buckets, shuffle)
    return [network, fed.digest.hexdigest()]


class Fed:
    """In place of a network: it notes which rows an epoch would train on, and trains nothing."""

    model: Any = None
    batch = 1

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def begin(self) -> None:
        """Nothing to begin."""

    def run(self, inputs: NDArray[Any], labels: NDArray[Any], rows: NDArray[np.int64]) -> Told:
        """Note the batches, and of those that are cut their own inputs."""
        own = inputs.tobytes() if len(rows) == 1 else b""
        self.digest.update(repr((inputs.shape, rows.shape)).encode() + rows.tobytes() + own)
        return {"loss": 0.0, "score": 0.0}

    def outputs(self, inputs: NDArray[Any], batch: int) -> NDArray[np.float32]:
        """There are none."""
        raise NotImplementedError

    def weights(self) -> Any:
        """There are none."""

    def restore(self, weights: Any) -> None:
        """There are none."""


def _learned(config: Config, data: Data) -> tuple[str, bytes]:
    """One epoch on a few rows: its losses, and the weights to the bit."""
    rows = max(ROWS, 2 * config.train.batch_size)
    few = replace(
        data,
        train_inputs=data.train_inputs[:rows],
        train_labels=data.train_labels[:rows],
        validation_inputs=data.validation_inputs[:ROWS],
        validation_labels=data.validation_labels[:ROWS],
        test_inputs=data.test_inputs[:ROWS],
    )
    run = fit(with_overrides(config, ["train.epochs=1"]), few, keep_model=True)
    if run.model is None:
        return f"{run.epochs} {run.reason}", b""
    with zipfile.ZipFile(io.BytesIO(run.model)) as file:
        return repr(run.epochs), file.read("model.weights.h5")
