"""The only importer of mlflow: runs are written to its own default store, and no result is read back.

One experiment a study; a parent run a stage and arm, a child for each training. Deleting `mlflow.db` and `mlruns/` changes no
result: what is still to come is recorded anew. Names, notes and one stored view of the columns are made so that MLflow's own pages
answer what the study asks.
"""

import dataclasses
import json
import os
import shlex
import sqlite3
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from pipeline.config import Config, leaves
from pipeline.data.form import Form
from pipeline.errors import FairsweepError, masked
from pipeline.faults import TRACKED, of_mlflow
from pipeline.provenance import DIRTY, commit, environment

if TYPE_CHECKING:
    from pipeline.search.state import Record, State

# MLflow asks a host on the network for its telemetry settings unless told not to.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
INIT_LOCK = Path(".fairsweep/mlflow.lock")
# Characters: MLflow's column, which PostgreSQL keeps to.
LONGEST_DESCRIPTION = 5000
ANSWER_SECONDS = 10
# Tags that MLflow's pages read: a note in Markdown, the kind of pages an experiment has, a stored view of its runs.
NOTE, KIND, VIEW = "mlflow.note.content", "mlflow.experimentKind", "mlflow.sharedViewState.fairsweep"
# The columns of that view, from left to right.
COLUMNS = [
    *("metrics.`test`", "metrics.`best_validation`", "metrics.`runs`", "metrics.`epochs`", "metrics.`seconds`"),
    *("params.`train.learning_rate`", "params.`model.units`", "params.`train.optimizer`"),
]
NAME_COLUMN, NAME_PIXELS = "attributes.`Run Name`", 300


def client() -> Any:
    """An MlflowClient of the default store, which is created here, by one process at a time.

    Raises FairsweepError for a store that cannot be used, whatever it raises.
    """
    import logging

    check_store()
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    # It logs each error with its traceback before it raises it.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    INIT_LOCK.parent.mkdir(exist_ok=True)
    # Several processes creating the tables at once break the store for good.
    with FileLock(INIT_LOCK):
        try:
            made = MlflowClient()
            made.search_experiments(max_results=1)
        except Exception as error:
            raise FairsweepError(of_mlflow(error)) from error
    return made


def import_seconds() -> float:
    """Seconds until MLflow is imported, for which every stage that trains has to wait; no store is opened."""
    begun = time.perf_counter()
    import mlflow  # noqa: F401

    return time.perf_counter() - begun


