"""The command `probe`: gradients against mathematics, a recall that can be learned, clipping's bounds, outputs that are whole."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline import probe
from pipeline.config.schema import Cell
from pipeline.errors import FairsweepError
from pipeline.models.cells import cell_layer
from pipeline.probing import clipping, cost, gradients, recall
from pipeline.probing.network import CHANCE, recurrent, sequences
from pipeline.rendering import markdown, probe_page, style
from pipeline.training import backend

ROOT = Path(__file__).resolve().parents[1]
ROWS, TIME, FEATURES, UNITS = 3, 6, 2, 4


@pytest.fixture(scope="module", autouse=True)
def tensorflow() -> None:
    backend.use("tensorflow")


@pytest.fixture
def read() -> tuple[np.ndarray, np.ndarray]:
    """Inputs and directions."""
    random = np.random.default_rng(0)
    shapes = ((ROWS, TIME, FEATURES), (ROWS, UNITS))
    return tuple(random.standard_normal(shape, dtype=np.float32) for shape in shapes)  # type: ignore[return-value]


def test_gradient_of_a_linear_rnn_is_a_power_of_its_kernel(
    read: tuple[np.ndarray, np.ndarray],
) -> None:
    inputs, directions = read
    layer = cell_layer(
        Cell(type="rnn"), UNITS, iter(range(3)), iter(range(3)), "rnn", activation="linear"
    )
    layer.build(inputs.shape)
    kernel, own, _ = layer.get_weights()
    found = gradients.input_gradient(layer)(inputs, directions)
    for lag in range(TIME):
        expected = directions @ (kernel @ np.linalg.matrix_power(own, lag)).T
        np.testing.assert_allclose(found[:, TIME - 1 - lag], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "bi_gru"])
def test_gradient_is_the_finite_difference_at_the_weights_of_now(
    cell: str, read: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs, directions = read
    if cell.startswith("bi_"):
        directions = np.concatenate([directions, 1 - directions], axis=1)
    layer = recurrent(cell, UNITS, 0)
    layer.build(inputs.shape)
    gradient = gradients.input_gradient(layer)
    gradient(inputs, directions)
    fresh = recurrent(cell, UNITS, 1)
    fresh.build(inputs.shape)
    layer.set_weights(fresh.get_weights())
    small, found = 1e-2, gradient(inputs, directions)
    for place in np.ndindex(TIME, FEATURES):
        shift = np.zeros(inputs.shape, np.float32)
        shift[:, *place] = small
        ends = [
            np.sum(np.asarray(fresh(inputs + sign * shift)) * directions, axis=1)
            for sign in (1, -1)
        ]
        np.testing.assert_allclose(found[:, *place], (ends[0] - ends[1]) / (2 * small), atol=2e-3)


def test_norms_are_along_unit_directions_and_start_at_the_last_input() -> None:
    seen: list[np.ndarray] = []

    def gradient(inputs: np.ndarray, directions: np.ndarray) -> np.ndarray:
        seen.append(directions)
        return inputs

    inputs = np.array([[[3.0, 4.0], [2.0, 0.0]], [[0.0, 20.0], [0.0, 8.0]]], np.float32)
    found = gradients.norms(gradient, inputs, UNITS, np.random.default_rng(0))
    np.testing.assert_allclose(found, [4.0, 10.0])
    np.testing.assert_allclose(np.linalg.norm(seen[0], axis=1), 1.0, rtol=1e-6)


def test_gradients_vanish_and_explode_at_the_rate_of_the_kernel() -> None:
    weights = recall.recall("rnn", 8, 20, 1, [0])[1]
    table = pd.DataFrame(gradients.gradients("rnn", 8, 20, 1, weights))
    factors = {
        stage: probe_page.factors({"gradients": table}, stage)["rnn"]
        for stage in ("initial", "scaled")
    }
    assert factors["scaled"] == pytest.approx(gradients.RADIUS, rel=0.01)
    assert factors["initial"] < 0.95


def test_recall_is_learned_at_one_step_and_not_from_unrelated_answers() -> None:
    learned, _ = recall.recall("gru", 16, 1, 200, [0])
    guessed, _ = recall.recall("gru", 16, 1, 200, [0], unrelated=True)
    assert learned[0]["accuracy"] > 0.97
    assert abs(guessed[0]["accuracy"] - CHANCE) < 0.08


def test_a_seed_is_independent_of_earlier_trainings() -> None:
    (_, after), (alone, trained) = (
        recall.recall("rnn", 4, 2, 5, [0, 1]),
        recall.recall("rnn", 4, 2, 5, [1]),
    )
    assert [row["seed"] for row in alone] == [1]
    for one, other in zip(after[1], trained[1], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(after[0][0], after[1][0])


def test_the_symbol_stands_in_the_middle_and_nowhere_else() -> None:
    inputs, symbols = sequences(np.random.default_rng(0), 5, 40)
    assert inputs.shape == (40, 11, 16)
    assert set(symbols) == set(range(8))
    np.testing.assert_array_equal(inputs[:, 5, :8].argmax(axis=1), symbols)
    assert inputs[:, :, :8].sum() == 40


def test_clipped_steps_keep_to_their_bounds_and_others_do_not() -> None:
    rows = pd.DataFrame(clipping.clipping(8, 12, 2))
    assert len(rows) == 2 * len(clipping.RULES)
    steps = {rule: found.reset_index() for rule, found in rows.groupby("rule")}
    whole = clipping.RATE * clipping.LIMIT
    np.testing.assert_allclose(steps["global_clipnorm"]["update"], whole, rtol=1e-3)
    assert (steps["clipnorm"]["update"] <= whole * np.sqrt(5) * 1.0001).all()
    assert (steps["clipnorm"]["update"] > whole).all()
    assert (steps["clipvalue"]["update"] <= steps["clipvalue"]["bound"] * 1.0001).all()
    for rule in ("clipnorm", "global_clipnorm", "clipvalue"):
        assert (steps["none"]["update"] > steps[rule]["bound"]).all()
    np.testing.assert_allclose(
        rows["gradient"] * clipping.RATE, [*steps["none"]["update"]] * 4, rtol=1e-9
    )


@pytest.mark.long
def test_a_step_is_timed_in_a_process_of_its_own() -> None:
    row = cost.cost("rnn", 32, 100, "tensorflow")
    assert (row["cell"], row["length"], row["parameters"]) == ("rnn", 100, 32 * (32 + 32 + 1))
    assert row["milliseconds"] > 0
    # At least the states and their gradient's: rows, steps, units, 4 bytes each.
    assert 2 * 128 * 100 * 32 * 4 / 2**20 < row["mebibytes"] < 30


def test_the_death_of_that_process_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    real = cost.alone
    monkeypatch.setattr(cost, "alone", lambda function, *arguments: real(os._exit, 3))
    with pytest.raises(FairsweepError, match="rnn on 5 steps died"):
        cost.cost("rnn", 4, 5, "tensorflow")


def test_the_dense_layer_multiplies_as_often_as_the_rnn() -> None:
    layer, cell = cost.dense(6), recurrent("rnn", 6, 0)
    layer.build((None, 3, 12))
    cell.build((None, 3, 6))
    often = [
        sum(weight.size for weight in one.get_weights() if weight.ndim == 2)
        for one in (layer, cell)
    ]
    assert often[0] == often[1] == 72


def measured() -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """Tables whose numbers are known: a gradient halved a step, 2 ms and 3 MiB more for each 100 steps."""
    norms = [("initial", 0.5), ("trained", 0.9), ("scaled", 1.5)]
    tables = {
        "gradients": [
            {
                "cell": "rnn",
                "stage": stage,
                "seed": seed,
                "lag": lag,
                "norm": (seed + 1) * factor**lag if lag < 8 else 7.0,
            }
            for stage, factor in norms
            for seed in range(2)
            for lag in range(0, 9)
        ],
        "clipping": [
            {
                "rule": rule,
                "seed": 0,
                "limit": 1.0,
                "learning_rate": 0.01,
                "update": update,
                "bound": bound,
                "gradient": 500.0,
            }
            for rule, update, bound in (
                ("none", 5.0, np.inf),
                ("clipnorm", 0.02, 0.0223),
                ("clipvalue", 0.9, 0.4),
            )
        ],
        "recall": [
            {"cell": "rnn", "lag": lag, "seed": seed, "accuracy": accuracy - 0.1 * seed}
            for lag, accuracy in ((4, 1.0), (8, 0.3))
            for seed in range(2)
        ],
        "cost": [
            {
                "cell": cell,
                "length": length,
                "parameters": 72,
                "milliseconds": 1 + 0.02 * length,
                "mebibytes": 0.03 * length,
                "ratio": 1,
            }
            for cell in ("rnn", "dense")
            for length in (100, 200)
        ],
    }
    settings = {
        "cells": ["rnn"],
        "units": 4,
        "steps": 3,
        "seeds": 2,
        "trained_lag": 4,
        "symbols": 8,
        "chance": 0.125,
    }
    machine = {"cpu": "A <fast> one", "cores": 2, "versions": {"keras": "3"}}
    return tables, {
        "settings": {**settings, "lags": [4, 8], "batch": 64, "radius": 1.5},
        "machine": machine,
    }


def command(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    """Run the command in this process. It changes sys.argv and HYDRA_FULL_ERROR."""
    monkeypatch.setattr(sys, "argv", ["probe", f"out={out}"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    probe.main()


def test_the_command_writes_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "a" / "limits"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(probe, "probe", lambda options: measured())
    command(monkeypatch, out)
    assert {path.name for path in out.iterdir()} == probe.FILES
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    command(monkeypatch, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    monkeypatch.setattr(probe_page, "draw", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command(monkeypatch, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in out.parent.iterdir()] == ["limits"]


def test_sentences_come_from_the_tables(tmp_path: Path) -> None:
    assert probe_page.summary(tmp_path) is None
    tables, facts = measured()
    probe_page.write(tmp_path, {name: pd.DataFrame(rows) for name, rows in tables.items()}, facts)
    shown = probe_page.summary(tmp_path)
    assert shown is not None
    text = (tmp_path / "limits.md").read_text()
    assert text == markdown.limits(shown)
    for expected in (
        "| vanishing gradients | factor per step back, initial weights | rnn 0.50 |",
        "trained to recall over 4 steps | rnn 0.90 |",
        "recurrent kernel times 1.5 | rnn 1.50 |",
        "recall after 4 steps (chance 0.125) | rnn 0.95 |",
        "CPU ms per training step, per 100 more steps of length | rnn 2.0, dense 2.0 |",
        "MiB within a training step, per 100 more steps of length | rnn 3.0, dense 3.0 |",
        "at length 200 | rnn 5.0, dense 5.0 |",
        "1 of 2 clipped steps are within their bound",
        "rnn halves every 1.0 steps",
        "rnn over 4 steps",
        "A &lt;fast> one",
    ):
        assert expected in text
    assert set(re.findall(r"\]\((.*?)\)", text)) == {"limits.svg"}
    assert style.inline(probe_page.figure(tmp_path), "limits", "Limits").startswith("<svg")


def test_everything_is_measured_for_each_cell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timed: list[tuple[str, int]] = []

    def fake(cell: str, units: int, length: int, backend: str) -> dict[str, Any]:
        timed.append((cell, length))
        return {
            "cell": cell,
            "length": length,
            "parameters": 1,
            "milliseconds": 2.0 * len(timed),
            "mebibytes": 1.0,
        }

    monkeypatch.setattr(cost, "cost", fake)
    monkeypatch.setattr(
        clipping,
        "clipping",
        lambda units, lag, seeds: [{"units": units, "lag": lag, "seeds": seeds}],
    )
    monkeypatch.setattr(gradients, "gradients", lambda *asked: [asked])
    monkeypatch.setattr(
        recall,
        "recall",
        lambda cell, units, lag, steps, seeds: (
            [{"cell": cell, "lag": lag, "accuracy": 0.5}],
            {"of": (cell, lag, steps, seeds)},
        ),
    )
    options = probe.Probe(
        cells=("lstm", "rnn"), lags=(9, 2, 4), lengths=(30, 10), units=3, steps=5, seeds=2
    )
    tables, facts = probe.probe(options)
    assert timed == [(cell, length) for cell in ("lstm", "rnn", "dense") for length in (10, 30)]
    assert [row["ratio"] for row in tables["cost"]] == [1, 1, 3, 2, 5, 3]
    assert [(row["cell"], row["lag"]) for row in tables["recall"]] == [
        (cell, lag) for cell in ("lstm", "rnn") for lag in (2, 4, 9)
    ]
    # Trained at the middle lag, looked at as far back as the largest.
    assert tables["gradients"] == [
        (cell, 3, 9, 2, {"of": (cell, 4, 5, range(2))}) for cell in ("lstm", "rnn")
    ]
    assert tables["clipping"] == [{"units": 3, "lag": 4, "seeds": 2}]
    assert (
        facts["settings"]["trained_lag"],
        facts["settings"]["lags"],
        "out" in facts["settings"],
    ) == (4, [9, 2, 4], False)
    assert facts["machine"]["cpu"]
    assert {"keras", "tensorflow"} <= set(facts["machine"]["versions"])
    assert capsys.readouterr().out.count("\n") == 6 + 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells": ("rnn", "grru")}, "cells: there is no 'grru'"),
        ({"cells": ()}, "cells=[]: must be at least 1"),
        ({"lags": (16, 16)}, "lags=[16, 16]: must be at least 1, each once"),
        ({"lags": (0, 8)}, "each must be at least 1"),
        ({"lags": (1, 3)}, "the largest must be at least 4"),
        ({"lengths": (50,)}, "lengths=[50]: must be at least 2"),
        ({"out": "tests"}, "out=tests: holds something else than a probe"),
        ({"out": "README.md"}, "out=README.md: holds something else than a probe"),
        ({"out": "README.md/probe"}, "README.md is no folder that can be written to"),
    ],
)
def test_bad_values_are_refused(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(FairsweepError, match=re.escape(message)):
        probe.check(probe.Probe(**options))


def test_a_refusal_is_one_line_before_anything_runs() -> None:
    typed = [sys.executable, "-m", "pipeline.probe", "lags=[4,64]", "cells=[rnn,grru]"]
    done = subprocess.run(typed, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: cells: there is no 'grru'; .*\n", done.stderr)


def test_the_committed_probe_is_what_the_code_writes(tmp_path: Path) -> None:
    folder = ROOT / "results" / "probe"
    probe_page.write(tmp_path, *probe_page.read(folder))
    for name in ("limits.md", "limits.svg", "probe.json"):
        assert (tmp_path / name).read_text() == (folder / name).read_text(), name
