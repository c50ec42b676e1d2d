"""results/STUDY/scores, made by `evaluate` and made again by `audit`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Config, Printed
from pipeline.provenance import check_origin
from pipeline.reporting import forecast, join
from pipeline.reporting.tables import form_of
from pipeline.training.protocol import PROTOCOL

Copies = Callable[[Config], Mapping[str, int]]


def score(config: Config, printed: Printed | None = None, copied: Copies | None = None) -> tuple[Any, ...]:
    """Scores every run of the study with the sealed labels; what `join.write` writes: study.json, the tables by name, and so on.

    `printed` is what `config.printed_numbers` says of the study's recipes, `copied` counts rows that stand in two parts.
    """
    data = Path("data") / config.name
    meta = join.read_meta(data)
    form = form_of(meta)
    runs = Path("runs") / config.name
    for stage in [*(f"{stage}/{arm}" for arm in config.cells for stage in ("tune", "replicate")), "baseline"]:
        check_origin(runs / stage, PROTOCOL, meta, f"dvc repro {stage.replace('/', '@')}")
    sealed = join.open_seal(data, form)
    parts = join.read_runs(config, runs, form, sealed.labels)
    scores, examples = join.score_runs(parts, sealed, form)
    tables = {"scores": scores, **join.join_tables(parts)}
    if form.kind == "regression":
        tables["forecast"] = forecast.table(config.cells, parts, sealed.labels, form, data)
    told = join.describe(config, meta, PROTOCOL, printed) | ({} if copied is None else {"copies": dict(copied(config))})
    return told, tables, examples, sealed
