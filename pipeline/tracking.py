"""The only importer of mlflow: runs are written to its own default store, and no result is read back.

One experiment a study; a parent run a stage and arm, a child for each training. Deleting `mlflow.db` and `mlruns/` changes no
result: what is still to come is recorded anew.
"""

import dataclasses
import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from pipeline.config import Config, leaves

if TYPE_CHECKING:
    from pipeline.search.state import Record, State

# MLflow asks a host on the network for its telemetry settings unless told not to.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
INIT_LOCK = Path(".fairsweep/mlflow.lock")


def client() -> Any:
    """An MlflowClient of the default store, which is created here, by one process at a time."""
    import logging

    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    INIT_LOCK.parent.mkdir(exist_ok=True)
    # Several processes creating the tables at once break the store for good.
    with FileLock(INIT_LOCK):
        made = MlflowClient()
        made.search_experiments(max_results=1)
    return made


def experiment(store: Any, study: str) -> str:
    """The id of the study's experiment, created when it is missing."""
    with FileLock(INIT_LOCK):
        found = store.get_experiment_by_name(study)
        return found.experiment_id if found else store.create_experiment(study)


def commit() -> str:
    """The git commit of the current folder, `-dirty` behind it when tracked files differ, or `unknown`."""
    try:
        describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def settings(config: Config) -> dict[str, str]:
    """What a run was trained with, flat: {`model.units`: `32`}; the search, the cluster and the space left out."""
    flat = {}
    for key, _ in leaves():
        if key.split(".")[0] not in ("search", "cluster", "space", "cells", "recipes") and key != "task.archive":
            value: Any = config
            for part in key.split("."):
                value = getattr(value, part)
            flat[key] = str(value)
    return flat