def check_store() -> None:
    """Raise FairsweepError for a store that does not answer, at once: MLflow itself takes seconds to import and minutes to give up."""
    try:
        _knock(os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{TRACKED}"))
    except Exception as error:
        raise FairsweepError(of_mlflow(error)) from error


def _knock(uri: str) -> None:
    if uri.startswith(("http://", "https://")):
        import requests

        # Any answer will do: MLflow knows of passwords and certificates.
        with suppress(requests.exceptions.SSLError):
            requests.get(f"{uri.rstrip('/')}/health", timeout=ANSWER_SECONDS)
    elif uri.startswith("sqlite:///") and (path := Path(uri.removeprefix("sqlite:///"))).exists():
        with closing(sqlite3.connect(path)) as store:
            store.execute("select count(*) from sqlite_master")


def experiment(store: Any, config: Config) -> str:
    """The id of the study's experiment, created when it is missing; a new one has the question on its page."""
    with FileLock(INIT_LOCK):
        found = store.get_experiment_by_name(config.name)
        known: str = found.experiment_id if found else store.create_experiment(config.name)
        if not found or NOTE not in found.tags:
            ask(store, known, config)
    return known


def ask(store: Any, experiment_id: str, config: Config) -> None:
    """Put the study's question on its page, where the answer will stand, and how its runs are best looked at."""
    view = {
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": COLUMNS,
        "columnOrder": [NAME_COLUMN, *COLUMNS],
        "columnWidths": {NAME_COLUMN: NAME_PIXELS},
    }
    search = config.search
    plan = f"{search.trials} trials each, then" if search.trials else "No search, so no verdict:"
    note = (
        f"Which is better on {config.task.name}: {', '.join(config.cells)}? {plan} {search.replicates} fresh seeds. The answer will "
        f"stand here when the study has its report. [Its runs](#{runs_page(experiment_id)})"
    )
    for tag, value in ((KIND, "custom_model_development"), (VIEW, json.dumps(view)), (NOTE, note)):
        store.set_experiment_tag(experiment_id, tag, value)


def runs_page(experiment_id: str) -> str:
    """The path, behind the `#` of MLflow's address, of an experiment's runs with the columns that answer."""
    return f"/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=fairsweep"


def settings(config: Config) -> dict[str, str]:
    """What a run was trained with, flat: {`model.units`: `32`}; the search, the cluster and the space left out."""
    flat = {}
    for key, _ in leaves():
        if key.split(".")[0] not in ("search", "cluster", "space", "cells", "recipes") and key != "task.archive":
            value: Any = config
            for part in key.split("."):
                value = getattr(value, part)
            flat[key] = masked(str(value))
    return flat


class Tracker:
    """Records the runs of one stage and arm under one parent run, which a resumed stage takes up again."""

    def __init__(
        self, config: Config, stage: str, data_digest: str, state: "State | None" = None, form: Form | None = None
    ) -> None:
        self.config, self.stage, self.data_digest, self.state, self.form = config, stage, data_digest, state, form or Form()
        self.records: list[Record] = []
        self.store = client()
        self.experiment = experiment(self.store, config)
        self.commit = commit()
        self.ids: dict[str, str] = state.notes("mlflow") if state else {}
        self.ids = {key: run_id for key, run_id in self.ids.items() if self._exists(run_id)}
        self.parent = self.ids.get("parent") or self._create("parent", f"{stage} {config.cell.arm}", {})
        self._reopen()

    @classmethod
    @contextmanager
    def open(
        cls, config: Config, stage: str, data_digest: str, state: "State | None" = None, form: Form | None = None
    ) -> Iterator["Tracker"]:
        """A tracker whose parent run ends with the block: FINISHED, KILLED when it was interrupted, FAILED otherwise.

        `form` words the scores in its name and its note.
        """
        tracker = cls(config, stage, data_digest, state, form)
        try:
            yield tracker
            tracker.sum_up()
        except BaseException as error:
            # That is to be told, and not that the store, too, cannot be written.
            with suppress(Exception):
                stopped = type(error).__name__ in ("Stopped", "KeyboardInterrupt")
                tracker._end(tracker._unfinished())
                tracker.store.set_terminated(tracker.parent, "KILLED" if stopped else "FAILED")
            raise
        tracker.store.set_terminated(tracker.parent, "FINISHED")

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self.store.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException:
            return False

    def _reopen(self) -> None:
        """The parent runs again; a child that was being written when its coordinator died ends as killed."""
        self.store.update_run(self.parent, status="RUNNING", name=f"{self.stage} {self.config.cell.arm}")
        if self.state is not None:
            self._end(run_id for run_id in self._unfinished() if run_id not in self.ids.values())

    def _unfinished(self) -> list[str]:
        """The children that are still being written."""
        children = f"tags.`mlflow.parentRunId` = '{self.parent}' and attributes.status = 'RUNNING'"
        return [run.info.run_id for run in self.store.search_runs([self.experiment], children, max_results=1000)]

    def _end(self, run_ids: Iterable[str]) -> None:
        """These runs end as killed; whoever resumes the stage finishes those whose ids were noted."""
        for run_id in run_ids:
            self.store.set_terminated(run_id, "KILLED")

    def _create(self, key: str, name: str, tags: dict[str, str]) -> str:
        whole = {
            "mlflow.runName": name,
            "mlflow.source.name": f"pipeline.{self.stage}",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": self.commit.removesuffix(DIRTY),
            "git": self.commit,
            "stage": self.stage,
            "arm": self.config.cell.arm,
            "data": self.data_digest,
            **{f"environment.{name}": value for name, value in environment().items()},
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
        self.records.append(record)
        if f"{job.key} done" in self.ids:
            return
        # The id is noted before the run is written, so that a resumed stage takes up this run and makes no second one.
        study = {"study": str(job.study)} if job.separate else {}
        name = " ".join([self.config.cell.arm, *(f"study {job.study}" for _ in study), job.kind, str(job.number)])
        run_id = self.ids.get(job.key) or self._create(job.key, name, {"mlflow.parentRunId": self.parent, **study})
        write(self.store, run_id, record)
        self._remember(f"{job.key} done", run_id)

    def sum_up(self) -> None:
        """What came of all runs: in the parent's name, its numbers and its note."""
        from mlflow.entities import Metric

        from pipeline.search.tables import best

        kinds = {kind: [one for one in self.records if one.job.kind == kind] for kind in (one.job.kind for one in self.records)}
        # The first is `trial`, or `tuned`: what a recipe scores says nothing of a search.
        first = next(iter(kinds.values()), [])
        top = best(first)
        if top is None or top.run.best is None:
            return
        facts = {
            "best_validation": top.run.best.validation,
            "runs": len(self.records),
            "failed": sum(record.run.state == "failed" for record in self.records),
            "epochs": sum(len(record.run.epochs) for record in self.records),
            "seconds": round(sum(record.run.seconds for record in self.records), 1),
        }
        now = int(time.time() * 1000)
        self.store.log_batch(self.parent, metrics=[Metric(name, float(value), now, 0) for name, value in facts.items()])
        told = {kind: self._told(kind, records) for kind, records in kinds.items()}
        self.store.update_run(self.parent, name=f"{self.stage} {self.config.cell.arm}: {told[top.job.kind]}")
        scores = "; ".join(f"{len(kinds[kind])} {kind}: {score}" for kind, score in told.items())
        note = (
            f"{self.config.cell.arm}, on validation: {scores}. {facts['failed']} of {facts['runs']} runs failed. The best is "
            f"{top.job.kind} {top.job.number}, and anyone can train it again:\n\n"
        )
        self.store.set_tag(self.parent, NOTE, f"{note}`python -m pipeline.train {shlex.join(top.job.overrides)}`")

    def _told(self, kind: str, records: "Sequence[Record]") -> str:
        """What runs of one kind score on validation: the best of a search, the mean of seeds."""
        scores = [record.run.best.validation for record in records if record.run.best]
        if not scores:
            return "all failed"
        return f"best {self.form.told(max(scores))}" if kind == "trial" else f"mean {self.form.told(sum(scores) / len(scores))}"

    def register(self, model: Path, record: "Record") -> None:
        """Log the arm's champion, a file of `replicate`, under the parent run and register it; the arm's name is its alias.

        One that reads words takes raw texts wherever it is served: its vocabulary, and the code that reads by it, go with it.
        """
        key = f"model {record.job.key}"
        if key in self.ids:
            return
        import mlflow

        from pipeline.serving.reader import read
        from pipeline.training.backend import quiet

        name = registered(self.config.name)
        log = _log_text_model if read(model).words else _log_keras_model
        # MLflow's advice on signatures and pip, and TensorFlow's on absent GPUs, are not ours to show; errors still raise.
        with quiet(), warnings.catch_warnings(), mlflow.start_run(run_id=self.parent):
            warnings.simplefilter("ignore")
            version = log(model, self.config, {"name": f"champion-{self.config.cell.arm}", "registered_model_name": name})
        self.store.set_registered_model_alias(name, self.config.cell.arm, version)
        self.store.set_model_version_tag(name, version, "run", record.job.name)
        self._remember(key, self.parent)


def _log_text_model(model: Path, config: Config, options: dict[str, str]) -> str:
    """A model of texts: `serving.reader` runs it, from a copy of its own. The version it is registered as."""
    import tempfile

    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    from pipeline.imports import release_of, source_of
    from pipeline.models.cells import own_module
    from pipeline.serving import carried

    said = [("string", "label"), ("double", "probability"), ("long", "read"), ("long", "known")]
    with tempfile.TemporaryDirectory() as folder:
        logged = mlflow.pyfunc.log_model(
            **options,
            loader_module="pipeline.serving.reader",
            data_path=str(model),
            code_paths=[str(path) for path in carried.code(Path(folder), config.cell.type)],
            signature=ModelSignature(Schema([ColSpec("string", "text")]), Schema([ColSpec(*one) for one in said])),
            pip_requirements=[
                *_requirements("keras", config.train.backend, "numpy", "omegaconf", "pandas"),
                *(release_of(module) for module in own_module(config.cell.type) if source_of(module) is None),
            ],
        )
    return str(logged.registered_model_version)


def _log_keras_model(model: Path, config: Config, options: dict[str, str]) -> str:
    """A model of numbers, as Keras's own. The version it is registered as."""
    from pipeline.models.cells import load_model
    from pipeline.training import backend

    backend.use(config.train.backend)
    import mlflow.keras

    requirements = _requirements("keras", config.train.backend)
    logged = mlflow.keras.log_model(load_model(model, config.cell), **options, pip_requirements=requirements)
    return str(logged.registered_model_version)


def _requirements(*packages: str) -> list[str]:
    """Each in the version of this process; found by MLflow itself they take 15 s."""
    from importlib.metadata import version

    return [f"{package}=={version(package)}" for package in packages]


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
    told = {"kind": job.kind, "number": str(job.number), "state": run.state, "reason": run.reason, "worker": record.worker}
    tags = [RunTag(name, value) for name, value in told.items()]
    store.log_batch(run_id, metrics=metrics, params=params, tags=tags)
    store.set_terminated(run_id, "FAILED" if run.state == "failed" else "FINISHED")


def log_one(config: Config, data_digest: str, record: "Record") -> None:
    """One run of `train`, beside the study's stages in the same experiment."""
    tracker = Tracker(config, "train", data_digest)
    write(tracker.store, tracker.parent, record)


def registered(study: str) -> str:
    """The name of the study's model in the registry."""
    return f"fairsweep-{study}"


def answer(config: Config, metrics: Mapping[str, Any], title: str, text: str, report: Path) -> str | None:
    """Put the answer where MLflow is opened: on the study's page, on a run that holds the report, on the registered models.

    Args:
        metrics: what metrics.json holds.
        title: the answer in a few words.
        text: the answer, one sentence.
        report: the folder of report.html.

    Returns:
        The path, behind the `#` of MLflow's address, of the study's runs; None without a store, where nothing is written.
    """
    if not Path(TRACKED).exists() and "MLFLOW_TRACKING_URI" not in os.environ:
        return None
    try:
        store = client()
    except FairsweepError as fault:
        # The report is written by now.
        print(f"warning: MLflow's pages do not get the answer. {fault}", file=sys.stderr)
        return None
    found = store.get_experiment_by_name(config.name)
    if found is None:
        return None
    known: str = found.experiment_id
    run = _report_run(store, known, f"report: {title}")
    for name in ("report.html", "report.md", "metrics.json"):
        store.log_artifact(run, str(report / name))
    ask(store, known, config)
    # The first paragraph is what is seen before anyone unfolds the note.
    links = f"[the report](#/experiments/{known}/runs/{run}/artifacts/report.html), [its runs](#{runs_page(known)})"
    written = f"Written {time.strftime('%Y-%m-%d')}; the same report: `{report}/report.html`."
    store.set_experiment_tag(known, NOTE, f"{title}: {links}\n\n{text}\n\n{written}")
    store.set_tag(run, NOTE, text)
    for arm, values in metrics["arms"].items():
        for stage, part in (("tune", values.get("tuned")), ("replicate", values.get("replicates"))):
            parent = _latest(store, known, f"tags.stage = '{stage}' and tags.arm = '{arm}'") if part else None
            if parent:
                store.log_metric(parent, "test", float(f"{part['mean']:.4g}"))
    if metrics["champion"]:
        cards = {arm: (report / "cards" / f"{arm}.md").read_text("utf-8") for arm in config.cells}
        crown(store, config.name, metrics["champion"]["arm"], text, cards)
    return runs_page(known)


def _latest(store: Any, experiment_id: str, which: str) -> str | None:
    """The youngest of an experiment's runs of which the filter `which` holds, children left out."""
    for run in store.search_runs([experiment_id], which, order_by=["attributes.start_time DESC"], max_results=1000):
        if "mlflow.parentRunId" not in run.data.tags:
            return str(run.info.run_id)
    return None


def _report_run(store: Any, experiment_id: str, name: str) -> str:
    """The run that holds the report: the one of the report before, where there was one."""
    tags = {"mlflow.source.name": "pipeline.report", "mlflow.source.type": "LOCAL", "stage": "report"}
    run = _latest(store, experiment_id, "tags.stage = 'report'")
    run = run or store.create_run(experiment_id, tags=tags, run_name=name).info.run_id
    store.update_run(run, status="FINISHED", name=name)
    return str(run)


def crown(store: Any, study: str, arm: str, text: str, cards: Mapping[str, str]) -> None:
    """Give the alias `champion` to the registered model of `arm`, each arm's model its card, and the model's page the answer."""
    from mlflow.exceptions import MlflowException

    name = registered(study)
    for one, card in cards.items():
        with suppress(MlflowException):
            version = store.get_model_version_by_alias(name, one).version
            store.update_model_version(name, version, description=card[:LONGEST_DESCRIPTION])
            if one == arm:
                store.set_registered_model_alias(name, "champion", version)
                store.update_registered_model(name, description=f"The champions of the study {study}, one of each cell. {text}")
