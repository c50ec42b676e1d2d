"""A small study as the stages before `evaluate` would leave it, with scores that a test can work out by hand."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config import Config, Parameter, Search, Task
from pipeline.data.form import Form
from pipeline.evidence.scores import NO_LABEL, rate

# A task of each kind that is no review.
FORMS = {
    "classes": Form("classes", "accuracy", 3, features=4, length=6, example="image", group="", baselines=["trivial", "linear"]),
    "f1": Form(
        "steps", "f1", 4, features=5, length=6, padded=True, example="sequence", group="", baselines=["trivial", "linear"]
    ),
    "nll": Form(
        "steps", "nll", 4, 4, 6, True, True, unit="nats a step", example="chorale", group="", baselines=["trivial", "linear"]
    ),
    "mae": Form(
        *("regression", "mae", 3),
        features=1,
        length=12,
        ordered=True,
        scale=1.6,
        unit="ppm",
        example="week",
        group="year",
        baselines=["trivial", "seasonal", "linear"],
    ),
}
SKILL = {"rnn": 0.55, "gru": 0.9, "lstm": 0.85}
# Of a cell with a name of a test's own.
OTHER_SKILL = 0.8
TRIAL_COLUMNS = ["study", "arm", "trial", "state", "reason", "seed", "backend", "epochs", "best_epoch", "validation"]
TRIAL_COLUMNS += ["validation_loss", "parameters", "overrides"]
TIMES: dict[str, Any] = {"attempt": 1, "worker": 0, "started": "2026-01-01T00:00:00", "seconds": 1.5, "compile_seconds": 0.5}


@dataclass
class Study:
    """Writes its inputs under `root`; `root` is where a stage would be started."""

    root: Path
    cells: tuple[str, ...] = ("rnn", "gru")
    trials: int = 8
    replicates: int = 2
    reviews: int = 64
    failed: tuple[tuple[str, int], ...] = ()
    form: Form = field(default_factory=Form)
    recipes: tuple[str, ...] = ("article",)
    mirrored: bool = False
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def config(self) -> Config:
        return Config(
            name="tiny",
            cells=list(self.cells),
            recipes=list(self.recipes),
            task=Task(name="tiny", source="generated", length=20, vocabulary=50, archive="somewhere/private.tar.gz"),
            search=Search(trials=self.trials, headline=2, replicates=self.replicates),
            space={
                "model": {"units": Parameter(choices=[8, 16])},
                "train": {"learning_rate": Parameter(low=1e-4, high=1e-2, log=True)},
            },
        )

    def folder(self, *names: str) -> Path:
        return self.root.joinpath("runs", "tiny", *names)

    def write(self) -> "Study":
        """Writes data/tiny and runs/tiny."""
        self.labels = self._drawn_labels()
        self._write_data()
        for arm in self.cells:
            trials = pd.DataFrame([self._run(arm, trial) for trial in range(self.trials)], columns=TRIAL_COLUMNS)
            self._write_runs(self.folder("tune", arm), "trials", trials, ["trial"])
            columns = [*TRIAL_COLUMNS[:2], "kind", "replicate", *TRIAL_COLUMNS[3:]]
            rows = [
                {**self._run(arm, 100 + number), "kind": kind, "replicate": number}
                for kind in (*(("tuned",) if self.trials else ()), *self.recipes)
                for number in range(self.replicates)
            ]
            self._write_runs(self.folder("replicate", arm), "replicates", pd.DataFrame(rows)[columns], ["kind", "replicate"])
        self._write_baseline()
        return self

    def _drawn_labels(self) -> np.ndarray:
        form = self.form
        if form.kind == "binary":
            return self.generator.permutation(np.arange(self.reviews) % 2).astype(np.uint8)
        if form.kind == "classes":
            return (np.arange(self.reviews) % form.outputs).astype(np.uint8)
        if form.kind == "regression":
            return self.generator.normal(size=(self.reviews, form.outputs)).astype(np.float32)
        labels = self.generator.integers(0, 2, (self.reviews, form.length, form.outputs)).astype(np.uint8)
        labels[::2, -2:] = NO_LABEL
        return labels

    def _write_data(self) -> None:
        arrays, sealed = self.root / "data/tiny/arrays", self.root / "data/tiny/sealed"
        arrays.mkdir(parents=True)
        sealed.mkdir()
        counts = {"train": {"rows": 100, "movies": 10}, "test": {"rows": self.reviews, "movies": 16}}
        meta = {"digest": "abc", "by_movie": True, **counts}
        if self.form != Form():
            meta = {"digest": "abc", "form": asdict(self.form), **counts}
        (arrays / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        if self.form.group:
            np.save(arrays / "test_movies.npy", (np.arange(self.reviews) // 4).astype(np.int32))
        if self.form.kind == "regression":
            np.save(arrays / "test_times.npy", np.datetime64("2000-01-01") + 7 * np.arange(self.reviews))
            np.save(arrays / "test_bases.npy", (300 + np.arange(self.reviews)).astype(np.float32))
        np.save(sealed / "test_labels.npy", 1 - self.labels if self.mirrored else self.labels)

    def _run(self, arm: str, trial: int) -> dict[str, Any]:
        row: dict[str, Any] = {
            "study": 0,
            "arm": arm,
            "trial": trial,
            "seed": trial,
            "backend": "tensorflow",
            "parameters": 1000 + trial,
        }
        row["overrides"] = json.dumps(
            ["study=tiny", f"cell={arm}", "model.units=8", f"train.learning_rate={0.001 * (trial + 1):g}", f"seed={trial}"]
        )
        if (arm, trial) in self.failed:
            return {**row, "state": "failed", "reason": "loss is NaN", "epochs": 1}
        validation = round(float(np.clip(SKILL.get(arm, OTHER_SKILL) - 0.06 * self.generator.random(), 0, 1)), 4)
        if self.form.metric in ("nll", "mae"):
            validation = round(validation - 1, 4)
        done = {"state": "complete", "reason": "", "epochs": 3, "best_epoch": 2}
        return {**row, **done, "validation": validation, "validation_loss": round(1 - validation, 4)}

    def _write_runs(self, folder: Path, name: str, table: pd.DataFrame, number: list[str]) -> None:
        folder.mkdir(parents=True)
        table.to_csv(folder / f"{name}.csv", index=False)
        keys = ["study", "arm", *number]
        epochs = [
            {**{key: row[key] for key in keys}, "epoch": epoch, **_learned(epoch, row["validation"])}
            for row in table[table["state"] == "complete"].to_dict("records")
            for epoch in range(1, row["epochs"] + 1)
        ]
        columns = [*keys, "epoch", "loss", "accuracy", "validation_loss", "validation"]
        pd.DataFrame(epochs, columns=columns).to_csv(folder / "epochs.csv", index=False)
        table[keys].assign(**TIMES).to_csv(folder / "timings.csv", index=False)
        self._write_logits(folder, table)

    def _write_logits(self, folder: Path, table: pd.DataFrame) -> None:
        validation = table["validation"].to_numpy(float)
        logits = self._said_of_reviews(validation) if self.form.kind == "binary" else self._said(validation)
        logits[(table["state"] == "failed").to_numpy()] = np.nan
        number = np.float32 if self.form.kind == "regression" else np.float16
        np.save(folder / "test_logits.npy", logits.astype(number))
        np.save(folder / "validation_logits.npy", np.zeros((len(table), 20), number))

    def _said_of_reviews(self, validation: np.ndarray) -> np.ndarray:
        side = np.where(self.labels == 1, 1.0, -1.0)
        right = self.generator.random((len(validation), self.reviews)) < validation[:, None]
        return np.where(right, side, -side) * (0.5 + self.generator.random((len(validation), self.reviews)))

    def _said(self, validation: np.ndarray) -> np.ndarray:
        """What runs of these validation scores say on a task that is no review: the truth, and more noise the worse they are."""
        if self.form.kind == "classes":
            truth = 2 * np.eye(self.form.outputs)[self.labels]
        else:
            truth = self.labels if self.form.kind == "regression" else np.where(self.labels == 1, 1.0, -1.0)
        best = 0.0 if self.form.metric in ("nll", "mae") else 1.0
        noise = self.generator.normal(size=(len(validation), *truth.shape))
        return truth + 2 * (best - validation).reshape(-1, *(1,) * truth.ndim) * noise

    def _write_baseline(self) -> None:
        shared: dict[str, Any] = {"study": 0, "arm": "baseline", "state": "complete", "validation_loss": 0.3}
        columns = ["study", "arm", "kind", "state", "validation", "validation_loss"]
        if "same_tokens" in self.form.baselines:
            columns += ["ngrams", "C", "features"]
            rows = [{**shared, "kind": "same_tokens", "validation": 0.8, "ngrams": 2, "C": 1.0, "features": 500}]
            rows.append({**rows[0], "kind": "whole_text", "validation": 0.9, "ngrams": 3})
        else:
            columns += ["settings"]
            worst = -1.0 if self.form.metric in ("nll", "mae") else 0.0
            rows = [
                {
                    **shared,
                    "kind": kind,
                    "validation": worst + 0.2 * (1 + place),
                    "settings": json.dumps({"C": 0.1} if place else {}),
                }
                for place, kind in enumerate(self.form.baselines)
            ]
        folder = self.folder("baseline")
        folder.mkdir(parents=True)
        table = pd.DataFrame(rows)[columns]
        table.to_csv(folder / "baseline.csv", index=False)
        table.drop(columns=["study", "arm", "state"]).to_csv(folder / "grid.csv", index=False)
        table.rename(columns={"kind": "trial"})[["study", "arm", "trial"]].assign(**TIMES).to_csv(
            folder / "timings.csv", index=False
        )
        self._write_logits(folder, table)

    def rated(self, *names: str) -> list[Any]:
        """What each run of the folder runs/tiny/NAMES scores, by `evidence.scores.rate`."""
        form = self.form
        return [rate(form.metric, one, self.labels, form.scale) for one in np.load(self.folder(*names, "test_logits.npy"))]


def _learned(epoch: int, validation: float) -> dict[str, float]:
    """A plausible learning curve that peaks in epoch 2."""
    accuracy = round(validation - 0.05 * abs(epoch - 2), 4)
    return {"loss": round(0.7 / epoch, 4), "accuracy": round(1 - 0.4 / epoch, 4), "validation_loss": 0.4, "validation": accuracy}