class Tracker:
    """Records the runs of one stage and arm under one parent run, which a resumed stage takes up again."""

    def __init__(self, config: Config, stage: str, data_digest: str, state: "State | None" = None) -> None:
        self.config, self.stage, self.data_digest, self.state = config, stage, data_digest, state
        self.store = client()
        self.experiment = experiment(self.store, config.name)
        self.commit = commit()
        self.ids: dict[str, str] = state.notes("mlflow") if state else {}
        self.ids = {key: run_id for key, run_id in self.ids.items() if self._exists(run_id)}
        self.parent = self.ids.get("parent") or self._create("parent", f"{stage} {config.cell.arm}", {})
        self._reopen()

    @classmethod
    @contextmanager
    def open(cls, config: Config, stage: str, data_digest: str, state: "State | None" = None) -> Iterator["Tracker"]:
        """A tracker whose parent run ends with the block: FINISHED, KILLED when it was interrupted, FAILED otherwise."""
        tracker = cls(config, stage, data_digest, state)
        status = "FAILED"
        try:
            yield tracker
            status = "FINISHED"
        except BaseException as error:
            status = "KILLED" if type(error).__name__ in ("Stopped", "KeyboardInterrupt") else "FAILED"
            raise
        finally:
            tracker.store.set_terminated(tracker.parent, status)

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self.store.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException:
            return False

    def _reopen(self) -> None:
        """The parent runs again; a child that was being written when its coordinator died ends as killed."""
        self.store.update_run(self.parent, status="RUNNING")
        if self.state is None:
            return
        children = f"tags.`mlflow.parentRunId` = '{self.parent}' and attributes.status = 'RUNNING'"
        for run in self.store.search_runs([self.experiment], children, max_results=1000):
            if run.info.run_id not in self.ids.values():
                self.store.set_terminated(run.info.run_id, "KILLED")

    def _create(self, key: str, name: str, tags: dict[str, str]) -> str:
        whole = {
            "mlflow.runName": name,
            "mlflow.source.git.commit": self.commit.removesuffix("-dirty"),
            "git": self.commit,
            "stage": self.stage,
            "arm": self.config.cell.arm,
            "data": self.data_digest,
            **tags,
        }
        run_id = self.store.create_run(self.experiment, tags=whole, run_name=name).info.run_id
        self._log_data(run_id)
        self._remember(key, run_id)
        return run_id

    def _remember(self, key: str, run_id: str) -> None:
        self.ids[key] = run_id
        if self.state:
            self.state.note("mlflow", key, run_id)

    def _log_data(self, run_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput

        data = Dataset(
            name=self.config.task.name,
            digest=self.data_digest[:36],
            source_type="local",
            source=f'{{"uri": "data/{self.config.name}/arrays"}}',
        )
        self.store.log_inputs(run_id, datasets=[DatasetInput(data, [])])

    def log(self, record: "Record") -> None:
        """One child run, written once: parameters, a metric an epoch, scores, seed and cost."""
        job = record.job
        if f"{job.key} done" in self.ids:
            return
        # The id is noted before the run is written, so that a resumed stage takes up this run and makes no second one.
        study = {"study": str(job.study)} if job.separate else {}
        name = " ".join([self.config.cell.arm, *(f"study {job.study}" for _ in study), job.kind, str(job.number)])
        run_id = self.ids.get(job.key) or self._create(job.key, name, {"mlflow.parentRunId": self.parent, **study})
        write(self.store, run_id, record)
        self._remember(f"{job.key} done", run_id)

    def register(self, model: Path, record: "Record") -> None:
        """Log the arm's champion under the parent run and register it; the arm's name is its alias."""
        key = f"champion {record.job.key}"
        if key in self.ids:
            return
        import mlflow

        from pipeline.models.cells import load_model
        from pipeline.training import backend

        name = registered(self.config.name)
        backend.use(self.config.train.backend)
        # MLflow's advice on signatures and pip, and TensorFlow's on absent GPUs, are not ours to show; errors still raise.
        with backend.quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import keras
            import mlflow.keras

            with mlflow.start_run(run_id=self.parent):
                logged = mlflow.keras.log_model(
                    load_model(model, self.config.cell),
                    name=f"champion-{self.config.cell.arm}",
                    registered_model_name=name,
                    pip_requirements=[f"keras=={keras.__version__}", *_backend_requirement(self.config.train.backend)],
                )
        self.store.set_registered_model_alias(name, self.config.cell.arm, logged.registered_model_version)
        self._remember(key, self.parent)


def write(store: Any, run_id: str, record: "Record") -> None:
    """Everything of a finished run in one batch, and its end."""
    from mlflow.entities import Metric, Param, RunTag

    job, run = record.job, record.run
    stamp = int(record.started * 1000)
    metrics = [
        Metric(name, float(value), stamp, step)
        for step, epoch in enumerate(run.epochs, 1)
        for name, value in dataclasses.asdict(epoch).items()
    ]
    facts = {
        "best_validation": run.best.validation if run.best else None,
        "best_epoch": run.best_epoch,
        "epochs": len(run.epochs),
        "seconds": run.seconds,
        "parameters": run.parameters,
    }
    metrics += [Metric(name, float(value), stamp, 0) for name, value in facts.items() if value is not None]
    params = [Param(key, value) for key, value in settings(job.config).items()]
    tags = [RunTag("kind", job.kind), RunTag("number", str(job.number)), RunTag("state", run.state), RunTag("reason", run.reason)]
    store.log_batch(run_id, metrics=metrics, params=params, tags=tags)
    store.set_terminated(run_id, "FAILED" if run.state == "failed" else "FINISHED")


def log_one(config: Config, data_digest: str, record: "Record") -> None:
    """One run of `train`, beside the study's stages in the same experiment."""
    tracker = Tracker(config, "train", data_digest)
    write(tracker.store, tracker.parent, record)


def _backend_requirement(backend: str) -> list[str]:
    from importlib.metadata import version

    return [f"{backend}=={version(backend)}"]


def registered(study: str) -> str:
    """The name of the study's model in the registry."""
    return f"fairsweep-{study}"


def crown(study: str, arm: str) -> None:
    """Give the alias `champion` to the registered model of `arm`; without a store or a model nothing happens."""
    if not Path("mlflow.db").exists() and "MLFLOW_TRACKING_URI" not in os.environ:
        return
    from mlflow.exceptions import MlflowException

    store = client()
    try:
        version = store.get_model_version_by_alias(registered(study), arm).version
        store.set_registered_model_alias(registered(study), "champion", version)
    except MlflowException:
        return
