"""One run trained again from what its row says, and why it may come out otherwise."""

import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.config import Config, compose, with_overrides
from pipeline.data import arrays
from pipeline.data.prepare import prepared
from pipeline.errors import FairsweepError
from pipeline.imports import closure, decides
from pipeline.provenance import git, locked
from pipeline.search.state import STATE, Job, Record, State, code_modules, settings
from pipeline.training import backend
from pipeline.training.fit import Epoch, Run
from pipeline.training.work import train
from pipeline.verifying.names import RunName
from pipeline.verifying.recorded import Recorded, differences

DIED = "worker died"


def job_of(name: RunName, recorded: Recorded) -> Job:
    """The run to do again, on the backend that it was recorded on."""
    config = with_overrides(compose(recorded.overrides), [f"train.backend={recorded.row['backend']}"])
    return Job(name.kind, name.number, config, recorded.overrides, keep_model=True, study=name.study or 0)


def arrays_of(study: Config) -> tuple[Path, str]:
    """The folder of the study's arrays, made where they are missing, and their digest.

    Raises:
        FairsweepError: if they are not the ones that the study was scored on: no run could come out the same.
    """
    folder = prepared(study)
    digest: str = arrays.checked_meta(folder, study.task)["digest"]
    scored = _study_json(study)
    if scored and scored["data"]["digest"] != digest:
        raise FairsweepError(
            f"{folder} holds other data (digest {digest[:12]}) than study {study.name} was run on "
            f"({scored['data']['digest'][:12]}, by {_study_path(study)}). Bring its data back: dvc checkout, or dvc repro pad"
        )
    return folder, digest


def retrain(job: Job, recorded: Recorded, folder: Path, show: Callable[[int, Epoch], None]) -> Run:
    """Trains `job` on the arrays in `folder`; a run that its study had ended early ends after the same epoch."""

    def on_epoch(number: int, epoch: Epoch) -> bool:
        show(number, epoch)
        return number == recorded.pruned_after

    # TensorFlow's remarks on absent GPUs are not ours to show; errors still raise.
    with backend.quiet():
        return train(job.config, job.keep_model, on_epoch, folder)


def causes(study: Config, job: Job, digest: str, recorded: Recorded, now: Recorded) -> list[str]:
    """What differs between here and where the run was recorded, as far as anything tells: a sentence each, the likeliest first."""
    if recorded.row["reason"].startswith(DIED):
        return ["its worker died three times then, which was the machine's doing and not the run's"]
    kept = _in_state(job, recorded)
    if kept is None:
        return _by_study(study, job)
    path, record, before = kept
    if not differences(Recorded.of(path, record), now):
        return [f"the table was edited: {path}, written when the run ended, holds the numbers of now"]
    return by_settings(before, settings(job.config, before["stage"], digest))


def by_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two states' settings of one run, as `state.settings` has them."""
    found = _versions(before["backend"])
    if before["code"] != now["code"]:
        found.append("the code that trains it has changed since")
    if before["protocol"] != now["protocol"]:
        found.append(f"it was recorded under protocol {before['protocol']}, and this is {now['protocol']}")
    return found + [f"its {key} differs" for key in ("data", "task") if before[key] != now[key]]


def kept_model(job: Job, recorded: Recorded, digest: str) -> bytes | None:
    """The model of a run that `.fairsweep/state` still holds, trained on the arrays with `digest`; None where it does not."""
    kept = _in_state(job, recorded)
    if kept is None or kept[2]["data"] != digest or differences(recorded, Recorded.of(kept[0], kept[1])):
        return None
    return kept[1].run.model


def _in_state(job: Job, recorded: Recorded) -> tuple[Path, Record, dict[str, Any]] | None:
    """The run's own record with its file and the settings that it was made under: the one that the tables were written from,
    else the latest.
    """
    found = []
    for path in sorted(STATE.glob(f"*/{job.key}.npz"), key=lambda one: one.stat().st_mtime):
        document = json.loads(path.with_name("settings.json").read_text())
        record = State(path.parent).read(job)
        if record and document["name"] == job.config.name and document["cell"]["arm"] == job.config.cell.arm:
            same = not differences(recorded, Recorded.of(path, record))
            found.append((same, path, record, document))
    if not found:
        return None
    _, path, record, document = max(found, key=lambda one: one[0])
    return path, record, document


def _by_study(study: Config, job: Job) -> list[str]:
    """Without a state: what study.json and the lock of the packages say of where the scores were made."""
    from pipeline.training.protocol import PROTOCOL

    backend = job.config.train.backend
    pinned = locked()
    found = _versions({name: pinned[name] for name in ("keras", backend) if name in pinned}, "requirements.lock has")
    found += _committed_before(study, job.config.cell.type)
    scored = _study_json(study)
    if scored is None:
        return found
    if scored["protocol"] != PROTOCOL:
        found.append(f"the study was scored under protocol {scored['protocol']}, and this is {PROTOCOL}")
    for key, value in scored["fixed"].items():
        section, name = key.split(".")
        now = getattr(getattr(study, section), name, None)
        if now != value:
            found.append(f"{key} was {json.dumps(value)} in the study, and is {json.dumps(now)} in conf/ now")
    return found


def _committed_before(study: Config, cell_type: str) -> list[str]:
    """Whether git knows of changes to the code that decides numbers since the study's scores were committed."""
    code = [str(path) for path in closure(code_modules(cell_type), decides).values()]
    commit = git("log", "-1", "--format=%h", "--", str(_study_path(study).parent))
    changed = commit and git("diff", "--name-only", commit, "--", *code)
    if not changed:
        return []
    files = changed.splitlines()
    several = f" and {len(files) - 1} other files" if len(files) > 1 else ""
    return [f"code that decides numbers has changed since the scores were committed ({commit}): {files[0]}{several}"]


def _versions(before: dict[str, str], said: str = "it was recorded with") -> list[str]:
    return [f"{said} {name} {old}, here is {here}" for name, old in before.items() if (here := _installed(name)) != old]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _study_path(study: Config) -> Path:
    return Path("results") / study.name / "scores" / "study.json"


def _study_json(study: Config) -> dict[str, Any] | None:
    path = _study_path(study)
    found: dict[str, Any] | None = json.loads(path.read_text("utf-8")) if path.is_file() else None
    return found
