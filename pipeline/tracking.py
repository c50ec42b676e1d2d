"""The only importer of mlflow. Runs are written to its default store, and no result is read back.

An experiment is a study, a parent run is a stage of an arm, a child is a training. Deleting
`mlflow.db` and `mlruns/` changes no result. Names, notes and a stored view of the columns make
MLflow's own pages show the study's answer.
"""

import dataclasses
import json
import logging
import os
import shlex
import sqlite3
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from .config.schema import Config, leaves
from .data.spec import TaskSpec
from .errors import TRACKED, FairsweepError, masked, of_mlflow
from .provenance import DIRTY, commit, environment

if TYPE_CHECKING:
    from .search.run_store import Record, State

# By default MLflow requests its telemetry settings from a host on the network.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
INIT_LOCK = Path(".fairsweep/mlflow.lock")
MAX_DESCRIPTION = 5000  # characters; PostgreSQL enforces the limit of MLflow's column
ANSWER_SECONDS = 10
# Tags that MLflow's pages read: a note in Markdown, the type of the experiment, a stored view.
NOTE, KIND = "mlflow.note.content", "mlflow.experimentKind"
VIEW = "mlflow.sharedViewState.fairsweep"
# The columns of that view, from left to right.
COLUMNS = [
    *(f"metrics.`{name}`" for name in ("test", "best_validation", "runs", "epochs", "seconds")),
    *(f"params.`{key}`" for key in ("train.learning_rate", "model.units", "train.optimizer")),
]
NAME_COLUMN, NAME_PIXELS = "attributes.`Run Name`", 300


def client() -> Any:
    """Return an MlflowClient of the store, which is created if it is missing.

    Raises FairsweepError for a store that cannot be used.
    """
    check_store()
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    # It logs each error with its traceback before it raises the error.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    INIT_LOCK.parent.mkdir(exist_ok=True)
    # Processes that create the tables at the same time break the store.
    with FileLock(INIT_LOCK):
        try:
            store = MlflowClient()
            store.search_experiments(max_results=1)
        except Exception as error:
            raise FairsweepError(of_mlflow(error)) from error
    return store


def import_seconds() -> float:
    """Return the seconds that the import of MLflow takes, once per stage that trains."""
    start = time.perf_counter()
    import mlflow  # noqa: F401

    return time.perf_counter() - start


def check_store() -> None:
    """Raise FairsweepError for a store that does not answer.

    MLflow itself takes seconds to import, and minutes until it reports an unavailable store.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{TRACKED}")
    path = Path(uri.removeprefix("sqlite:///"))
    try:
        if uri.startswith(("http://", "https://")):
            import requests

            # Any answer is enough; MLflow has the passwords and certificates.
            with suppress(requests.exceptions.SSLError):
                requests.get(f"{uri.rstrip('/')}/health", timeout=ANSWER_SECONDS)
        elif uri.startswith("sqlite:///") and path.exists():
            with closing(sqlite3.connect(path)) as store:
                store.execute("select count(*) from sqlite_master")
    except Exception as error:
        raise FairsweepError(of_mlflow(error)) from error


def experiment(store: Any, config: Config) -> str:
    """Return the id of the study's experiment, which is created if it is missing."""
    with FileLock(INIT_LOCK):
        existing = store.get_experiment_by_name(config.name)
        number: str = existing.experiment_id if existing else store.create_experiment(config.name)
        if not existing or NOTE not in existing.tags:
            describe(store, number, config)
    return number


def describe(store: Any, experiment_id: str, config: Config) -> None:
    """Write the study's question and the view of its runs to the experiment's page."""
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
        f"Which is better on {config.task.name}: {', '.join(config.cells)}? {plan} "
        f"{search.replicates} fresh seeds. The study's report will write its answer in this place. "
        f"[Its runs](#{runs_page(experiment_id)})"
    )
    for tag, value in ((KIND, "custom_model_development"), (VIEW, json.dumps(view)), (NOTE, note)):
        store.set_experiment_tag(experiment_id, tag, value)


def runs_page(experiment_id: str) -> str:
    """Return the path, behind the `#` of MLflow's address, of an experiment's runs in the view."""
    view = "workflowType=machine_learning&viewStateShareKey=fairsweep"
    return f"/experiments/{experiment_id}/runs?{view}"


def settings(config: Config) -> dict[str, str]:
    """Return what decides a training, flat: {`model.units`: `32`}."""
    flat = {}
    for key, _ in leaves():
        section, *rest = key.split(".")
        if section in ("search", "cluster", "space", "cells", "recipes") or key == "task.archive":
            continue
        value: Any = getattr(config, section)
        for name in rest:
            value = getattr(value, name)
        flat[key] = masked(str(value))
    return flat


