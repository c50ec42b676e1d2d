"""Dead hyperparameters: searched keys that change nothing in an arm. A worker runs this check.

Its values are compared by everything that decides a training: the arrays, the network with its
optimizer, and the batches. If none of these differ, each value trains a small network on few rows.
If even the weights are equal to the bit, the key is dead.
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

from ..config.compose import with_overrides
from ..config.schema import OPTIONS, Config, Parameter, own_parameters, parameters
from ..data.arrays import Data
from ..data.text import PADDING
from ..search.space import overrides
from ..training import backend
from ..training.bucketing import Buckets
from ..training.fit import compiled, fit, train_epoch
from ..training.loops import Means
from ..training.worker import load_data
from .flags import Flag

# These act on the history of a run, which a few rows may not change.
STOPPING = ("train.epochs", "train.checkpoint", "train.patience", "train.min_validation")
ROWS = 64


def on_worker(config: Config) -> list[str]:
    """`dead_keys` on a Dask worker, with the arrays that it has."""
    from distributed import get_worker

    from ..search.worker_data import arrays_of

    return dead_keys(config, arrays_of(get_worker()))


def dead_keys(config: Config, folder: Path | None) -> list[str]:
    """The searched keys that change nothing in this arm, on the arrays in `folder`."""
    backend.use(config.train.backend)
    searched = parameters(config) | own_parameters(config)
    return [
        key
        for key, parameter in searched.items()
        if key not in STOPPING and _is_dead(config, key, parameter, folder)
    ]


def flag(config: Config, key: str) -> Flag:
    """The flag of a dead key."""
    parameter = (parameters(config) | own_parameters(config))[key]
    values = " and ".join(overrides({"": value})[0][1:] for value in extremes(parameter))
    where = f"conf/cell/{config.cell.arm}.yaml" if key.startswith(OPTIONS) else "conf/space"
    return Flag(
        "dead hyperparameter",
        f"{key} is searched and changes nothing in this arm: {values} train the same network on "
        "the same batches to the same "
        "weights",
        f"Remove {key} from {where}; with this cell and task nothing can be learned about it",
    )


def extremes(parameter: Parameter) -> list[Any]:
    """The values of a searched key that differ most: its choices, or both ends of its range."""
    if parameter.choices is not None:
        return list(parameter.choices)
    assert parameter.low is not None
    assert parameter.high is not None
    bounds = [parameter.low, parameter.high]
    whole = all(float(bound).is_integer() for bound in (*bounds, parameter.step or 1))
    return [int(bound) if whole else bound for bound in bounds]


def _is_dead(config: Config, key: str, parameter: Parameter, folder: Path | None) -> bool:
    configs = [with_overrides(config, overrides({key: value})) for value in extremes(parameter)]
    (first, data), *others = ((each, load_data(each, folder)) for each in configs)
    parts = (data.train_inputs, data.validation_inputs, data.test_inputs)
    padded = data.spec.features is not None or any((part == PADDING).any() for part in parts)
    if key == "model.masking" and not padded:
        return True
    return bool(others) and all(
        same_arrays(data, other_data)
        and footprint(first, data) == footprint(other, other_data)
        and _trained(first, data) == _trained(other, other_data)
        for other, other_data in others
    )


def same_arrays(data: Data, other: Data) -> bool:
    """Whether all inputs and labels are equal."""
    names = [field.name for field in fields(Data) if field.name.endswith(("inputs", "labels"))]
    return data is other or all(
        np.array_equal(getattr(data, name), getattr(other, name)) for name in names
    )


def footprint(config: Config, data: Data) -> tuple[str | None, str]:
    """What decides a training beside the arrays, without training.

    Returns:
        The compiled network and its optimizer as JSON (None if Keras cannot write it), and a digest
        of the batches of an epoch.
    """
    import keras

    # The names of layers count the layers that this process built before.
    keras.backend.clear_session(free_memory=False)
    model = compiled(config, data.spec)
    network: str | None
    try:
        # Keras reads an optimizer's learning rate in a way that numpy 2 warns of.
        with warnings.catch_warnings(action="ignore"):
            network = re.sub(r'"shared_object_id": \d+', "", model.to_json())
    except (NotImplementedError, TypeError, ValueError):
        network = None
    batches: Any = _Batches()
    buckets = Buckets.of(config, data.spec, data.train_inputs)
    shuffle = np.random.default_rng(config.seed)
    train_epoch(batches, config, data.spec, data.train_inputs, data.train_labels, buckets, shuffle)
    return network, batches.digest.hexdigest()


class _Batches:
    """In place of a network: it hashes the rows of each batch and trains nothing."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def begin(self) -> None:
        """Do nothing."""

    def run(self, inputs: NDArray[Any], labels: NDArray[Any], rows: NDArray[np.int64]) -> Means:
        """Hash the batches, and the inputs of those that are cut to a bucket's length."""
        cut = inputs.tobytes() if len(rows) == 1 else b""
        self.digest.update(repr((inputs.shape, rows.shape)).encode() + rows.tobytes() + cut)
        return {"loss": 0.0, "score": 0.0}


def _trained(config: Config, data: Data) -> tuple[str, bytes]:
    """Train one epoch on a few rows: its losses and weights."""
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
