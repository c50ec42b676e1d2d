"""A folder that is written beside the same one made again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.auditing import edits
from pipeline.auditing.edits import Edit


def compare(folder: Path, again: Path) -> list[Edit]:
    """What differs in `folder` from `again`, file by file."""
    files = sorted({str(path.relative_to(one)) for one in (folder, again) for path in one.rglob("*") if path.is_file()})
    found: list[Edit] = []
    for name in files:
        there, made, shown = folder / name, again / name, str(folder / name)
        if not there.is_file() or not made.is_file():
            found.append(Edit(shown, 0, "", *("a file" if path.is_file() else "no file" for path in (there, made))))
        elif name.endswith(".npz"):
            found += _arrays(shown, there, made)
        else:
            found += edits.of(shown, there.read_text("utf-8"), made.read_text("utf-8"))
    return found


def _arrays(shown: str, there: Path, again: Path) -> Iterator[Edit]:
    with np.load(there, allow_pickle=False) as old, np.load(again, allow_pickle=False) as new:
        for name in sorted({*old.files, *new.files}):
            if name not in old.files or name not in new.files:
                yield Edit(shown, 0, name, *("an array" if name in one.files else "none" for one in (old, new)))
            elif old[name].shape != new[name].shape:
                yield Edit(shown, 0, name, *(f"shape {one[name].shape}" for one in (old, new)))
            else:
                for place in np.argwhere(~np.isclose(old[name], new[name], rtol=edits.TOLERANCE, atol=0, equal_nan=True)):
                    where = ", ".join(map(str, place))
                    yield Edit(shown, 0, f"{name}[{where}]", str(old[name][tuple(place)]), str(new[name][tuple(place)]))
