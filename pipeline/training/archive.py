"""A Keras model as bytes that are equal when the model is equal."""

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any


def model_bytes(model: Any) -> bytes:
    """The .keras file of `model`, without the dates that Keras and zip write into it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        source = zipfile.ZipFile(path)
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == "metadata.json":
                    content = json.dumps({**json.loads(content), "date_saved": ""}).encode()
                archive.writestr(zipfile.ZipInfo(name), content)
        return target.getvalue()
