"""Takes the pictures of docs/watching.md from a real study: runs it on a pseudo-terminal, then opens the pages in a browser.

  python docs/screenshots.py [STUDY]

Needs chromium and the extras `dev` and `dashboards`. The study (digits, some minutes) runs afresh in build/screenshots/, its
terminal's screen is kept from the moment the second cell has half of its trials.
"""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
sys.path.append(str(ROOT))

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.terminal_theme import MONOKAI  # noqa: E402
from rich.text import Text  # noqa: E402

from pipeline.config.compose import compose  # noqa: E402
from pipeline.tracking import runs_page  # noqa: E402
from study_copy import StudyCopy  # noqa: E402
from terminal import Terminal  # noqa: E402
from test_browser import CHROMIUM, FLAGS  # noqa: E402
from test_servers import mlflow_server  # noqa: E402

COLUMNS = 100


def studied(copy: StudyCopy) -> str:
    """Run the whole study on a terminal; its screen, colours in it, when the second cell has half of its trials."""
    config = compose([f"study={copy.study}"])

    def half(text: str) -> bool:
        done = re.search(rf"^> +{config.cells[1]} +(\d+) of ", text, re.MULTILINE)
        # The whole table is on the screen when its last line is.
        return bool(
            done
            and int(done[1]) >= config.search.trials // 2
            and re.search(r" now: trial .*\)$", text)
        )

    with Terminal(("dvc", "repro"), copy.root, copy.env, COLUMNS) as terminal:
        shown = terminal.until(half, 3600)
        lines, last = terminal.screen.lines, shown.splitlines()
        first = max(row for row, line in enumerate(last) if line.startswith(f"{copy.study}: "))
        picture = "\n".join(lines[first:])
        assert terminal.end(3600) == 0
    return picture


def drawn(picture: str, target: Path, browser: Browser) -> None:
    """A terminal's screen as a picture."""
    console = Console(
        record=True,
        width=COLUMNS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(Text.from_ansi(picture))
    svg = console.export_svg(title="dvc repro", theme=MONOKAI)
    # The font that it would fetch is one that a terminal has anyway.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    page = browser.new_page(viewport={"width": 1000, "height": 400})
    page.set_content(
        f"<style>body {{ margin: 0 }} svg {{ width: 1000px; display: block }}</style>{svg}"
    )
    page.locator("svg").screenshot(path=target)
    page.close()


def opened(browser: Browser, url: str, height: int) -> Page:
    """A page of our own, which asks no other host for anything."""
    context = browser.new_context(viewport={"width": 1360, "height": height})
    context.set_default_timeout(300_000)
    ours = url.split("/#")[0].split("/dashboard")[0]
    context.route(
        "**/*",
        lambda route: route.continue_() if route.request.url.startswith(ours) else route.abort(),
    )
    page = context.new_page()
    page.goto(url, wait_until="domcontentloaded")
    return page


def mlflow_page(copy: StudyCopy, target: Path, browser: Browser) -> None:
    """MLflow's page of the study's runs, as its note links them."""
    with mlflow_server(copy.root, copy.root / "mlflow.log") as address:
        page = opened(browser, f"{address}/#{runs_page('1')}", 560)
        # The assistant beside the page goes first: the table is drawn anew for the space it leaves.
        page.get_by_label("Close", exact=True).first.click()
        page.get_by_text(re.compile(r"^tune \w+: best ")).first.wait_for()
        page.wait_for_timeout(3000)
        page.screenshot(path=target)


def optuna_page(copy: StudyCopy, target: Path, browser: Browser) -> None:
    """Optuna Dashboard's first page of one cell's search."""
    database = next(copy.root.glob(".fairsweep/state/*/study.db"))
    shutil.copy(database, copy.root / "study.db")
    words = ["optuna-dashboard", "sqlite:///study.db"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(words, cwd=copy.root, env=copy.env, **pipes)
    try:
        assert process.stdout
        address = next(
            filter(None, (re.search(r"http://[^/\s]+", line) for line in process.stdout))
        )
        page = opened(browser, f"{address[0]}/dashboard/studies/1", 640)
        page.get_by_text("Hyperparameter Importance").first.wait_for()
        page.wait_for_timeout(3000)
        page.screenshot(path=target)
    finally:
        process.terminate()
        process.wait()


def main(study: str = "digits") -> None:
    os.chdir(ROOT)
    folder = ROOT / "build" / "screenshots" / study
    shutil.rmtree(folder, ignore_errors=True)
    copy = StudyCopy(folder, study)
    picture = studied(copy)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        drawn(picture, ROOT / "docs/terminal.png", browser)
        mlflow_page(copy, ROOT / "docs/mlflow.png", browser)
        optuna_page(copy, ROOT / "docs/optuna.png", browser)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
