"""Score all runs of a study: the contents of results/STUDY/scores, for `evaluate` and `audit`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..config.schema import Config, Printed
from ..provenance import check_origin
from ..training.protocol import PROTOCOL
from . import forecast, join
from .results import spec_of

Counter = Callable[[Config], Mapping[str, int]]


def score(
    config: Config, printed: Printed | None = None, duplicates: Counter | None = None
) -> tuple[Any, ...]:
    """Score every run of the study with the sealed labels.

    Args:
        config: the study.
        printed: the published numbers of the recipes, from `compose.printed_numbers`.
        duplicates: counts rows that are in two parts, such as `count_duplicates`.

    Returns:
        (study.json, {name: table}, contributions of the test rows, sealed labels), as `join.write`
        expects them.

    Raises:
        FairsweepError: if runs are missing, incomplete, or from other data or another protocol.
    """
    data, runs = Path("data") / config.name, Path("runs") / config.name
    meta = join.read_meta(data)
    spec = spec_of(meta)
    stages = [f"{stage}/{arm}" for arm in config.cells for stage in ("tune", "replicate")]
    for stage in [*stages, "baseline"]:
        check_origin(runs / stage, PROTOCOL, meta, f"dvc repro {stage.replace('/', '@')}")
    sealed = join.open_seal(data, spec)
    parts = join.read_runs(config, runs, spec, sealed.labels)
    scores, examples = join.score_runs(parts, sealed, spec)
    tables = {"scores": scores, **join.join_tables(parts)}
    if spec.kind == "regression":
        tables["forecast"] = forecast.table(config.cells, parts, sealed.labels, spec, data)
    study = join.describe(config, meta, PROTOCOL, printed)
    if duplicates:
        study["copies"] = dict(duplicates(config))
    return study, tables, examples, sealed
