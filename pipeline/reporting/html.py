"""The report as one offline HTML file: the sections of story.py, with the figures inside."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.reporting import story
from pipeline.reporting.look import inline
from pipeline.reporting.tables import Results

TEMPLATE = Path(__file__).with_name("report.html.j2")
NUMBER = re.compile(r"[\[<>−]*\d|–$")


def write(folder: Path, metrics: dict[str, Any], results: Results, figures: dict[str, str]) -> None:
    """Writes report.html into `folder`.

    Args:
        folder: where results/STUDY/report is made.
        metrics: what metrics.json holds.
        results: the tables of results/STUDY/scores.
        figures: what `plots.draw_all` gave.
    """
    (folder / "report.html").write_text(report(metrics, results.study, figures), encoding="utf-8")


def report(metrics: dict[str, Any], study: dict[str, Any], figures: dict[str, str]) -> str:
    """report.html, whole. Every text of the study is escaped; the figures alone are markup."""
    page = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.filters.update(prose=prose, numeric=lambda text: bool(NUMBER.match(text)), kind=lambda block: type(block).__name__)
    return page.get_template(TEMPLATE.name).render(
        title=story.title(metrics, study),
        sections=story.tell(metrics, study, list(figures)),
        draw=lambda plot: Markup(inline(figures[plot.name], plot.name, plot.title)),
    )


def prose(text: str) -> Markup:
    """Escaped text, in which `this` is set as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))