class Tracker:
    """Records the runs of one stage and arm under a parent run, which a resumed stage continues.

    `state` has notes of what is recorded. `spec` formats the scores in the parent's name and note.
    """

    def __init__(
        self,
        config: Config,
        stage: str,
        data_digest: str,
        state: "State | None" = None,
        spec: TaskSpec | None = None,
    ) -> None:
        self.config, self.stage, self.data_digest = config, stage, data_digest
        self.state, self.spec = state, spec or TaskSpec()
        self.records: list[Record] = []
        self.store = client()
        self.experiment = experiment(self.store, config)
        self.commit = commit()
        notes = state.notes("mlflow") if state else {}
        self.ids = {key: run_id for key, run_id in notes.items() if self._exists(run_id)}
        name = f"{stage} {config.cell.arm}"
        self.parent = self.ids.get("parent") or self._create("parent", name, {})
        self.store.update_run(self.parent, status="RUNNING", name=name)
        if state:
            self._kill_children(self.ids.values())

    @contextmanager
    def recording(self) -> Iterator["Tracker"]:
        """End the parent run with the block: FINISHED, KILLED if interrupted, otherwise FAILED."""
        try:
            yield self
            self.summarize()
        except BaseException as error:
            # Report this error, even if the store cannot be written any more.
            with suppress(Exception):
                stopped = type(error).__name__ in ("Stopped", "KeyboardInterrupt")
                self._kill_children()
                self.store.set_terminated(self.parent, "KILLED" if stopped else "FAILED")
            raise
        self.store.set_terminated(self.parent, "FINISHED")

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self.store.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException:
            return False

    def _kill_children(self, noted: Iterable[str] = ()) -> None:
        """End unfinished children as KILLED, except those `noted`, which the stage will finish."""
        children = f"tags.`mlflow.parentRunId` = '{self.parent}' and attributes.status = 'RUNNING'"
        for run in self.store.search_runs([self.experiment], children, max_results=1000):
            if run.info.run_id not in noted:
                self.store.set_terminated(run.info.run_id, "KILLED")

    def _create(self, key: str, name: str, tags: dict[str, str]) -> str:
        from mlflow.entities import Dataset, DatasetInput

        tags = {
            "mlflow.runName": name,
            "mlflow.source.name": f"{__package__}.{self.stage}",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": self.commit.removesuffix(DIRTY),
            "git": self.commit,
            "stage": self.stage,
            "arm": self.config.cell.arm,
            "data": self.data_digest,
            **{f"environment.{library}": number for library, number in environment().items()},
            **tags,
        }
        run_id = self.store.create_run(self.experiment, tags=tags, run_name=name).info.run_id
        source = json.dumps({"uri": f"data/{self.config.name}/arrays"})
        data = Dataset(self.config.task.name, self.data_digest[:36], "local", source)
        self.store.log_inputs(run_id, datasets=[DatasetInput(data, [])])
        self._note(key, run_id)
        return run_id

    def _note(self, key: str, run_id: str) -> None:
        self.ids[key] = run_id
        if self.state:
            self.state.note("mlflow", key, run_id)

    def log(self, record: "Record") -> None:
        """Write one child run, once: its parameters, metrics per epoch, scores, seed and cost."""
        job = record.job
        self.records.append(record)
        if f"{job.key} done" in self.ids:
            return
        # The id is noted before the run is written, so that a resumed stage continues this run.
        repeat = {"repeat": str(job.repeat)} if job.repeated else {}
        search = f" search {job.repeat}" if job.repeated else ""
        name = f"{self.config.cell.arm}{search} {job.kind} {job.number}"
        tags = {"mlflow.parentRunId": self.parent, **repeat}
        run_id = self.ids.get(job.key) or self._create(job.key, name, tags)
        write(self.store, run_id, record)
        self._note(f"{job.key} done", run_id)

    def summarize(self) -> None:
        """Write the result of all runs to the parent's name, metrics and note."""
        from .search.tables import best

        kinds: dict[str, list[Record]] = {}
        for record in self.records:
            kinds.setdefault(record.job.kind, []).append(record)
        # The first kind is `trial` or `tuned`; recipes are not part of the search.
        top = best(next(iter(kinds.values()), []))
        if top is None or top.run.best is None:
            return
        failed = sum(record.run.state == "failed" for record in self.records)
        facts = {
            "best_validation": top.run.best.validation,
            "runs": len(self.records),
            "failed": failed,
            "epochs": sum(len(record.run.epochs) for record in self.records),
            "seconds": round(sum(record.run.seconds for record in self.records), 1),
        }
        self.store.log_batch(self.parent, metrics=_metrics(facts, int(time.time() * 1000)))
        scores = {kind: self._score(kind, records) for kind, records in kinds.items()}
        arm = self.config.cell.arm
        self.store.update_run(self.parent, name=f"{self.stage} {arm}: {scores[top.job.kind]}")
        parts = "; ".join(f"{len(kinds[kind])} {kind}: {score}" for kind, score in scores.items())
        note = (
            f"{arm}, on validation: {parts}. {failed} of {len(self.records)} runs failed. The best "
            f"is {top.job.kind} {top.job.number}, which this command trains again:\n\n"
            f"`python -m pipeline.train {shlex.join(top.job.overrides)}`"
        )
        self.store.set_tag(self.parent, NOTE, note)

    def _score(self, kind: str, records: "Sequence[Record]") -> str:
        """Return the validation score of a kind: the best of a search, the mean of seeds."""
        scores = [record.run.best.validation for record in records if record.run.best]
        if not scores:
            return "all failed"
        if kind == "trial":
            return f"best {self.spec.format(max(scores))}"
        return f"mean {self.spec.format(sum(scores) / len(scores))}"

    def register(self, model: Path, record: "Record") -> None:
        """Log the arm's champion, a file of `replicate`, and register it with the arm as its alias.

        A model of texts includes its vocabulary and the code that reads texts, so it can be served.
        """
        key = f"model {record.job.key}"
        if key in self.ids:
            return
        import mlflow

        from .serving.reader import read
        from .training.backend import quiet

        name, arm = registered(self.config.name), self.config.cell.arm
        log = _log_text_model if read(model).words else _log_keras_model
        options = {"name": f"champion-{arm}", "registered_model_name": name}
        # Hide MLflow's advice on signatures and pip, and TensorFlow's on GPUs; errors still raise.
        with quiet(), warnings.catch_warnings(), mlflow.start_run(run_id=self.parent):
            warnings.simplefilter("ignore")
            number = str(log(model, self.config, options).registered_model_version)
        self.store.set_registered_model_alias(name, arm, number)
        self.store.set_model_version_tag(name, number, "run", record.job.name)
        self._note(key, self.parent)


