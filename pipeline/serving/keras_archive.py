"""Reproducible .keras files: equal models give equal bytes."""

import io
import json
import re
import zipfile
from collections.abc import Mapping


def reproducible(model: bytes, more: Mapping[str, bytes] | None = None) -> bytes:
    """The .keras file `model` without its date and memory addresses.

    Args:
        more: files to add, {path: content}. Keras ignores them.
    """
    numbers: dict[bytes, int] = {}

    def renumbered(match: re.Match[bytes]) -> bytes:
        return match[1] + str(numbers.setdefault(match[2], len(numbers) + 1)).encode()

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
