"""What travels with a trained model: how it reads texts, and the code that reads them."""

import dataclasses
import json
import shutil
from pathlib import Path

from pipeline.config import Config
from pipeline.data.arrays import Data, load_vocabulary
from pipeline.imports import PACKAGE, closure
from pipeline.models.cells import own_module
from pipeline.serving.reader import MEMBER, SENTIMENT, Reader
from pipeline.training.batches import Buckets

READER = f"{PACKAGE}.serving.reader"


def reader(config: Config, data: Data, arrays: Path, run: str) -> Reader:
    """How the model of `run` reads texts.

    Args:
        config: what it was trained with.
        data: what it was trained on.
        arrays: the folder of `data`.
        run: its name, such as `gru/tuned/3`.
    """
    texts = data.form.features is None
    return Reader(
        study=config.name,
        run=run,
        cell=dataclasses.asdict(config.cell),
        backend=config.train.backend,
        kind=data.form.kind,
        classes=data.form.classes or (list(SENTIMENT) if texts else []),
        words=list(load_vocabulary(arrays)) if texts else None,
        vocabulary=config.task.vocabulary,
        lengths=[int(edge) for edge in Buckets.of(config, data.form, data.train_inputs).edges],
        padding=config.task.padding,
    )


def members(reader: Reader) -> dict[str, bytes]:
    """`reader` as a file inside the model's, for `search.champion.reproducible`."""
    return {MEMBER: (json.dumps(dataclasses.asdict(reader), ensure_ascii=False) + "\n").encode()}


def code(folder: Path, cell_type: str) -> list[Path]:
    """Copies to `folder` the modules that a served model with this type of cell needs, and returns the contents of `folder`."""
    for name, source in closure([READER, *own_module(cell_type)]).items():
        parts = name.split(".")
        target = (
            folder.joinpath(*parts, "__init__.py") if source.name == "__init__.py" else folder.joinpath(*parts).with_suffix(".py")
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return sorted(folder.iterdir())
