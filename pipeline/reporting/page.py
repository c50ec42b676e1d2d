"""The report as Markdown, and the README's tables."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.reporting import sheets, story, words
from pipeline.reporting.tables import Results

Metrics = dict[str, Any]


def write(folder: Path, metrics: Metrics, results: Results, figures: dict[str, str]) -> None:
    """Writes metrics.json and report.md into `folder`.

    Args:
        folder: where results/STUDY/report is made.
        metrics: what metrics.json holds.
        results: the tables of results/STUDY/scores.
        figures: what `plots.draw_all` gave, of which the names alone are used.
    """
    text = json.dumps(metrics, indent=2, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    (folder / "report.md").write_text(report(metrics, results.study, list(figures)), encoding="utf-8")


def report(metrics: Metrics, study: dict[str, Any], figures: list[str]) -> str:
    """report.md, whole."""
    return document(story.title(metrics, study), story.tell(metrics, study, figures))


def document(title: str, sections: Sequence[story.Section]) -> str:
    """A page of Markdown."""
    parts = [f"# {escape(title)}"]
    for section in sections:
        parts += [f"## {section.title}", *map(markdown, section.blocks)]
    return "\n\n".join(parts) + "\n"


def readme_blocks(metrics: Metrics, study: dict[str, Any]) -> dict[str, str]:
    """What stands between the README's markers, by their names; tests hold the README to it."""
    return {
        "answer": f"**{words.answer(metrics)}**",
        "results": markdown_table(sheets.readme(metrics)),
        "recipe": markdown_table(sheets.recipes(metrics)),
        "anecdote": "\n".join(f"- {sentence}" for sentence in words.anecdote_sentences(metrics, study)),
    }


def markdown(block: story.Block) -> str:
    """One block of the report."""
    match block:
        case story.Text(text, "code"):
            return f"```\n{text}\n```"
        case story.Text(text, role):
            return f"**{escape(text)}**" if role == "lead" else escape(text)
        case story.Bullets(items):
            return "\n".join(f"- {escape(item)}" for item in items)
        case story.Terms(items):
            return "\n".join(f"- *{word}*: {escape(meaning)}" for word, meaning in items.items())
        case story.Plot(name, title, caption):
            return f"![{title}](plots/{name}.svg)\n\n*{escape(caption)}*"
        case sheets.Matrix():
            rows = [[arm, *map(_field, row)] for arm, row in zip(block.arms, block.rows, strict=True)]
            return f"{escape(block.caption)}:\n\n{markdown_table(sheets.Table('', ['', *block.arms], rows))}"
        case sheets.Table():
            return f"{escape(block.caption)}:\n\n{markdown_table(block)}"


def markdown_table(table: sheets.Table) -> str:
    """A Markdown table without its caption; a bar inside a cell is escaped."""
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join("| " + " | ".join(escape(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def escape(text: str) -> str:
    """Text in which no tag can stand."""
    return text.replace("<", "&lt;")


def _field(versus: sheets.Versus | None) -> str:
    return "–" if versus is None else f"{versus.sign} {versus.word}, {versus.gap}"
