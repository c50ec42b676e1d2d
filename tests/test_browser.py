"""The report in a real browser: it asks nobody for anything, and everything is seen on a desk, on a phone and on paper."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from shown import Shown

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no chromium on the PATH: `apt-get install chromium`"
)
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
LOOKS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]

# Each text that is drawn: its colour, the first opaque background behind it, and its size in pixels of the screen.
TEXTS = """() => [...document.querySelectorAll('p, li, th, td, dt, dd, h1, h2, a, code, figcaption, svg text')]
  .filter(one => one.textContent.trim() && one.getBoundingClientRect().width)
  .map(one => {
    let behind = one;
    const clear = () => /rgba\\(.*, 0\\)/.test(getComputedStyle(behind).backgroundColor);
    while (behind.parentElement && clear()) behind = behind.parentElement;
    const style = getComputedStyle(one), svg = one.closest('svg');
    return {
      text: one.textContent.slice(0, 30), back: getComputedStyle(behind).backgroundColor,
      color: svg ? style.fill : style.color, size: parseFloat(style.fontSize) * (svg ? svg.getScreenCTM().a : 1),
    };
  })"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory, evil_report: Shown) -> Path:
    """report.html of a study whose names would act if they could."""
    path = tmp_path_factory.mktemp("browser") / "report.html"
    path.write_text(evil_report.html, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


class Opened:
    """The report in a window, and all that it asked for or complained about."""

    def __init__(
        self, browser: Browser, page_file: Path, width: int = 1280, scheme: str = "light"
    ) -> None:
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        context.route(
            "**/*", lambda route: (self.asked.append(route.request.url), route.continue_())[1]
        )
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss())[1]
        )
        self.page.goto(page_file.as_uri())

    def boxes(self, selector: str) -> list[dict[str, float]]:
        return [one.bounding_box() or {} for one in self.page.query_selector_all(selector)]


# Each text of a figure that is cut off by the figure's edge.
CUT = """() => [...document.querySelectorAll('svg text')].filter(one => {
    const text = one.getBoundingClientRect(), box = one.closest('svg').getBoundingClientRect();
    return text.left < box.left - 1 || text.right > box.right + 1 || text.top < box.top - 1 || text.bottom > box.bottom + 1;
  }).map(one => one.textContent)"""


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_all_is_seen_and_nothing_is_asked_for(
    browser: Browser, page_file: Path, width: int, scheme: str
) -> None:
    opened = Opened(browser, page_file, width, scheme)
    figures = opened.boxes("figure svg")
    assert len(figures) == 9
    for box in figures:
        assert box["width"] > 250
        assert box["height"] > 60
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.evaluate(
        "[...document.querySelectorAll('.scroll')].every(one => one.getBoundingClientRect().right <= innerWidth)"
    )
    assert opened.page.evaluate(CUT) == []
    assert opened.asked == [page_file.as_uri()]
    assert opened.complaints == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_text_is_large_and_dark_enough(
    browser: Browser, page_file: Path, width: int, scheme: str
) -> None:
    texts = Opened(browser, page_file, width, scheme).page.evaluate(TEXTS)
    assert len(texts) > 200
    for one in texts:
        assert one["size"] >= 9.9, one
        assert contrast(one["color"], one["back"]) >= 4.5, one


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_arms_stand_out_from_the_page(browser: Browser, page_file: Path, scheme: str) -> None:
    page = Opened(browser, page_file, scheme=scheme).page
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    read = "name => { document.body.style.color = `var(${name})`; return getComputedStyle(document.body).color }"
    arms = [page.evaluate(read, f"--arm{place}") for place in range(8)]
    assert len(set(arms)) == 8
    assert all(contrast(arm, paper) >= 3 for arm in arms)


def test_the_schemes_differ(browser: Browser, page_file: Path) -> None:
    light, dark = (
        Opened(browser, page_file, scheme=scheme).page.evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for scheme in ("light", "dark")
    )
    assert luminance(light) > 0.9
    assert luminance(dark) < 0.05


def test_paper_is_white_and_holds_every_figure(browser: Browser, page_file: Path) -> None:
    opened = Opened(browser, page_file, scheme="dark")
    opened.page.emulate_media(media="print")
    assert luminance(opened.page.evaluate("getComputedStyle(document.body).backgroundColor")) > 0.9
    assert all(box["width"] > 200 and box["height"] > 50 for box in opened.boxes("figure svg"))
    assert not opened.page.is_visible("nav")
    # A box that scrolls would cut what it holds.
    assert opened.page.evaluate(
        "[...document.querySelectorAll('.scroll')].every(one => getComputedStyle(one).overflowX == 'visible')"
    )
    printed = opened.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") > 3


def test_a_wide_table_scrolls_by_itself(browser: Browser, page_file: Path) -> None:
    page = Opened(browser, page_file, 390).page
    wide = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth).length"
    )
    assert wide > 0


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG 2 defines it."""
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, as WCAG 2 defines it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