def _log_text_model(model: Path, config: Config, options: dict[str, str]) -> Any:
    """Log a model of texts, which runs with a copy of `serving.reader`."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    from .imports import release_of, source_of
    from .models.cells import own_module
    from .serving import carried

    outputs = {"label": "string", "probability": "double", "read": "long", "known": "long"}
    columns: list[Any] = [ColSpec(kind, name) for name, kind in outputs.items()]
    requirements = _requirements("keras", config.train.backend, "numpy", "omegaconf", "pandas")
    for module in own_module(config.cell.type):
        if source_of(module) is None:
            requirements.append(release_of(module))
    with tempfile.TemporaryDirectory() as folder:
        return mlflow.pyfunc.log_model(
            **options,
            loader_module=carried.READER,
            data_path=str(model),
            code_paths=[str(path) for path in carried.code(Path(folder), config.cell.type)],
            signature=ModelSignature(Schema([ColSpec("string", "text")]), Schema(columns)),
            pip_requirements=requirements,
        )


def _log_keras_model(model: Path, config: Config, options: dict[str, str]) -> Any:
    """Log a model of numbers in Keras's own format."""
    from .models.cells import load_model
    from .training import backend

    backend.use(config.train.backend)
    import mlflow.keras

    requirements = _requirements("keras", config.train.backend)
    loaded = load_model(model, config.cell)
    return mlflow.keras.log_model(loaded, **options, pip_requirements=requirements)


def _requirements(*packages: str) -> list[str]:
    """Return the packages with the versions of this process. MLflow's own search takes 15 s."""
    return [f"{package}=={version(package)}" for package in packages]


def _metrics(facts: Mapping[str, float | None], stamp: int, step: int = 0) -> list[Any]:
    """Return MLflow's metrics of the facts that are not None; `stamp` is in ms since 1970."""
    from mlflow.entities import Metric

    return [
        Metric(name, float(value), stamp, step)
        for name, value in facts.items()
        if value is not None
    ]


