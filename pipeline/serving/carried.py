"""What travels with a trained model: how it reads texts, and the code that reads them."""

import dataclasses
import json
import shutil
from pathlib import Path

from pipeline.config import Config
from pipeline.data.arrays import Data, load_vocabulary
from pipeline.serving.reader import MEMBER, SENTIMENT, Reader
from pipeline.training.batches import Buckets

PACKAGE = Path(__file__).parents[1]
# All that `reader` imports, and models/ whole, as a cell of one's own stands there.
FILES = (
    *("__init__", "config", "documents", "errors", "faults", "limits", "seal"),
    *("data/__init__", "data/text", "serving/__init__", "serving/reader"),
)
CODE = (*(f"{file}.py" for file in FILES), "models")


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


def code(folder: Path) -> Path:
    """Writes the part of this package that a served model needs below `folder`; returns the package's folder."""
    package = folder / PACKAGE.name
    for part in CODE:
        source, target = PACKAGE / part, package / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    return package
