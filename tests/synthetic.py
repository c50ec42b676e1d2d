"""A small study as the stages before `evaluate` leave it, with scores computable by hand."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.config.schema import Config, Parameter, Search, Task
from pipeline.data.spec import TaskSpec
from pipeline.evaluate import evaluate
from pipeline.metrics import NO_LABEL, rate
from pipeline.scoring import results as tables

# One task spec per kind other than reviews.
FORMS = {
    "classes": TaskSpec(
        "classes",
        "accuracy",
        3,
        features=4,
        length=6,
        example="image",
        group="",
        baselines=["trivial", "linear"],
    ),
    "f1": TaskSpec(
        "steps",
        "f1",
        4,
        features=5,
        length=6,
        padded=True,
        example="sequence",
        group="",
        baselines=["trivial", "linear"],
    ),
    "nll": TaskSpec(
        "steps",
        "nll",
        4,
        4,
        6,
        True,
        True,
        example="chorale",
        group="",
        baselines=["trivial", "linear"],
    ),
    "mae": TaskSpec(
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
# The skill of any other cell.
OTHER_SKILL = 0.8
TRIAL_COLUMNS = [
    "repeat",
    "arm",
    "trial",
    "state",
    "reason",
    "seed",
    "backend",
    "epochs",
    "best_epoch",
    "validation",
]
TRIAL_COLUMNS += ["validation_loss", "parameters", "overrides"]
TIMES: dict[str, Any] = {
    "attempt": 1,
    "worker": 0,
    "started": "2026-01-01T00:00:00",
    "seconds": 1.5,
    "compile_seconds": 0.5,
}


@dataclass
class Study:
    """Writes its inputs under `root`, the working directory of a stage."""

    root: Path
    cells: tuple[str, ...] = ("rnn", "gru")
    trials: int = 8
    replicates: int = 2
    reviews: int = 64
    failed: tuple[tuple[str, int], ...] = ()
    spec: TaskSpec = field(default_factory=TaskSpec)
    recipes: tuple[str, ...] = ("article",)
    mirrored: bool = False
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def config(self) -> Config:
        return Config(
            name="tiny",
            cells=list(self.cells),
            recipes=list(self.recipes),
            task=Task(
                name="tiny",
                source="synthetic",
                length=20,
                vocabulary=50,
                archive="somewhere/private.tar.gz",
            ),
            search=Search(trials=self.trials, budget=2, replicates=self.replicates),
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
            trials = pd.DataFrame(
                [self._run(arm, trial) for trial in range(self.trials)], columns=TRIAL_COLUMNS
            )
            self._write_runs(self.folder("tune", arm), "trials", trials, ["trial"])
            columns = [*TRIAL_COLUMNS[:2], "kind", "replicate", *TRIAL_COLUMNS[3:]]
            rows = [
                {**self._run(arm, 100 + number), "kind": kind, "replicate": number}
                for kind in (*(("tuned",) if self.trials else ()), *self.recipes)
                for number in range(self.replicates)
            ]
            self._write_runs(
                self.folder("replicate", arm),
                "replicates",
                pd.DataFrame(rows)[columns],
                ["kind", "replicate"],
            )
        self._write_baseline()
        return self

    def _drawn_labels(self) -> np.ndarray:
        spec = self.spec
        if spec.kind == "binary":
            return self.generator.permutation(np.arange(self.reviews) % 2).astype(np.uint8)
        if spec.kind == "classes":
            return (np.arange(self.reviews) % spec.outputs).astype(np.uint8)
        if spec.kind == "regression":
            return self.generator.normal(size=(self.reviews, spec.outputs)).astype(np.float32)
        labels = self.generator.integers(0, 2, (self.reviews, spec.length, spec.outputs)).astype(
            np.uint8
        )
        labels[::2, -2:] = NO_LABEL
        return labels

    def _write_data(self) -> None:
        arrays, sealed = self.root / "data/tiny/arrays", self.root / "data/tiny/sealed"
        arrays.mkdir(parents=True)
        sealed.mkdir()
        counts = {
            "train": {"rows": 100, "groups": 10},
            "test": {"rows": self.reviews, "groups": 16},
        }
        meta = {"digest": "abc", "by_group": True, **counts}
        if self.spec != TaskSpec():
            meta = {"digest": "abc", "spec": asdict(self.spec), **counts}
        (arrays / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        if self.spec.group:
            np.save(arrays / "test_groups.npy", (np.arange(self.reviews) // 4).astype(np.int32))
        if self.spec.kind == "regression":
            np.save(
                arrays / "test_times.npy", np.datetime64("2000-01-01") + 7 * np.arange(self.reviews)
            )
            np.save(arrays / "test_bases.npy", (300 + np.arange(self.reviews)).astype(np.float32))
        np.save(sealed / "test_labels.npy", 1 - self.labels if self.mirrored else self.labels)

    def _run(self, arm: str, trial: int) -> dict[str, Any]:
        row: dict[str, Any] = {
            "repeat": 0,
            "arm": arm,
            "trial": trial,
            "seed": trial,
            "backend": "tensorflow",
            "parameters": 1000 + trial,
        }
        row["overrides"] = json.dumps(
            [
                "study=tiny",
                f"cell={arm}",
                "model.units=8",
                f"train.learning_rate={0.001 * (trial + 1):g}",
                f"seed={trial}",
            ]
        )
        if (arm, trial) in self.failed:
            return {**row, "state": "failed", "reason": "loss is NaN", "epochs": 1}
        validation = round(
            float(np.clip(SKILL.get(arm, OTHER_SKILL) - 0.06 * self.generator.random(), 0, 1)), 4
        )
        if self.spec.metric in ("nll", "mae"):
            validation = round(validation - 1, 4)
        done = {"state": "complete", "reason": "", "epochs": 3, "best_epoch": 2}
        return {
            **row,
            **done,
            "validation": validation,
            "validation_loss": round(1 - validation, 4),
        }

    def _write_runs(self, folder: Path, name: str, table: pd.DataFrame, number: list[str]) -> None:
        folder.mkdir(parents=True)
        table.to_csv(folder / f"{name}.csv", index=False)
        keys = ["repeat", "arm", *number]
        epochs = [
            {
                **{key: row[key] for key in keys},
                "epoch": epoch,
                **_learned(epoch, row["validation"]),
            }
            for row in table[table["state"] == "complete"].to_dict("records")
            for epoch in range(1, row["epochs"] + 1)
        ]
        columns = [*keys, "epoch", "loss", "accuracy", "validation_loss", "validation"]
        pd.DataFrame(epochs, columns=columns).to_csv(folder / "epochs.csv", index=False)
        table[keys].assign(**TIMES).to_csv(folder / "timings.csv", index=False)
        self._write_logits(folder, table)

    def _write_logits(self, folder: Path, table: pd.DataFrame) -> None:
        validation = table["validation"].to_numpy(float)
        logits = (
            self._review_logits(validation)
            if self.spec.kind == "binary"
            else self._predictions(validation)
        )
        logits[(table["state"] == "failed").to_numpy()] = np.nan
        number = np.float32 if self.spec.kind == "regression" else np.float16
        np.save(folder / "test_logits.npy", logits.astype(number))
        np.save(folder / "validation_logits.npy", np.zeros((len(table), 20), number))

    def _review_logits(self, validation: np.ndarray) -> np.ndarray:
        side = np.where(self.labels == 1, 1.0, -1.0)
        right = self.generator.random((len(validation), self.reviews)) < validation[:, None]
        return np.where(right, side, -side) * (
            0.5 + self.generator.random((len(validation), self.reviews))
        )

    def _predictions(self, validation: np.ndarray) -> np.ndarray:
        """Predictions for tasks other than reviews: the truth plus noise, more for worse runs."""
        if self.spec.kind == "classes":
            truth = 2 * np.eye(self.spec.outputs)[self.labels]
        else:
            truth = (
                self.labels
                if self.spec.kind == "regression"
                else np.where(self.labels == 1, 1.0, -1.0)
            )
        best = 0.0 if self.spec.metric in ("nll", "mae") else 1.0
        noise = self.generator.normal(size=(len(validation), *truth.shape))
        return truth + 2 * (best - validation).reshape(-1, *(1,) * truth.ndim) * noise

    def _write_baseline(self) -> None:
        shared: dict[str, Any] = {
            "repeat": 0,
            "arm": "baseline",
            "state": "complete",
            "validation_loss": 0.3,
        }
        columns = ["repeat", "arm", "kind", "state", "validation", "validation_loss"]
        if "same_tokens" in self.spec.baselines:
            columns += ["ngrams", "C", "features"]
            rows = [
                {
                    **shared,
                    "kind": "same_tokens",
                    "validation": 0.8,
                    "ngrams": 2,
                    "C": 1.0,
                    "features": 500,
                }
            ]
            rows.append({**rows[0], "kind": "whole_text", "validation": 0.9, "ngrams": 3})
        else:
            columns += ["settings"]
            worst = -1.0 if self.spec.metric in ("nll", "mae") else 0.0
            rows = [
                {
                    **shared,
                    "kind": kind,
                    "validation": worst + 0.2 * (1 + place),
                    "settings": json.dumps({"C": 0.1} if place else {}),
                }
                for place, kind in enumerate(self.spec.baselines)
            ]
        folder = self.folder("baseline")
        folder.mkdir(parents=True)
        table = pd.DataFrame(rows)[columns]
        table.to_csv(folder / "baseline.csv", index=False)
        table.drop(columns=["repeat", "arm", "state"]).to_csv(folder / "grid.csv", index=False)
        table.rename(columns={"kind": "trial"})[["repeat", "arm", "trial"]].assign(**TIMES).to_csv(
            folder / "timings.csv", index=False
        )
        self._write_logits(folder, table)

    def rated(self, *names: str) -> list[Any]:
        """The score of each run in the folder runs/tiny/NAMES, by `metrics.rate`."""
        spec = self.spec
        return [
            rate(spec.metric, logits, self.labels, spec.scale)
            for logits in np.load(self.folder(*names, "test_logits.npy"))
        ]


def _learned(epoch: int, validation: float) -> dict[str, float]:
    """A plausible learning curve that peaks in epoch 2."""
    accuracy = round(validation - 0.05 * abs(epoch - 2), 4)
    return {
        "loss": round(0.7 / epoch, 4),
        "accuracy": round(1 - 0.4 / epoch, 4),
        "validation_loss": 0.4,
        "validation": accuracy,
    }


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Two cells with eight trials and two seeds; trial 1 of rnn failed; scored by `evaluate`.

    The working directory is the root of the study.
    """
    monkeypatch.chdir(tmp_path)
    written = Study(tmp_path, failed=(("rnn", 1),)).write()
    evaluate(written.config)
    return written


@pytest.fixture
def scores(study: Study) -> Path:
    """The folder that `report` reads."""
    return study.root / "results/tiny/scores"


@pytest.fixture
def results(scores: Path) -> tables.Results:
    return tables.load(scores)