def write(store: Any, run_id: str, record: "Record") -> None:
    """Write a finished run in one batch, and end it."""
    from mlflow.entities import Param, RunTag

    job, run, stamp = record.job, record.run, int(record.started * 1000)
    metrics = []
    for step, epoch in enumerate(run.epochs, 1):
        metrics += _metrics(dataclasses.asdict(epoch), stamp, step)
    facts = {
        "best_validation": run.best.validation if run.best else None,
        "best_epoch": run.best_epoch,
        "epochs": len(run.epochs),
        "seconds": run.seconds,
        "parameters": run.parameters,
    }
    metrics += _metrics(facts, stamp)
    params = [Param(key, value) for key, value in settings(job.config).items()]
    values = (job.kind, str(job.number), run.state, run.reason, record.worker)
    names = ("kind", "number", "state", "reason", "worker")
    tags = [RunTag(name, value) for name, value in zip(names, values, strict=True)]
    store.log_batch(run_id, metrics=metrics, params=params, tags=tags)
    store.set_terminated(run_id, "FAILED" if run.state == "failed" else "FINISHED")


def log_one(config: Config, data_digest: str, record: "Record") -> None:
    """Record one run of `train` in the study's experiment."""
    tracker = Tracker(config, "train", data_digest)
    write(tracker.store, tracker.parent, record)


def registered(study: str) -> str:
    """Return the name of the study's model in the registry."""
    return f"fairsweep-{study}"


def answer(
    config: Config, metrics: Mapping[str, Any], title: str, text: str, report: Path
) -> str | None:
    """Write the answer to the study's page, a run with the report, and the registered models.

    `metrics` is the content of metrics.json, `title` the answer in a few words, `text` the answer
    in a sentence, `report` the folder of report.html. Returns the path of the study's runs behind
    the `#` of MLflow's address; None, and writes nothing, without a store or an experiment.
    """
    if not Path(TRACKED).exists() and "MLFLOW_TRACKING_URI" not in os.environ:
        return None
    try:
        store = client()
    except FairsweepError as fault:
        # The report exists already.
        print(f"warning: MLflow's pages do not show the answer. {fault}", file=sys.stderr)
        return None
    study = store.get_experiment_by_name(config.name)
    if study is None:
        return None
    number, name = str(study.experiment_id), f"report: {title}"
    source = {"mlflow.source.name": f"{__package__}.report", "mlflow.source.type": "LOCAL"}
    tags = {**source, "stage": "report"}
    run = _latest(store, number, "tags.stage = 'report'")
    run = run or str(store.create_run(number, tags=tags, run_name=name).info.run_id)
    store.update_run(run, status="FINISHED", name=name)
    for file in ("report.html", "report.md", "metrics.json"):
        store.log_artifact(run, str(report / file))
    describe(store, number, config)
    # MLflow shows only the first paragraph of a folded note.
    page = f"#/experiments/{number}/runs/{run}/artifacts/report.html"
    links = f"[the report]({page}), [its runs](#{runs_page(number)})"
    origin = f"Written {time.strftime('%Y-%m-%d')}; the same report: `{report}/report.html`."
    store.set_experiment_tag(number, NOTE, f"{title}: {links}\n\n{text}\n\n{origin}")
    store.set_tag(run, NOTE, text)
    for arm, values in metrics["arms"].items():
        for stage, scores in (
            ("tune", values.get("tuned")),
            ("replicate", values.get("replicates")),
        ):
            runs = f"tags.stage = '{stage}' and tags.arm = '{arm}'"
            parent = _latest(store, number, runs) if scores else None
            if parent:
                store.log_metric(parent, "test", float(f"{scores['mean']:.4g}"))
    if metrics["champion"]:
        cards = {arm: (report / "cards" / f"{arm}.md").read_text("utf-8") for arm in config.cells}
        rank_first(store, config.name, metrics["champion"]["arm"], text, cards)
    return runs_page(number)


def _latest(store: Any, experiment_id: str, runs: str) -> str | None:
    """Return the id of the latest run that the filter `runs` selects, without children."""
    order = ["attributes.start_time DESC"]
    for run in store.search_runs([experiment_id], runs, order_by=order, max_results=1000):
        if "mlflow.parentRunId" not in run.data.tags:
            return str(run.info.run_id)
    return None


def rank_first(store: Any, study: str, first: str, text: str, cards: Mapping[str, str]) -> None:
    """Write each arm's card to its model, the answer and the alias `champion` to the first."""
    from mlflow.exceptions import MlflowException

    name = registered(study)
    for arm, card in cards.items():
        with suppress(MlflowException):
            number = store.get_model_version_by_alias(name, arm).version
            store.update_model_version(name, number, description=card[:MAX_DESCRIPTION])
            if arm == first:
                store.set_registered_model_alias(name, "champion", number)
                description = f"The champions of the study {study}, one per cell. {text}"
                store.update_registered_model(name, description=description)
