"""A trained Keras model as a file that is equal to the byte when the model is equal."""

import io
import json
import re
import zipfile
from collections.abc import Mapping


def reproducible(model: bytes, more: Mapping[str, bytes] | None = None) -> bytes:
    """The .keras file `model` without what differs between equal models: dates, and the addresses Keras tells objects apart by.

    `more` are files to put into it, {path: content}: Keras leaves what it does not know alone.
    """
    seen: dict[bytes, int] = {}

    def renumbered(found: re.Match[bytes]) -> bytes:
        return found[1] + str(seen.setdefault(found[2], len(seen) + 1)).encode()

    source, target = zipfile.ZipFile(io.BytesIO(model)), io.BytesIO()
    contents = {name: source.read(name) for name in source.namelist()} | dict(more or {})
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in sorted(contents.items()):
            if name == "metadata.json":
                content = json.dumps({**json.loads(content), "date_saved": ""}).encode()
            elif name == "config.json":
                content = re.sub(rb'("shared_object_id": )(\d+)', renumbered, content)
            archive.writestr(zipfile.ZipInfo(name), content)
    return target.getvalue()
