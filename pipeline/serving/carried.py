"""The parts that are stored with a trained model: its reader of texts, and its code."""

import dataclasses
import json
import shutil
from pathlib import Path

from ..config.schema import Config
from ..data.arrays import Data, load_vocabulary
from ..imports import PACKAGE, closure
from ..models.cells import own_module
from ..training.bucketing import Buckets
from .reader import MEMBER, SENTIMENT, Reader

READER = f"{PACKAGE}.serving.reader"


def reader(config: Config, data: Data, arrays: Path, run: str) -> Reader:
    """The reader of the model of a run.

    Args:
        config: configuration of the run.
        data: the arrays of the run, from the folder `arrays`.
        run: name of the run, such as `gru/tuned/3`.
    """
    texts = data.spec.features is None
    return Reader(
        study=config.name,
        run=run,
        cell=dataclasses.asdict(config.cell),
        backend=config.train.backend,
        kind=data.spec.kind,
        classes=data.spec.classes or (list(SENTIMENT) if texts else []),
        words=list(load_vocabulary(arrays)) if texts else None,
        vocabulary=config.task.vocabulary,
        lengths=[int(edge) for edge in Buckets.of(config, data.spec, data.train_inputs).edges],
        padding=config.task.padding,
    )


def members(reader: Reader) -> dict[str, bytes]:
    """`reader` as a file for `keras_archive.reproducible` to add."""
    return {MEMBER: (json.dumps(dataclasses.asdict(reader), ensure_ascii=False) + "\n").encode()}


def code(folder: Path, cell_type: str) -> list[Path]:
    """Copy the modules that a served model needs to `folder`; return its contents."""
    for name, source in closure([READER, *own_module(cell_type)]).items():
        parts = name.split(".")
        target = (
            folder.joinpath(*parts, "__init__.py")
            if source.name == "__init__.py"
            else folder.joinpath(*parts).with_suffix(".py")
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return sorted(folder.iterdir())
