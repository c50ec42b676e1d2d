"""Watching a study, on terminals and on web pages, shows its progress and changes nothing."""

import importlib.util
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml
from playwright.sync_api import sync_playwright

from pipeline.config.cli import hydra_arguments
from pipeline.config.compose import compose
from pipeline.config.schema import Cluster, Config
from pipeline.errors import FairsweepError
from pipeline.search.workers import open_workers
from study_copy import ROOT, StudyCopy, files
from terminal import COLOUR, Terminal
from test_browser import CHROMIUM, FLAGS
from test_servers import mlflow_server

PAGE = (ROOT / "docs/watching.md").read_text(encoding="utf-8")
WATCH = (sys.executable, "-m", "pipeline.watch", "study=smoke")
DONE = "smoke: every run is done"


def lacks(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(
        missing, reason=f"{package} is not installed: it is in the extra `dashboards`"
    )


def test_in_a_pipe_the_table_is_printed_once(smoke: StudyCopy) -> None:
    before = files(smoke.root / ".fairsweep/state"), sorted((smoke.root / "runs/hydra").glob("*"))
    printed = smoke.run(*WATCH).stdout
    assert "\x1b" not in printed
    lines = [line.split() for line in printed.splitlines()]
    assert printed.splitlines()[0] == DONE
    assert lines[1] == ["arm", "trials", "best", "replicates", "epochs/hour", "took", "left"]
    for arm, cells in zip(("rnn", "gru"), lines[2:4], strict=True):
        best = max(
            re.findall(
                r"^0,\w+,\d+,complete,,\d+,\w+,\d+,\d+,(0\.\d+)", trials(smoke, arm), re.MULTILINE
            ),
            key=float,
        )
        assert cells[:8] == [arm, "8", "of", "8", f"{float(best):.4f}", "4", "of", "4"]
        assert cells[-1] == "done"
    assert lines[4:] == [["Report:", "results/smoke/report/report.html"]]
    assert (
        files(smoke.root / ".fairsweep/state"),
        sorted((smoke.root / "runs/hydra").glob("*")),
    ) == before


def test_a_command_that_reads_makes_no_multirun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(FairsweepError, match="-m: watch has no multirun"):
        hydra_arguments("watch", ["-m", "study=smoke,digits"], Config, folder=False)


def trials(study: StudyCopy, arm: str) -> str:
    return (study.root / f"runs/smoke/tune/{arm}/trials.csv").read_text()


@pytest.mark.parametrize(
    ("columns", "titles", "env"),
    [
        (80, ["arm", "trials", "best", "replicates", "epochs/hour", "took", "left"], {}),
        (44, ["arm", "trials", "best", "replicates", "left"], {"NO_COLOR": "1"}),
    ],
)
def test_on_a_terminal_the_table_stays_until_ctrl_c(
    smoke: StudyCopy, columns: int, titles: list[str], env: dict[str, str]
) -> None:
    with Terminal(WATCH, smoke.root, {**smoke.env}, columns, env) as terminal:
        shown = terminal.until(lambda text: DONE in text and "done\n" in text)
        assert shown.splitlines()[1].split() == titles
        # Drawn over itself: after a further look there is still one table.
        seen = len(terminal.raw)
        shown = terminal.until(lambda text: len(terminal.raw) > seen + 100)
        assert terminal.process.poll() is None
        terminal.press("\x03")
        assert terminal.end() == 0
    assert terminal.screen.text.count(DONE) == 1
    assert not terminal.screen.wrapped
    assert "Traceback" not in terminal.raw
    colours = {code for code in COLOUR.findall(terminal.raw) if re.search(r"\b[349]\d\b", code)}
    assert bool(colours) == ("NO_COLOR" not in env)


def test_a_terminal_that_cannot_draw_is_treated_as_a_pipe(smoke: StudyCopy) -> None:
    with Terminal(WATCH, smoke.root, smoke.env, 80, {"TERM": "dumb"}) as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.raw
    assert terminal.screen.text.startswith(f"{DONE}\n")


@pytest.mark.long
def test_a_stage_shows_the_whole_study_on_its_terminal_and_to_others(
    smoke: StudyCopy, tmp_path: Path
) -> None:
    copy = StudyCopy(tmp_path / "study", "smoke")
    for part in ("data", "runs", ".fairsweep"):
        shutil.copytree(smoke.root / part, copy.root / part, dirs_exist_ok=True)
    for path in copy.root.glob(".fairsweep/state/*/trial-0000[67]-*.npz"):
        if json.loads((path.parent / "settings.json").read_text())["cell"]["arm"] == "gru":
            path.unlink()
    stage = (sys.executable, "-m", "pipeline.tune", "study=smoke", "cell=gru", "cluster.workers=1")
    with (
        Terminal(stage, copy.root, copy.env, 80) as terminal,
        Terminal(WATCH, copy.root, copy.env, 40) as other,
    ):
        for one in (terminal, other):
            shown = one.until(lambda text: "tune gru on 1 worker" in text and "6 of 8" in text, 300)
            assert re.search(r"^ +rnn +8 of 8", shown, re.MULTILINE)
            assert re.search(r"^> +gru +6 of 8", shown, re.MULTILINE)
            assert re.search(r"gru now: trial 6 \(\d+ s\)", shown.replace("\n", " "))
        assert terminal.end(300) == 0
        other.until(lambda text: DONE in text)
    assert not terminal.screen.wrapped
    assert not other.screen.wrapped
    last = terminal.screen.text.strip().splitlines()
    assert len(last) == 1
    assert re.fullmatch(r"tune gru: 8 of 8 finished, best 0\.\d{4}, in \d+ (s|min)", last[0])
    spared = "timings.csv"
    assert files(copy.root / "runs/smoke/tune/gru", spared) == files(
        smoke.root / "runs/smoke/tune/gru", spared
    )


def tags(store: sqlite3.Connection, table: str) -> dict[str, str]:
    return dict(store.execute(f"select key, value from {table}").fetchall())


def test_mlflow_tells_the_answer_by_names_and_notes(smoke: StudyCopy) -> None:
    metrics = json.loads((smoke.root / "results/smoke/report/metrics.json").read_text())
    with sqlite3.connect(smoke.root / "mlflow.db") as store:
        experiment = dict(store.execute("select key, value from experiment_tags").fetchall())
        parents = "select run_uuid, name from runs where run_uuid not in (select run_uuid from tags where key = 'mlflow.parentRunId')"
        names = {
            name: run
            for run, name in store.execute(parents).fetchall()
            if not name.startswith("train ")
        }
        notes = dict(
            store.execute(
                "select run_uuid, value from tags where key = 'mlflow.note.content'"
            ).fetchall()
        )
        tests = dict(
            store.execute("select run_uuid, value from metrics where key = 'test'").fetchall()
        )
        model = store.execute(
            "select description from registered_models where name = 'fairsweep-smoke'"
        ).fetchone()[0]
        versions = [
            row[0] for row in store.execute("select description from model_versions").fetchall()
        ]
    report = next(run for name, run in names.items() if name.startswith("report: "))
    winner = metrics["winner"]
    title = f"{winner} is better than every other cell" if winner else "No single winner"
    assert f"report: {title}" in names
    first, text, _ = experiment["mlflow.note.content"].split("\n\n")
    assert first.startswith(
        f"{title}: [the report](#/experiments/1/runs/{report}/artifacts/report.html)"
    )
    assert text == notes[report]
    assert text in (smoke.root / "results/smoke/report/report.md").read_text()
    assert (smoke.root / f"mlruns/1/{report}/artifacts/report.html").read_bytes() == (
        smoke.root / "results/smoke/report/report.html"
    ).read_bytes()
    for arm in ("rnn", "gru"):
        best = yaml.safe_load((smoke.root / f"runs/smoke/tune/{arm}/best.yaml").read_text())
        run = names[f"tune {arm}: best {best['validation']:.4f}"]
        assert f"The best is trial {best['trial']}, " in notes[run]
        assert all(override in notes[run] for override in best["overrides"])
        assert tests[run] == pytest.approx(metrics["arms"][arm]["tuned"]["mean"], rel=1e-3)
        (again,) = (
            run for name, run in names.items() if name.startswith(f"replicate {arm}: mean ")
        )
        assert "2 tuned: mean 0." in notes[again]
        assert "2 article: mean 0." in notes[again]
        assert tests[again] == pytest.approx(metrics["arms"][arm]["replicates"]["mean"], rel=1e-3)
    assert text in model
    cards = [
        (smoke.root / f"results/smoke/report/cards/{arm}.md").read_text() for arm in ("rnn", "gru")
    ]
    assert {told[:1000] for told in versions if told} == {card[:1000] for card in cards}


@pytest.mark.long
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on the PATH: `apt-get install chromium`")
def test_mlflows_own_pages_lead_to_the_answer(smoke: StudyCopy, tmp_path: Path) -> None:
    with mlflow_server(smoke.root, tmp_path / "log") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(viewport={"width": 1360, "height": 800})
        context.set_default_timeout(120_000)
        # MLflow's pages ask other hosts for this and that.
        context.route(
            "**/*",
            lambda route: (
                route.continue_() if route.request.url.startswith(address) else route.abort()
            ),
        )
        page = context.new_page()
        page.goto(f"{address}/#/experiments", wait_until="domcontentloaded")
        page.get_by_text(re.compile("^(No single winner|.+ is better): ")).wait_for()
        page.get_by_role("link", name="smoke").click()
        # What MLflow greets a new browser with.
        page.get_by_role("button", name="Got it").click()
        page.get_by_label("Close", exact=True).first.click()
        with context.expect_page() as opened:
            page.get_by_role("link", name="the report").click()
        frame = opened.value.frame_locator("iframe")
        frame.get_by_role("heading", name="Study smoke: rnn and gru on synthetic").wait_for()
        with context.expect_page() as opened:
            page.get_by_role("link", name="its runs").click()
        runs = opened.value
        for arm in ("rnn", "gru"):
            runs.get_by_text(re.compile(rf"^tune {arm}: best 0\.\d{{4}}$")).wait_for()
            runs.get_by_text(re.compile(rf"^replicate {arm}: mean 0\.\d{{4}}$")).wait_for()
        titles = [
            runs.get_by_role("columnheader", name=name).first
            for name in ("test", "best_validation", "epochs", "seconds")
        ]
        places = [(title.bounding_box() or {})["x"] for title in titles]
        assert places == sorted(places)
        browser.close()


@lacks("bokeh")
def test_dasks_pages_answer_on_the_loopback_address_alone() -> None:
    with open_workers(Cluster(workers=1, dashboard=True)) as pool:
        assert pool.pages is not None
        assert pool.pages.startswith("http://127.0.0.1:")
        for page in ("status", "workers", "tasks"):
            with urllib.request.urlopen(pool.pages.replace("status", page), timeout=60) as answer:
                assert b"Dask" in answer.read()
        assert set(listening(psutil.Process())) == {"127.0.0.1"}
        # A second study has pages of its own.
        with open_workers(Cluster(workers=1, dashboard=True)) as other:
            assert other.pages != pool.pages


def test_dasks_pages_are_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert not compose(["study=smoke"]).cluster.dashboard
    monkeypatch.setenv("FAIRSWEEP_DASHBOARD", "true")
    assert compose(["study=smoke"]).cluster.dashboard is True
    with open_workers(Cluster(workers=1)) as pool:
        assert pool.pages is None
        assert set(listening(psutil.Process())) == {"127.0.0.1"}


@pytest.mark.skipif(importlib.util.find_spec("bokeh") is not None, reason="bokeh is installed")
def test_dasks_pages_without_their_package_are_refused() -> None:
    refused = r"cluster\.dashboard=true: .*bokeh.*pip install bokeh"
    with pytest.raises(FairsweepError, match=refused), open_workers(Cluster(dashboard=True)):
        pass


def listening(process: psutil.Process) -> Iterator[str]:
    """The addresses that a process and its children listen on."""
    for one in (process, *process.children(recursive=True)):
        for connection in one.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                yield connection.laddr.ip


@lacks("optuna_dashboard")
def test_optuna_dashboard_shows_a_copy_of_the_database(finished: StudyCopy) -> None:
    """As the page has it, with a free port."""
    (line,) = re.findall(r"^cp .*optuna-dashboard.*$", PAGE, re.MULTILINE)
    database = max(finished.root.glob(".fairsweep/state/*/study.db"))
    content = database.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = line.replace("DIGEST", database.parent.name).replace("&& ", "&& exec ")
    process = subprocess.Popen(
        ["bash", "-c", f"{command} --port {port}"],
        cwd=finished.root,
        env=finished.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}/api/studies"
        for _ in range(120):
            with suppress(OSError), urllib.request.urlopen(url, timeout=60) as answer:
                (study,) = json.load(answer)["study_summaries"]
                break
            time.sleep(0.5)
        with urllib.request.urlopen(f"{url}/{study['study_id']}?after=0", timeout=60) as answer:
            detail = json.load(answer)
        assert study["study_name"] in ("smoke-gru", "smoke-rnn")
        assert [trial["state"] for trial in detail["trials"]] == ["Complete"] * 8
        names = {item["name"] for item in detail["union_search_space"]}
        assert "train.learning_rate" in names
    finally:
        process.kill()
        process.wait()
        (finished.root / "study.db").unlink(missing_ok=True)
    assert database.read_bytes() == content


def test_each_picture_of_the_page_is_there_and_small() -> None:
    pictures = [ROOT / "docs" / one for one in re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE)]
    assert pictures
    for path in pictures:
        assert 5_000 < path.stat().st_size < 200_000, path


def test_a_study_in_its_copy_under_build_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.files import study_root

    monkeypatch.chdir(tmp_path)
    assert study_root("digits") == Path()
    os.makedirs("build/digits")
    assert study_root("digits") == Path("build/digits")
    os.makedirs("runs/digits")
    assert study_root("digits") == Path()
