"""report.html: one file that asks nobody for anything, in which text from data is text, with the numbers of report.md."""

import copy
import re
from html import unescape
from html.parser import HTMLParser

import pytest

from pipeline.rendering import html, markdown, style
from shown import EVIL, Shown

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """What a test asks of a page: each tag with its attributes, headings, rows of tables, and whether tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append((tag, ""))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings[-1] = (self.headings[-1][0], self.headings[-1][1] + data)
        if "tr" in self.open and ({"td", "th"} & set(self.open)):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def text(report: Shown) -> str:
    return report.html


@pytest.fixture(scope="module")
def parsed(text: str) -> Page:
    return Page(text)


def test_the_file_asks_nobody_for_anything(text, parsed):
    assert parsed.open == []
    for tag, attrs in parsed.tags:
        assert tag not in ("script", "iframe", "object", "embed", "img", "base", "spec")
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "xlink:href"):
                assert value.startswith(("#", "data:")), (tag, name, value)
    assert set(re.findall(r"url\(\s*['\"]?(.)", text)) <= {"#"}
    assert "@import" not in text
    assert "://" not in text


def test_every_anchor_and_identifier_is_met_once(parsed):
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = {
        attrs["href"][1:] for _, attrs in parsed.tags if (attrs.get("href") or "").startswith("#")
    }
    used |= {attrs["aria-labelledby"] for _, attrs in parsed.tags if "aria-labelledby" in attrs}
    assert used
    assert used <= set(ids)


def test_the_sections_are_those_of_the_markdown(report, parsed):
    headings = re.findall(r"^(#+) (.*)$", report.markdown, re.MULTILINE)
    assert parsed.headings == [(f"h{len(marks)}", title) for marks, title in headings]
    assert parsed.all("html") == [{"lang": "en"}]
    assert len(parsed.all("section")) == len(headings) - 1


def test_figures_and_tables_can_be_read_aloud(report, parsed):
    figures = parsed.all("svg")
    assert len(figures) == len(report.figures) == len(parsed.all("figcaption"))
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in figures)
    assert all(attrs["scope"] in ("row", "col") for attrs in parsed.all("th"))
    assert all(attrs["aria-labelledby"] for attrs in parsed.all("table"))


def cells(markdown: str) -> list[list[str]]:
    lines = [
        line
        for line in markdown.splitlines()
        if line.startswith("|") and not line.startswith("| ---")
    ]
    return [
        [unescape(cell.strip().replace("`", "")) for cell in line[1:-1].split(" | ")]
        for line in lines
    ]


def test_both_forms_hold_the_same_tables(report, parsed):
    assert [[cell.strip() for cell in row] for row in parsed.rows] == cells(report.markdown)


def test_the_answer_and_the_verdicts_have_classes(report, parsed, text):
    assert text.count('<p class="lead">') == 1
    matrix = next(attrs for attrs in parsed.all("table") if attrs["class"] == "matrix")
    assert matrix["aria-labelledby"]
    classes = {
        "undecided",
        "better",
        "worse_better",
        "better_within_margin",
        "worse_better_within_margin",
        "equivalent",
    }
    assert {attrs["class"] for attrs in parsed.all("td") if attrs.get("class") in classes}


def test_names_are_text_and_never_markup(evil_report):
    evil = evil_report
    parsed = Page(evil.html)
    assert parsed.open == []
    assert not parsed.all("script") + parsed.all("img") + parsed.all("b")
    assert not any(name.startswith("on") for _, attrs in parsed.tags for name in attrs)
    assert parsed.rows[0] == ["", *EVIL]
    assert all(name in parsed.headings[0][1] for name in EVIL)
    assert all(attrs["aria-label"] for attrs in parsed.all("svg"))
    assert evil.html.count("&lt;img src=x onerror") > 10


def test_code_is_text():
    assert "<code>a&lt;b&gt;</code> &amp; c" in html.report("# t\n\n## s\n\n`a<b>` & c\n", {})


def test_an_inline_figure_takes_the_colours_of_the_page(report):
    drawn = style.inline(report.figures["curves"], "curves", "A & B")
    assert 'aria-label="A &amp; B"' in drawn
    assert "<title>A &amp; B</title>" in drawn
    assert "var(--arm0)" in drawn
    assert "var(--ink)" in drawn
    assert not re.findall(r"#[0-9a-f]{6}\b", " ".join(re.findall(r'style="([^"]*)"', drawn)))
    assert "font-family" not in drawn
    file = report.figures["curves"]
    assert "#0072b2" in file
    assert "fill: #ffffff" in file


def test_eight_cells_differ_in_colour_and_in_mark():
    looks = [style.appearance(place) for place in range(8)]
    assert len({colour for colour, _ in looks}) == len({mark for _, mark in looks}) == 8


def test_a_refused_study_is_shown_with_its_reason(report):
    metrics = copy.deepcopy(report.summary)
    for pair in metrics["pairs"]:
        pair |= {"verdict": "refused", "refusal": "the looks are spent.", "trials_needed": None}
    refused = {**metrics, "winner": None, "leaders": list(metrics["arms"])}
    text = html.report(
        markdown.report(refused, report.results.study, list(report.figures)), report.figures
    )
    assert '<p class="lead">No verdict is given: the looks are spent.</p>' in text
    assert text.count('class="refused"') == 6
