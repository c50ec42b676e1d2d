"""The record of looks: each size of a study at which a verdict was given. Looking twice at the same level errs more than it says.

Kept in results/STUDY/report/looks.csv, a row a look; the rows of one pool or set of studies share a digest.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from ..files import reading
from ..scoring.results import active_settings

# What was fixed before the run, and may not change once a verdict was given.
FIXED = ("budget", "margin", "alpha", "looks")
COLUMNS = ["digest", "space_seed", "repeats", "trials", *FIXED]


def record(path: Path, study: dict[str, Any]) -> tuple[pd.DataFrame, str | None]:
    """The looks with this one, and None; or the looks as they are, and why a verdict is refused now.

    Args:
        path: looks.csv, which need not exist.
        study: what study.json holds.
    """
    looks = _kept(path) if path.is_file() else pd.DataFrame(columns=COLUMNS)
    if not study["trials"]:
        # Without a search no verdict is given, so nothing was looked at.
        return looks, None
    here = {name: study[name] for name in ("repeats", "trials", *FIXED)}
    here |= {"digest": digest(study), "space_seed": study["seeds"]["space_seed"]}
    before = looks[looks["digest"] == here["digest"]].to_dict("records")
    sizes = [(int(row["repeats"]), int(row["trials"])) for row in before]
    if reason := _changed(before, here) or _spent(sizes, here):
        return looks, reason
    if (here["repeats"], here["trials"]) in sizes:
        return looks, None
    return pd.DataFrame([*looks.to_dict("records"), here], columns=COLUMNS), None


def _kept(path: Path) -> pd.DataFrame:
    with reading(path, f"No command can make it again: take it from git (git checkout -- {path})."):
        return pd.read_csv(path, dtype={"digest": str})[COLUMNS]


def digest(study: dict[str, Any]) -> str:
    """Twelve digits of all that makes two sizes of a study the same pool: not its size, nor its cells, nor the rules."""
    kept = ("study", "protocol", "design", "sampler", "pruner", "backend", "task", "space", "seeds")
    document = {
        **{name: study[name] for name in kept},
        "fixed": active_settings(study),
        "data": study["data"]["digest"],
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]


def _changed(before: list[dict[Any, Any]], here: dict[str, Any]) -> str | None:
    for row in before:
        for name in FIXED:
            if float(row[name]) != float(here[name]):
                return (
                    f"search.{name} was {row[name]:g} when a verdict was given at {row['trials']} trials, and is {here[name]:g} now. "
                    f"It is fixed before the run: set it back, or start with a new space_seed."
                )
    return None


def _spent(sizes: list[tuple[int, int]], here: dict[str, Any]) -> str | None:
    if (here["repeats"], here["trials"]) in sizes or len(sizes) < here["looks"]:
        return None
    told = " and ".join(
        f"{trials} trials" if studies == 1 else f"{studies} studies of {trials} trials"
        for studies, trials in sizes
    )
    return (
        f"a verdict was given at {told}, and search.looks={here['looks']} allows no other: each more look at the same data finds "
        "winners that are not there. Plan search.looks before the run, or start with a new space_seed."
    )
